"""The audited network drawn: which links give key, which nodes know keys of others.

In: a scenario and what its links promise.  Out: SVG text.
"""

from __future__ import annotations

from collections.abc import Mapping

from noclone.audit.demands import PlannedLink
from noclone.network.scenario import Scenario
from noclone.page import drawing
from noclone.page.drawing import Line, Spot


def draw(scenario: Scenario, links: Mapping[str, PlannedLink], weak: frozenset[str] = frozenset()) -> str:
    """Return the network as SVG.

    Args:
        weak: Nodes that know keys of others, which are marked.
    """
    spots = [
        Spot(
            node.name,
            node.title or node.name,
            node.latitude,
            node.longitude,
            marked=node.name in weak,
            note="knows keys of others" if node.name in weak else "",
        )
        for node in scenario.nodes
    ]
    lines = []
    for name, link in links.items():
        long = "" if link.length_km is None else f"{link.length_km:g} km, "
        long += f"over {len(link.repeaters)} repeaters, " if link.repeaters else ""
        kind = "link" if link.block is not None else "link dead"
        lines.append(Line(link.section.alice, link.section.bob, kind, f"{name}: {long}{link.gives}"))
    return drawing.draw(spots, lines, f"The network: {len(spots)} nodes, {len(lines)} links")
