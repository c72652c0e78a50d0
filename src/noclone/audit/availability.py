"""Who is cut off by what: the nodes and links whose loss leaves a demand without key.

In: the links that give key, the demands.  Out: for each demand the single nodes and links whose loss isolates it, and
how many must be lost at least. An attacker who only wants silence needs no secret: a cut fibre will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from noclone.audit.demands import Demand, PlannedLink, Routes, routes_of
from noclone.combined import inner_profile
from noclone.network.routing import NoRoute, count_disjoint
from noclone.records import LINK_PROFILE
from noclone.trust.formula import Atom


@dataclass(frozen=True, slots=True)
class Isolation:
    """What isolates one demand.

    Args:
        nodes: Single nodes between whose loss leaves it without key.
        links: The same of links.
        losses: How many nodes between must be lost, at least, before it has no key; None where no number of them is
            enough, for a link joins the two.
        repeaters: Single stations that pass entanglement on whose loss, with all links over them, does the same.
    """

    nodes: tuple[str, ...]
    links: tuple[str, ...]
    losses: int | None
    repeaters: tuple[str, ...] = ()

    @property
    def losing(self) -> list[str]:
        """What each cuts it off, in words."""
        kinds = (("node", self.nodes), ("link", self.links), ("repeater", self.repeaters))
        return [f"{kind} {name}" for kind, names in kinds for name in names]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        found = {"nodes": list(self.nodes), "links": list(self.links), "nodes_to_lose": self.losses}
        return found | ({"repeaters": list(self.repeaters)} if self.repeaters else {})


def isolations(links: Mapping[str, PlannedLink], demands: Iterable[Demand]) -> list[Isolation]:
    """Return what isolates each demand, in their order."""
    import networkx

    usable = {name: link for name, link in links.items() if link.block is not None}
    graph = networkx.Graph([link.hops[0] for link in usable.values()])
    names = {frozenset(link.hops[0]): name for name, link in usable.items()}
    parts = _parts(graph)
    stations = sorted({station for link in usable.values() for station in link.repeaters})
    without = {station: Routes(links, frozenset({Atom("repeater", station)})) for station in stations}
    found = []
    for demand in demands:
        cut = (
            ()
            if demand.problem
            else [one for one, routes in without.items() if not still_served(demand, frozenset(), routes)]
        )
        found.append(replace(_isolation(demand, graph, names, parts), repeaters=tuple(cut)))
    return found


def _parts(graph: Any) -> tuple[dict[str, dict[str, int]], dict[frozenset[str], dict[str, int]]]:
    """Return, for each node and link whose loss parts the network, in which part every node then is."""
    import networkx

    def components(left: Any) -> dict[str, int]:
        return {node: number for number, part in enumerate(networkx.connected_components(left)) for node in part}

    nodes = {
        node: components(networkx.subgraph_view(graph, filter_node=lambda other, lost=node: other != lost))
        for node in networkx.articulation_points(graph)
    }
    bridges = {
        frozenset(edge): components(
            networkx.subgraph_view(graph, filter_edge=lambda a, b, lost=frozenset(edge): {a, b} != lost)
        )
        for edge in networkx.bridges(graph)
    }
    return nodes, bridges


def _isolation(
    demand: Demand,
    graph: Any,
    names: Mapping[frozenset[str], str],
    parts: tuple[dict[str, dict[str, int]], dict[frozenset[str], dict[str, int]]],
) -> Isolation:
    if demand.problem:
        return Isolation((), (), 0)
    a, b = demand.sites
    inner = inner_profile(demand.profile)
    if not inner:  # the two sites talk over any network there is: no node and no link of ours is in between
        return Isolation((), (), None)
    if inner == LINK_PROFILE:
        return Isolation((), (names[frozenset((a, b))],), None)
    if demand.shares[1] > 1:
        return _of_several_paths(demand, _hops(graph), names)
    path = demand.routes[0]
    between = [node for node in path[1:-1] if node in parts[0] and parts[0][node][a] != parts[0][node][b]]
    edges = [frozenset(hop) for hop in pairwise(path)]
    cut = [edge for edge in edges if edge in parts[1] and parts[1][edge][a] != parts[1][edge][b]]
    losses: int | None = 1 if between else 2
    if not between and demand.stated:
        losses = None if graph.has_edge(a, b) else count_disjoint(_hops(graph), a, b)
    return Isolation(tuple(sorted(between)), tuple(sorted(names[edge] for edge in cut)), losses)


def _hops(graph: Any) -> list[tuple[str, str]]:
    return [hop for one, other in graph.edges for hop in ((one, other), (other, one))]


def _of_several_paths(demand: Demand, hops: list[tuple[str, str]], names: Mapping[frozenset[str], str]) -> Isolation:
    """A demand for n disjoint paths lives as long as there are n: each is lost where one loss leaves fewer."""
    total = demand.shares[1]
    found = count_disjoint(hops, *demand.sites)
    spare = found - total
    if spare >= 1:  # one loss takes one path at most
        return Isolation((), (), spare + 1)
    between = sorted({node for route in demand.routes for node in route[1:-1]})
    edges = {frozenset(hop) for route in demand.routes for hop in pairwise(route)}
    nodes = [node for node in between if _left(hops, demand, lambda hop, lost=node: lost in hop) < total]
    links = [names[edge] for edge in edges if _left(hops, demand, lambda hop, lost=edge: set(hop) == lost) < total]
    return Isolation(tuple(nodes), tuple(sorted(links)), 1)


def _left(hops: list[tuple[str, str]], demand: Demand, lost: Any) -> int:
    return count_disjoint([hop for hop in hops if not lost(hop)], *demand.sites)


def still_served(demand: Demand, gone: frozenset[Atom], routes: Routes) -> bool:
    """Tell whether a demand still gets key when some nodes, links and repeaters are gone.

    Args:
        routes: Those of the network without them.
    """
    if demand.problem or any(Atom("node", site) in gone for site in demand.sites):
        return False
    try:
        routes_of(demand.profile, demand.sites, routes)
    except NoRoute:
        return False
    return True
