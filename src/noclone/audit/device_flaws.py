"""What a scenario says that the devices of its links do beyond their data sheets, and whether something watches it.

In: links with their [link.flaws] and [link.guards].  Out: for a threat, the links that have the flaw that it needs,
and those of them that no guard watches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from noclone.network.link_sections import LinkSection

Tells = Callable[[LinkSection], bool]


@dataclass(frozen=True, slots=True)
class Flawed:
    """Links whose devices have the flaw that a threat needs.

    Args:
        links: All of them.
        loose: Those without the guard.
        guard: Its name in the scenario.
    """

    links: tuple[str, ...]
    loose: tuple[str, ...]
    guard: str

    @property
    def why(self) -> str:
        """Say it in a sentence."""
        if self.loose:
            return "the devices of these links have the flaw, by their scenario, and nothing watches it"
        return f"the devices have the flaw, and {self.guard} watches it; a block is Eve's unless the alarm discards it"

    @property
    def remedy(self) -> str:
        """Say what would help."""
        return f"set {self.guard} in [link.guards], with a [[response]] to its alarm" if self.loose else ""


# For each threat: who has the flaw, who guards against it, by which guard.
FLAWS: dict[str, tuple[Tells, Tells, str]] = {
    "blinding": (lambda x: x.flaws.linear_never_uw is not None, lambda x: x.guards.photocurrent, "photocurrent"),
    "after-gate": (lambda x: x.flaws.linear_never_uw is not None, lambda x: x.guards.arrivals, "arrivals"),
    "trojan-horse": (lambda x: x.flaws.probe_loss_db < 170, lambda x: x.guards.input_meter, "input_meter"),
    "efficiency-mismatch": (
        lambda x: x.flaws.mismatch < 1,
        lambda x: x.guards.arrivals or x.guards.four_state,
        "arrivals",
    ),
    "dead-time": (lambda x: x.flaws.dead_each, lambda x: x.guards.all_alive, "all_alive"),
    "laser-seeding": (
        lambda x: x.flaws.seed_gain > 0 or x.flaws.damage_db > 0,
        lambda x: x.guards.output_meter,
        "output_meter",
    ),
    "intensity-correlation": (lambda x: x.flaws.setting_leak > 0, lambda x: x.guards.setting_meter, "setting_meter"),
}


def flawed(threat: str, links: Sequence[LinkSection]) -> Flawed | None:
    """Return which links have the flaw that a threat needs; None where none says so."""
    if threat not in FLAWS:
        return None
    has, guarded, guard = FLAWS[threat]
    found = [link for link in links if has(link)]
    if not found:
        return None
    return Flawed(tuple(x.name for x in found), tuple(x.name for x in found if not guarded(x)), guard)
