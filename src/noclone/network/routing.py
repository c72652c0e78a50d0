"""Routes for relays: which KMEs a share passes, given what every link has stored.

In: links that are up, with the key that each has ready.  Out: the cheapest path, or as many paths as asked for that
have no KME in common but their ends. A hop costs more where the key that it takes is much of what is there, and where a
relay failed a moment ago; a link that would fall below its reserve is not used at all.
Paths that share nothing are a flow of least cost in the graph whose nodes are split in two (Suurballe 1974, Networks 4,
125, has it for two paths; this is the general case), found by networkx, which is imported when a route is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noclone.errors import NocloneError
from noclone.network.link_state import LinkReport

HOP_COST = 1000
SCARCITY_COST = 2000  # of a hop that takes all that is there; less in proportion
SLOWNESS_COST = 1000  # of a hop that takes more than its fibre makes in a minute
FAILURE_COST = 20_000
MINUTE_S = 60.0


class NoRoute(NocloneError):
    """There is no path, or not as many as asked for that share no KME.

    Args:
        found: How many there are.
    """

    def __init__(self, message: str, found: int) -> None:
        super().__init__(message, hint="wait until the links have made more key, or ask for fewer paths")
        self.found = found


@dataclass(frozen=True, slots=True)
class Demand:
    """What a relay takes of each hop.

    Args:
        need_bits: Key that one hop of one share takes.
        reserve_bits: Key that shall be left on every link.
        hops_max: Longest path that will do; None: any.
    """

    need_bits: int
    reserve_bits: int = 0
    hops_max: int | None = None


def costs(
    links: Mapping[tuple[str, str], LinkReport], demand: Demand, failed: Iterable[tuple[str, str]] = ()
) -> dict[tuple[str, str], int]:
    """Return what each hop costs, of those that can be used."""
    lately = set(failed)
    out = {}
    for hop, link in links.items():
        spare = link.ready_bits - demand.reserve_bits
        if spare < demand.need_bits:
            continue
        minute = link.rate_bps * MINUTE_S
        scarcity = SCARCITY_COST * demand.need_bits // max(spare, 1)
        slowness = int(SLOWNESS_COST * min(1.0, demand.need_bits / minute)) if minute else SLOWNESS_COST
        out[hop] = HOP_COST + scarcity + slowness + (FAILURE_COST if hop in lately else 0)
    return out


def find_routes(prices: Mapping[tuple[str, str], int], source: str, target: str, count: int) -> list[tuple[str, ...]]:
    """Return `count` paths from source to target of least total cost that share no KME between.

    Raises:
        NoRoute: There are not as many.
    """
    import networkx

    if count == 1:
        graph = networkx.DiGraph()
        graph.add_weighted_edges_from((a, b, price) for (a, b), price in prices.items())
        try:
            return [tuple(networkx.dijkstra_path(graph, source, target))]
        except (networkx.NetworkXNoPath, networkx.NodeNotFound):
            raise NoRoute(f"no path from {source} to {target} has enough key now", 0) from None
    graph = _split_graph(prices, source, target, count)
    try:
        flow = networkx.min_cost_flow(graph)
    except networkx.NetworkXUnfeasible:
        found = count_disjoint(prices, source, target)
        message = f"{found} of {count} paths from {source} to {target} that share no node have enough key now"
        raise NoRoute(message, found) from None
    return _paths_of(flow, source, target)


def count_disjoint(hops: Iterable[tuple[str, str]], source: str, target: str) -> int:
    """Return how many paths there are that share no KME between."""
    import networkx

    graph = _split_graph(dict.fromkeys(hops, 1), source, target, 0)
    if (source, "out") not in graph or (target, "in") not in graph:
        return 0
    return int(networkx.maximum_flow_value(graph, (source, "out"), (target, "in")))


def fewest_between(hops: Iterable[tuple[str, str]], source: str, target: str) -> int | None:
    """Return how many KMEs lie between two on the shortest path; None if there is none."""
    try:
        (path,) = find_routes(dict.fromkeys(hops, 1), source, target, 1)
    except NoRoute:
        return None
    return len(path) - 2


def fit_routes(
    prices: Mapping[tuple[str, str], int], source: str, target: str, count: int, demand: Demand
) -> list[Any]:
    """Return routes as `find_routes` does, none with more hops than the demand allows.

    Raises:
        NoRoute: There are not as many.
    """
    routes = find_routes(prices, source, target, count)
    if demand.hops_max is not None and any(len(route) - 1 > demand.hops_max for route in routes):
        routes = find_routes(dict.fromkeys(prices, 1), source, target, count)  # by hops alone
        if any(len(route) - 1 > demand.hops_max for route in routes):
            raise NoRoute(f"every path from {source} to {target} passes too many nodes now", 0)
    return routes


def _split_graph(prices: Mapping[tuple[str, str], int], source: str, target: str, count: int) -> Any:
    """Return the graph whose flows are paths that share no node: each node has an arc of capacity 1 in its middle."""
    import networkx

    graph = networkx.DiGraph()
    for node in {node for hop in prices for node in hop} - {source, target}:
        graph.add_edge((node, "in"), (node, "out"), capacity=1, weight=0)
    for (a, b), price in prices.items():
        if b != source and a != target:
            graph.add_edge((a, "out"), (b, "in"), capacity=1, weight=price)
    if count:
        graph.add_node((source, "out"), demand=-count)
        graph.add_node((target, "in"), demand=count)
    return graph


def _paths_of(flow: Mapping[Any, Mapping[Any, int]], source: str, target: str) -> list[tuple[str, ...]]:
    """Read the paths off a flow, the cheapest to the eye (shortest) first."""

    def follow(first: str) -> tuple[str, ...]:
        path = [source, first]
        while path[-1] != target:
            path.append(next(b for (b, _), units in flow[(path[-1], "out")].items() if units))
        return tuple(path)

    starts: Sequence[str] = [b for (b, _), units in flow[(source, "out")].items() if units]
    return sorted((follow(first) for first in starts), key=lambda path: (len(path), path))
