"""What no protocol can beat: the secret-key capacity of lossy fibre, alone and with repeaters.

In: transmittances.  Out: secret bits per use of a mode. Every rate of this package is held against these bounds in
tests: point-to-point protocols stay under the repeaterless bound, twin-field ones under that for one middle station.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from noclone.errors import InputError


def repeaterless_bound(eta: float) -> float:
    """Return the capacity of a pure-loss channel, -log2(1 - eta) (Pirandola, Laurenza, Ottaviani, Banchi 2017).

    Args:
        eta: Transmittance of the channel, without the devices.
    """
    _check(eta)
    return math.inf if eta == 1 else -math.log1p(-eta) / math.log(2.0)


def chain_bound(etas: Iterable[float]) -> float:
    """Return the capacity of a chain of repeaters: its weakest link's (Pirandola 2019, Commun. Phys. 2, 51)."""
    return min(repeaterless_bound(eta) for eta in etas)


def one_node_bound(eta: float) -> float:
    """Return the capacity with one station in the middle, -log2(1 - sqrt(eta)): twin-field protocols stay under it."""
    return repeaterless_bound(math.sqrt(eta))


def network_bound(links: Mapping[tuple[str, str], float], source: str, target: str, *, multipath: bool) -> float:
    """Return the capacity between two nodes of a network of repeaters (Pirandola 2019).

    Args:
        links: Transmittance by pair of nodes.
        multipath: Whether all paths are used at once (maximum flow), or one (the widest path).
    """
    import networkx

    graph: Any = networkx.Graph()
    for (a, b), eta in links.items():
        graph.add_edge(a, b, capacity=repeaterless_bound(eta))
    if source not in graph or target not in graph or not networkx.has_path(graph, source, target):
        return 0.0
    if multipath:
        return float(networkx.maximum_flow_value(graph, source, target))
    tree = networkx.maximum_spanning_tree(graph, weight="capacity")  # holds a widest path between any two
    path = networkx.shortest_path(tree, source, target)
    return min((tree.edges[hop]["capacity"] for hop in pairwise(path)), default=math.inf)


def _check(eta: float) -> None:
    if not 0 <= eta <= 1:
        raise InputError(f"a transmittance lies between 0 and 1, not {eta}")
