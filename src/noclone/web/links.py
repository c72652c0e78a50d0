"""One simulated link as the window shows it.

In: its plan, its events, what its pools hold.  Out: plain JSON values. Every number is what monitors and stores report;
what only the simulator knows (Eve) stands apart and is named so.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from noclone.audit.trusted_devices import trusts_of
from noclone.events import Event
from noclone.network.blocks import LinkPlan, error_rate

SERIES_MAX = 240  # blocks of a link that the charts show
RATE_WINDOW_S = 60.0
SAMPLE_S = 1.0  # the chart of the store has no more points than one in so long


class Holds:
    """Why a link makes no blocks: the operator's word, an alarm's response, a drained node; in words, oldest first."""

    def __init__(self) -> None:
        self._held: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._held)

    @property
    def why(self) -> str:
        """The oldest reason; empty if it is not held."""
        return self._held[0] if self._held else ""

    def turn(self, why: str, *, on: bool) -> None:
        """Add a reason, or take it away."""
        if on != (why in self._held):
            (self._held.append if on else self._held.remove)(why)

    def stopped(self, event: Event) -> None:
        """Note that it was stopped."""
        self.turn("by the operator" if event.data.get("by") else f"after the alarm {event.data['monitor']}", on=True)

    def started(self) -> None:
        """Note that the operator lets it go on, whoever stopped it."""
        self._held = [why for why in self._held if why.startswith("as ")]


@dataclass(slots=True)
class LinkState:
    """One link, as it is now.

    Args:
        state: "waiting", "ok", "refused" (its newest block gave no key) or "down".
        holds: Why it makes no blocks, whatever its state.
        full: Whether its pools hold all that they may, so that it makes no key until some is used.
        quadratures: Of continuous variables: what both ends estimate of the channel, and how well they reconciled.
        series: For each block: time, block, error rate, secret bits per second of light, gain of each intensity.
        levels: Time, and bits in store then.
        funnel: The newest block's journey from detections to secret bits.
        attack: What only the simulator knows.
    """

    plan: LinkPlan
    state: str = "waiting"
    why: str = ""
    holds: Holds = field(default_factory=lambda: Holds())
    since_s: float = 0.0
    qber: float | None = None
    quadratures: dict[str, Any] | None = None
    secret_bps: float | None = None
    stored_bits: int | None = None
    full: bool = False
    taken: deque[tuple[float, int]] = field(default_factory=deque)
    used_bps: float = 0.0
    attack: dict[str, Any] | None = None
    eve: dict[str, Any] | None = None
    funnel: dict[str, Any] | None = None
    alarms: int = 0
    series: deque[list[Any]] = field(default_factory=lambda: deque(maxlen=SERIES_MAX))
    levels: deque[list[float]] = field(default_factory=lambda: deque(maxlen=SERIES_MAX))

    @property
    def name(self) -> str:
        """The link's."""
        return self.plan.link.name

    @property
    def sites(self) -> tuple[str, str]:
        """The nodes at its ends."""
        return self.plan.link.alice, self.plan.link.bob

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **self.in_store(),
            "state": "stopped" if self.holds else self.state,
            "why": self.holds.why or self.why,
            "since": self.since_s,
            "qber": self.qber,
            "quadratures": self.quadratures,
            "secret_bps": 0.0 if self.holds else self.secret_bps,
            "attack": self.attack,
            "eve": self.eve,
            "funnel": self.funnel,
            "alarms": self.alarms,
        }

    def in_store(self) -> dict[str, Any]:
        """Return what of it changes many times between two blocks."""
        left_s = None
        if self.stored_bits is not None and self.used_bps > 0:
            left_s = self.stored_bits / self.used_bps
        return {"name": self.name, "stored_bits": self.stored_bits, "full": self.full, "seconds_left": left_s}

    def take(self, event: Event) -> None:
        """Learn from an event of this link."""
        data = event.data
        match event.kind:
            case "block.distilled" if data.get("end") != "bob":
                self._distilled(event)
            case "block.aborted" if data.get("end") != "bob":
                self._turn("refused", str(data["reason"]), event)
                self.secret_bps = 0.0
                self.qber = data.get("qber") if data.get("qber") is not None else self.qber
                self._point(event, 0.0)
            case "alarm.raised":
                self.alarms += 1
            case "attack.started":
                self.attack = {"name": data["name"], "strength": data["strength"], "since": event.time_s}
            case "attack.stopped":
                self.attack = None
            case "eve.learned":
                self.eve = {key: value for key, value in data.items() if not isinstance(value, (list, dict))}
            case "link.down":
                self._turn("down", str(data["message"]), event)
            case "link.stopped":
                self.holds.stopped(event)
            case "link.started":
                self.holds.started()
                self._turn("waiting", "", event)
            case "link.up":
                self._turn("waiting", "", event)

    def _turn(self, state: str, why: str, event: Event) -> None:
        self.state, self.why, self.since_s = state, why, event.time_s

    def stored(self, bits: int, time_s: float, *, full: bool = False) -> bool:
        """Note what its pools hold; say whether that is news. How fast it is used is its fall, less what came."""
        if self.stored_bits is not None and bits < self.stored_bits:
            self.taken.append((time_s, self.stored_bits - bits))
        while self.taken and self.taken[0][0] < time_s - RATE_WINDOW_S:
            self.taken.popleft()
        self.used_bps = sum(taken for _, taken in self.taken) / RATE_WINDOW_S
        if bits == self.stored_bits and full == self.full:
            return False
        self.stored_bits, self.full = bits, full
        if not self.levels or time_s >= self.levels[-1][0] + SAMPLE_S:
            self.levels.append([time_s, bits])
        return True

    def fixed(self) -> dict[str, Any]:
        """What of it never changes."""
        link, plan = self.plan.link, self.plan
        receiver = link.receiver
        return {
            "kind": "simulated",
            "alice": link.alice,
            "bob": link.bob,
            "protocol": link.protocol,
            "length_km": link.length_km,
            "loss_db": plan.light.loss_db,
            "clock_hz": plan.light.clock_hz,
            "qber_max": plan.agreement.qber_max,
            "qber_expected": error_rate(plan.expected),
            "secret_bps_expected": plan.secret_bps,
            "seconds_per_block": plan.seconds_per_block,
            # Where both ends send, counts are of pairs of intensities: no chart of gains is made of those.
            "intensities": list(link.source.intensities) if link.source and link.protocol == "decoy-bb84" else [],
            "trusts": "" if link.protocol == "decoy-bb84" else trusts_of(link),
            "between": list(link.repeaters),
            "efficiency": _one(receiver.efficiency) if receiver else None,
            "dark_count_hz": _one(receiver.dark_count_hz) if receiver else None,
            "misalignment": receiver.misalignment if receiver else None,
        }

    def _distilled(self, event: Event) -> None:
        data = event.data
        self._turn("ok", "", event)
        self.qber = data["qber"]
        self.quadratures = data.get("quadratures")
        self.secret_bps = data["secret_bits"] / self.plan.of(data["block"]).seconds_per_block
        self.funnel = {
            "block": data["block"],
            "detections": data["detections"],
            "secret_bits": data["secret_bits"],
            "epsilon": data["epsilon"],
            "proof": data["proof"],
            "steps": data["length_terms"],
        }
        self._point(event, self.secret_bps)

    def _point(self, event: Event, secret_bps: float) -> None:
        data = event.data
        counts = data.get("counts") or {}
        slots = counts.get("n_slots") or 0
        pairs = zip(counts.get("n_key", ()), counts.get("n_test", ()), strict=True) if slots else ()
        gains = [(key + test) / slots for key, test in pairs]
        self.series.append([event.time_s, data["block"], data.get("qber"), secret_bps, *gains])


def _one(value: float | list[float]) -> float:
    """Return one number for all detectors: their mean, where each has its own."""
    return sum(value) / len(value) if isinstance(value, list) else value
