"""One block as it looks from Eve's seat, worked out again from its seeds: what she did in each slot that Bob detected.

In: detections, the seeds that made them, the tap or the light that she made.  Out: `Overheard`, which an attack turns
into its record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from noclone import rng
from noclone.link.devices import LinkDevices
from noclone.link.tap import Tap
from noclone.protocols import EntangledPairs
from noclone.records import NOTHING, U8, AliceRecord, Basis, Detections, Settings

if TYPE_CHECKING:
    from noclone.link.lights import LinkLight
    from noclone.link.segments import Worker


@dataclass(frozen=True, slots=True)
class Overheard:
    """What can be known of a block's detections by who holds every seed; an attack takes what its physics allows.

    Args:
        devices: As they were in this block, which the two ends may not know.
        codes: Alice's setting in the slot of each detection.
        outcomes: Index of the tap's outcome there; of light that meets in the middle, the notes of its law.
        random: Eve's own chance, for what her memory measures.
    """

    detections: Detections
    devices: LinkLight
    tap: Tap
    codes: U8 = field(repr=False)
    outcomes: NDArray[np.int64] = field(repr=False)
    random: np.random.Generator = field(repr=False)

    @property
    def bb84(self) -> LinkDevices:
        """The devices of a decoy-state BB84 link, for attacks on these."""
        assert isinstance(self.devices, LinkDevices)
        return self.devices

    @property
    def alice_values(self) -> U8:
        """Alice's bits."""
        return np.asarray(self.codes & 1)

    @property
    def sifted_key(self) -> NDArray[np.bool_]:
        """Which detections become key bits: both chose the key basis."""
        return self.sifted(Basis.KEY)

    def sifted(self, basis: Basis) -> NDArray[np.bool_]:
        """Return which detections have both ends in a basis."""
        both = (self.codes >> 1 & 1 == basis) & (self.detections.bases == basis)
        further = self.detections.events & np.uint64(Detections.CHSH) != 0
        return np.asarray(both & (self.codes & NOTHING == 0) & ~further)


def overheard(
    detections: Detections,
    devices: LinkLight,
    tap: Tap,
    settings: AliceRecord,
    *,
    alice_seed: bytes,
    physics_seed: bytes,
) -> Overheard:
    """Work out again what happened in the slots of these detections.

    Args:
        settings: Alice's record, of bits: nobody plays Eve on continuous variables.
    """
    from noclone.link.light import physics_key

    eve = physics_key(physics_seed, detections.link, detections.block, "eve")
    codes = cast(Settings, settings).at(detections.slots)
    if isinstance(devices, LinkDevices):
        outcomes = _outcomes(detections, tap, codes, eve)
    else:
        outcomes = _notes(detections, devices, alice_seed, physics_seed)
    return Overheard(detections, devices, tap, codes, outcomes, rng.stream(eve, "memory"))


def _outcomes(detections: Detections, tap: Tap, codes: U8, eve: bytes) -> NDArray[np.int64]:
    from noclone.link.aes import aes256_keys
    from noclone.link.aes_simd import AES
    from noclone.link.choices import eve_outcomes
    from noclone.link.clicktable import eve_limits

    drawn = np.zeros(len(codes), np.int64)
    if len(tap.outcomes) > 1:
        eve_outcomes(AES, aes256_keys(eve), detections.slots, eve_limits(tap), codes, drawn)
    return drawn


def _notes(detections: Detections, light: LinkLight, alice_seed: bytes, physics_seed: bytes) -> NDArray[np.int64]:
    from noclone.link.heralded import HeraldedPairs, notes_between
    from noclone.link.joint import NOTE_SHIFT

    if isinstance(light, HeraldedPairs):
        return notes_between(light, detections.slots, physics_seed, detections.link, detections.block)
    slots = detections.slots.astype(np.int64)
    notes = np.zeros(len(slots), np.int64)
    first = 0
    for segment, (worker, n_slots) in enumerate(_segments(detections, light, alice_seed, physics_seed)):
        happened = worker.clicks(segment, n_slots)
        begin, end = np.searchsorted(slots, [first, first + n_slots])
        if len(happened):
            here = slots[begin:end] - first
            places = np.minimum(np.searchsorted(happened, here << 16), len(happened) - 1)
            found = happened[places]
            notes[begin:end] = np.where(found >> 16 == here, found >> NOTE_SHIFT & 0xFF, 0)
        first += n_slots
    return notes


def _segments(
    detections: Detections, light: LinkLight, alice_seed: bytes, physics_seed: bytes
) -> Iterator[tuple[Worker, int]]:
    """Yield who works each segment of a light out again, and its slots; nothing where nothing is in the middle."""
    from noclone.link.meeting import Meeting, station_sampler
    from noclone.link.pairs import PairDevices, PairKeys, PairSampler
    from noclone.link.passing import PassLight, pair_legs
    from noclone.link.segments import Lengths

    place = alice_seed, physics_seed, detections.link, detections.block
    match light:
        case PassLight(protocol=EntangledPairs()):
            legs = pair_legs(light, PairKeys.of(*place))
            yield from ((legs, length) for length in legs.lengths)
        case Meeting():
            station = station_sampler(light, *place)
            yield from ((station, length) for length in Lengths(detections.n_slots, station.length))
        case PairDevices():
            pairs = PairSampler(light, PairKeys.of(*place))
            yield from ((pairs, length) for length in Lengths(detections.n_slots, pairs.length))
