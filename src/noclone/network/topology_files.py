"""Topologies from elsewhere, made into scenarios: GraphML maps such as the Internet Topology Zoo's, and random ones.

In: a GraphML file whose nodes have coordinates, or a number of nodes and a seed.  Out: a `Topology`; `scenario_text`
turns it into the TOML of a scenario, with the same devices on every link, and says what was left out.
A map knows where its nodes are and not where its cables run: a link's length is the great circle times a factor.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noclone.errors import InputError
from noclone.io.toml import read_text
from noclone.network.scenario import LINKS_MAX, NODES_MAX

EARTH_RADIUS_KM = 6371.0088  # IUGG mean radius R1 (Moritz 1980, Geodetic Reference System 1980)
NAME_CHARACTERS = 32
NEIGHBOURS = 3  # of each node of a random network, at least
RANDOM_NODES_MAX = 2000  # more than a scenario holds: plans take them

# The devices of the shipped scenario `metro`, whose sources stand there.
DEVICES = """\
[defaults.source]
clock_hz = 1.0e9
intensities = [0.43, 0.15]
probabilities = [0.55, 0.45]
p_key = 0.8

[defaults.receiver]
scheme = "active"
p_key = 0.8
efficiency = 0.5
dark_count_hz = 10.0
dead_time_ns = 100.0
misalignment = 0.01

[defaults.distillation]
block_key_bits = 2_000_000
eps_secrecy = 1.0e-10
eps_correctness = 1.0e-15
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A site on the map."""

    name: str
    title: str
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Topology:
    """Sites and which of them are joined.

    Args:
        pairs: Names of sites, the first one sends the light; none twice.
        notes: What of the source was left out, or changed.
    """

    name: str
    title: str
    places: tuple[Place, ...]
    pairs: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = field(default=())

    def length_km(self, pair: tuple[str, str]) -> float:
        """Return the great circle between the two sites of a pair."""
        places = {place.name: place for place in self.places}
        return great_circle_km(places[pair[0]], places[pair[1]])


def great_circle_km(a: Place, b: Place) -> float:
    """Return the distance on a sphere (the haversine formula; Sinnott 1984, Sky and Telescope 68, 159)."""
    p, q = math.radians(a.latitude), math.radians(b.latitude)
    east = math.radians(b.longitude - a.longitude)
    h = math.sin((q - p) / 2) ** 2 + math.cos(p) * math.cos(q) * math.sin(east / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))


def read_graphml(path: Path) -> Topology:
    """Read a GraphML map: nodes need `Latitude` and `Longitude`; `label` gives their names.

    Raises:
        InputError: It cannot be read, is no GraphML, or holds no network with coordinates.
    """
    text = read_text(path, InputError)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{path}: a map needs no document type", hint="remove <!DOCTYPE> and <!ENTITY> from the file")
    import networkx  # slow to import

    try:
        graph = networkx.parse_graphml(text)
    except Exception as problem:  # the parser raises what it likes
        raise InputError(
            f"{path}: not a GraphML file ({type(problem).__name__}: {problem})",
            hint="take one of the Internet Topology Zoo as a model",
        ) from None
    notes: list[str] = []
    places = _places(dict(graph.nodes(data=True)), notes)
    if len(places) < 2:
        raise InputError(
            f"{path}: fewer than two nodes have coordinates", hint="nodes need the attributes Latitude and Longitude"
        )
    pairs: dict[tuple[str, str], None] = {}
    for one, other in sorted((str(a), str(b)) for a, b in graph.edges()):
        if one not in places or other not in places:
            continue
        a, b = sorted((places[one].name, places[other].name))
        if a == b:
            notes.append(f"{a} is joined to itself: left out")
        elif (a, b) in pairs:
            notes.append(f"{a} and {b} are joined twice: one link kept")
        pairs[a, b] = None
    title = str(graph.graph.get("Network") or graph.graph.get("label") or path.stem)
    kept = tuple(pair for pair in pairs if pair[0] != pair[1])
    return Topology(slug(path.stem), title, tuple(places.values()), kept, tuple(notes))


def _places(nodes: Mapping[Any, Mapping[str, Any]], notes: list[str]) -> dict[str, Place]:
    """Return the sites by the file's own node ids; those without coordinates are noted and left out."""
    places: dict[str, Place] = {}
    taken: set[str] = set()
    for identifier, data in nodes.items():
        title = str(data.get("label", identifier))
        try:
            latitude, longitude = float(data["Latitude"]), float(data["Longitude"])
        except (KeyError, TypeError, ValueError):
            notes.append(f"{title} has no coordinates: left out, with its links")
            continue
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):
            notes.append(f"{title} lies at {latitude}, {longitude}, which is nowhere: left out, with its links")
            continue
        name = unused(slug(title) or f"node-{slug(str(identifier))}", taken)
        taken.add(name)
        places[str(identifier)] = Place(name, title, latitude, longitude)
    return places


def random_topology(nodes: int, seed: int, *, side_km: float = 0.0) -> Topology:
    """Return a network of sites strewn over a square, each joined to its nearest neighbours, in one piece.

    Args:
        nodes: How many.
        seed: The same seed gives the same network.
        side_km: Of the square; chosen so that neighbours are some 30 km apart where it is 0.
    """
    import numpy as np

    if not 4 <= nodes <= RANDOM_NODES_MAX:
        raise InputError(f"a random network has 4 to {RANDOM_NODES_MAX} nodes, not {nodes}")
    side_km = side_km or 40.0 * math.sqrt(nodes)
    spots = np.random.default_rng(seed).random((nodes, 2)) * side_km
    far = np.hypot(*(spots[:, None, :] - spots[None, :, :]).transpose(2, 0, 1))
    joined = {tuple(sorted((i, int(j)))) for i in range(nodes) for j in np.argsort(far[i])[1 : NEIGHBOURS + 1]}
    joined |= set(_spanning_tree(far))
    degree_km = 2 * math.pi * EARTH_RADIUS_KM / 360
    places = tuple(
        Place(
            f"n{i:03d}", f"N{i:03d}", round(50 + y / degree_km, 6), round(x / degree_km / math.cos(math.radians(50)), 6)
        )
        for i, (x, y) in enumerate(spots)
    )
    pairs = tuple((places[a].name, places[b].name) for a, b in sorted(joined))
    return Topology(f"random-{nodes}-{seed}", f"{nodes} random sites, seed {seed}", places, pairs)


def _spanning_tree(far: Any) -> list[tuple[int, int]]:
    """Return the edges of a shortest spanning tree (Prim 1957), which joins what nearest neighbours leave apart."""
    inside, edges = {0}, []
    nearest = {i: (float(far[0, i]), 0) for i in range(1, len(far))}
    while nearest:
        i = min(nearest, key=lambda k: nearest[k])
        _, j = nearest.pop(i)
        edges.append((min(i, j), max(i, j)))
        inside.add(i)
        for k, (distance, _) in list(nearest.items()):
            if far[i, k] < distance:
                nearest[k] = (float(far[i, k]), i)
    return edges


def scenario_text(
    topology: Topology,
    *,
    source: str,
    route_factor: float = 1.0,
    attenuation_db_per_km: float = 0.2,
    reach_km: float = 150.0,
) -> tuple[str, list[str]]:
    """Return the TOML of a scenario, and what was left out of it.

    Args:
        source: Where the map is from, for the file's head.
        route_factor: How much longer cables are than great circles.
        reach_km: Links that are longer than this are left out.

    Raises:
        InputError: Nothing is left, or it is more than a scenario can hold.
    """
    notes = list(topology.notes)
    lengths = {pair: route_factor * topology.length_km(pair) for pair in topology.pairs}
    for (a, b), length_km in lengths.items():
        if length_km > reach_km:
            notes.append(f"{a} to {b}: {length_km:.0f} km is beyond {reach_km:g} km: left out")
    pairs = [pair for pair in topology.pairs if lengths[pair] <= reach_km]
    joined = {name for pair in pairs for name in pair}
    for place in topology.places:
        if place.name not in joined:
            notes.append(f"{place.name} is joined to nobody within reach: left out")
    places = [place for place in topology.places if place.name in joined]
    if not pairs:
        raise InputError(
            "no link is left", hint=f"all are longer than {reach_km:g} km; raise --reach-km or use another map"
        )
    if len(places) > NODES_MAX or len(pairs) > LINKS_MAX:
        raise InputError(
            f"a scenario holds {NODES_MAX} nodes and {LINKS_MAX} links, the map has {len(places)} and {len(pairs)}"
        )
    parts = [_head(topology, source, route_factor)]
    parts += [f"[defaults.fibre]\nattenuation_db_per_km = {attenuation_db_per_km:g}\n", DEVICES]
    parts += [_node(place) for place in places]
    parts += [f'[[sae]]\nid = "sae-{place.name}"\nnode = "{place.name}"\n' for place in places]
    taken: set[str] = set()
    for a, b in pairs:
        name = unused(f"{a}-{b}", taken)
        taken.add(name)
        parts.append(
            f'[[link]]\nname = "{name}"\nalice = "{a}"\nbob = "{b}"\nfibre.length_km = {max(lengths[a, b], 0.1):.2f}\n'
        )
    return "\n".join(parts), notes


def _head(topology: Topology, source: str, route_factor: float) -> str:
    return (
        f"# {topology.title}, as an overlay of QKD links; made by `noclone`.\n"
        f"# Map      {source}\n"
        f"# Lengths  great circles between the sites, times {route_factor:g}; real cables run longer.\n"
        "# Devices  those of the shipped scenario `metro` on every link; its file names their sources.\n\n"
        f'name = "{topology.name}"\n'
        f"title = {quoted(topology.title)}\n"
    )


def _node(place: Place) -> str:
    return (
        f'[[node]]\nname = "{place.name}"\ntitle = {quoted(place.title)}\n'
        f"latitude = {place.latitude:g}\nlongitude = {place.longitude:g}\n"
    )


def quoted(text: str) -> str:
    """Write a TOML basic string; whatever could end it is replaced."""
    plain = "".join(c if c.isprintable() and c not in '"\\' else " " for c in text)
    return f'"{plain}"'


def slug(text: str) -> str:
    """Return a name as scenarios use them: lower-case letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:NAME_CHARACTERS].strip("-")


def unused(name: str, taken: set[str]) -> str:
    """Shorten a name to what is allowed, and number it if it is taken."""
    name = name[:NAME_CHARACTERS].strip("-")
    candidate, number = name, 2
    while candidate in taken:
        tail = f"-{number}"
        candidate, number = name[: NAME_CHARACTERS - len(tail)] + tail, number + 1
    return candidate
