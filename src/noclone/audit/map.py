"""The network drawn: one SVG, a map where every node has coordinates, else a circle.

In: a scenario and what its links promise.  Out: SVG text that stands alone. Colour is never the only sign: links that
give no key are dashed, and every node and link is named in a tooltip and in the report's tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from noclone.audit.demands import PlannedLink
from noclone.network.scenario import Scenario

WIDTH, HEIGHT, MARGIN = 900, 480, 40
LOWEST = 220  # of a picture of sites that lie in a row
NAMED_MAX = 60  # more names than this cannot be read
KM_PER_DEGREE = 111.195  # of a great circle on a sphere of 6,371 km


def places(scenario: Scenario) -> tuple[dict[str, tuple[float, float]], float | None]:
    """Return where each node stands in the picture, and pixels per kilometre where it is a map."""
    nodes = scenario.nodes
    located = {node.name: (node.latitude, node.longitude) for node in nodes}
    known = {name: (lat, lon) for name, (lat, lon) in located.items() if lat is not None and lon is not None}
    if len(known) < len(nodes):
        step = 2 * math.pi / len(nodes)
        radius = (HEIGHT - 2 * MARGIN) / 2
        middle = (WIDTH / 2, HEIGHT / 2)
        around = {
            node.name: (middle[0] + 1.8 * radius * math.sin(i * step), middle[1] - radius * math.cos(i * step))
            for i, node in enumerate(nodes)
        }
        return around, None
    shrink = math.cos(math.radians(sum(lat for lat, _ in known.values()) / len(known)))  # equirectangular
    flat = {name: (lon * shrink * KM_PER_DEGREE, -lat * KM_PER_DEGREE) for name, (lat, lon) in known.items()}
    left, top = (min(point[axis] for point in flat.values()) for axis in (0, 1))
    right, bottom = (max(point[axis] for point in flat.values()) for axis in (0, 1))
    scale = min((WIDTH - 2 * MARGIN) / max(right - left, 1e-9), (HEIGHT - 2 * MARGIN) / max(bottom - top, 1e-9), 50.0)
    dx = (WIDTH - scale * (right - left)) / 2
    dy = (HEIGHT - scale * (bottom - top)) / 2
    spots = {name: (dx + scale * (x - left), dy + scale * (y - top)) for name, (x, y) in flat.items()}
    return _apart(spots), scale


def _apart(spots: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Move nodes of one place a little apart, so that each can be seen."""
    out: dict[str, tuple[float, float]] = {}
    taken: dict[tuple[int, int], int] = {}
    for name, (x, y) in spots.items():
        cell = (round(x / 24), round(y / 24))
        number = taken.get(cell, 0)
        taken[cell] = number + 1
        angle = 2.4 * number
        out[name] = (x + 30 * math.sqrt(number) * math.cos(angle), y + 30 * math.sqrt(number) * math.sin(angle))
    return out


def draw(scenario: Scenario, links: Mapping[str, PlannedLink], weak: frozenset[str] = frozenset()) -> str:
    """Return the network as SVG.

    Args:
        weak: Nodes that know keys of others, which are marked.
    """
    spots, scale = places(scenario)
    top = min(y for _, y in spots.values()) - MARGIN
    height = max(max(y for _, y in spots.values()) + 2 * MARGIN - top, LOWEST)
    names = {node.name: node.title or node.name for node in scenario.nodes}
    out = [
        f'<svg viewBox="0 {top:.0f} {WIDTH} {height:.0f}" role="img" '
        f'aria-label="The network: {len(names)} nodes, {len(links)} links">'
    ]
    for name, link in links.items():
        (x1, y1), (x2, y2) = spots[link.section.alice], spots[link.section.bob]
        kind = "link" if link.block is not None else "link dead"
        long = "" if link.length_km is None else f"{link.length_km:g} km, "
        title = escape(f"{name}: {long}{link.gives}")
        out.append(
            f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}">'
            f"<title>{title}</title></line>"
        )
    for name, (x, y) in spots.items():
        knows = name in weak
        title = escape(names[name] + (": knows keys of others" if knows else ""))
        shape = (
            f'<rect class="node weak" x="{x - 6:.1f}" y="{y - 6:.1f}" width="12" height="12">'
            if knows
            else f'<circle class="node" cx="{x:.1f}" cy="{y:.1f}" r="6">'
        )
        out.append(f"{shape}<title>{title}</title>{'</rect>' if knows else '</circle>'}")
        if len(spots) <= NAMED_MAX:
            left = x > 0.8 * WIDTH
            anchor = ' text-anchor="end"' if left else ""
            out.append(f'<text x="{x - 9 if left else x + 9:.1f}" y="{y + 4:.1f}"{anchor}>{escape(names[name])}</text>')
    if scale is not None:
        out.append(_scale_bar(scale, top + height))
    return "\n".join([*out, "</svg>"])


def _scale_bar(pixels_per_km: float, bottom: float) -> str:
    """Return a bar of a round number of kilometres, about a fifth of the picture."""
    goal = WIDTH / 5 / pixels_per_km
    power = 10 ** math.floor(math.log10(goal))
    km = max(step * power for step in (1, 2, 5) if step * power <= goal)
    end = MARGIN / 2 + km * pixels_per_km
    return (
        f'<path class="bar" d="M{MARGIN / 2} {bottom - 14:.1f}v6H{end:.1f}v-6"/>'
        f'<text x="{end + 6:.1f}" y="{bottom - 8:.1f}">{km:g} km</text>'
    )
