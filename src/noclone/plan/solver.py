"""The cheapest network that meets the demands: an integer program, solved by HiGHS with its gap stated.

In: candidates, demands, what nodes cost.  Out: a `Solution`: which device on which fibre, which nodes relay, which
demands cannot be met in full. Variables:

    x[c]      1 if candidate c is built; one device per fibre at most
    y[v]      1 if node v relays keys that are not its own
    f[k, h]   bits a second of commodity k over hop h (a fibre in one direction)
    u[d]      the share of demand d that is not met

It is solved twice: first for the least that cannot be met, whatever it costs; then for the least cost at which no more
than that is left. So the gap is about money alone.

Demands for one path are flows from their first site, added up by it (they may be split over paths: any mixture of
relays meets them). A demand for n disjoint paths has whole flows of its own: n paths, each node once. Every hop takes
as many bits of key as it carries. HiGHS: Huangfu and Hall, Math. Program. Comput. 10, 119 (2018), through SciPy.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noclone.errors import NocloneError
from noclone.plan.candidates import Candidate
from noclone.plan.sites import Brief, DemandSection

UNMET_TOLERANCE = 1e-7
ROOM = 1.001  # a link is never planned to its last bit


@dataclass(frozen=True, slots=True)
class Solution:
    """What to build.

    Args:
        relays: Nodes that relay keys of others.
        used_bps: For each built candidate, in their order, the key that the plan takes of it.
        unmet: For each demand the share that is not met.
        cost: Of everything built.
        gap: How far from the optimum it may be, relatively; 0 when it is proven.
        bound: No network costs less.
    """

    built: tuple[Candidate, ...]
    relays: tuple[str, ...]
    used_bps: tuple[float, ...]
    unmet: tuple[float, ...]
    cost: float
    gap: float
    bound: float
    variables: int
    seconds: float


class Program:
    """An integer program, built up row by row."""

    def __init__(self) -> None:
        self.cost: list[float] = []
        self.upper: list[float] = []
        self.whole: list[int] = []
        self._rows: list[tuple[dict[int, float], float, float]] = []

    def variable(self, cost: float = 0.0, upper: float = 1.0, *, whole: bool = False) -> int:
        """Add a variable from 0 to `upper`."""
        self.cost.append(cost)
        self.upper.append(upper)
        self.whole.append(int(whole))
        return len(self.cost) - 1

    def row(self, terms: dict[int, float], low: float, high: float) -> None:
        """Add low <= sum of terms <= high."""
        self._rows.append((terms, low, high))

    def solve(self, cost: list[float], time_limit_s: float, gap: float) -> Any:
        """Hand it to HiGHS, to find the least of a cost."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        data, columns, starts = [], [], [0]
        for terms, _, _ in self._rows:
            columns += list(terms)
            data += list(terms.values())
            starts.append(len(columns))
        matrix = csr_array((data, columns, starts), shape=(len(self._rows), len(self.cost)))
        low, high = (np.array([row[i] for row in self._rows], float) for i in (1, 2))
        return milp(
            np.array(cost),
            integrality=np.array(self.whole),
            bounds=Bounds(0, np.array(self.upper)),
            constraints=LinearConstraint(matrix, low, high),
            options={"time_limit": time_limit_s, "mip_rel_gap": gap},
        )


def solve(brief: Brief, candidates: Sequence[Candidate], *, time_limit_s: float = 60.0, gap: float = 0.01) -> Solution:
    """Return the cheapest network found.

    Args:
        gap: Stop when it is proven to be this near to the optimum, relatively.

    Raises:
        NocloneError: SciPy is not installed, or HiGHS found nothing in the time.
    """
    import time

    try:
        import scipy.optimize  # noqa: F401
    except ImportError:
        raise NocloneError(
            "the planner's solver is not installed", hint="pip install 'noclone[plan]' brings SciPy, and HiGHS with it"
        ) from None
    started = time.monotonic()
    model = _Model(brief, candidates)
    program = model.program
    unmet = [float(variable in model.u) for variable in range(len(program.cost))]
    least = _solved(program.solve(unmet, time_limit_s / 2, 1e-6), time_limit_s)
    for variable in model.u:
        program.upper[variable] = min(1.0, max(0.0, float(least.x[variable])) + UNMET_TOLERANCE)
    left_s = max(1.0, time_limit_s - (time.monotonic() - started))
    found = _solved(program.solve(program.cost, left_s, gap), time_limit_s)
    return model.read(found, time.monotonic() - started)


def _solved(found: Any, time_limit_s: float) -> Any:
    if found.x is None:
        raise NocloneError(
            f"no plan was found within {time_limit_s:g} s ({found.message})", hint="give it more time: --time-limit"
        )
    return found


class _Model:
    """The program of one brief."""

    def __init__(self, brief: Brief, candidates: Sequence[Candidate]) -> None:
        self.brief = brief
        self.candidates = candidates
        self.program = program = Program()
        self.x = [program.variable(one.cost, whole=True) for one in candidates]
        self.fibres: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, one in enumerate(candidates):
            self.fibres[one.a, one.b].append(number)
        ends = {end for demand in brief.demands for end in demand.between}
        self.y = {
            site.name: program.variable(brief.costs.node if site.cost is None else site.cost, whole=True)
            for site in brief.sites
            if site.trusted or site.name in ends
        }
        self.u = [program.variable() for _ in brief.demands]
        self.load: dict[tuple[str, str], dict[int, float]] = {fibre: {} for fibre in self.fibres}
        self.through: dict[str, list[tuple[dict[int, float], float]]] = defaultdict(list)
        self._flows()
        self._limits()

    def _flows(self) -> None:
        """Add the flows of all demands."""
        by_source: dict[tuple[str, int], list[int]] = defaultdict(list)  # a thousandfold demand would drown another
        for number, demand in enumerate(self.brief.demands):
            if demand.disjoint_paths == 1:
                by_source[demand.between[0], math.floor(math.log10(demand.bps) / 3)].append(number)
            else:
                self._disjoint(number, demand)
        for (source, _), numbers in by_source.items():
            self._commodity(source, numbers)

    def _hops(self) -> list[tuple[tuple[str, str], str, str]]:
        return [(fibre, a, b) for fibre in self.fibres for a, b in (fibre, fibre[::-1])]

    def _needs(self, flow: int, fibre: tuple[str, str], a: str, source: str) -> None:
        """A flow needs its fibre lit, and its node paid for: said of each flow by itself, the bound is much tighter."""
        self.program.row({flow: 1.0, **{self.x[number]: -1.0 for number in self.fibres[fibre]}}, -np.inf, 0.0)
        if a != source:
            self.program.row({flow: 1.0, self.y[a]: -1.0}, -np.inf, 0.0)

    def _commodity(self, source: str, numbers: list[int]) -> None:
        """One source, many sinks; in units of all that it sends."""
        program, demands = self.program, self.brief.demands
        total = sum(demands[number].bps for number in numbers)
        share: dict[str, dict[int, float]] = defaultdict(dict)
        for number in numbers:
            share[demands[number].between[1]][self.u[number]] = demands[number].bps / total
        balance: dict[str, dict[int, float]] = defaultdict(dict)
        into: dict[str, dict[int, float]] = defaultdict(dict)
        for fibre, a, b in self._hops():
            if b == source or (a != source and a not in self.y):
                continue
            flow = program.variable()
            balance[a][flow] = balance[a].get(flow, 0.0) - 1.0
            balance[b][flow] = 1.0
            into[b][flow] = 1.0
            self.load[fibre][flow] = total
            self._needs(flow, fibre, a, source)
        for site in {site.name for site in self.brief.sites} - {source}:
            wanted = sum(share[site].values())
            terms = {**balance[site], **share[site]}
            if terms:
                program.row(terms, wanted, wanted)  # what stays, and what is not met, is what it wants
            if into[site]:
                self.through[site].append(({**into[site], **share[site]}, wanted))

    def _disjoint(self, number: int, demand: DemandSection) -> None:
        """So many paths of one demand, which share no node; all of them, or none."""
        program = self.program
        source, target = demand.between
        balance: dict[str, dict[int, float]] = defaultdict(dict)
        into: dict[str, dict[int, float]] = defaultdict(dict)
        for fibre, a, b in self._hops():
            if b == source or a == target or (a != source and a not in self.y):
                continue
            flow = program.variable(whole=True)
            balance[a][flow] = balance[a].get(flow, 0.0) - 1.0
            balance[b][flow] = 1.0
            into[b][flow] = 1.0
            self.load[fibre][flow] = demand.bps
            self._needs(flow, fibre, a, source)
        paths = float(demand.disjoint_paths)
        whole = self.program.variable(whole=True)  # 1: not met at all
        program.row({whole: 1.0, self.u[number]: -1.0}, 0.0, 0.0)
        for site in {site.name for site in self.brief.sites} - {source}:
            if site == target:
                program.row({**balance[site], whole: paths}, paths, paths)
            elif balance[site]:
                program.row(balance[site], 0.0, 0.0)
                program.row({**into[site], self.y[site]: -1.0} if site in self.y else into[site], -np.inf, 0.0)

    def _limits(self) -> None:
        """Add what fibres can carry, and that nodes which relay are paid for."""
        program = self.program
        for fibre, numbers in self.fibres.items():
            program.row({self.x[number]: 1.0 for number in numbers}, 0.0, 1.0)
            best = max(self.candidates[number].bps for number in numbers)
            terms = {flow: ROOM * bps / best for flow, bps in self.load[fibre].items()}
            for number in numbers:
                terms[self.x[number]] = -self.candidates[number].bps / best
            if self.load[fibre]:
                program.row(terms, -np.inf, 0.0)
        for site, commodities in self.through.items():
            if site not in self.y:
                continue  # nothing leaves it again
            for terms, wanted in commodities:
                # What comes in beyond what the site wants itself is relayed; a commodity is 1 in all.
                program.row({**terms, self.y[site]: -(1.0 - wanted + 1e-9)}, -np.inf, wanted)

    def read(self, found: Any, seconds: float) -> Solution:
        """Return the solution in the terms of the brief."""
        values = found.x
        chosen = [number for number in range(len(self.candidates)) if values[self.x[number]] > 0.5]
        used = []
        for number in chosen:
            one = self.candidates[number]
            used.append(float(sum(bps * values[flow] for flow, bps in self.load[one.a, one.b].items())))
        relays = tuple(sorted(site for site, variable in self.y.items() if values[variable] > 0.5))
        node = {site.name: self.brief.costs.node if site.cost is None else site.cost for site in self.brief.sites}
        cost = sum(self.candidates[number].cost for number in chosen) + sum(node[site] for site in relays)
        unmet = tuple(max(0.0, round(float(values[variable]), 6)) for variable in self.u)
        bound = float(found.mip_dual_bound) if found.mip_dual_bound is not None else 0.0
        return Solution(
            tuple(self.candidates[number] for number in chosen),
            relays,
            tuple(used),
            unmet,
            cost,
            float(found.mip_gap or 0.0),
            max(0.0, bound),
            len(values),
            seconds,
        )
