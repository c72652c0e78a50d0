"""A network drawn: one SVG, a map where its sites have coordinates, else a circle.

In: `Spot`s and `Line`s.  Out: SVG text that stands alone. Colour is never the only sign: kinds of lines differ in their
dashes, and every spot and line is named in a tooltip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, MARGIN = 900, 480, 40
LOWEST = 220  # of a picture of sites that lie in a row
NAMED_MAX = 60  # more names than this cannot be read
KM_PER_DEGREE = 111.195  # of a great circle on a sphere of 6,371 km

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Spot:
    """A site.

    Args:
        marked: Drawn as a square, since it knows keys of others.
        aloft: Flies: it stands above the map, wherever the sites are.
        note: For the tooltip, after its title.
    """

    name: str
    title: str
    latitude: float | None = None
    longitude: float | None = None
    marked: bool = False
    aloft: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """What joins two sites: `kind` is a class of the page's style: link, dead, planned, spare."""

    a: str
    b: str
    kind: str
    note: str


def layout(spots: Sequence[Spot]) -> tuple[dict[str, Point], float | None]:
    """Return where each site stands in the picture, and pixels per kilometre where it is a map."""
    ground = [spot for spot in spots if not spot.aloft]
    known = {
        spot.name: (spot.latitude, spot.longitude)
        for spot in ground
        if spot.latitude is not None and spot.longitude is not None
    }
    if len(known) < len(ground):
        return _aloft(spots, _circle(ground)), None
    shrink = math.cos(math.radians(sum(lat for lat, _ in known.values()) / len(known)))  # equirectangular
    flat = {name: (lon * shrink * KM_PER_DEGREE, -lat * KM_PER_DEGREE) for name, (lat, lon) in known.items()}
    left, top = (min(point[axis] for point in flat.values()) for axis in (0, 1))
    right, bottom = (max(point[axis] for point in flat.values()) for axis in (0, 1))
    scale = min((WIDTH - 2 * MARGIN) / max(right - left, 1e-9), (HEIGHT - 2 * MARGIN) / max(bottom - top, 1e-9), 50.0)
    dx = (WIDTH - scale * (right - left)) / 2
    dy = (HEIGHT - scale * (bottom - top)) / 2
    placed = {name: (dx + scale * (x - left), dy + scale * (y - top)) for name, (x, y) in flat.items()}
    return _aloft(spots, _apart(placed)), scale


def _circle(spots: Sequence[Spot]) -> dict[str, Point]:
    step = 2 * math.pi / len(spots)
    radius = (HEIGHT - 2 * MARGIN) / 2
    middle = (WIDTH / 2, HEIGHT / 2)
    return {
        spot.name: (middle[0] + 1.8 * radius * math.sin(i * step), middle[1] - radius * math.cos(i * step))
        for i, spot in enumerate(spots)
    }


def _aloft(spots: Sequence[Spot], placed: dict[str, Point]) -> dict[str, Point]:
    """Add what flies, in a row above the map."""
    flying = [spot.name for spot in spots if spot.aloft]
    top = min(y for _, y in placed.values()) - 1.5 * MARGIN
    return placed | {name: (WIDTH * (i + 1) / (len(flying) + 1), top) for i, name in enumerate(flying)}


def _apart(spots: dict[str, Point]) -> dict[str, Point]:
    """Move nodes of one place a little apart, so that each can be seen."""
    out: dict[str, Point] = {}
    taken: dict[tuple[int, int], int] = {}
    for name, (x, y) in spots.items():
        cell = (round(x / 24), round(y / 24))
        number = taken.get(cell, 0)
        taken[cell] = number + 1
        angle = 2.4 * number
        out[name] = (x + 30 * math.sqrt(number) * math.cos(angle), y + 30 * math.sqrt(number) * math.sin(angle))
    return out


def draw(spots: Sequence[Spot], lines: Sequence[Line], label: str) -> str:
    """Return the network as SVG.

    Args:
        label: What it shows, for those who cannot see it.
    """
    placed, scale = layout(spots)
    top = min(y for _, y in placed.values()) - MARGIN
    height = max(max(y for _, y in placed.values()) + 2 * MARGIN - top, LOWEST)
    out = [f'<svg viewBox="0 {top:.0f} {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">']
    for line in lines:
        (x1, y1), (x2, y2) = placed[line.a], placed[line.b]
        out.append(
            f'<line class="{line.kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}">'
            f"<title>{escape(line.note)}</title></line>"
        )
    for spot in spots:
        x, y = placed[spot.name]
        out.append(_spot(spot, x, y))
        if len(placed) <= NAMED_MAX:
            left = x > 0.8 * WIDTH
            anchor = ' text-anchor="end"' if left else ""
            out.append(f'<text x="{x - 9 if left else x + 9:.1f}" y="{y + 4:.1f}"{anchor}>{escape(spot.title)}</text>')
    if scale is not None:
        out.append(_scale_bar(scale, top + height))
    return "\n".join([*out, "</svg>"])


def _spot(spot: Spot, x: float, y: float) -> str:
    title = f"<title>{escape(spot.title + (f': {spot.note}' if spot.note else ''))}</title>"
    if spot.aloft:
        points = f"{x:.1f},{y - 8:.1f} {x + 8:.1f},{y:.1f} {x:.1f},{y + 8:.1f} {x - 8:.1f},{y:.1f}"
        return f'<polygon class="node{" weak" if spot.marked else ""}" points="{points}">{title}</polygon>'
    if spot.marked:
        return f'<rect class="node weak" x="{x - 6:.1f}" y="{y - 6:.1f}" width="12" height="12">{title}</rect>'
    return f'<circle class="node" cx="{x:.1f}" cy="{y:.1f}" r="6">{title}</circle>'


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
