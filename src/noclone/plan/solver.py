"""The cheapest network that meets the demands, with a bound that no network goes below.

In: candidates, demands, what nodes cost.  Out: a `Solution`: which links, which nodes relay, which demands cannot be
met in full, and how far from the optimum it may be.

It is solved twice: first for the least that cannot be met, whatever it costs; then for the least cost at which no more
than that is left. So the gap is about money alone. A program of more than `SMALL` variables is taken in steps, each
over more links, until one is near enough to the bound: first over the links of the cheapest forest (`forest`), which
bounds the cost of every network from below; then over those and the cheapest paths' (`narrowing`); then, unless it has
more than `LARGE`, over everything. The next step may cost no more than the network found. The gap is always stated
against a bound over everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from noclone.errors import NocloneError
from noclone.plan.candidates import Candidate
from noclone.plan.forest import forest_bound
from noclone.plan.model import Model, Pair
from noclone.plan.narrowing import UNMET_FROM, dearest_path, least_unmet, narrow, never_dearer
from noclone.plan.program import require_scipy
from noclone.plan.sites import Brief

UNMET_TOLERANCE = 1e-7
SMALL, LARGE = 1_000, 30_000  # variables
LEAST_S = 5.0  # with less time left than this, no further step is made
FOREST_SHARE, STEP_SHARE = 0.5, 0.5  # of the time, or of what is left of it


class NoPlan(NocloneError):
    """HiGHS found nothing in the time."""

    @classmethod
    def within(cls, time_limit_s: float, message: str) -> NoPlan:
        """Return the error for a time limit."""
        return cls(f"no plan was found within {time_limit_s:.0f} s ({message})", hint="give more time: --time-limit")


@dataclass(frozen=True, slots=True)
class Solution:
    """What to build.

    Args:
        relays: Nodes that relay keys of others.
        used_bps: For each built candidate, in their order, the key that the plan takes of it.
        unmet: For each demand the share that is not met.
        cost: Of everything built.
        gap: How far above the cheapest network it may be, relatively; 0 when it is proven to be the cheapest.
        bound: No network costs less that leaves as little unmet.
        unmet_bound: No network leaves less unmet, added up over the demands.
    """

    built: tuple[Candidate, ...]
    relays: tuple[str, ...]
    used_bps: tuple[float, ...]
    unmet: tuple[float, ...]
    cost: float
    gap: float
    bound: float
    unmet_bound: float
    variables: int
    seconds: float

    @property
    def met(self) -> int:
        """How many demands are met in full."""
        return sum(unmet < UNMET_FROM for unmet in self.unmet)

    def against(self, unmet_bound: float, bound: float) -> Solution:
        """Return it with bounds over more candidates than it was chosen from, or with better ones."""
        bound = min(bound, self.cost)
        return replace(self, unmet_bound=max(0.0, unmet_bound), bound=bound, gap=_gap(self.cost, bound))


def solve(
    brief: Brief,
    candidates: Sequence[Candidate],
    *,
    time_limit_s: float = 60.0,
    gap: float = 0.01,
    small: int = SMALL,
    large: int = LARGE,
    on_step: Callable[[str], None] = lambda _: None,
) -> Solution:
    """Return the cheapest network found.

    Args:
        gap: Stop when it is proven to be this near to the optimum, relatively.
        small: With more variables than this, narrower programs are solved first;
        large: with more than this, those only.
        on_step: Told what is being solved.

    Raises:
        NocloneError: SciPy is not installed, or HiGHS found nothing in the time.
    """
    require_scipy()
    clock = _Clock(time.monotonic(), time_limit_s)
    needed = never_dearer(brief, candidates)
    everything = Model(brief, needed)
    if len(everything.program.cost) <= small:
        return _exact(everything, clock, gap, on_step)
    return _Steps(brief, needed, clock, gap, on_step).take(everything, large)


class _Steps:
    """A large program: the best network so far, and what no network goes below that meets as much."""

    def __init__(
        self, brief: Brief, candidates: Sequence[Candidate], clock: _Clock, gap: float, on_step: Callable[[str], None]
    ) -> None:
        self.brief, self.candidates, self.clock, self.gap, self.on_step = brief, candidates, clock, gap, on_step
        self.least = least_unmet(brief, candidates)
        self.best: Solution | None = None
        self.bound = 0.0
        self.joined: list[int] = []  # the demands that it holds for: networks that meet them in part at least

    def take(self, everything: Model, large: int) -> Solution:
        """Return the best that the steps find."""
        variables = len(everything.program.cost)
        used = self._join([number for number, unmet in enumerate(self.least) if unmet < 1.0])
        if used:
            self._choose(Model(self.brief, [one for one in self.candidates if one.pair in used]))
        if self._goes_on():
            self._choose(Model(self.brief, narrow(self.brief, self.candidates, used)))
        if variables <= large and self._goes_on():
            self._choose(everything, last=True)
        if self.best is None:
            raise NoPlan.within(self.clock.limit_s, "no step ended")
        if any(self.best.unmet[number] >= 1.0 - UNMET_FROM for number in self.joined):
            self._join([number for number, unmet in enumerate(self.best.unmet) if unmet < 1.0 - UNMET_FROM])
            self.best = self.best.against(self.best.unmet_bound, self.bound)
        return replace(self.best, variables=variables, seconds=self.clock.spent_s)

    def _join(self, numbers: list[int]) -> frozenset[Pair]:
        """Bound what joins these demands; return between which sites the cheapest forest has links."""
        what = f"a bound by forests over {len(self.candidates):,} candidates"
        self.on_step(what)
        forest = forest_bound(
            self.brief,
            self.candidates,
            numbers,
            FOREST_SHARE * self.clock.left_s,
            lambda number, cost: self.on_step(f"{what}: no network below {cost:,.0f}, round {number}"),
        )
        alone = dearest_path(self.brief, self.candidates, numbers)
        self.bound, self.joined = max(forest.cost, alone), numbers
        return forest.pairs

    def _attained(self, found: Solution) -> bool:
        return sum(found.unmet) <= sum(self.least) + UNMET_FROM

    def _goes_on(self) -> bool:
        if self.best is None:
            return True
        return self.clock.left_s >= LEAST_S and (self.best.gap > self.gap or not self._attained(self.best))

    def _choose(self, model: Model, *, last: bool = False) -> None:
        """Take the best network over some links, or over all, where it is better than the best so far."""
        best = self.best if self.best is not None and self._attained(self.best) else None
        program = model.program
        if best is not None:
            program.row({n: cost for n, cost in enumerate(program.cost) if cost}, 0.0, best.cost * (1.0 + 1e-9))
        clock = self.clock if last else self.clock.part(STEP_SHARE)
        try:
            found = _exact(model, clock, self.gap, self.on_step, None if best is None else best.unmet)
        except NoPlan:
            if last and self.best is None:
                raise
            return
        own_bound = found.bound if last else 0.0
        if self.best is None or _rank(found) < _rank(self.best):
            self.best = found.against(
                max(sum(self.least), found.unmet_bound if last else 0.0), max(self.bound, own_bound)
            )
        elif best is not None and own_bound:
            self.best = best.against(best.unmet_bound, max(best.bound, own_bound))


def _rank(found: Solution) -> tuple[float, float]:
    return round(sum(found.unmet), 5), found.cost


@dataclass(frozen=True, slots=True)
class _Clock:
    """How long there is."""

    started: float
    limit_s: float

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self.started

    @property
    def left_s(self) -> float:
        return max(1.0, self.limit_s - self.spent_s)

    def part(self, share: float) -> _Clock:
        """Return the clock of a step that may take a share of what is left."""
        return _Clock(self.started, self.spent_s + share * self.left_s)


def _exact(
    model: Model,
    clock: _Clock,
    gap: float,
    on_step: Callable[[str], None],
    unmet: Sequence[float] | None = None,
) -> Solution:
    """Solve one program: the least that cannot be met, unless it is known, then the least cost."""
    program = model.program
    variables = len(program.cost)
    unmet_bound = 0.0
    if unmet is None:
        on_step(f"what cannot be met, {variables:,} variables")
        least = _found(program.solve(_unmet_cost(model), clock.left_s / 2, 1e-6), clock.limit_s)
        unmet, unmet_bound = [float(least.x[variable]) for variable in model.u], float(least.mip_dual_bound or 0.0)
    for variable, share in zip(model.u, unmet, strict=True):
        program.upper[variable] = min(1.0, max(0.0, share) + UNMET_TOLERANCE)
    on_step(f"the least cost, {variables:,} variables")
    found = _found(program.solve(program.cost, clock.left_s, gap), clock.limit_s)
    return _read(model, found.x, unmet_bound, float(found.mip_dual_bound or 0.0), clock.spent_s)


def _unmet_cost(model: Model) -> list[float]:
    unmet = set(model.u)
    return [float(variable in unmet) for variable in range(len(model.program.cost))]


def _found(found: Any, time_limit_s: float) -> Any:
    if found.x is None:
        raise NoPlan.within(time_limit_s, found.message)
    return found


def _gap(cost: float, bound: float) -> float:
    gap = (cost - bound) / bound if bound > 0 else float(cost > 0)
    return 0.0 if gap < 1e-9 else gap


def _read(model: Model, values: Any, unmet_bound: float, bound: float, seconds: float) -> Solution:
    """Return a solution in the terms of the brief."""
    chosen = [model.candidates[number] for number, variable in enumerate(model.x) if values[variable] > 0.5]
    used = [float(sum(bps * values[flow] for flow, bps in model.load[one.pair].items())) for one in chosen]
    relays = tuple(sorted(site for site, variable in model.y.items() if values[variable] > 0.5))
    cost = sum(one.cost for one in chosen) + sum(model.node_costs[site] for site in relays)
    bound = min(max(0.0, bound), cost)
    unmet = tuple(max(0.0, round(float(values[variable]), 6)) for variable in model.u)
    return Solution(
        tuple(chosen),
        relays,
        tuple(used),
        unmet,
        cost,
        _gap(cost, bound),
        bound,
        max(0.0, unmet_bound),
        len(values),
        seconds,
    )
