"""The journey of a key: one frozen record per arrow, each naming its origin.

    light -> Detections -> SiftedKey -> ReconciledKey -> SecretKey -> stored Key -> key container -> application

Bases are called by their task: *key* (usually Z) and *test* (usually X). Intensities are counted from the brightest, 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from noclone.bits import Words, bytes_from_words, word_count
from noclone.counts import Counts

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I16 = NDArray[np.int16]
F32 = NDArray[np.float32]

MAX_INTENSITIES = 4
NOTHING = 0x10  # in a code of `Settings`
MAX_SLOTS = 1 << 48  # a slot number shares 64 bits with 16 flags
LINK_PROFILE = "link"
COLLECTIVE = frozenset({"cv"})  # protocols whose proofs say nothing of attacks on many slots together
LOCAL_PROTOCOL = "local"  # of keys that one KME made for its own applications
QUADRATURE_UNIT = 1 / 256  # of the vacuum's standard deviation: Bob's values of quadratures are whole numbers of it
QUADRATURE_MAX = (1 << 14) - 1  # the largest of them; his converter shows all that lies beyond as this
VENDOR_PROTOCOL = "etsi-gs-qkd-014"  # of blocks that were drawn from a vendor's QKD system


class Basis(IntEnum):
    """What a slot's basis is used for."""

    KEY = 0
    TEST = 1


@dataclass(frozen=True, slots=True)
class DecoyBB84:
    """The settings that Alice and Bob agree on before light is sent, all public.

    Args:
        intensities: Mean photon numbers per pulse, brightest first; two (one decoy) or three (two decoys).
        probabilities: How often Alice sends each.
        p_key_alice: Probability that Alice prepares in the key basis.
        p_key_bob: Probability that Bob measures in the key basis.
    """

    NAME: ClassVar[str] = "decoy-bb84"

    intensities: tuple[float, ...]
    probabilities: tuple[float, ...]
    p_key_alice: float
    p_key_bob: float

    def __post_init__(self) -> None:
        check_intensities(self.intensities, self.probabilities)
        if not (0 < self.p_key_alice < 1 and 0 < self.p_key_bob < 1):
            raise ValueError("basis probabilities must lie between 0 and 1, both excluded")

    @property
    def levels(self) -> int:
        """How many intensities Alice tells apart."""
        return len(self.intensities)

    @property
    def peer_levels(self) -> int:
        """How many Bob does, who sends nothing."""
        return 1


def check_intensities(intensities: tuple[float, ...], probabilities: tuple[float, ...]) -> None:
    """Refuse what no sender of decoys can do.

    Raises:
        ValueError: Too few intensities, or not in order, or probabilities that do not fit them.
    """
    if not 2 <= len(intensities) <= MAX_INTENSITIES:
        raise ValueError("a decoy protocol needs 2 to 4 intensities")
    if len(probabilities) != len(intensities):
        raise ValueError("there must be one probability for each intensity")
    if list(intensities) != sorted(set(intensities), reverse=True) or intensities[-1] < 0:
        raise ValueError("intensities must fall, without repetition, to zero or above")
    if abs(sum(probabilities) - 1) > 1e-9 or min(probabilities) <= 0:
        raise ValueError("intensity probabilities must be above zero and add up to 1")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where detections came from, and so what a key made of them can claim.

    Args:
        kind: Simulated light makes simulated secrecy; a recording is past data; hardware is live; unknown is what
            another operator's domain does not tell; local is made by one KME alone; computed has no light in it, only
            algorithms.
        seeded: The randomness can be run again from a number that is written down: never a secret.
        detail: For people: the simulator's version, the file's name, the device.
    """

    kind: Literal["simulated", "recorded", "unknown", "local", "hardware", "computed"]
    seeded: bool = False
    detail: str = ""


class Settings(Protocol):
    """Alice's record of what she sent, or of what she measured where pairs come to both: her secret."""

    def at(self, slots: U64) -> U8:
        """Return one code per slot: bit 0 the bit value, bit 1 the `Basis`, bits 2-3 the intensity's index.

        Where Alice measures as well, bit 4 (`NOTHING`) says that she detected nothing in the slot. Where she knows the
        phase of her pulse (sending or not sending), bits 4-7 say in which slice of the circle it is.
        """
        ...


class Amplitudes(Protocol):
    """Alice's record of the coherent states that she sent: her secret."""

    def quadratures(self, first: int, count: int) -> F32:
        """Return x and p of `count` slots from `first` on, one row each; the vacuum's variance is 1."""
        ...


AliceRecord = Settings | Amplitudes


@dataclass(frozen=True, slots=True)
class Detections:
    """What Bob's devices told him about one block: his secret until he announces part of it.

    Of continuous variables every slot has a value, so none is numbered: see `quadratures`.

    Args:
        link: Name of the QKD link.
        block: Number of the block on this link, from 0. Each block counts its slots from 0 again.
        n_slots: Slots that Alice sent in this block.
        clock_hz: Slots per second.
        events: uint64, one per slot with a click inside the gate, strictly rising: `slot << 16 | flags`, flags being
            bit 0      value, already drawn at random where several detectors clicked,
            bit 1      `Basis` that was measured,
            bit 2      more than one detector clicked,
            bit 3      measured in a further basis, for CHSH; bit 1 says in which of two,
            bits 4-7   which detectors clicked, one bit each,
            bits 8-15  arrival within the slot, signed, in 1/256 of the slot's period from its centre; where Bob sends,
                       to a station in the middle, the index of his own intensity; where sending or not is the bit, only
                       in the test basis, with his phase's slice in bits 10-13, and 0 in the key basis.
        origin: Simulated, recorded or hardware.
    """

    link: str
    block: int
    n_slots: int
    clock_hz: float
    events: U64 = field(repr=False)
    origin: Origin

    VALUE = 0x1
    BASIS = 0x2
    MULTIPLE = 0x4
    CHSH = 0x8
    DETECTOR_SHIFT = 4
    ARRIVAL_SHIFT = 8
    SLOT_SHIFT = 16

    def __post_init__(self) -> None:
        assert self.events.dtype == np.uint64
        assert self.events.ndim == 1
        assert 0 < self.n_slots <= MAX_SLOTS

    def __len__(self) -> int:
        return len(self.events)

    @property
    def quadratures(self) -> I16:
        """Values of a block of continuous variables, four to a word of `events`, with a rest of zeros behind the end.

        Each is `value << 1 | quadrature`: in `QUADRATURE_UNIT`, and 0 for x, 1 for p. Homodyne detection gives one for
        each slot, heterodyne detection x and then p.
        """
        return self.events.astype("<u8", copy=False).view("<i2")

    @property
    def slots(self) -> U64:
        """Slot number of each detection."""
        return self.events >> np.uint64(self.SLOT_SHIFT)

    @property
    def values(self) -> U8:
        """Bit value of each detection."""
        return (self.events & np.uint64(self.VALUE)).astype(np.uint8)

    @property
    def bases(self) -> U8:
        """Measured basis of each detection."""
        return ((self.events >> np.uint64(1)) & np.uint64(1)).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class SiftedKey:
    """One party's key-basis bits of one block, in the order of their slots.

    Args:
        bits: Packed; see `bits`.
        n_bits: How many.
        intensity: Alice's intensity index for each bit (she announces it after detection).
    """

    link: str
    block: int
    bits: Words = field(repr=False)
    n_bits: int
    intensity: U8 = field(repr=False)

    def __post_init__(self) -> None:
        assert len(self.bits) == word_count(self.n_bits)
        assert len(self.intensity) == self.n_bits


@dataclass(frozen=True, slots=True)
class ReconciledKey:
    """The same bits at both ends, confirmed; not yet secret.

    Args:
        leak_bits: Everything that reconciliation told the world: each parity, from either side, once.
        confirmation_bits: Length of the confirmation tag, told to the world as well.
        efficiency: leak_bits / (n_bits * h(qber)): 1 is Shannon's limit.
        rounds: Messages that had to wait for an answer.
    """

    link: str
    block: int
    bits: Words = field(repr=False)
    n_bits: int
    counts: Counts
    leak_bits: int
    confirmation_bits: int
    efficiency: float
    rounds: int


@dataclass(frozen=True, slots=True)
class BlockProvenance:
    """What one block of secret key stands on. JSON values only, no secrets.

    Args:
        link: Name of the QKD link.
        alice: Node that sent the light.
        bob: Node that measured it.
        block: Number of the block on this link.
        protocol: Such as "decoy-bb84".
        origin: Simulated, recorded or hardware; seeded or not.
        proof: Name of the proof that gave the length.
        statement: Which kind of statement that proof makes; "no-proof" where there is only a vendor's word.
        epsilon: Total failure probability of this block: secrecy + correctness + authentication; 1: unknown.
        cumulative_epsilon: The same summed over all blocks since the link was bootstrapped.
        bootstrap: What authenticated the link's first block, such as "pre-shared-key" ("vendor": a vendor did it).
        time_s: When it was distilled, seconds since 1970.
    """

    link: str
    alice: str
    bob: str
    block: int
    protocol: str
    origin: Origin
    proof: str
    statement: Literal["fixed-length", "variable-length", "no-proof"]
    epsilon: float
    cumulative_epsilon: float
    bootstrap: str
    time_s: float

    @property
    def profile(self) -> str:
        """What policies choose key by: a fibre's own block, or how a block was relayed."""
        return LINK_PROFILE

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BlockProvenance:
        """Rebuild what `to_json` gave."""
        return cls(**{**data, "origin": Origin(**data["origin"])})


class Provenance(Protocol):
    """What every block of secret key says of itself, whether a fibre made it or a relay (`relayed.RelayProvenance`)."""

    @property
    def link(self) -> str: ...

    @property
    def block(self) -> int: ...

    @property
    def epsilon(self) -> float: ...

    @property
    def cumulative_epsilon(self) -> float: ...

    @property
    def origin(self) -> Origin: ...

    @property
    def profile(self) -> str: ...

    @property
    def time_s(self) -> float: ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One block of secret key, the same at both ends."""

    bits: Words = field(repr=False)
    n_bits: int
    provenance: Provenance

    def __post_init__(self) -> None:
        assert len(self.bits) == word_count(self.n_bits)

    def to_bytes(self) -> bytes:
        """Return the whole bytes of the key; up to seven last bits are dropped."""
        return bytes_from_words(self.bits, self.n_bits - self.n_bits % 8)
