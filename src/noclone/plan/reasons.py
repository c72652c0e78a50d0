"""Why a demand is not met: which sites or links stand in the way.

In: `Brief`, candidates, `Solution`.  Out: a sentence for each demand that is not met in full, else nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noclone.plan.candidates import Candidate
from noclone.plan.model import ROOM, is_whole
from noclone.plan.narrowing import UNMET_FROM, disjoint_paths
from noclone.plan.sites import Brief, DemandSection
from noclone.plan.solver import Solution

NAMED = 6


def reasons(brief: Brief, candidates: Sequence[Candidate], solution: Solution) -> list[str]:
    """Say of each demand why it is not met in full, or nothing."""
    return [
        _reason(brief, candidates, demand) if unmet >= UNMET_FROM else ""
        for demand, unmet in zip(brief.demands, solution.unmet, strict=True)
    ]


def _reason(brief: Brief, candidates: Sequence[Candidate], demand: DemandSection) -> str:
    """Look for what stands in the way of one demand alone, with the best device everywhere."""
    import networkx

    a, b = demand.between
    everything = _graph(candidates)
    for end in (a, b):
        if end not in everything:
            return f"no link with any device, satellite or vendor gives key at {end}"
    if not networkx.has_path(everything, a, b):
        near = sorted(networkx.node_connected_component(everything, a))
        return f"no chain of links that give key joins the two; from {a} they lead to {_named(near)} only"
    allowed = (brief.may_relay() - set(demand.avoid)) | {a, b}
    here = everything.subgraph(allowed)
    if not networkx.has_path(here, a, b):
        barred = [site for site in networkx.shortest_path(everything, a, b) if site not in allowed]
        return f"every chain of links crosses sites that must not relay here, such as {_named(barred)}"
    if demand.max_relays is not None:
        fewest = networkx.shortest_path_length(here, a, b) - 1
        if fewest > demand.max_relays:
            return (
                f"the shortest chain of links has {fewest} nodes between the two, and {demand.max_relays} are allowed"
            )
    strong = networkx.Graph((u, v) for u, v, data in here.edges(data=True) if data["bps"] >= ROOM * demand.rate_bps)
    if is_whole(demand):
        have = disjoint_paths(strong, a, b)
        if have < demand.disjoint_paths:
            return f"{have} of the {demand.disjoint_paths} paths of enough key that share no node are there"
        return "its paths would need key that other demands take, or fibres that are taken"
    most, (near_side, _) = networkx.minimum_cut(here, a, b, capacity="bps")
    if most < ROOM * demand.rate_bps:
        cut = sorted(f"{u}-{v}" for u, v in here.edges() if (u in near_side) != (v in near_side))
        return f"the best devices give {most:,.0f} b/s across {_named(cut)}, the narrowest place between the two"
    return "the links that it needs carry other demands too, and the best devices on them give no more"


def _graph(candidates: Sequence[Candidate]) -> Any:
    import networkx

    graph: Any = networkx.Graph()
    for one in candidates:
        if not graph.has_edge(*one.pair) or graph.edges[one.pair]["bps"] < one.bps:
            graph.add_edge(*one.pair, bps=one.bps)
    return graph


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
