"""The settings of other protocols that make the same journey as `records.DecoyBB84`: what both ends agree on, public.

    bbm92       pairs of entangled photons come to both, who measure them
    mdi         both send decoy-state BB84 to a station between them, which announces where two photons met
    twin-field  both send light of one phase, and one photon at the station is enough
    sns         the same station; whether one sends at all is the bit (sending or not sending)
    cv          Alice sends coherent states of Gaussian amplitudes, Bob measures their quadratures

Each says how many intensities Alice and Bob tell apart (`levels`, `peer_levels`); their product is the number of
classes that `counts.Counts` counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from noclone.records import DecoyBB84, check_intensities


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, both excluded")


@dataclass(frozen=True, slots=True)
class EntangledPairs:
    """BBM92 (Bennett, Brassard, Mermin 1992): both ends measure halves of pairs, each in one of two bases.

    With `p_chsh` above zero Bob has two more, halfway between, as in Ekert's protocol of 1991: their outcomes are told
    to the world and give the CHSH value.

    Args:
        p_key_alice, p_key_bob: Probability that each measures in the key basis; Bob's of the slots that are left.
        p_chsh: Probability that Bob measures in one of the further bases.
    """

    NAME: ClassVar[str] = "bbm92"

    p_key_alice: float
    p_key_bob: float
    p_chsh: float = 0.0

    def __post_init__(self) -> None:
        _check_share("p_key_alice", self.p_key_alice)
        _check_share("p_key_bob", self.p_key_bob)
        if not 0 <= self.p_chsh < 1:
            raise ValueError("p_chsh must lie between 0 and 1, 1 excluded")

    @property
    def levels(self) -> int:
        """There are no intensities."""
        return 1

    @property
    def peer_levels(self) -> int:
        """There are no intensities."""
        return 1


@dataclass(frozen=True, slots=True)
class Sender:
    """What one of two senders chooses from in each slot.

    Args:
        intensities: Mean photon numbers per pulse, brightest first.
        probabilities: How often each is sent.
        p_key: Probability of the key basis.
    """

    intensities: tuple[float, ...]
    probabilities: tuple[float, ...]
    p_key: float

    def __post_init__(self) -> None:
        check_intensities(self.intensities, self.probabilities)
        _check_share("p_key", self.p_key)


@dataclass(frozen=True, slots=True)
class DecoyMdi:
    """MDI-QKD (Lo, Curty, Qi 2012): the same intensities in both bases, as Curty et al. 2014 have them."""

    NAME: ClassVar[str] = "mdi"

    alice: Sender
    bob: Sender

    @property
    def levels(self) -> int:
        """How many intensities Alice tells apart."""
        return len(self.alice.intensities)

    @property
    def peer_levels(self) -> int:
        """How many Bob does."""
        return len(self.bob.intensities)


@dataclass(frozen=True, slots=True)
class TwinField:
    """Twin-field QKD as Curty, Azuma and Lo have it (2019); the senders' intensities are those of the test basis.

    Args:
        key_alice, key_bob: Mean photon number of each one's pulses in the key basis, where phases are not random.
    """

    NAME: ClassVar[str] = "twin-field"

    alice: Sender
    bob: Sender
    key_alice: float
    key_bob: float

    def __post_init__(self) -> None:
        for one, sender in ((self.key_alice, self.alice), (self.key_bob, self.bob)):
            if not 0 < one < sender.intensities[0]:
                raise ValueError("the key basis needs an intensity above 0 and below the brightest decoy")

    @property
    def levels(self) -> int:
        """How many intensities Alice tells apart."""
        return len(self.alice.intensities)

    @property
    def peer_levels(self) -> int:
        """How many Bob does."""
        return len(self.bob.intensities)


PHASE_SLICES = 16  # of the circle, that phases of the test basis are told in
VACUUM = 2  # index of the intensity of nothing
Pairing = Literal["none", "aopp"]


@dataclass(frozen=True, slots=True)
class SendOrNot:
    """Twin-field QKD by sending or not sending (SNS; Wang, Yu, Hu 2018).

    In the key basis each sends with the probability of its brightest intensity, a pulse of `key_alice` or `key_bob`;
    else nothing. Sending is Alice's 1 and Bob's 0. In the test basis both send one of three intensities, the last of
    which is nothing. All phases are random; those of the test basis are known to the sender in sixteenths of a circle.

    Args:
        key_alice, key_bob: Mean photon number of what each one sends in the key basis.
        pairing: "aopp": Bob pairs his zeros with his ones, and pairs that are unlike at Alice's, too, make one bit each
            (Xu, Yu, Jiang, Hu, Wang 2020); "none": each detection is a bit.
    """

    NAME: ClassVar[str] = "sns"

    alice: Sender
    bob: Sender
    key_alice: float
    key_bob: float
    pairing: Pairing = "aopp"

    def __post_init__(self) -> None:
        for one, sender in ((self.key_alice, self.alice), (self.key_bob, self.bob)):
            if len(sender.intensities) != VACUUM + 1 or sender.intensities[VACUUM] != 0.0:
                raise ValueError("sns needs three intensities at either end, the last of them 0")
            if not one > 0:
                raise ValueError("the key basis needs an intensity above 0")
        if self.pairing not in ("none", "aopp"):
            raise ValueError(f"'{self.pairing}' is no way to pair bits: none or aopp")

    @property
    def levels(self) -> int:
        """Alice's three intensities; a fourth stands for decoys at both ends whose phases do not fit."""
        return VACUUM + 2

    @property
    def peer_levels(self) -> int:
        """How many intensities Bob tells apart."""
        return VACUUM + 1


def phases_fit(apart: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where phases fit whose slices are so far apart: alike, or opposite."""
    return np.asarray(apart % (PHASE_SLICES // 2) == 0)


def promised_detector(apart: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which detector of the station is the likelier to click: 0 where phases are nearer to alike."""
    return np.asarray((apart + PHASE_SLICES // 4) // (PHASE_SLICES // 2) % 2)


@dataclass(frozen=True, slots=True)
class GaussianModulation:
    """Continuous variables: GG02 (Grosshans and Grangier 2002), or no switching (Weedbrook et al. 2004).

    All variances in shot-noise units: that of the vacuum, as Bob's detector would see it, is 1.

    Args:
        variance: Of Alice's amplitudes, V_A, in either quadrature.
        detection: "homodyne": Bob measures one quadrature, chosen at random; "heterodyne": both, behind a splitter.
        efficiency, electronic: Bob's detector's; what the proof may take out of Eve's reach if `trusted`.
        p_test: Share of the values that is told to the world, to estimate the channel.
        step: Width of the bins into which Bob's values fall, in units of `records.QUADRATURE_UNIT`.
        slices: Bits of a bin's number; the outermost bins have no end.
        told: How many of these, from the lowest on, Bob tells as they are.
    """

    NAME: ClassVar[str] = "cv"

    variance: float
    detection: Literal["homodyne", "heterodyne"]
    efficiency: float
    electronic: float
    trusted: bool
    p_test: float
    step: int
    slices: int
    told: int

    def __post_init__(self) -> None:
        _check_share("p_test", self.p_test)
        if not 0 < self.variance <= 1e4:
            raise ValueError("the modulation's variance must lie above 0 and at most at 10,000 shot-noise units")
        if not 0 < self.efficiency <= 1 or not 0 <= self.electronic <= 10:
            raise ValueError("a detector's efficiency lies between 0 and 1, its electronic noise between 0 and 10")
        if not (0 < self.step < 1 << 14 and 1 <= self.slices <= MAX_SLICES and 0 <= self.told < self.slices):
            raise ValueError(f"values need 1 to {MAX_SLICES} slices, of which one at least is not told as it is")

    @property
    def values(self) -> int:
        """Return how many values Bob has of each symbol."""
        return 2 if self.detection == "heterodyne" else 1

    @property
    def levels(self) -> int:
        """There are no intensities."""
        return 1

    @property
    def peer_levels(self) -> int:
        """There are no intensities."""
        return 1


MAX_SLICES = 8

LinkProtocol = DecoyBB84 | EntangledPairs | DecoyMdi | TwinField | SendOrNot | GaussianModulation


def class_names(protocol: LinkProtocol) -> tuple[str, ...]:
    """Name what `counts.Counts` counts apart: intensities, or pairs of them, by their indices, brightest first."""
    if protocol.levels * protocol.peer_levels == 1:
        return ("the light",)
    if protocol.peer_levels == 1:
        return tuple(f"intensity {alice}" for alice in range(protocol.levels))
    names = [
        f"Alice's intensity {alice} with Bob's {bob}"
        for alice in range(protocol.levels)
        for bob in range(protocol.peer_levels)
    ]
    if isinstance(protocol, SendOrNot):  # its last row is no intensity of Alice's
        for bob in range(protocol.peer_levels):
            names[(VACUUM + 1) * protocol.peer_levels + bob] = f"intensity {bob} of both, in phases that do not fit,"
    return tuple(names)
