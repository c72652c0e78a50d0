"""The file that a plan starts from: sites, fibres, demands, what devices cost, as TOML.

In: `SITES.toml`, or a GraphML map.  Out: a checked `Brief`. Where no fibre is given, any two sites within reach may be
joined, along great circles times a factor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from noclone.errors import InputError
from noclone.io.toml import load_toml
from noclone.network.fields import Name, NonNegative, Positive, Section
from noclone.network.topology_files import Place, Topology, great_circle_km, read_graphml

SITES_MAX, FIBRES_MAX, DEMANDS_MAX, DEVICES_MAX = 1000, 5000, 2000, 12


class PlanError(InputError):
    """A plan's file cannot be read, or asks for what cannot be."""


class SiteSection(Section):
    """A place where a node can stand."""

    name: Name
    title: str = ""
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    trusted: bool = Field(default=True, description="whether a node may relay here; the ends of a demand always may")
    cost: NonNegative | None = Field(default=None, description="of a relaying node here; where not given, [costs]")


class FibreSection(Section):
    """A dark fibre between two sites."""

    a: Name
    b: Name
    length_km: Positive | None = None
    loss_db: NonNegative | None = Field(default=None, description="where not given: length times attenuation")
    cost: NonNegative = Field(default=0.0, description="of using it, beside the devices")


class DemandSection(Section):
    """Key between two sites."""

    between: Annotated[list[Name], Field(min_length=2, max_length=2)]
    bps: Positive = Field(description="secret bits a second, both directions together")
    disjoint_paths: Annotated[int, Field(ge=1, le=4)] = Field(
        default=1, description="shares over paths that share no node: each hop carries a share's bits"
    )


class DeviceSection(Section):
    """A pair of transmitter and receiver that can be bought."""

    name: Name
    cost: Positive
    clock_hz: Positive = 1e9
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.2
    dark_count_hz: NonNegative = 100.0
    dead_time_ns: NonNegative = 100.0
    misalignment: Annotated[float, Field(ge=0, le=0.2)] = 0.01
    block_key_bits: Annotated[int, Field(ge=10_000, le=1_000_000_000)] = 2_000_000


class CostsSection(Section):
    """What else costs."""

    node: NonNegative = Field(default=50.0, description="a node that relays keys of others: a guarded room, a KME")


class Brief(Section):
    """Everything that a plan is made for."""

    name: Name
    title: str = ""
    attenuation_db_per_km: Positive = 0.2
    route_factor: Annotated[float, Field(ge=1, le=5)] = 1.0
    reach_km: Positive = Field(default=150.0, description="no longer fibre is considered where none are given")
    neighbours: Annotated[int, Field(ge=1, le=20)] = Field(
        default=6, description="where no fibre is given: each site may be joined to so many of its nearest"
    )
    costs: CostsSection = Field(default_factory=CostsSection)
    sites: list[SiteSection] = Field(alias="site", min_length=2, max_length=SITES_MAX)
    fibres: list[FibreSection] = Field(alias="fibre", default=[], max_length=FIBRES_MAX)
    demands: list[DemandSection] = Field(alias="demand", min_length=1, max_length=DEMANDS_MAX)
    devices: list[DeviceSection] = Field(alias="device", default=[], max_length=DEVICES_MAX)

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Self:
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            raise ValueError("two sites have the same name")
        known = set(names)
        for fibre in self.fibres:
            for end in (fibre.a, fibre.b):
                if end not in known:
                    raise ValueError(f"a fibre ends at '{end}', which is no site")
            if fibre.a == fibre.b:
                raise ValueError(f"a fibre has '{fibre.a}' at both ends")
            if fibre.length_km is None and fibre.loss_db is None and not self._located(fibre.a, fibre.b):
                raise ValueError(f"fibre {fibre.a}-{fibre.b}: give length_km or loss_db, or coordinates of both sites")
        for demand in self.demands:
            for end in demand.between:
                if end not in known:
                    raise ValueError(f"a demand is for '{end}', which is no site")
            if demand.between[0] == demand.between[1]:
                raise ValueError(f"a demand has '{demand.between[0]}' at both ends")
        if not self.fibres and not all(site.latitude is not None and site.longitude is not None for site in self.sites):
            raise ValueError("give [[fibre]]s, or latitude and longitude of every site")
        if len({device.name for device in self.devices}) < len(self.devices):
            raise ValueError("two devices have the same name")
        return self

    def _located(self, *names: str) -> bool:
        return all(
            site.latitude is not None and site.longitude is not None for site in self.sites if site.name in names
        )

    def place(self, name: str) -> Place:
        """Return where a site is; it must have coordinates."""
        site = next(site for site in self.sites if site.name == name)
        assert site.latitude is not None
        assert site.longitude is not None
        return Place(site.name, site.title or site.name, site.latitude, site.longitude)


def load_brief(path: Path) -> Brief:
    """Read what a plan is made for.

    Raises:
        PlanError: The file cannot be read, or asks for what cannot be.
    """
    return load_toml(path, Brief, PlanError)


def brief_of_map(path: Path, *, bps: float, pairs: int, route_factor: float = 1.0) -> Brief:
    """Make a brief of a GraphML map: its edges are the fibres, and the first sites ask for key with each other.

    Args:
        bps: Of each demand.
        pairs: How many demands: between sites that lie far apart in the file's order.

    Raises:
        InputError: The map cannot be used.
    """
    return brief_of_topology(read_graphml(path), bps=bps, pairs=pairs, route_factor=route_factor)


def brief_of_topology(topology: Topology, *, bps: float, pairs: int, route_factor: float = 1.0) -> Brief:
    """Make a brief of sites and edges; demand number i joins site i with the one half around the list."""
    names = [place.name for place in topology.places]
    half = len(names) // 2
    found = {
        tuple(sorted((names[i % len(names)], names[(i + half + i // len(names)) % len(names)]))) for i in range(pairs)
    }
    sites = [
        {"name": p.name, "title": p.title, "latitude": p.latitude, "longitude": p.longitude} for p in topology.places
    ]
    fibres: list[dict[str, Any]] = []
    for a, b in topology.pairs:
        length = max(route_factor * topology.length_km((a, b)), 0.1)
        fibres.append({"a": a, "b": b, "length_km": length})
    return Brief.model_validate(
        {
            "name": topology.name,
            "title": topology.title,
            "site": sites,
            "fibre": fibres,
            "demand": [{"between": list(pair), "bps": bps} for pair in sorted(found) if pair[0] != pair[1]],
        }
    )


def fibres_of(brief: Brief) -> list[tuple[str, str, float, float, float]]:
    """Return every fibre that may be lit: both ends, kilometres, dB, cost; of several between two sites the best."""
    if not brief.fibres:
        return _all_within_reach(brief)
    best: dict[frozenset[str], tuple[str, str, float, float, float]] = {}
    for fibre in brief.fibres:
        length = fibre.length_km
        if length is None:
            if fibre.loss_db is not None:
                length = fibre.loss_db / brief.attenuation_db_per_km
            else:
                length = brief.route_factor * great_circle_km(brief.place(fibre.a), brief.place(fibre.b))
        length = max(length, 0.001)
        loss = length * brief.attenuation_db_per_km if fibre.loss_db is None else fibre.loss_db
        ends = frozenset((fibre.a, fibre.b))
        if ends not in best or loss < best[ends][3]:
            best[ends] = (fibre.a, fibre.b, length, loss, fibre.cost)
    return list(best.values())


def _all_within_reach(brief: Brief) -> list[tuple[str, str, float, float, float]]:
    places = [brief.place(site.name) for site in brief.sites]
    out: dict[frozenset[str], tuple[str, str, float, float, float]] = {}
    for here in places:
        far = sorted(
            (brief.route_factor * great_circle_km(here, there), there.name) for there in places if there is not here
        )
        for length, name in far[: brief.neighbours]:
            if length <= brief.reach_km:
                length = max(length, 0.1)
                ends = frozenset((here.name, name))
                out.setdefault(ends, (here.name, name, length, length * brief.attenuation_db_per_km, 0.0))
    return list(out.values())
