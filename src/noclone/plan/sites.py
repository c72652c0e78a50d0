"""The file that a plan starts from: sites, fibres, satellites, what is there, demands, what devices cost, as TOML.

In: `SITES.toml`, or a GraphML map.  Out: a checked `Brief`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from noclone.errors import InputError
from noclone.io.toml import load_toml
from noclone.link.satellite import Downlink, Pass
from noclone.network.fields import Name, NonNegative, Positive, Section, Text
from noclone.network.topology_files import Place, Topology, read_graphml
from noclone.plan.devices import AnyDevice
from noclone.spelling import did_you_mean

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
    station: bool | None = Field(
        default=None,
        description="whether a middle station that nobody trusts may stand here; where not given: if not trusted",
    )
    cost: NonNegative | None = Field(default=None, description="of a relaying node here; where not given, [costs]")

    @property
    def takes_station(self) -> bool:
        """Whether a middle station may stand here."""
        return not self.trusted if self.station is None else self.station


class FibreSection(Section):
    """A dark fibre between two sites."""

    a: Name
    b: Name
    length_km: Positive | None = None
    loss_db: NonNegative | None = Field(default=None, description="where not given: length times attenuation")
    cost: NonNegative = Field(default=0.0, description="of each link that uses it, beside the devices")
    systems: Annotated[int, Field(ge=1, le=16)] = Field(default=1, description="how many links may use it at once")
    hut_km: Positive | None = Field(
        default=None, description="how far from a a hut stands on it, in which a middle station may be put"
    )


class SatelliteSection(Section):
    """A satellite that everybody trusts: it has a key with each ground station, and says the XOR of two of them."""

    name: Name
    title: str = ""
    cost: NonNegative = Field(description="of using it")
    ground_station_cost: NonNegative = Field(description="of each ground station")
    stations: Annotated[list[Name], Field(min_length=2, max_length=200)] = Field(description="sites that may have one")
    passes_per_day: Positive = Field(description="over each station, of those that give key: by night, no clouds")
    altitude_km: Annotated[float, Field(ge=150, le=50_000)] = 500.0
    highest_deg: Annotated[float, Field(gt=0, le=90)] = 50.0
    lowest_deg: Annotated[float, Field(ge=0, lt=90)] = 15.0
    divergence_urad: Positive = 10.0
    aperture_m: Positive = 1.0
    pointing_urad: NonNegative = 0.6
    zenith_db: NonNegative = 2.0
    fixed_db: NonNegative = 12.0
    clock_hz: Positive = 1e8
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.5
    noise_hz: NonNegative = Field(default=25.0, description="of each of four detectors, with the sky's light")
    misalignment: Annotated[float, Field(ge=0, le=0.2)] = 0.008

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.lowest_deg >= self.highest_deg:
            raise ValueError("a pass rises from lowest_deg to highest_deg")
        return self

    def over(self) -> Pass:
        """Return the pass that stands for all."""
        return Pass(self.altitude_km, self.highest_deg, self.lowest_deg)

    def downlink(self) -> Downlink:
        """Return beam, telescope and air."""
        return Downlink(self.divergence_urad, self.aperture_m, self.pointing_urad, self.zenith_db, self.fixed_db)


class VendorSection(Section):
    """Equipment of a vendor that two sites have already."""

    a: Name
    b: Name
    vendor: Text
    bps: Positive = Field(description="secret bits a second that it gives")
    cost: NonNegative = Field(default=0.0, description="of using it on")
    epsilon: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="what the vendor states of each key; for the scenario"
    )


class DemandSection(Section):
    """Key between two sites, in bits a second (a one-time pad's) or in keys a second."""

    between: Annotated[list[Name], Field(min_length=2, max_length=2)]
    bps: Positive | None = Field(default=None, description="secret bits a second, both directions together")
    keys_per_s: Positive | None = Field(default=None, description="instead of bps: fresh keys a second")
    key_bits: Annotated[int, Field(ge=64, le=4096, multiple_of=8)] = 256
    disjoint_paths: Annotated[int, Field(ge=1, le=4)] = Field(
        default=1, description="shares over paths that share no node: each hop carries a share's bits"
    )
    max_relays: Annotated[int, Field(ge=0, le=50)] | None = Field(
        default=None, description="at most so many nodes on the way know the keys: one path, in one piece"
    )
    avoid: Annotated[list[Name], Field(max_length=200)] = Field(
        default=[], description="sites and satellites that must not relay these keys"
    )

    @model_validator(mode="after")
    def _says_how_much(self) -> Self:
        if (self.bps is None) == (self.keys_per_s is None):
            raise ValueError("give either bps or keys_per_s")
        if self.max_relays is not None and self.disjoint_paths > 1:
            raise ValueError("give either disjoint_paths or max_relays")
        return self

    @property
    def rate_bps(self) -> float:
        """Secret bits a second."""
        return self.bps if self.bps is not None else (self.keys_per_s or 0.0) * self.key_bits

    def times(self, factor: float) -> DemandSection:
        """Return the same demand for more, or less."""
        name = "keys_per_s" if self.bps is None else "bps"
        return self.model_copy(update={name: factor * getattr(self, name)})


class CostsSection(Section):
    """What else costs."""

    node: NonNegative = Field(default=50.0, description="a node that relays keys of others: a guarded room, a KME")
    station: NonNegative = Field(default=20.0, description="a place for a middle station: power, no guard")


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
    satellites: list[SatelliteSection] = Field(alias="satellite", default=[], max_length=50)
    vendors: list[VendorSection] = Field(alias="vendor", default=[], max_length=FIBRES_MAX)
    demands: list[DemandSection] = Field(alias="demand", min_length=1, max_length=DEMANDS_MAX)
    devices: list[AnyDevice] = Field(alias="device", default=[], max_length=DEVICES_MAX)

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Self:
        names = [*(site.name for site in self.sites), *(satellite.name for satellite in self.satellites)]
        if twice := _twice(names):
            raise ValueError(f"two sites or satellites have the name '{twice}'")
        if twice := _twice([device.name for device in self.devices]):
            raise ValueError(f"two devices have the name '{twice}'")
        ground = {site.name: site for site in self.sites}
        self._check_fibres(ground)
        for vendor in self.vendors:
            _ends(f"the equipment of '{vendor.vendor}'", vendor.a, vendor.b, ground)
        for satellite in self.satellites:
            for station in satellite.stations:
                if station not in ground:
                    where = f"satellite '{satellite.name}' has a station at '{station}', which is no site"
                    raise ValueError(where + did_you_mean(station, ground))
        for demand in self.demands:
            a, b = demand.between
            _ends("a demand", a, b, ground)
            for name in demand.avoid:
                if name not in names or name in demand.between:
                    meant = did_you_mean(name, set(names) - set(demand.between)) if name not in names else ""
                    raise ValueError(f"a demand avoids '{name}', which is no site or satellite between its ends{meant}")
        if twice := _twice(sorted(" and ".join(sorted(demand.between)) for demand in self.demands)):
            raise ValueError(f"two demands are for {twice}: make them one")
        return self

    def _check_fibres(self, ground: dict[str, SiteSection]) -> None:
        for fibre in self.fibres:
            _ends("a fibre", fibre.a, fibre.b, ground)
            if fibre.length_km is None and fibre.loss_db is None and not self._located(fibre.a, fibre.b):
                raise ValueError(f"fibre {fibre.a}-{fibre.b}: give length_km or loss_db, or coordinates of both sites")
        found = all(site.latitude is not None and site.longitude is not None for site in self.sites)
        if not (self.fibres or self.satellites or self.vendors or found):
            raise ValueError("give [[fibre]]s, or latitude and longitude of every site")

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

    def node_costs(self) -> dict[str, float]:
        """Return what a relaying node costs, at every site and satellite."""
        costs = {site.name: self.costs.node if site.cost is None else site.cost for site in self.sites}
        return costs | {satellite.name: satellite.cost for satellite in self.satellites}

    def may_relay(self) -> set[str]:
        """Return where keys of others may be known: trusted sites, ends of demands, satellites."""
        ends = {end for demand in self.demands for end in demand.between}
        sites = {site.name for site in self.sites if site.trusted or site.name in ends}
        return sites | {satellite.name for satellite in self.satellites}


def _twice(names: list[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _ends(what: str, a: str, b: str, ground: dict[str, SiteSection]) -> None:
    for end in (a, b):
        if end not in ground:
            raise ValueError(f"{what} ends at '{end}', which is no site{did_you_mean(end, ground)}")
    if a == b:
        raise ValueError(f"{what} has '{a}' at both ends")


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
