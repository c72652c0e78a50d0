"""What the window shows: the state of a served network, kept up to date by its events.

In: the scenario, events as they happen, what the stores hold.  Out: a snapshot as plain JSON values, and from then on
what has changed since a number. No key is in it. Every number is what monitors and stores report; what only the
simulator knows (Eve) stands apart and is named so.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from noclone import __version__
from noclone.audit.audit import Audit
from noclone.audit.levels import judge_levels
from noclone.audit.verdict import LinkEvidence, judge_links, take
from noclone.clock import Clock, SystemClock
from noclone.events import Event
from noclone.network.blocks import LinkPlan, error_rate
from noclone.network.news import tell
from noclone.network.scenario import Scenario

SERIES_MAX = 240  # blocks of a link that the charts show
NEWS_MAX = 300  # lines of the timeline
EVIDENCE_BLOCKS_MAX = 500  # blocks of a link that the verdict is spoken over
RATE_WINDOW_S = 60.0


@dataclass(slots=True)
class LinkState:
    """One link, as it is now.

    Args:
        state: "waiting", "ok", "refused" (its newest block gave no key), "stopped" or "down".
        full: Whether its pools hold all that they may, so that it makes no key until some is used.
        series: For each block: time, block, error rate, secret bits per second of light, gain of each intensity.
        funnel: The newest block's journey from detections to secret bits.
        attack: What only the simulator knows.
    """

    plan: LinkPlan
    state: str = "waiting"
    why: str = ""
    since_s: float = 0.0
    qber: float | None = None
    secret_bps: float | None = None
    stored_bits: int | None = None
    full: bool = False
    used_bps: float = 0.0
    attack: dict[str, Any] | None = None
    eve: dict[str, Any] | None = None
    funnel: dict[str, Any] | None = None
    alarms: int = 0
    series: deque[list[Any]] = field(default_factory=lambda: deque(maxlen=SERIES_MAX))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        left_s = None
        if self.stored_bits is not None and self.used_bps > 0:
            left_s = self.stored_bits / self.used_bps
        return {
            "name": self.plan.link.name,
            "state": self.state,
            "why": self.why,
            "since": self.since_s,
            "qber": self.qber,
            "secret_bps": self.secret_bps,
            "stored_bits": self.stored_bits,
            "full": self.full,
            "seconds_left": left_s,
            "attack": self.attack,
            "eve": self.eve,
            "funnel": self.funnel,
            "alarms": self.alarms,
        }


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
        self.number = 0
        self.audit: Audit | None = None
        self._attacks = attacks
        self._evidence = {name: LinkEvidence(name) for name in plans}
        self._news: deque[dict[str, Any]] = deque(maxlen=NEWS_MAX)
        self._changed: dict[str, int] = {}  # by link, and "verdict": the number of the newest change
        self._used: dict[str, deque[tuple[float, int]]] = {name: deque() for name in plans}
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
        if kind == "link" and name in self.links:
            self._of_link(self.links[name], event)
            self._changed[name] = self.number
        if event.kind == "key.delivered":
            self.delivered += int(event.data.get("keys", 1))
        told = tell(event)
        if told and event.kind != "key.delivered":
            self._say(event.time_s, event.kind, event.subject, told)

    def _say(self, time_s: float, kind: str, subject: str, text: str) -> None:
        self._news.append({"number": self.number, "time": time_s, "kind": kind, "subject": subject, "text": text})

    def _of_link(self, link: LinkState, event: Event) -> None:
        data, name = event.data, link.plan.link.name
        match event.kind:
            case "block.distilled":
                take(self._evidence[name], event)
                if data.get("end") != "bob":
                    self._distilled(link, event)
            case "block.aborted":
                take(self._evidence[name], event)
                if data.get("end") != "bob":
                    link.state, link.why, link.since_s = "refused", str(data["reason"]), event.time_s
                    link.secret_bps = 0.0
                    link.qber = data.get("qber") if data.get("qber") is not None else link.qber
                    self._point(link, event, 0.0)
            case "alarm.raised":
                take(self._evidence[name], event)
                link.alarms += 1
            case "light.sent":
                take(self._evidence[name], event)
            case "attack.started":
                link.attack = {"name": data["name"], "strength": data["strength"], "since": event.time_s}
            case "attack.stopped":
                link.attack = None
            case "eve.learned":
                link.eve = {key: value for key, value in data.items() if not isinstance(value, (list, dict))}
            case "link.down":
                link.state, link.why, link.since_s = "down", str(data["message"]), event.time_s
            case "link.stopped":
                link.state, link.why = "stopped", "by the operator" if data.get("by") else str(data.get("monitor", ""))
                link.since_s, link.secret_bps = event.time_s, 0.0
            case "link.started" | "link.up":
                link.state, link.why, link.since_s = "waiting", "", event.time_s
        self._forget_old(name)
        self._judge(name, event)

    def _distilled(self, link: LinkState, event: Event) -> None:
        data = event.data
        if link.state != "stopped":  # the block that was under way ends as any other
            link.state, link.why, link.since_s = "ok", "", event.time_s
        link.qber = data["qber"]
        link.secret_bps = data["secret_bits"] / link.plan.seconds_per_block
        link.funnel = {
            "block": data["block"],
            "detections": data["detections"],
            "secret_bits": data["secret_bits"],
            "epsilon": data["epsilon"],
            "proof": data["proof"],
            "steps": data["length_terms"],
        }
        self._point(link, event, link.secret_bps)

    def _point(self, link: LinkState, event: Event, secret_bps: float) -> None:
        data = event.data
        counts = data.get("counts") or {}
        slots = counts.get("n_slots") or 0
        pairs = zip(counts.get("n_key", ()), counts.get("n_test", ()), strict=True) if slots else ()
        gains = [(key + test) / slots for key, test in pairs]
        link.series.append([event.time_s, data["block"], data.get("qber"), secret_bps, *gains])

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
            self._say(event.time_s, "verdict.changed", f"link:{name}", text + self._verdict.sentence)

    def _level(self) -> None:
        """Note that the three levels are to be judged anew, with what the links have shown: when somebody looks."""
        self._changed["verdict"] = self.number

    def stored(self, link: str, bits: int, time_s: float, *, full: bool = False) -> None:
        """Note what a link's pools hold; how fast it is used is the fall of that, less what came."""
        state = self.links[link]
        if state.stored_bits is not None and bits < state.stored_bits:
            self._used[link].append((time_s, state.stored_bits - bits))
        used = self._used[link]
        while used and used[0][0] < time_s - RATE_WINDOW_S:
            used.popleft()
        state.used_bps = sum(taken for _, taken in used) / RATE_WINDOW_S
        if bits != state.stored_bits or full != state.full:
            self.number += 1
            state.stored_bits, state.full = bits, full
            self._changed[link] = self.number

    def verdict(self) -> dict[str, Any]:
        """Return the verdict: in a sentence, and at three levels."""
        spoken = self._verdict
        changed = self._changed.get("verdict", 0)
        if self.audit is not None and self._judged != changed:  # takes a while where there are many pairs
            self._judged = changed
            levels = judge_levels(self.audit.scene, self.audit.findings, self._evidence)
            self._levels = [level.to_json() for level in levels]
        return {"code": spoken.code, "sentence": spoken.sentence, "levels": self._levels}

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
            },
            "nodes": [
                {
                    "name": node.name,
                    "title": node.title or node.name,
                    "lat": node.latitude,
                    "lon": node.longitude,
                    "x": self._places[node.name][0],
                    "y": self._places[node.name][1],
                }
                for node in scenario.nodes
            ],
            "applications": [{"id": sae.id, "node": sae.node} for sae in scenario.saes],
            "links": [
                {**self._fixed(state), **state.to_json(), "series": list(state.series)} for state in self.links.values()
            ],
            "verdict": self.verdict(),
            "news": list(self._news),
            "delivered": self.delivered,
            "attacks": self._attacks,
        }

    @staticmethod
    def _fixed(state: LinkState) -> dict[str, Any]:
        """What of a link never changes."""
        link, plan = state.plan.link, state.plan
        return {
            "alice": link.alice,
            "bob": link.bob,
            "protocol": link.protocol,
            "length_km": link.length_km,
            "loss_db": plan.light.loss_db,
            "clock_hz": plan.light.clock_hz,
            "qber_max": plan.agreement.qber_max,
            "qber_expected": error_rate(plan.expected),
            "secret_bps_expected": plan.agreement.length_bits / plan.seconds_per_block,
            "seconds_per_block": plan.seconds_per_block,
            "intensities": list(link.source.intensities) if link.source else [],
        }

    def changes(self, since: int) -> dict[str, Any]:
        """Return what is new after a number: links whole but for their series' old points, news, the verdict."""
        links = []
        for name, number in self._changed.items():
            if number > since and name in self.links:
                state = self.links[name]
                links.append({**state.to_json(), "series": list(state.series)[-8:]})
        out: dict[str, Any] = {
            "number": self.number,
            "now": self._clock.now_s(),
            "links": links,
            "delivered": self.delivered,
        }
        news = [line for line in self._news if line["number"] > since]
        if news:
            out["news"] = news
        if self._changed.get("verdict", 0) > since:
            out["verdict"] = self.verdict()
        return out
