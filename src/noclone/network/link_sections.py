"""A link in the scenario file: its protocol, the devices that its light meets, how detections become key.

In: the [[link]] tables.  Out: what other layers take: a `LinkLight`, `Epsilons`. Units stand in the names of fields.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from noclone.distill.job import Reconciliation
from noclone.errors import InputError, ScenarioError
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.network.coherent_sections import (
    SLICES_EFFICIENCY,
    CoherentSection,
    ModulationSection,
    check_values,
    coherent_devices,
)
from noclone.network.distillation_section import DistillationSection
from noclone.network.fibre_section import FibreSection
from noclone.network.fields import Name, NonNegative, Positive, Probability, Section
from noclone.network.flaws_sections import FlawsSection, GuardsSection
from noclone.network.link_tables import ALL_TABLES, check_tables, refuse_strangers
from noclone.network.pass_section import PassSection
from noclone.network.repeater_section import RepeaterSection
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.keylength import DEFAULT_PROOFS
from noclone.protocols import DecoyMdi, EntangledPairs, Pairing, Sender, SendOrNot, TwinField
from noclone.records import DecoyBB84
from noclone.units import transmittance

if TYPE_CHECKING:
    from noclone.link.lights import LinkLight
    from noclone.link.pairs import PairDevices


class SourceSection(Section):
    """A sender's laser: phase-randomised weak coherent pulses."""

    clock_hz: Positive = Field(description="pulses per second")
    intensities: list[NonNegative] = Field(
        min_length=2, max_length=4, description="mean photon numbers per pulse, brightest first"
    )
    probabilities: list[Probability] = Field(min_length=2, max_length=4, description="how often each is sent")
    p_key: Annotated[float, Field(gt=0, lt=1)] = Field(description="probability of the key basis")
    key_intensity: Positive | None = Field(
        default=None, description="twin-field, sns: mean photon number of what is sent in the key basis"
    )

    def sender(self) -> Sender:
        """Return what a sender chooses from."""
        return Sender(tuple(self.intensities), tuple(self.probabilities), self.p_key)


class DetectorsSection(Section):
    """Single-photon detectors behind some optics; one value for all detectors, or a list with one for each."""

    efficiency: Probability | list[Probability]
    dark_count_hz: NonNegative | list[NonNegative]
    dead_time_ns: NonNegative = 0.0
    afterpulse_probability: Annotated[float, Field(ge=0, lt=1)] = 0.0
    afterpulse_lifetime_ns: Positive = 100.0
    jitter_ps: NonNegative = Field(default=0.0, description="standard deviation of the arrival time")
    gate_ps: NonNegative = Field(default=0.0, description="width of the acceptance window; 0: the whole slot")
    misalignment: Annotated[float, Field(ge=0, le=0.5)] = Field(description="share of photons in the wrong detector")
    loss_db: NonNegative = Field(default=0.0, description="insertion loss of the receiver")

    def detectors(self, scheme: Literal["active", "passive"], noise_hz: float = 0.0) -> Receiver:
        """Return two detectors ("active") or four.

        Args:
            noise_hz: Photons a second that other light in the fibres scatters in: unpolarised, it reaches all detectors
                alike, and counts as they do when nothing is sent.
        """
        count = 2 if scheme == "active" else 4

        def each(value: float | list[float]) -> tuple[float, ...]:
            return tuple(value) if isinstance(value, list) else (value,) * count

        stray_hz = noise_hz * transmittance(self.loss_db) / count
        efficiency, dark_hz = each(self.efficiency), each(self.dark_count_hz)
        if len(efficiency) == len(dark_hz):  # else the receiver says what is wrong
            dark_hz = tuple(rate + stray_hz * share for rate, share in zip(dark_hz, efficiency, strict=True))
        return Receiver(
            scheme=scheme,
            efficiency=efficiency,
            dark_count_hz=dark_hz,
            dead_time_ns=self.dead_time_ns,
            afterpulse_probability=self.afterpulse_probability,
            afterpulse_lifetime_ns=self.afterpulse_lifetime_ns,
            jitter_ps=self.jitter_ps,
            gate_ps=self.gate_ps,
            misalignment=self.misalignment,
            loss_db=self.loss_db,
        )


class ReceiverSection(DetectorsSection):
    """An end's optics and single-photon detectors."""

    scheme: Literal["active", "passive"] = Field(
        default="active", description="two detectors, or four behind a splitter"
    )
    p_key: Annotated[float, Field(gt=0, lt=1)] = Field(description="probability of the key basis")

    def receiver(self, noise_hz: float) -> Receiver:
        """Return the receiver; see `detectors`."""
        return self.detectors(self.scheme, noise_hz)


class PairsSection(Section):
    """A source of entangled photon pairs between the two ends."""

    clock_hz: Positive = Field(description="pulses per second; coincidence windows of a continuous source")
    mean_pairs: Annotated[float, Field(gt=0, le=4)] = Field(description="in a pulse or window")
    statistics: Literal["thermal", "poisson"] = Field(
        default="thermal", description="of the number of pairs: one mode, or very many (a continuous pump)"
    )
    p_chsh: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="how often Bob measures in one of two further bases, for the CHSH value (E91)"
    )


class StationSection(DetectorsSection):
    """A station between the two ends, with four detectors (twin-field, sns: two); nobody has to trust it."""

    visibility: Probability = Field(default=1.0, description="how well the two senders' pulses overlap")
    phase_noise_rad: Annotated[float, Field(ge=0, le=3.14)] = Field(
        default=0.0, description="twin-field, sns: standard deviation of the phase between the two"
    )


class LinkSection(Section):
    """A quantum link with its public channel."""

    name: Name
    alice: Name = Field(description="node that sends the light, or one end of it")
    bob: Name = Field(description="node that measures it, or the other end")
    protocol: Literal["decoy-bb84", "bbm92", "mdi", "twin-field", "sns", "cv"] = Field(
        default="decoy-bb84",
        description="bbm92: a source of pairs in the middle, or repeaters; mdi, twin-field, sns: a station there; "
        "cv: coherent states and homodyne or heterodyne detection",
    )
    pairing: Pairing | None = Field(
        default=None, description="sns: whether bits are paired before they are compared; aopp where not given"
    )
    bootstrap: Literal["pre-shared-key", "signatures"] = Field(
        default="pre-shared-key", description="what authenticates the first block: a carried secret, or signatures"
    )
    source: SourceSection | None = Field(default=None, description="Alice's laser; with a station Bob's, too")
    source_bob: SourceSection | None = Field(
        default=None, description="mdi, twin-field, sns: Bob's laser, where it is another"
    )
    pairs: PairsSection | None = Field(default=None, description="bbm92: the source between the ends")
    station: StationSection | None = Field(
        default=None, description="mdi, twin-field, sns: the station between the ends"
    )
    modulation: ModulationSection | None = Field(default=None, description="cv: Alice's coherent states")
    coherent: CoherentSection | None = Field(default=None, description="cv: Bob's detector")
    fibre: FibreSection | None = Field(default=None, description="what the light goes through")
    passes: PassSection | None = Field(
        default=None,
        alias="pass",
        description="instead of a fibre: of Alice, a satellite, over Bob, a ground station; with bbm92 of a satellite "
        "with the source, over both ends",
    )
    repeater: RepeaterSection | None = Field(
        default=None, description="bbm92, instead of a fibre: repeaters between the ends, which deliver pairs"
    )
    fibre_alice: FibreSection | None = Field(
        default=None, description="all but decoy-bb84: from the middle to Alice, where it is another than to Bob"
    )
    receiver: ReceiverSection | None = Field(default=None, description="Bob's; with bbm92 Alice's, too")
    receiver_alice: ReceiverSection | None = Field(default=None, description="bbm92: Alice's, where it is another")
    distillation: DistillationSection = Field(default_factory=DistillationSection)
    flaws: FlawsSection = Field(default_factory=FlawsSection)
    guards: GuardsSection = Field(default_factory=GuardsSection)

    @model_validator(mode="before")
    @classmethod
    def _has_no_strange_table(cls, data: Any) -> Any:
        refuse_strangers(data)
        return data

    @model_validator(mode="after")
    def _fits_physics(self) -> Self:
        if self.alice == self.bob:
            raise ValueError(f"link '{self.name}' has the same node, '{self.alice}', at both ends")
        if self.flaws != FlawsSection() and (self.protocol != "decoy-bb84" or self.passes is not None):
            raise ValueError(f"link '{self.name}': flaws are modelled for decoy-bb84 only, in a fibre")
        check_tables(self.name, self.protocol, {table: getattr(self, table) for table in ALL_TABLES})
        for laser in (self.source, self.source_bob):
            if laser is not None and (laser.key_intensity is None) == (self.protocol in ("twin-field", "sns")):
                raise ValueError(f"link '{self.name}': key_intensity is for twin-field and sns links, and needed there")
        if self.pairing is not None and self.protocol != "sns":
            raise ValueError(f"link '{self.name}': pairing is for sns links")
        if self.protocol == "cv":
            check_values(self.name, self.distillation, self.fibre)
        try:
            self._check_light()
        except InputError as error:
            raise ValueError(f"link '{self.name}': {error.message}") from None
        self.epsilons()
        return self

    def _check_light(self) -> None:
        if self.passes is None:
            self.light()
            return
        self.passes.check_ends(both=self.ends_on_ground)
        if self.ends_on_ground:
            self.pairs_under(0.0, 0.0)
        else:
            self.devices_under(0.0)

    @property
    def reconciliation(self) -> Reconciliation:
        """How bits become the same: for continuous variables always by codes."""
        return "ldpc" if self.protocol == "cv" else self.distillation.reconciliation

    @property
    def efficiency_agreed(self) -> float:
        """Return the most that reconciliation may leak, over Shannon's limit."""
        if self.protocol == "cv" and self.distillation.efficiency is None:
            return SLICES_EFFICIENCY
        return self.distillation.efficiency_agreed

    @property
    def length_km(self) -> float:
        """How much fibre lies between the two ends; of a satellite's link, how high it flies, by each way down."""
        if self.passes is not None:
            return self.passes.height_km * (2 if self.ends_on_ground else 1)
        if self.repeater is not None:
            return self.repeater.length_km(self.alice, self.bob)
        arms = self._arms
        return arms[1].length_km if self.protocol in ("decoy-bb84", "cv") else sum(arm.length_km for arm in arms)

    @property
    def ends_on_ground(self) -> bool:
        """Whether a satellite's link has two stations for its ends, and the satellite, nobody's node, between them."""
        return self.passes is not None and self.protocol == "bbm92"

    @property
    def repeaters(self) -> list[str]:
        """The stations between the ends that pass on entanglement: nobody has to trust them."""
        return [] if self.repeater is None else self.repeater.stations(self.alice, self.bob)

    @property
    def _arms(self) -> tuple[FibreSection, FibreSection]:
        """Alice's fibre and Bob's, of a link with something in the middle."""
        assert self.fibre is not None
        return self.fibre_alice or self.fibre, self.fibre

    @property
    def receivers(self) -> list[ReceiverSection]:
        """What the ends measure with; nothing where they only send."""
        return [one for one in (self.receiver, self.receiver_alice) if one is not None]

    @property
    def proof(self) -> str:
        """Name of the proof that gives the length."""
        return self.distillation.proof or DEFAULT_PROOFS[self.protocol]

    def light(self) -> LinkLight:
        """Return the link's devices for the light to pass; of a satellite's link see `pass_plan`."""
        match self.protocol:
            case "decoy-bb84":
                return self.devices()
            case "bbm92" if self.repeater is not None:
                return self.repeater.light(self.alice, self.bob)
            case "bbm92":
                return self._pairs()
            case "mdi" | "twin-field" | "sns":
                return self._station()
            case "cv":
                assert self.modulation is not None
                assert self.coherent is not None
                return coherent_devices(self.modulation, self.coherent, self._arms[1].fibre())

    def _pairs(self) -> PairDevices:
        near, far = self._arms
        devices = self.pairs_under(near.noise_hz(), far.noise_hz())
        return replace(devices, fibre_alice=near.fibre(), fibre=far.fibre())

    def pairs_under(self, noise_alice_hz: float, noise_hz: float) -> PairDevices:
        """Return source and receivers of a link of entangled pairs, without the ways between them.

        Args:
            noise_alice_hz, noise_hz: Photons a second that reach Alice's and Bob's receiver beside the source's.
        """
        from noclone.link.pairs import PairDevices, PairSource  # numba: only where it is needed

        assert self.pairs is not None
        assert self.receiver is not None
        alice, bob = self.receiver_alice or self.receiver, self.receiver
        source = PairSource(self.pairs.clock_hz, self.pairs.mean_pairs, self.pairs.statistics)
        protocol = EntangledPairs(alice.p_key, bob.p_key, self.pairs.p_chsh)
        none = Fibre(0.0, 0.0)
        return PairDevices(source, none, none, alice.receiver(noise_alice_hz), bob.receiver(noise_hz), protocol)

    def _station(self) -> LinkLight:
        from noclone.link.sns import SnsStation  # numba
        from noclone.link.station import BellStation
        from noclone.link.twin import TwinStation

        assert self.source is not None
        assert self.station is not None
        alice, bob, station = self.source, self.source_bob or self.source, self.station
        if alice.clock_hz != bob.clock_hz:
            raise ValueError(f"link '{self.name}': both lasers must have one clock_hz")
        near, far = (arm.fibre() for arm in self._arms)
        noise_hz = sum(arm.noise_hz() for arm in self._arms)
        if self.protocol == "mdi":
            senders = DecoyMdi(alice.sender(), bob.sender())
            detectors = station.detectors("passive", noise_hz)
            return BellStation(alice.clock_hz, near, far, detectors, senders, station.visibility)
        assert alice.key_intensity is not None
        assert bob.key_intensity is not None
        detectors = station.detectors("active", noise_hz)
        lasers = (alice.sender(), bob.sender(), alice.key_intensity, bob.key_intensity)
        place = (alice.clock_hz, near, far, detectors)
        quality = (station.visibility, station.phase_noise_rad)
        if self.protocol == "sns":
            return SnsStation(*place, SendOrNot(*lasers, self.pairing or "aopp"), *quality)
        return TwinStation(*place, TwinField(*lasers), *quality)

    def devices(self) -> LinkDevices:
        """Return the devices of a decoy-state BB84 link.

        Raises:
            ScenarioError: The link has another protocol.
        """
        if self.protocol != "decoy-bb84" or self.fibre is None:
            kind = f"{self.protocol} link" if self.passes is None else "satellite's"
            raise ScenarioError(
                f"link '{self.name}' is a {kind}, and this works with decoy-bb84 links only, in fibres",
                hint="see docs/protocols.md for what each protocol can do here",
            )
        return replace(self.devices_under(self.fibre.noise_hz()), fibre=self.fibre.fibre())

    def devices_under(self, noise_hz: float) -> LinkDevices:
        """Return source and receiver of a decoy-state BB84 link, without the way between them.

        Args:
            noise_hz: Photons a second that reach the receiver beside the source's.
        """
        assert self.source is not None
        assert self.receiver is not None
        source = self.source
        protocol = DecoyBB84(tuple(source.intensities), tuple(source.probabilities), source.p_key, self.receiver.p_key)
        return LinkDevices(
            Source(source.clock_hz, protocol),
            Fibre(0.0, 0.0),
            self.receiver.receiver(noise_hz),
            self.flaws.flaws(),
            self.guards.guards(),
        )

    def epsilons(self) -> Epsilons:
        """Return the failure probabilities that a block is made for."""
        return Epsilons(self.distillation.eps_secrecy, self.distillation.eps_correctness)
