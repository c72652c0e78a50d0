"""What can be bought: the catalogue's tables, one kind for each protocol.

In: `[[device]]` of a brief.  Out: checked sections. Their links are written so that `noclone run` simulates them, but
for continuous variables with an efficiency of reconciliation that is stated: these are "planning only".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from noclone.network.fields import Name, NonNegative, Positive, Probability, Section
from noclone.repeater.tables import DevicesTable, MemoryTable, RulesTable

STATIONS = ("mdi", "twin-field", "sns")
PLANNING_ONLY = "planning only"
BlockBits = Annotated[int, Field(ge=10_000, le=1_000_000_000)]
Counted = Annotated[float, Field(gt=0, le=1)]
COUNTED = Field(default=1.0, description="share of the promised rate to plan with: room for a real link's weather")
Epsilon = Annotated[float, Field(gt=0, lt=1)]


class _DeviceSection(Section):
    """A pair of ends that can be bought, with what stands between them."""

    name: Name
    cost: Positive = Field(description="of everything: both ends and a station between them")
    clock_hz: Positive = Field(default=1e9, description="pulses (cv: symbols) a second")
    counted: Counted = COUNTED


class _ClickSection(_DeviceSection):
    """With detectors of single photons."""

    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.2
    dark_count_hz: NonNegative = 100.0
    misalignment: Annotated[float, Field(ge=0, le=0.2)] = 0.01
    dead_time_ns: NonNegative = 30.0
    block_key_bits: BlockBits = 2_000_000


class DeviceSection(_ClickSection):
    """Decoy-state BB84: a transmitter and a receiver."""

    protocol: Literal["decoy-bb84"] = "decoy-bb84"
    dead_time_ns: NonNegative = 100.0


class PairsSection(_ClickSection):
    """BBM92: a source of entangled pairs, at one end or between two receivers."""

    protocol: Literal["bbm92"]


class StationSection(_ClickSection):
    """MDI or twin fields: two transmitters, and a station between them that nobody has to trust."""

    protocol: Literal["mdi", "twin-field", "sns"]
    phase_rad: Annotated[float, Field(ge=0, le=3.14)] = Field(
        default=0.2, description="twin-field, sns: standard deviation of the phase between the arms"
    )


class GaussianSection(_DeviceSection):
    """Continuous variables: coherent states and a homodyne or heterodyne receiver."""

    protocol: Literal["cv"]
    clock_hz: Positive = 1e8
    detection: Literal["homodyne", "heterodyne"] = "homodyne"
    trusted_receiver: bool = Field(default=True, description="its loss and noise are out of Eve's reach")
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.6
    electronic: NonNegative = Field(default=0.05, description="noise of the receiver, in shot-noise units")
    excess: NonNegative = Field(default=0.01, description="noise at the channel's input, in shot-noise units")
    block_key_bits: BlockBits = Field(default=20_000_000, description="values in a block")
    beta: Probability | None = Field(
        default=None, description="efficiency of reconciliation: stated, not computed, and so for planning only"
    )
    block_symbols: Annotated[float, Field(ge=1e6, le=1e12)] = Field(default=1e9, description="with beta: in a block")
    epsilon: Epsilon | None = Field(default=None, description="with beta: what its maker states of each key")


class RepeaterSection(Section):
    """A chain of quantum repeaters along fibres, over sites and huts where stations may stand: nobody there is trusted.

    The tables are those of a file of `noclone repeater`.
    """

    name: Name
    protocol: Literal["repeater"]
    cost: Positive = Field(description="of the memories at both ends")
    node_cost: NonNegative = Field(default=0.0, description="of each node between, with a memory to either side")
    link_cost: NonNegative = Field(default=0.0, description="of what hears the photons half-way along each link")
    counted: Counted = COUNTED
    devices: DevicesTable = DevicesTable()
    memory: MemoryTable = MemoryTable()
    rules: RulesTable = RulesTable()
    block_pairs: Annotated[int, Field(ge=40_000, le=100_000_000)] = 200_000

    def chain_cost(self, links: int) -> float:
        """Return the price of a chain of so many links, without fibres and places."""
        return self.cost + (links - 1) * self.node_cost + links * self.link_cost


def _protocol(device: Any) -> str:
    given = device.get("protocol", "decoy-bb84") if isinstance(device, dict) else device.protocol
    return "station" if given in STATIONS else str(given)


Device = DeviceSection | PairsSection | StationSection | GaussianSection | RepeaterSection
AnyDevice = Annotated[
    Annotated[DeviceSection, Tag("decoy-bb84")]
    | Annotated[PairsSection, Tag("bbm92")]
    | Annotated[StationSection, Tag("station")]
    | Annotated[GaussianSection, Tag("cv")]
    | Annotated[RepeaterSection, Tag("repeater")],
    Discriminator(
        _protocol,
        custom_error_type="protocol",
        custom_error_message="protocol is one of: decoy-bb84, bbm92, mdi, twin-field, sns, cv, repeater",
    ),
]

# Where a brief names no devices. The figures of merit are in the range of what is sold or published; the costs are of
# our own making, in thousands of some currency, to be replaced by offers.
CATALOGUE: tuple[Device, ...] = (
    DeviceSection(
        name="avalanche", cost=80.0, efficiency=0.2, dark_count_hz=500.0, dead_time_ns=2000.0, misalignment=0.015
    ),
    DeviceSection(
        name="superconducting", cost=250.0, efficiency=0.8, dark_count_hz=50.0, dead_time_ns=40.0, misalignment=0.01
    ),
    GaussianSection(name="coherent", protocol="cv", cost=90.0),
    PairsSection(name="pairs", protocol="bbm92", cost=280.0, efficiency=0.8, dark_count_hz=50.0),
    StationSection(name="mdi", protocol="mdi", cost=300.0, efficiency=0.8, dark_count_hz=50.0),
    StationSection(name="twin-field", protocol="twin-field", cost=450.0, efficiency=0.8, dark_count_hz=10.0),
    StationSection(name="sns", protocol="sns", cost=450.0, efficiency=0.8, dark_count_hz=10.0),
)


def runs(device: Device) -> bool:
    """Say whether `noclone run` can run links of a device."""
    return not isinstance(device, GaussianSection) or device.beta is None


def has_middle(device: Device) -> bool:
    """Say whether something of the device stands between the two ends, or may."""
    return device.protocol == "bbm92" or device.protocol in STATIONS


def needs_no_middle(device: Device) -> bool:
    """Say whether a device's link lies along a single fibre."""
    return device.protocol in ("decoy-bb84", "bbm92", "cv")
