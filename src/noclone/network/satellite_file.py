"""The file that describes satellites, stations and a day, as TOML.

In: a file, or the name of a shipped one.  Out: a checked `SatelliteBrief`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from noclone.errors import InputError
from noclone.io.origins import check_origins, numbers
from noclone.io.published import Published
from noclone.io.shipped import Shipped
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.orbit import Satellite, Station
from noclone.network.fields import Name, NonNegative, Positive, Probability, Section
from noclone.network.satellite_sections import DownlinkSection, OrbitSection, PlaceSection, SkySection, in_utc
from noclone.proofs.epsilon import LEAST, MOST
from noclone.records import DecoyBB84

SECTIONS = ("satellite", "station", "downlink", "sky", "devices", "pairs")


class SatelliteError(InputError):
    """A file of satellites cannot be read, or describes what cannot be."""


SHIPPED = Shipped("noclone.network", "satellites", "file of satellites", SatelliteError)


class SatelliteSection(OrbitSection):
    """A satellite of the file."""

    name: Name
    title: str = ""


class StationSection(PlaceSection):
    """A telescope of the file."""

    name: Name
    title: str = ""

    def station(self) -> Station:
        """Return the station."""
        return self.place(self.name)


class DevicesSection(Section):
    """The satellite's source and a station's receiver: decoy-state BB84, bases chosen by a beam splitter."""

    clock_hz: Positive = 1e8
    intensities: list[NonNegative] = Field(default=[0.8, 0.1, 1e-6], min_length=2, max_length=3)
    probabilities: list[Probability] = Field(default=[0.5, 0.25, 0.25], min_length=2, max_length=3)
    p_key: Annotated[float, Field(gt=0, lt=1)] = 0.5
    detector_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.5
    dark_count_hz: NonNegative = 25.0
    gate_ns: Positive = 2.0
    misalignment: Annotated[float, Field(ge=0, le=0.5)] = 0.008

    def devices(self, sky_hz: float) -> LinkDevices:
        """Return source and receiver, each detector with so many counts of the sky beside its own."""
        protocol = DecoyBB84(tuple(self.intensities), tuple(self.probabilities), self.p_key, self.p_key)
        receiver = Receiver(
            scheme="passive",
            efficiency=(self.detector_efficiency,) * 4,
            dark_count_hz=(self.dark_count_hz + sky_hz,) * 4,
            gate_ps=1000 * self.gate_ns,
            misalignment=self.misalignment,
        )
        return LinkDevices(Source(self.clock_hz, protocol), Fibre(0.0, 0.0), receiver)


class PairsSection(Section):
    """A source of entangled pairs on board, each half sent to another station."""

    rate_hz: Positive = Field(description="pairs a second, at the source")
    window_ns: Positive = 2.5
    error: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.02, description="of pairs, the sky and darkness apart"
    )


class RelaySection(Section):
    """Two stations that want to share key."""

    between: Annotated[list[Name], Field(min_length=2, max_length=2)]


class PublishedSection(Published):
    """A published result, to stand beside ours."""

    what: Literal["sifted_bits", "secret_bits"] = Field(
        description="of the best pass; sifted_bits of both bases together"
    )


class SatelliteBrief(Section):
    """Satellites, stations, devices, a day."""

    name: Name
    title: str = ""
    source: str = ""
    start: datetime
    epoch: datetime | None = Field(default=None, description="of circular orbits; the start where not given")
    hours: Annotated[float, Field(gt=0, le=24 * 31)] = 24.0
    lowest_deg: Annotated[float, Field(ge=0, lt=90)] = 15.0
    step_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    proof: str = "lim2014"
    eps_secrecy: Annotated[float, Field(ge=LEAST, lt=MOST)] = 1e-9
    eps_correctness: Annotated[float, Field(ge=LEAST, lt=MOST)] = 1e-15
    satellite: Annotated[list[SatelliteSection], Field(min_length=1, max_length=100)]
    station: Annotated[list[StationSection], Field(min_length=1, max_length=100)]
    downlink: DownlinkSection
    sky: SkySection = SkySection()
    devices: DevicesSection = DevicesSection()
    pairs: PairsSection | None = None
    relay: list[RelaySection] = Field(default=[], max_length=1000)
    published: list[PublishedSection] = Field(default=[], max_length=100)
    origins: dict[str, str] = Field(
        default={}, description='by place: "published: ...", "fitted: ..." or "assumed: ..."'
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for what, names in (
            ("satellite", [s.name for s in self.satellite]),
            ("station", [s.name for s in self.station]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"two of [[{what}]] have the same name")
        check_origins(self.origins, self.numbers())
        known = {one.name for one in self.station}
        for wish in self.relay:
            unknown = set(wish.between) - known
            if unknown or wish.between[0] == wish.between[1]:
                raise ValueError(f"a relay is between two stations of the file, not {' and '.join(wish.between)}")
        return self

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of the file by place."""
        return numbers(self, SECTIONS)

    def at(self, start: str | None, hours: float | None) -> Self:
        """Return the same for another day, or for longer."""
        if start is None and hours is None:
            return self
        try:
            begins = self.start if start is None else datetime.fromisoformat(start)
        except ValueError:
            raise SatelliteError(f"'{start}' is no date", hint="as 2026-11-01 or 2026-11-01T12:00") from None
        long = self.hours if hours is None else hours
        return self.model_copy(update={"start": begins, "epoch": self.epoch or self.start, "hours": long})

    def begins(self) -> datetime:
        """Return the start, UTC where it names no zone."""
        return in_utc(self.start)

    def satellites(self) -> list[tuple[str, Satellite]]:
        """Return the satellites by name; a circle's place is given for the epoch."""
        return [(one.name, one.satellite(one.name, in_utc(self.epoch or self.start))) for one in self.satellite]


def load_satellites(path: Path | str) -> SatelliteBrief:
    """Read a file, or a shipped one by its name, such as `micius`.

    Raises:
        SatelliteError: It cannot be read, or does not fit.
    """
    return SHIPPED.load(path, SatelliteBrief)
