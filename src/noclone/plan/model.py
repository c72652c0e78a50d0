"""The program of one brief: what is built, which nodes relay, which way the keys go.

In: a `Brief`, `Candidate`s.  Out: a `Program` and the meaning of its variables:

    x[c]      1 if candidate c is built: one link between two sites, no more on a fibre than it takes
    y[v]      1 if node v relays keys that are not its own
    f[k, h]   share of commodity k over hop h (a pair of sites in one direction)
    u[d]      the share of demand d that is not met

Demands for one path are flows from their first site, added up by it and by whom they avoid; they may be split over
paths: any mixture of relays meets them. Demands for disjoint paths, or for few relays, have whole flows of their own.
Every hop takes as many bits of key as it carries. That a flow needs its link is said of each commodity by itself, and
that nothing flows both ways at once: the bound without whole numbers is much tighter so.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from noclone.plan.candidates import Candidate
from noclone.plan.program import Program
from noclone.plan.sites import Brief, DemandSection

ROOM = 1.001  # a link is never planned to its last bit
Pair = tuple[str, str]
Flows = dict[str, dict[int, float]]


class Model:
    """The program of one brief."""

    def __init__(self, brief: Brief, candidates: Sequence[Candidate]) -> None:
        self.brief = brief
        self.candidates = candidates
        self.program = program = Program()
        self.node_costs = brief.node_costs()
        self.x = [program.variable(one.cost, whole=True) for one in candidates]
        self.pairs: dict[Pair, list[int]] = defaultdict(list)
        for number, one in enumerate(candidates):
            self.pairs[one.pair].append(number)
        relays = brief.may_relay()
        self.y = {name: program.variable(cost, whole=True) for name, cost in self.node_costs.items() if name in relays}
        self.u = [program.variable() for _ in brief.demands]
        self.load: dict[Pair, dict[int, float]] = {pair: {} for pair in self.pairs}
        self._flows()
        self._limits()

    def _flows(self) -> None:
        groups: dict[tuple[str, frozenset[str], int], list[int]] = defaultdict(list)
        for number, demand in enumerate(self.brief.demands):
            if is_whole(demand):
                self._whole(number, demand)
            else:
                # Rates in one sum differ by a thousand at most: HiGHS takes a millionth of it for nothing.
                magnitude = math.floor(math.log10(demand.rate_bps) / 3)
                groups[demand.between[0], frozenset(demand.avoid), magnitude].append(number)
        for (source, avoid, _), numbers in groups.items():
            self._commodity(source, avoid, numbers)

    def _hops(self, source: str, avoid: frozenset[str]) -> Iterator[tuple[Pair, list[tuple[str, str]]]]:
        """Yield each pair with the directions in which a flow from a source may cross it."""
        for pair in self.pairs:
            ways = [
                (a, b)
                for a, b in (pair, pair[::-1])
                if b != source and b not in avoid and (a == source or (a in self.y and a not in avoid))
            ]
            if ways:
                yield pair, ways

    def _lay(
        self, source: str, avoid: frozenset[str], bps: float, *, whole: bool, dead_end: str = ""
    ) -> tuple[Flows, Flows, list[int]]:
        """Add the flows of one commodity; return what leaves and enters each site, what enters it, and all flows."""
        balance: Flows = defaultdict(dict)
        into: Flows = defaultdict(dict)
        flows = []
        for pair, ways in self._hops(source, avoid):
            both = {}
            for a, b in ways:
                if a == dead_end:
                    continue
                flow = self.program.variable(whole=whole)
                balance[a][flow] = -1.0
                balance[b][flow] = 1.0
                into[b][flow] = 1.0
                self.load[pair][flow] = bps
                both[flow] = 1.0
            if both:
                flows += list(both)
                self.program.row({**both, **{self.x[number]: -1.0 for number in self.pairs[pair]}}, -np.inf, 0.0)
        return balance, into, flows

    def _commodity(self, source: str, avoid: frozenset[str], numbers: list[int]) -> None:
        """One source, many sinks; in units of all that it sends."""
        program, demands = self.program, self.brief.demands
        total = sum(demands[number].rate_bps for number in numbers)
        share: Flows = defaultdict(dict)
        for number in numbers:
            share[demands[number].between[1]][self.u[number]] = demands[number].rate_bps / total
        balance, into, _ = self._lay(source, avoid, total, whole=False)
        for site in self.node_costs:
            if site == source:
                continue
            wanted = sum(share[site].values())
            terms = {**balance[site], **share[site]}
            if terms:  # what stays, and what is not met, is what it wants: in shares of that
                unit = wanted or 1.0
                program.row({term: factor / unit for term, factor in terms.items()}, wanted / unit, wanted / unit)
            if into[site] and site in self.y:
                # What comes in beyond what the site wants itself is relayed; a commodity is 1 in all.
                terms = {**into[site], **share[site], self.y[site]: -(1.0 - wanted + 1e-9)}
                program.row(terms, -np.inf, wanted)

    def _whole(self, number: int, demand: DemandSection) -> None:
        """So many paths of one demand, which share no node, in one piece each; all of them, or none."""
        program = self.program
        source, target = demand.between
        balance, into, flows = self._lay(source, frozenset(demand.avoid), demand.rate_bps, whole=True, dead_end=target)
        if demand.max_relays is not None:
            program.row(dict.fromkeys(flows, 1.0), -np.inf, demand.max_relays + 1.0)
        paths = float(demand.disjoint_paths)
        unmet = program.variable(whole=True)
        program.row({unmet: 1.0, self.u[number]: -1.0}, 0.0, 0.0)
        program.row({**balance[target], unmet: paths}, paths, paths)
        for site in self.node_costs:
            if site not in (source, target) and balance[site]:
                program.row(balance[site], 0.0, 0.0)
                terms = {**into[site], self.y[site]: -1.0} if site in self.y else into[site]
                if terms:
                    program.row(terms, -np.inf, 0.0)

    def _limits(self) -> None:
        """Add what links can carry, that two sites have one link, and how many a fibre takes."""
        program = self.program
        on_fibre: dict[Pair, dict[int, float]] = defaultdict(dict)
        for pair, numbers in self.pairs.items():
            program.row({self.x[number]: 1.0 for number in numbers}, 0.0, 1.0)
            for number in numbers:
                for fibre in self.candidates[number].fibres:
                    on_fibre[fibre][self.x[number]] = 1.0
            best = max(self.candidates[number].bps for number in numbers)
            terms = {flow: ROOM * bps / best for flow, bps in self.load[pair].items()}
            for number in numbers:
                terms[self.x[number]] = -self.candidates[number].bps / best
            if self.load[pair]:
                program.row(terms, -np.inf, 0.0)
        systems = {tuple(sorted((one.a, one.b))): one.systems for one in self.brief.fibres}
        for fibre, terms in on_fibre.items():
            if len(terms) > 1:
                program.row(terms, 0.0, float(systems.get(fibre, 1)))


def is_whole(demand: DemandSection) -> bool:
    """Say whether a demand's keys go in one piece."""
    return demand.disjoint_paths > 1 or demand.max_relays is not None
