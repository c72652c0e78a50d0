"""The cheapest network that meets the demands, with a bound that no network goes below.

In: candidates, demands, what nodes cost.  Out: a `Solution`: which links, which nodes relay, which demands cannot be
met in full, and how far from the optimum it may be.

It is solved twice: first for the least that cannot be met, whatever it costs; then for the least cost at which no more
than that is left. So the gap is about money alone. A program of more than `SMALL` variables is first solved without
whole numbers, which bounds the cost of every network from below; then with them, over the links that this uses and
those of the cheapest paths (`narrow`); then, unless it has more than `LARGE`, over everything, with that cost as the
most allowed. The gap is always stated against a bound over everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from noclone.errors import NocloneError
from noclone.plan.candidates import Candidate
from noclone.plan.model import Model, Pair
from noclone.plan.program import require_scipy
from noclone.plan.sites import Brief

UNMET_TOLERANCE = 1e-7
UNMET_FROM = 1e-6  # less than this of a demand is nothing
SMALL, LARGE = 2_500, 30_000  # variables
LEAST_USED = 1e-6
LEAST_S = 5.0  # with less time left than this, no second try is made
RELAXED_SHARE = 0.4  # of the time, for each of the two bounds of a large program at most


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
        small: With more variables than this, a narrower program is solved first;
        large: with more than this, that one only.
        on_step: Told what is being solved.

    Raises:
        NocloneError: SciPy is not installed, or HiGHS found nothing in the time.
    """
    require_scipy()
    clock = _Clock(time.monotonic(), time_limit_s)
    everything = Model(brief, candidates)
    variables = len(everything.program.cost)
    if variables <= small:
        return _exact(everything, clock, gap, on_step)
    on_step(f"a bound without whole numbers, {variables:,} variables")
    bounds, used = _relaxed(everything, RELAXED_SHARE * time_limit_s)
    first = _exact(Model(brief, narrow(brief, candidates, used)), clock.part(0.5), gap, on_step)
    bounds = bounds[0], max(bounds[1], dearest_path(brief, candidates, first.unmet))
    first = first.against(*bounds)
    if variables > large or first.gap <= gap or clock.left_s < LEAST_S:
        return replace(first, variables=variables, seconds=clock.spent_s)
    # Again over everything, for nothing that costs more: a better network, or a better bound.
    program = everything.program = Model(brief, candidates).program
    program.row({n: cost for n, cost in enumerate(program.cost) if cost}, 0.0, first.cost * (1.0 + 1e-9))
    attained = first.unmet if sum(first.unmet) <= bounds[0] + UNMET_FROM else None
    try:
        second = _exact(everything, clock, gap, on_step, attained)
    except NoPlan:
        return replace(first, variables=variables, seconds=clock.spent_s)
    better = second if second.cost < first.cost and sum(second.unmet) <= sum(first.unmet) + UNMET_FROM else first
    better = better.against(bounds[0], max(bounds[1], second.bound if attained else 0.0))
    return replace(better, variables=variables, seconds=clock.spent_s)


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


def _relaxed(model: Model, time_limit_s: float) -> tuple[tuple[float, float], set[Pair]]:
    """Return bounds of what is unmet and of the cost, and the pairs of sites whose links the relaxation uses.

    Where there is not time enough, a bound is 0, and no pairs are known.
    """
    program = model.program
    least = program.relax(_unmet_cost(model), time_limit_s)
    if least.status != 0:
        return (0.0, 0.0), set()
    # What is unmet in all is bounded, not by demand: else the bound would hold for one way to share the shortage only.
    program.row(dict.fromkeys(model.u, 1.0), 0.0, float(least.fun) + UNMET_TOLERANCE * len(model.u))
    cheapest = program.relax(program.cost, time_limit_s)
    if cheapest.status != 0:
        return (float(least.fun), 0.0), set()
    used = {pair for pair, numbers in model.pairs.items() if sum(cheapest.x[model.x[n]] for n in numbers) > LEAST_USED}
    return (float(least.fun), float(cheapest.fun) * (1.0 - 1e-7)), used


def narrow(brief: Brief, candidates: Sequence[Candidate], used: set[Pair]) -> list[Candidate]:
    """Return the candidates between pairs of sites that the relaxation uses, and along each demand's cheapest paths."""
    import networkx

    costs, relays = brief.node_costs(), brief.may_relay()
    graph: Any = networkx.Graph()
    for one in candidates:
        a, b = one.pair
        weight = one.cost + (costs[a] + costs[b]) / 2
        if not graph.has_edge(a, b) or weight < graph.edges[a, b]["weight"]:
            graph.add_edge(a, b, weight=weight)
    kept = set(used)
    for demand in brief.demands:
        ends = set(demand.between)
        allowed = (relays - set(demand.avoid)) | ends
        here = graph.subgraph(allowed)
        if not ends <= set(here):
            continue
        kept |= _pairs_of(networkx, here, demand.between, demand.disjoint_paths, fewest=demand.max_relays is not None)
    return [one for one in candidates if one.pair in kept]


def dearest_path(brief: Brief, candidates: Sequence[Candidate], unmet: Sequence[float]) -> float:
    """Return a bound that takes no program: whatever meets all of these demands costs what one of them costs alone.

    A demand alone costs a chain of links at least, and the nodes between them.
    """
    import networkx

    graph: Any = networkx.DiGraph()
    costs = brief.node_costs()
    for one in candidates:
        for a, b in (one.pair, one.pair[::-1]):
            if not graph.has_edge(a, b) or one.cost + costs[b] < graph.edges[a, b]["weight"]:
                graph.add_edge(a, b, weight=one.cost + costs[b])
    bound = 0.0
    for demand, share in zip(brief.demands, unmet, strict=True):
        a, b = demand.between
        if share < UNMET_FROM and a in graph and b in graph and networkx.has_path(graph, a, b):
            bound = max(bound, networkx.shortest_path_length(graph, a, b, weight="weight") - costs[b])
    return bound


def _pairs_of(networkx: Any, graph: Any, ends: list[str], paths: int, *, fewest: bool) -> set[Pair]:
    try:
        found = [networkx.shortest_path(graph, *ends, weight="weight")]
        if fewest:
            found.append(networkx.shortest_path(graph, *ends))
        if paths > 1 and not graph.has_edge(*ends):
            found += list(networkx.node_disjoint_paths(graph, *ends, cutoff=paths))
    except networkx.NetworkXNoPath:
        return set()
    return {(a, b) if a < b else (b, a) for path in found for a, b in pairwise(path)}


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
