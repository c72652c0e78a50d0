"""Alice's record of what she sent, as a function of her secret seed and the slot number.

In: 32 secret bytes, for one block only, and the protocol.  Out: `records.Settings`.

Her choices in a slot are one block of AES-256 in counter mode (FIPS 197; the slot is the counter), so whoever does not
hold the seed cannot predict any of them, and whoever learned some learns nothing of the others. A seed drawn from the
operating system serves live links, a derived one seeded runs; the function is the same. Each probability is resolved to
2^-32, and intensity, basis and value use bits of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from noclone import rng
from noclone.link.aes import aes256_keys
from noclone.link.aes_simd import AES
from noclone.link.choices import alice_codes
from noclone.protocols import Sender
from noclone.records import NOTHING, U8, U64, Basis, DecoyBB84, Detections


def share_of_32_bits(probability: float) -> int:
    """Return the threshold under which a uniform 32-bit word falls with this probability."""
    return min(1 << 32, max(0, round(probability * 2**32)))


def setting_limits(sender: DecoyBB84 | Sender) -> NDArray[np.int64]:
    """Return the thresholds of `choices.alice_batch`."""
    limits = np.full(4, 1 << 32, np.int64)
    for i in range(len(sender.intensities) - 1):
        limits[i] = share_of_32_bits(sum(sender.probabilities[: i + 1]))
    limits[3] = share_of_32_bits(sender.p_key if isinstance(sender, Sender) else sender.p_key_alice)
    return limits


@dataclass(frozen=True, slots=True)
class SeededSettings:
    """What a sender sends in every slot of one block.

    Args:
        seed: 32 bytes, Alice's secret. Never use one for two blocks: slots count from 0 in each, so both blocks would
            carry the same bits.
        protocol: Intensities, bases and how often each is used.
    """

    seed: bytes = field(repr=False)
    protocol: DecoyBB84 | Sender
    _keys: U64 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.seed) != 32:
            raise ValueError("a seed has 32 bytes")
        object.__setattr__(self, "_keys", aes256_keys(self.seed))

    def at(self, slots: U64) -> U8:
        """Return one code per slot: bit 0 the bit value, bit 1 the `Basis`, bits 2-3 the intensity's index."""
        slots = np.ascontiguousarray(slots, np.uint64)
        codes = np.empty(len(slots), np.uint8)
        alice_codes(AES, self._keys, slots, setting_limits(self.protocol), codes)
        return codes


@dataclass(frozen=True, slots=True)
class SendingSettings:
    """What a sender does in every slot of one block, by sending or not sending.

    Args:
        seed: As for `SeededSettings`, whose choices these are: in the key basis the brightest intensity means to send.
    """

    seed: bytes = field(repr=False)
    sender: Sender

    def at(self, slots: U64) -> U8:
        """Return one code per slot.

        In the key basis bit 0 says whether a pulse is sent, and there is no intensity to tell. In the test basis bits
        2-3 are the intensity's index, bits 4-7 the slice of the circle that the pulse's phase lies in.
        """
        codes = SeededSettings(self.seed, self.sender).at(slots)
        tested = codes >> 1 & 1 == Basis.TEST
        return np.where(tested, codes & 0xE | self._slices(slots) << 4, codes >> 2 == 0).astype(np.uint8)

    def _slices(self, slots: U64) -> U8:
        """Return four random bits a slot: what a sender would choose who chose everything evenly."""
        slots = np.ascontiguousarray(slots, np.uint64)
        codes = np.empty(len(slots), np.uint8)
        evenly = np.array([1 << 30, 2 << 30, 3 << 30, 1 << 31], np.int64)
        alice_codes(AES, aes256_keys(rng.derive(self.seed, "phases")), slots, evenly, codes)
        return codes


@dataclass(frozen=True, slots=True)
class MeasuredSettings:
    """What Alice measured in every slot of one block, where pairs come to both ends.

    Args:
        detections: Hers.
    """

    detections: Detections = field(repr=False)

    def at(self, slots: U64) -> U8:
        """Return one code per slot: bit 0 the value, bit 1 the `Basis`, or `NOTHING`."""
        events = self.detections.events
        if not len(events):
            return np.full(len(slots), NOTHING, np.uint8)
        places = np.minimum(np.searchsorted(events, slots << np.uint64(Detections.SLOT_SHIFT)), len(events) - 1)
        found = events[places]
        low = np.uint64(Detections.VALUE | Detections.BASIS)
        codes = np.where(found >> np.uint64(Detections.SLOT_SHIFT) == slots, found & low, np.uint64(NOTHING))
        return codes.astype(np.uint8)
