"""What changes if demands grow or shrink: the same brief planned several times, side by side.

In: a `Brief` and factors.  Out: a `Swept` for each. Plans are independent: they run in processes of their own, as many
as there are cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Any

from noclone.plan.candidates import candidates_of
from noclone.plan.sites import Brief
from noclone.plan.solver import solve


@dataclass(frozen=True, slots=True)
class Swept:
    """One plan of a sweep, in numbers."""

    scale: float
    cost: float
    gap: float
    links: int
    relays: int
    met: int
    demands: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def scaled(brief: Brief, scale: float) -> Brief:
    """Return a brief with all demands times a factor."""
    demands = [demand.model_copy(update={"bps": scale * demand.bps}) for demand in brief.demands]
    return brief.model_copy(update={"demands": demands})


def plan_scaled(text: str, scale: float, time_limit_s: float, gap: float) -> Swept:
    """Plan one scaled brief, given as JSON: a process of its own starts here."""
    brief = scaled(Brief.model_validate_json(text), scale)
    candidates, _ = candidates_of(brief)
    found = solve(brief, candidates, time_limit_s=time_limit_s, gap=gap)
    met = sum(unmet < 1e-6 for unmet in found.unmet)
    return Swept(scale, found.cost, found.gap, len(found.built), len(found.relays), met, len(brief.demands))


def sweep(
    brief: Brief, scales: Sequence[float], *, time_limit_s: float, gap: float, on_plan: Callable[[], None] | None = None
) -> list[Swept]:
    """Plan a brief with its demands scaled, and return the plans in the order of the factors."""
    text = brief.model_dump_json(by_alias=True)
    with ProcessPoolExecutor(min(len(scales), os.cpu_count() or 1)) as pool:
        work = [pool.submit(plan_scaled, text, scale, time_limit_s, gap) for scale in scales]
        for _ in as_completed(work):
            if on_plan is not None:
                on_plan()
        return [one.result() for one in work]


def sweep_lines(found: Sequence[Swept]) -> list[str]:
    """Return a sweep as a table."""
    out = [f"{'demands':>8} {'cost':>10} {'gap':>6} {'links':>6} {'relays':>7} {'met':>9}"]
    out += [
        f"{one.scale:>7g}x {one.cost:>10,.0f} {one.gap:>6.1%} {one.links:>6} {one.relays:>7} "
        f"{one.met:>4} of {one.demands}"
        for one in found
    ]
    return out
