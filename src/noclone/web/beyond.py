"""What the window shows beside simulated links: nodes, links whose key comes from vendors' equipment, borders.

In: the scenario, events.  Out: plain JSON values. Of a vendor's link nobody here sees light: there is no error rate and
no proof of ours, and the window says so; of another operator's domain, only what its KME at the border does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from noclone.events import Event
from noclone.network.border_sections import BorderSection
from noclone.network.scenario import Scenario
from noclone.network.vendor_sections import VendorLinkSection
from noclone.web.links import Holds

ON_A_WORD = "on-a-vendors-word"
DRAWN_S = 60.0  # how fast a vendor gives key: what came in the last minute
SERIES_MAX = 240


@dataclass(slots=True)
class NodeState:
    """One node: "serving", "draining" or "drained"."""

    name: str
    state: str = "serving"
    since_s: float = 0.0

    def take(self, event: Event) -> bool:
        """Learn from an event; say whether it changed something."""
        turned = {"node.draining": "draining", "node.drained": "drained", "node.resumed": "serving"}.get(event.kind)
        if turned is None:
            return False
        self.state, self.since_s = turned, event.time_s
        return True

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"name": self.name, "state": self.state, "since": self.since_s}


@dataclass(slots=True)
class VendorState:
    """One link that a vendor's system feeds: what was drawn and what was lost, on his word.

    Args:
        state: "waiting", "ok" or "down".
        origin: What the vendor's own words say that its keys are: "hardware", "simulated", ...
        series: For each draw: time, block, no error rate, bits a second in the last minute.
    """

    section: VendorLinkSection
    state: str = "waiting"
    why: str = ""
    holds: Holds = field(default_factory=Holds)
    since_s: float = 0.0
    stored_bits: int | None = None
    blocks: int = 0
    keys_lost: int = 0
    origin: str = ""
    seeded: bool = False
    drawn: deque[tuple[float, int]] = field(default_factory=deque)
    series: deque[list[Any]] = field(default_factory=lambda: deque(maxlen=SERIES_MAX))

    def take(self, event: Event) -> None:
        """Learn from an event of this link."""
        data = event.data
        match event.kind:
            case "vendor.drawn" if data["end"] == "alice":
                self.state, self.why, self.since_s = "ok", "", event.time_s
                self.blocks, self.origin, self.seeded = self.blocks + 1, str(data["origin"]), bool(data["seeded"])
                self.drawn.append((event.time_s, int(data["bits"])))
                self.series.append([event.time_s, data["block"], None, self.rate_bps(event.time_s)])
            case "vendor.lost":
                self.keys_lost += int(data["keys"]) if data["end"] == "alice" else 0
            case "link.down":
                self.state, self.why, self.since_s = "down", str(data["message"]), event.time_s
            case "link.stopped":
                self.holds.stopped(event)
            case "link.started":
                self.holds.started()
            case "link.up":
                self.state, self.why, self.since_s = "waiting", "", event.time_s

    @property
    def name(self) -> str:
        """The link's."""
        return self.section.name

    @property
    def sites(self) -> tuple[str, str]:
        """The nodes at its ends."""
        return self.section.alice, self.section.bob

    def rate_bps(self, now_s: float) -> float:
        """Return how fast it gave key in the last minute."""
        while self.drawn and self.drawn[0][0] < now_s - DRAWN_S:
            self.drawn.popleft()
        return sum(bits for _, bits in self.drawn) / DRAWN_S

    def to_json(self, now_s: float) -> dict[str, Any]:
        """Return plain JSON values, by the names that simulated links have."""
        return {
            "name": self.section.name,
            "state": "stopped" if self.holds else self.state,
            "why": self.holds.why or self.why,
            "since": self.since_s,
            "qber": None,
            "secret_bps": self.rate_bps(now_s) if self.blocks else None,
            "stored_bits": self.stored_bits,
            "full": False,
            "seconds_left": None,
            "attack": None,
            "eve": None,
            "funnel": None,
            "alarms": 0,
            "blocks": self.blocks,
            "keys_lost": self.keys_lost,
            "origin": self.origin,
            "seeded": self.seeded,
        }

    def fixed(self) -> dict[str, Any]:
        """What of it never changes."""
        section = self.section
        return {
            "kind": "vendor",
            "alice": section.alice,
            "bob": section.bob,
            "vendor": section.vendor,
            "epsilon": section.epsilon,
            "stock_bits": section.stock_bits,
        }


@dataclass(slots=True)
class BorderState:
    """One border: what crossed, either way, and what did not.

    Args:
        state: "closed", "open" or "failing" (the newest keys did not cross).
    """

    section: BorderSection
    state: str = "closed"
    why: str = ""
    since_s: float = 0.0
    keys_out: int = 0
    keys_in: int = 0
    keys_failed: int = 0

    def take(self, event: Event) -> None:
        """Learn from an event of this border."""
        keys = int(event.data.get("keys", 0))
        match event.kind:
            case "border.opened":
                self.state, self.why = "open", ""
            case "border.out":
                self.keys_out, self.state, self.why = self.keys_out + keys, "open", ""
            case "border.in":
                self.keys_in, self.state, self.why = self.keys_in + keys, "open", ""
            case "border.failed" | "border.lost":
                self.keys_failed, self.state, self.why = self.keys_failed + keys, "failing", str(event.data["reason"])
            case _:
                return
        self.since_s = event.time_s

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "domain": self.section.domain,
            "node": self.section.node,
            "peer": self.section.peer,
            "applications": len(self.section.saes),
            "state": self.state,
            "why": self.why,
            "since": self.since_s,
            "out": self.keys_out,
            "in": self.keys_in,
            "failed": self.keys_failed,
        }


class Beyond:
    """All of them. `take` says what an event has changed, for `Board` to number."""

    def __init__(self, scenario: Scenario) -> None:
        self.nodes = {node.name: NodeState(node.name) for node in scenario.nodes}
        self.vendors = {link.name: VendorState(link) for link in scenario.vendor_links}
        self.borders = {border.domain: BorderState(border) for border in scenario.borders}

    @property
    def word(self) -> str:
        """What the verdict must add where key comes from vendors' equipment; nothing where none has come."""
        giving = [link for link in self.vendors.values() if link.blocks]
        if not giving:
            return ""
        whose = ", ".join(sorted({link.section.vendor for link in giving}))
        return f"{_links(len(giving))} key on the word of a vendor ({whose}): no light of theirs is seen here."

    def take(self, event: Event) -> str:
        """Learn from an event; return the subject that has changed, or nothing."""
        kind, _, name = event.subject.partition(":")
        if kind == "node" and name in self.nodes and self.nodes[name].take(event):
            return event.subject
        if kind == "link" and name in self.vendors:
            self.vendors[name].take(event)
            return event.subject
        if kind == "border" and name in self.borders:
            self.borders[name].take(event)
            return event.subject
        return ""


def _links(count: int) -> str:
    return "1 link gives" if count == 1 else f"{count} links give"
