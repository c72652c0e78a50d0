"""A bound that no network goes below: the cheapest forest that joins the two ends of every demand.

In: candidates, what nodes cost, the demands that must not be left out.  Out: a `ForestBound`, and the links that the
forest uses.

Whatever meets a demand joins its ends by links, over nodes that relay and are paid for. So every network holds a
forest whose trees join what belongs together; what the links carry is forgotten. It costs no more than the network,
and the cheapest is bounded by a linear program without whole numbers (Schmidt, Zey, Margot, "Stronger MIP formulations
for the Steiner forest problem", Math. Program. 186, 373 (2021), their tree-based formulation with nodes that cost):

    z[r, h]   tree r, rooted at the first end of demand r, crosses hop h, away from its root
    y[r, k]   demand k is joined by tree r, the tree of the lowest number among its demands

Every set of sites that holds the root but not an end of demand k is left by y[r, k] of tree r at least. There are too
many sets: those that a solution breaks are found as smallest cuts (Koch and Martin, Networks 32, 207 (1998)), and
added, until none is broken. The bound holds after every round. That a tree leaves each site which is no end as often
as it enters it at least (that paper's flow balance) makes it much tighter.

What the bound leaves out can only make it lower: how much key links give, that a demand asks for several paths, for few
relays, or to avoid a site, that the site at a tree's root relays the keys of others. An end that does not relay is a
leaf, once for each of its links.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noclone.plan.candidates import Candidate
from noclone.plan.program import Program
from noclone.plan.sites import Brief

Pair = tuple[str, str]
TREES_MAX = 40  # there is a variable for each two; of more demands, those that share ends are taken together
UNIT = 1_000_000  # of a flow of 1: SciPy's flows are whole numbers
CREEP = 10  # every hop carries as much at least: of two cuts alike the one of fewer hops is found
BROKEN = 1e-3  # by less than this, a cut is not broken
NESTED = 5  # cuts to look for one behind the other, each from both sides
FORGOTTEN = 8  # a cut that was slack in so many rounds is dropped
USED = 1e-6
ROUNDED = 1e-6  # HiGHS's tolerances, relatively: the bound is taken so much lower

Cut = tuple[int, int, tuple[int, ...]]  # tree, demand, hops


@dataclass(frozen=True, slots=True)
class ForestBound:
    """What the cheapest forest tells.

    Args:
        cost: No network that joins these demands costs less.
        pairs: Sites whose links the forest uses.
        finished: Whether no cut was broken in the end; else the time was up, and the bound is lower than it could be.
    """

    cost: float
    pairs: frozenset[Pair]
    rounds: int
    finished: bool


def forest_bound(
    brief: Brief,
    candidates: Sequence[Candidate],
    required: Sequence[int],
    time_limit_s: float,
    on_round: Callable[[int, float], None] | None = None,
) -> ForestBound:
    """Return the bound.

    Args:
        required: Numbers of the demands that every network in question meets in part at least.
        on_round: Told each round's number and bound.
    """
    ends_of, free = _together([brief.demands[number].between for number in required])
    if not ends_of:
        return ForestBound(0.0, frozenset(), 0, finished=True)
    started = time.monotonic()
    forest = _Forest(_Hops(brief, candidates, {end for ends in ends_of for end in ends}, free), ends_of)
    cost, rounds, finished = 0.0, 0, False
    while not finished:
        left_s = time_limit_s - (time.monotonic() - started)
        if left_s <= 0 or (found := forest.solve(left_s)) is None:
            break
        cost = max(cost, found)
        rounds += 1
        if on_round is not None:
            on_round(rounds, cost)
        finished = not forest.add_broken()
    return ForestBound(cost * (1.0 - ROUNDED), forest.pairs(), rounds, finished)


def _together(wanted: list[list[str]]) -> tuple[list[list[str]], set[str]]:
    """Return which sites each tree joins, and where it may pass for nothing.

    Of few demands each is for itself. Of many, those that share ends are joined in one, and a shared end may be passed
    for nothing: it has the keys of both without relaying any. Of still more, the ones with most ends are kept.
    """
    if len(wanted) <= TREES_MAX:
        return wanted, set()
    import networkx

    graph: Any = networkx.Graph(wanted)
    parts = sorted((sorted(part) for part in networkx.connected_components(graph)), key=lambda part: (-len(part), part))
    return parts[:TREES_MAX], {site for site, degree in graph.degree() if degree > 1}


class _Hops:
    """The map as a directed graph: every pair of sites both ways, and through each end of a demand.

    A hop into a site costs its link and, where the site is no end of a demand, its node: whatever comes there goes on.
    An end is two points, where keys arrive and where they go on from; the hop between costs its node.
    """

    def __init__(self, brief: Brief, candidates: Sequence[Candidate], ends: set[str], free: set[str]) -> None:
        relays, nodes = brief.may_relay(), brief.node_costs()
        cheapest: dict[Pair, float] = {}
        for one in candidates:
            if all(site in ends or site in relays for site in one.pair):
                cheapest[one.pair] = min(one.cost, cheapest.get(one.pair, one.cost))
        self.links = list(cheapest)
        sites = sorted({site for pair in self.links for site in pair} | ends)
        self.number = {site: number for number, site in enumerate(sites)}
        inner = [site for site in sites if site in ends]
        self.out = np.arange(len(sites))
        self.out[[self.number[site] for site in inner]] = len(sites) + np.arange(len(inner))
        self.points = len(sites) + len(inner)
        at = np.array([[self.number[site] for site in pair] for pair in self.links], int).reshape(-1, 2)
        inside = np.array([self.number[site] for site in inner], int)
        entry = np.array([0.0 if site in ends else nodes[site] for site in sites])
        link = np.array([cheapest[pair] for pair in self.links])
        self.tail = np.concatenate([inside, self.out[at[:, 0]], self.out[at[:, 1]]])
        self.head = np.concatenate([self.out[inside], at[:, 1], at[:, 0]])
        through = [0.0 if site in free else nodes[site] for site in inner]
        self.cost = np.concatenate([through, link + entry[at[:, 1]], link + entry[at[:, 0]]])
        self.within = len(inner)
        # For each site that a tree must leave as it enters it: the hops in, the hops out. At an end, those through it.
        passed = {number: place for place, number in enumerate(inside)}
        self.balance = [
            (np.array([passed[v]]) if v in passed else np.flatnonzero(self.head == v), np.flatnonzero(self.tail == out))
            for v, out in enumerate(self.out)
        ]

    def pair(self, hop: int) -> Pair | None:
        """Return the sites of a hop; None within one."""
        return None if hop < self.within else self.links[(hop - self.within) % len(self.links)]

    def cuts(self, flow: Any, root: int, target: int, need: float) -> Iterable[tuple[int, ...]]:
        """Yield sets of hops that all ways from a site to another cross, and that carry less than `need` together."""
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import breadth_first_order, maximum_flow

        room = np.ceil(flow * UNIT).astype(np.int32) + np.int32(CREEP)
        source, shape = int(self.out[root]), (self.points, self.points)
        for _ in range(NESTED):
            carried = csr_array((room, (self.tail, self.head)), shape=shape)
            most = maximum_flow(carried, source, target)
            if most.flow_value >= (need - BROKEN) * UNIT:
                return
            left = carried - most.flow
            left.eliminate_zeros()
            for graph, start in ((left, source), (left.T.tocsr(), target)):
                near = np.zeros(self.points, bool)
                near[breadth_first_order(graph, start, return_predecessors=False)] = True
                if start == target:
                    near = ~near
                crossing = np.flatnonzero(near[self.tail] & ~near[self.head])
                room[crossing] = UNIT  # the next one lies elsewhere
                yield tuple(crossing.tolist())


class _Forest:
    """The linear program of the forest, with the cuts found so far."""

    def __init__(self, hops: _Hops, ends_of: list[list[str]]) -> None:
        self.hops = hops
        self.ends = [[hops.number[end] for end in ends] for ends in ends_of]
        self.roots = [ends[0] for ends in self.ends]
        self.joins = [(r, k) for r in range(len(ends_of)) for k in range(r, len(ends_of))]
        self.cuts: dict[Cut, int] = {}
        self.balances: set[tuple[int, int]] = set()
        self.z = np.zeros((len(ends_of), len(hops.cost)))
        self.y = dict.fromkeys(self.joins, 1.0)
        self.add_broken()

    def pairs(self) -> frozenset[Pair]:
        """Return the sites whose links it uses."""
        used = np.flatnonzero(self.z.max(axis=0) > USED)
        return frozenset(pair for hop in used if (pair := self.hops.pair(int(hop))) is not None)

    def solve(self, time_limit_s: float) -> float | None:
        """Solve it with the cuts that there are; return its cost, or None where the time is up."""
        program = Program()
        y = {join: program.variable() for join in self.joins}
        z: dict[tuple[int, int], int] = {}
        balances = [(r, *self.hops.balance[site]) for r, site in sorted(self.balances)]
        asked = [(r, hops) for r, _, hops in self.cuts] + [(r, out.tolist()) for r, _, out in balances]
        for r, hops in asked:  # no other hop is ever used: it costs, and no row asks for it
            for hop in hops:
                if (r, hop) not in z:
                    z[r, hop] = program.variable(float(self.hops.cost[hop]))
        for r, k, hops in self.cuts:
            program.row({y[r, k]: 1.0, **{z[r, hop]: -1.0 for hop in hops}}, -np.inf, 0.0)
        for k in range(len(self.ends)):
            program.row({y[r, k]: 1.0 for r in range(k + 1)}, 1.0, 1.0)
        for r, k in self.joins:
            if r != k:
                program.row({y[r, k]: 1.0, y[r, r]: -1.0}, -np.inf, 0.0)
        for r, into, out in balances:
            enters = {z[r, hop]: 1.0 for hop in into.tolist() if (r, hop) in z}
            program.row({**enters, **{z[r, hop]: -1.0 for hop in out.tolist()}}, -np.inf, 0.0)
        found = program.relax(program.cost, time_limit_s)
        if found.status != 0:
            return None
        self.z[:] = 0.0
        self.z[tuple(np.array(list(z)).T)] = np.maximum(found.x[list(z.values())], 0.0)
        self.y = {join: float(found.x[variable]) for join, variable in y.items()}
        for cut, slack in zip(list(self.cuts), found.slack, strict=False):  # rows of one kind keep their order
            self.cuts[cut] = self.cuts[cut] + 1 if slack > USED else 0
            if self.cuts[cut] > FORGOTTEN:
                del self.cuts[cut]
        return float(found.fun)

    def add_broken(self) -> int:
        """Add what the last solution breaks; return how many rows that are."""
        before = len(self.cuts) + len(self.balances)
        for (r, k), joined in self.y.items():
            if joined < BROKEN:
                continue
            for end in self.ends[k]:
                if end != self.roots[r]:
                    for hops in self.hops.cuts(self.z[r], self.roots[r], end, joined):
                        self.cuts.setdefault((r, k, hops), 0)
        for r, z in enumerate(self.z):
            if z.max() > USED:
                for site, (into, out) in enumerate(self.hops.balance):
                    if site != self.roots[r] and z[into].sum() > z[out].sum() + USED:
                        self.balances.add((r, site))
        return len(self.cuts) + len(self.balances) - before
