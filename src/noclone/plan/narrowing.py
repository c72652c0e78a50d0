"""Fewer links to choose from: which are never needed, which are likely, and what no choice of them can meet.

In: a `Brief`, candidates.  Out: fewer candidates, and bounds that take no program.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from noclone.plan.candidates import Candidate
from noclone.plan.model import ROOM, Pair, is_whole
from noclone.plan.sites import Brief, DemandSection

UNMET_FROM = 1e-6  # less than this of a demand is nothing
UNIT = 1_000_000  # of a demand: SciPy's flows are whole numbers


def never_dearer(brief: Brief, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return them without those for which a cheaper one in the same place carries all demands together."""
    most = ROOM * sum(demand.rate_bps for demand in brief.demands)
    enough: dict[Pair, list[Candidate]] = {}
    for one in candidates:
        if one.bps >= most:
            enough.setdefault(one.pair, []).append(one)

    def needed(one: Candidate) -> bool:
        return not any(
            other is not one
            and set(other.fibres) <= set(one.fibres)
            and (other.cost, -other.bps) < (one.cost, -one.bps)
            for other in enough.get(one.pair, ())
        )

    return [one for one in candidates if needed(one)]


def least_unmet(brief: Brief, candidates: Sequence[Candidate]) -> list[float]:
    """Return for each demand the share that cannot be met even if everything is built, for it alone."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    best: dict[Pair, float] = {}
    for one in candidates:
        best[one.pair] = max(one.bps, best.get(one.pair, 0.0))
    number = {site: i for i, site in enumerate(sorted({site for pair in best for site in pair}))}
    out = []
    for demand in brief.demands:
        a, b = demand.between
        relays = brief.may_relay() - set(demand.avoid)
        if is_whole(demand):
            out.append(0.0 if _possible(best, demand, relays | {a, b}) else 1.0)
            continue
        hops = [
            (u, v, best[pair]) for pair in best for u, v in (pair, pair[::-1]) if u == a or (u in relays and u != b)
        ]
        most = 0
        if a in number and b in number and hops:
            room = [math.ceil(min(bps / (ROOM * demand.rate_bps), 1.0) * UNIT) for _, _, bps in hops]
            ends = ([number[u] for u, _, _ in hops], [number[v] for _, v, _ in hops])
            graph = csr_array((np.array(room, np.int32), ends), shape=(len(number), len(number)))
            most = maximum_flow(graph, number[a], number[b]).flow_value
        out.append(1.0 - most / UNIT if most < UNIT else 0.0)
    return out


def _possible(best: dict[Pair, float], demand: DemandSection, allowed: set[str]) -> bool:
    """Say whether a demand that goes in one piece can be met alone."""
    import networkx

    a, b = demand.between
    strong = [pair for pair, bps in best.items() if bps >= ROOM * demand.rate_bps and allowed.issuperset(pair)]
    graph: Any = networkx.Graph(strong)
    graph.add_nodes_from((a, b))
    if not networkx.has_path(graph, a, b):
        return False
    if demand.max_relays is not None:
        return bool(networkx.shortest_path_length(graph, a, b) - 1 <= demand.max_relays)
    return disjoint_paths(graph, a, b) >= demand.disjoint_paths


def disjoint_paths(graph: Any, a: str, b: str) -> int:
    """Return how many paths share no node; a link between the two is one of them, and is taken out of the graph."""
    import networkx

    if a not in graph or b not in graph:
        return 0
    direct = int(graph.has_edge(a, b))
    if direct:
        graph.remove_edge(a, b)
    return direct + int(networkx.node_connectivity(graph, a, b))


def narrow(brief: Brief, candidates: Sequence[Candidate], used: Collection[Pair]) -> list[Candidate]:
    """Return the candidates between some pairs of sites, and along each demand's cheapest paths."""
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


def dearest_path(brief: Brief, candidates: Sequence[Candidate], numbers: Sequence[int]) -> float:
    """Return a bound that takes no program: whatever meets these demands costs what one of them costs alone.

    A demand alone costs a chain of links at least, and the nodes between them, even where it is met in part only.
    """
    import networkx

    graph: Any = networkx.DiGraph()
    costs = brief.node_costs()
    for one in candidates:
        for a, b in (one.pair, one.pair[::-1]):
            if not graph.has_edge(a, b) or one.cost + costs[b] < graph.edges[a, b]["weight"]:
                graph.add_edge(a, b, weight=one.cost + costs[b])
    bound = 0.0
    for number in numbers:
        a, b = brief.demands[number].between
        if a in graph and b in graph and networkx.has_path(graph, a, b):
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
