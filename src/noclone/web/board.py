"""What the window shows: the state of a served network, kept up to date by its events.

In: the scenario, events as they happen, what the stores hold.  Out: a snapshot as plain JSON values, and from then on
what has changed since a number. No key is in it. Every number is what monitors and stores report; what only the
simulator knows (Eve) stands apart and is named so.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from noclone import __version__
from noclone.audit.audit import Audit
from noclone.audit.levels import judge_levels
from noclone.audit.verdict import LinkEvidence, judge_links, take
from noclone.clock import Clock, SystemClock
from noclone.events import Event
from noclone.network.blocks import LinkPlan
from noclone.network.news import tell
from noclone.network.scenario import Scenario
from noclone.web.beyond import ON_A_WORD, Beyond, VendorState
from noclone.web.links import LinkState

NEWS_MAX = 300  # lines of the timeline
EVIDENCE_BLOCKS_MAX = 500  # blocks of a link that the verdict is spoken over
EVIDENCE = ("alarm.raised", "block.aborted", "block.distilled")
EVIDENCE_SHOWN = 5
FRESH = 8  # newest points of a series, of which the window may lack some


def layout(scenario: Scenario) -> dict[str, tuple[float, float]]:
    """Return where each node stands in the schematic, between 0 and 1 both ways: springs, from a circle."""
    import networkx

    if len(scenario.nodes) == 2:
        return {node.name: (float(i), 0.5) for i, node in enumerate(scenario.nodes)}
    graph = networkx.Graph()
    graph.add_nodes_from(node.name for node in scenario.nodes)
    graph.add_edges_from(scenario.edges().all)
    start = networkx.circular_layout(graph)
    found = networkx.spring_layout(graph, pos=start, iterations=100 if len(graph) <= 60 else 40, seed=1)
    xs, ys = ([float(place[axis]) for place in found.values()] for axis in (0, 1))

    def between(value: float, all_of: list[float]) -> float:
        return round((value - min(all_of)) / (max(all_of) - min(all_of) or 1.0), 4)

    return {name: (between(float(x), xs), between(float(y), ys)) for name, (x, y) in found.items()}


class Board:
    """The window's state. All calls come from one thread: the event loop's.

    Args:
        plans: What every link's model expects.
        attacks: What Eve can do here, in words.
    """

    def __init__(
        self,
        scenario: Scenario,
        plans: Mapping[str, LinkPlan],
        attacks: list[dict[str, str]],
        *,
        speed: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        self.scenario = scenario
        self._speed = speed
        self._clock = clock or SystemClock()
        self._places = layout(scenario)
        self.links = {name: LinkState(plan) for name, plan in plans.items()}
        self.beyond = Beyond(scenario)
        self.number = 0
        self.audit: Audit | None = None
        self._attacks = attacks
        self._evidence = {name: LinkEvidence(name) for name in plans}
        self._news: deque[dict[str, Any]] = deque(maxlen=NEWS_MAX)
        self._changed: dict[str, int] = {}  # by subject, and "verdict": the number of the newest change
        self._happened: dict[str, int] = {}  # by link: the newest change of more than what is stored
        self._charted: dict[str, int] = {}  # by link: the newest point on the chart of its store
        self._codes: dict[str, str] = {}
        self.delivered = 0
        self._verdict = judge_links(self._evidence)
        self._levels: list[dict[str, Any]] = []
        self._judged = -1  # which change of the verdict they were judged for

    def audited(self, audit: Audit) -> None:
        """Take in the audit of the scenario, once it is there: the three levels, and what-if."""
        self.audit = audit
        self.number += 1
        self._level()

    def take(self, event: Event) -> None:
        """Learn from an event."""
        self.number += 1
        kind, _, name = event.subject.partition(":")
        if event.kind == "key.delivered":
            self.delivered += int(event.data.get("keys", 1))
        told = tell(event)
        if told and event.kind != "key.delivered":
            self._say(event.time_s, event.kind, event.subject, told)
        if kind == "link" and name in self.links:
            self._of_link(name, event)
            self._changed[event.subject] = self._happened[name] = self.number
        changed = self.beyond.take(event)
        if changed:
            self._changed[changed] = self.number
        if event.kind == "vendor.drawn":
            self._changed["verdict"] = self.number
        if changed.startswith("node:"):
            self._of_node(name, event)

    def _say(self, time_s: float, kind: str, subject: str, text: str, **more: Any) -> None:
        self._news.append(
            {"number": self.number, "time": time_s, "kind": kind, "subject": subject, "text": text, **more}
        )

    def _of_link(self, name: str, event: Event) -> None:
        take(self._evidence[name], event)
        self.links[name].take(event)
        self._forget_old(name)
        self._judge(name, event)

    def _of_node(self, node: str, event: Event) -> None:
        """Hold or free the links of a node that is drained, or goes on."""
        links: list[LinkState | VendorState] = [*self.links.values(), *self.beyond.vendors.values()]
        for link in links:
            if node in link.sites:
                link.holds.turn(f"as {node} is drained", on=event.kind != "node.resumed")
                self._changed[f"link:{link.name}"] = self._happened[link.name] = self.number

    def _forget_old(self, name: str) -> None:
        """Keep what the verdict is spoken over bounded; totals stay."""
        evidence = self._evidence[name]
        for kept in (evidence.blocks, evidence.refused, evidence.truth):
            while len(kept) > EVIDENCE_BLOCKS_MAX:
                del kept[min(kept)]
        del evidence.rates[:-EVIDENCE_BLOCKS_MAX]
        del evidence.alarms[:-EVIDENCE_BLOCKS_MAX]

    def _judge(self, name: str, event: Event) -> None:
        """Speak the verdict anew when a link's changes; a change of mind is news."""
        code = self._evidence[name].code
        if self._codes.get(name) == code:
            return
        self._codes[name] = code
        before = self._verdict
        self._verdict = judge_links(self._evidence)
        self._level()
        if before.code != self._verdict.code:
            text = f"The verdict on the network changes from {before.code} to {self._verdict.code}: "
            self._say(
                event.time_s,
                "verdict.changed",
                f"link:{name}",
                text + self._verdict.sentence,
                evidence=self._shown_by(f"link:{name}"),
            )

    def _shown_by(self, subject: str) -> list[dict[str, Any]]:
        """Return the lines of the timeline that a change of mind rests on: what monitors and ends saw, newest first."""
        found: list[dict[str, Any]] = []
        for line in reversed(self._news):
            if line["subject"] == subject and line["kind"] == "verdict.changed":
                break
            if line["subject"] == subject and line["kind"] in EVIDENCE:
                found.append({"number": line["number"], "kind": line["kind"], "text": line["text"]})
            if len(found) == EVIDENCE_SHOWN:
                break
        return found

    def _level(self) -> None:
        """Note that the three levels are to be judged anew, with what the links have shown: when somebody looks."""
        self._changed["verdict"] = self.number

    def stored(self, link: str, bits: int, time_s: float, *, full: bool = False) -> None:
        """Note what a link's pools hold."""
        state = self.links[link]
        newest = state.levels[-1] if state.levels else None
        if state.stored(bits, time_s, full=full):
            self.number += 1
            self._changed[f"link:{link}"] = self.number
            if state.levels[-1] is not newest:
                self._charted[link] = self.number

    def stored_by_vendor(self, link: str, bits: int) -> None:
        """Note what the pools of a vendor's link hold."""
        vendor = self.beyond.vendors[link]
        if bits != vendor.stored_bits:
            self.number += 1
            vendor.stored_bits = bits
            self._changed[f"link:{link}"] = self.number

    def verdict(self) -> dict[str, Any]:
        """Return the verdict: in a sentence, and at three levels."""
        spoken, word = self._verdict, self.beyond.word
        changed = self._changed.get("verdict", 0)
        if self.audit is not None and self._judged != changed:  # takes a while where there are many pairs
            self._judged = changed
            levels = judge_levels(self.audit.scene, self.audit.findings, self._evidence)
            self._levels = [level.to_json() for level in levels]
        if word and not self.links:
            return {"code": ON_A_WORD, "sentence": word, "levels": self._levels}
        return {"code": spoken.code, "sentence": f"{spoken.sentence} {word}".strip(), "levels": self._levels}

    def snapshot(self) -> dict[str, Any]:
        """Return everything that the window shows."""
        scenario = self.scenario
        return {
            "version": __version__,
            "number": self.number,
            "now": self._clock.now_s(),
            "speed": None if math.isinf(self._speed) else self._speed,
            "scenario": {
                "name": scenario.name,
                "title": scenario.title or scenario.name,
                "description": scenario.description,
                "lab": scenario.lab,
                "simulated": bool(scenario.links),
                "key_size_bits": scenario.keys.key_size_bits,
            },
            "nodes": [
                {
                    "name": node.name,
                    "title": node.title or node.name,
                    "lat": node.latitude,
                    "lon": node.longitude,
                    "x": self._places[node.name][0],
                    "y": self._places[node.name][1],
                    **self.beyond.nodes[node.name].to_json(),
                }
                for node in scenario.nodes
            ],
            "applications": [{"id": sae.id, "node": sae.node} for sae in scenario.saes],
            "links": [self._link(name, whole=True) for name in (*self.links, *self.beyond.vendors)],
            "borders": [border.to_json() for border in self.beyond.borders.values()],
            "verdict": self.verdict(),
            "news": list(self._news),
            "delivered": self.delivered,
            "attacks": self._attacks,
        }

    def _link(self, name: str, *, whole: bool = False) -> dict[str, Any]:
        """Return a link of either kind, with all of its series or their newest points."""
        points = None if whole else -FRESH
        if name in self.links:
            state = self.links[name]
            fixed, now, levels = state.fixed(), state.to_json(), list(state.levels)[points:]
            series = list(state.series)[points:]
        else:
            vendor = self.beyond.vendors[name]
            fixed, now, levels = vendor.fixed(), vendor.to_json(self._clock.now_s()), []
            series = list(vendor.series)[points:]
        return {**(fixed if whole else {}), **now, "series": series, "levels": levels}

    def _link_since(self, name: str, since: int) -> dict[str, Any]:
        """Return what is new of a link: mostly what is stored, of hundreds of links many times a second."""
        if name not in self.links or self._happened.get(name, 0) > since:
            return self._link(name)
        state = self.links[name]
        levels = list(state.levels)[-FRESH:] if self._charted.get(name, 0) > since else []
        return {**state.in_store(), "series": [], "levels": levels}

    def changes(self, since: int) -> dict[str, Any]:
        """Return what is new after a number; of links' series only the newest points."""
        out: dict[str, Any] = {
            "number": self.number,
            "now": self._clock.now_s(),
            "links": [],
            "delivered": self.delivered,
        }
        for subject, number in self._changed.items():
            if number <= since:
                continue
            kind, _, name = subject.partition(":")
            if kind == "link":
                out["links"].append(self._link_since(name, since))
            elif kind == "node":
                out.setdefault("nodes", []).append(self.beyond.nodes[name].to_json())
            elif kind == "border":
                out.setdefault("borders", []).append(self.beyond.borders[name].to_json())
            else:
                out["verdict"] = self.verdict()
        news = [line for line in self._news if line["number"] > since]
        if news:
            out["news"] = news
        return out
