"""The parts of a scenario that make a quantum link: source, fibre, receiver, distillation, flaws, guards.

In: tables of the file; those of `[defaults]` hold for every link that does not say otherwise.  Out: `LinkDevices`,
`DecoyBB84`, `Epsilons`. Units stand in the names of fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from noclone.distill.job import EFFICIENCY
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.network.fibre_section import FibreSection
from noclone.network.fields import Name, NonNegative, Positive, Probability, Section
from noclone.network.flaws_sections import FlawsSection, GuardsSection
from noclone.proofs.epsilon import Epsilons
from noclone.records import DecoyBB84
from noclone.units import transmittance

LINK_SECTIONS = ("source", "fibre", "receiver", "distillation", "flaws", "guards")
TOEPLITZ_BITS_MAX = 400_000_000  # a block may have twice as many bits as it is made for


class SourceSection(Section):
    """Alice's laser: phase-randomised weak coherent pulses."""

    clock_hz: Positive = Field(description="pulses per second")
    intensities: list[NonNegative] = Field(
        min_length=2, max_length=4, description="mean photon numbers per pulse, brightest first"
    )
    probabilities: list[Probability] = Field(min_length=2, max_length=4, description="how often each is sent")
    p_key: Annotated[float, Field(gt=0, lt=1)] = Field(description="probability of the key basis")


class ReceiverSection(Section):
    """Bob's optics and single-photon detectors; one value for all detectors, or a list with one for each."""

    scheme: Literal["active", "passive"] = Field(
        default="active", description="two detectors, or four behind a splitter"
    )
    p_key: Annotated[float, Field(gt=0, lt=1)] = Field(description="probability of the key basis")
    efficiency: Probability | list[Probability]
    dark_count_hz: NonNegative | list[NonNegative]
    dead_time_ns: NonNegative = 0.0
    afterpulse_probability: Annotated[float, Field(ge=0, lt=1)] = 0.0
    afterpulse_lifetime_ns: Positive = 100.0
    jitter_ps: NonNegative = Field(default=0.0, description="standard deviation of the arrival time")
    gate_ps: NonNegative = Field(default=0.0, description="width of the acceptance window; 0: the whole slot")
    misalignment: Annotated[float, Field(ge=0, le=0.5)] = Field(description="share of photons in the wrong detector")
    loss_db: NonNegative = Field(default=0.0, description="insertion loss of the receiver")


class DistillationSection(Section):
    """How detections become key."""

    proof: str = Field(default="wiesemann2024", description="wiesemann2024, lim2014 or rusca2018")
    block_key_bits: Annotated[int, Field(ge=10_000, le=1_000_000_000)] = Field(
        default=1_000_000, description="sifted bits of the key basis that a block is made for"
    )
    eps_secrecy: Annotated[float, Field(gt=0, lt=1e-3)] = 1e-10
    eps_correctness: Annotated[float, Field(gt=0, lt=1e-3)] = 1e-15
    qber_abort: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.11, description="no block above this error rate"
    )
    reconciliation: Literal["cascade", "ldpc"] = Field(
        default="cascade", description="ldpc: hardly any round trips, for a long way; it tells more"
    )
    amplification: Literal["reed-solomon-1", "binary-toeplitz"] = Field(
        default="reed-solomon-1", description="binary-toeplitz: the matrix that others use, some ten times slower"
    )
    efficiency: Annotated[float, Field(ge=1, le=2)] | None = Field(
        default=None,
        description="reconciliation efficiency that the agreed length leaves room for; "
        "where not given: 1.12 for cascade, 1.3 for ldpc",
    )

    @model_validator(mode="after")
    def _fits_amplification(self) -> Self:
        if self.amplification == "binary-toeplitz" and self.block_key_bits > TOEPLITZ_BITS_MAX:
            raise ValueError(f"binary-toeplitz takes blocks of {TOEPLITZ_BITS_MAX} key bits at most")
        return self

    @property
    def efficiency_agreed(self) -> float:
        """Return the most that reconciliation may leak, over Shannon's limit."""
        return EFFICIENCY[self.reconciliation] if self.efficiency is None else self.efficiency


class LinkSection(Section):
    """A quantum link with its public channel."""

    name: Name
    alice: Name = Field(description="node that sends the light")
    bob: Name = Field(description="node that measures it")
    protocol: Literal["decoy-bb84"] = "decoy-bb84"
    bootstrap: Literal["pre-shared-key", "signatures"] = Field(
        default="pre-shared-key", description="what authenticates the first block: a carried secret, or signatures"
    )
    source: SourceSection
    fibre: FibreSection
    receiver: ReceiverSection
    distillation: DistillationSection = Field(default_factory=DistillationSection)
    flaws: FlawsSection = Field(default_factory=FlawsSection)
    guards: GuardsSection = Field(default_factory=GuardsSection)

    @model_validator(mode="after")
    def _fits_physics(self) -> Self:
        if self.alice == self.bob:
            raise ValueError(f"link '{self.name}' has the same node, '{self.alice}', at both ends")
        self.devices()
        self.epsilons()
        return self

    def decoy_bb84(self) -> DecoyBB84:
        """Return the settings that both ends agree on."""
        return DecoyBB84(
            tuple(self.source.intensities), tuple(self.source.probabilities), self.source.p_key, self.receiver.p_key
        )

    def devices(self) -> LinkDevices:
        """Return the link's devices for the light to pass."""
        receiver = self.receiver
        detectors = 2 if receiver.scheme == "active" else 4

        def each(value: float | list[float]) -> tuple[float, ...]:
            return tuple(value) if isinstance(value, list) else (value,) * detectors

        # Unpolarised light reaches all detectors alike, and counts as they do when nothing is sent.
        stray_hz = self.fibre.noise_hz() * transmittance(receiver.loss_db) / detectors
        efficiency, dark_hz = each(receiver.efficiency), each(receiver.dark_count_hz)
        if len(efficiency) == len(dark_hz):  # else the receiver says what is wrong
            dark_hz = tuple(rate + stray_hz * share for rate, share in zip(dark_hz, efficiency, strict=True))
        return LinkDevices(
            Source(self.source.clock_hz, self.decoy_bb84()),
            Fibre(self.fibre.length_km, self.fibre.attenuation_db_per_km, self.fibre.extra_loss_db),
            Receiver(
                scheme=receiver.scheme,
                efficiency=efficiency,
                dark_count_hz=dark_hz,
                dead_time_ns=receiver.dead_time_ns,
                afterpulse_probability=receiver.afterpulse_probability,
                afterpulse_lifetime_ns=receiver.afterpulse_lifetime_ns,
                jitter_ps=receiver.jitter_ps,
                gate_ps=receiver.gate_ps,
                misalignment=receiver.misalignment,
                loss_db=receiver.loss_db,
            ),
            self.flaws.flaws(),
            self.guards.guards(),
        )

    def epsilons(self) -> Epsilons:
        """Return the failure probabilities that a block is made for."""
        return Epsilons(self.distillation.eps_secrecy, self.distillation.eps_correctness)


class DefaultsSection(Section):
    """What all links have alike: a link's own tables win, field by field."""

    source: dict[str, Any] = Field(default_factory=dict)
    fibre: dict[str, Any] = Field(default_factory=dict)
    receiver: dict[str, Any] = Field(default_factory=dict)
    distillation: dict[str, Any] = Field(default_factory=dict)
    flaws: dict[str, Any] = Field(default_factory=dict)
    guards: dict[str, Any] = Field(default_factory=dict)


def with_defaults(link: Any, defaults: dict[str, Any]) -> Any:
    """Fill in a link's table with what all links have alike; what is no table is left for others to refuse."""
    if not isinstance(link, dict):
        return link
    filled = dict(link)
    for name in LINK_SECTIONS:
        common, own = defaults.get(name), link.get(name, {})
        if isinstance(common, dict) and isinstance(own, dict):
            filled[name] = {**common, **own}
    return filled
