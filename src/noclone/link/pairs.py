"""Light of entangled pairs: a source between two receivers, and what each of them detects.

In: `PairDevices` and seeds.  Out: both ends' events, slot by slot, or how often detectors click together.

The state is that of parametric down-conversion into two polarisations, exp(t (a_H b_H + a_V b_V)) up to its norm, with
all its multi-pair terms. The probability that no detector of a set clicks is then 1 / det(1 + l (1 - A B)), with l half
the mean number of pairs, A = 1 - sum of eta |v><v| over Alice's detectors of the set, and B for Bob's: the thinned
overlap of two squeezed modes; for one mode of polarisation and one detector each it is Ma, Fung, Lo, Phys. Rev. A 76,
012307 (2007), Eq. (9). Sources of very many modes emit a Poisson number of pairs: exp(-m (1 - tr(A B) / 2)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from noclone.kernels import kernel
from noclone.link.aes import aes256_keys
from noclone.link.aes_simd import AES, aes256
from noclone.link.choices import BATCH, alice_codes, basis_limits
from noclone.link.devices import Clocked, Fibre, Receiver
from noclone.link.joint import CODES, JointLaw, JointSampler
from noclone.link.light import physics_key
from noclone.link.readout import Readout
from noclone.link.sampling import TICK_BITS, TICKS, photon_tick
from noclone.link.segments import Crew, Lengths, segment_length
from noclone.link.settings import share_of_32_bits
from noclone.link.slotlaw import independent, set_probabilities
from noclone.protocols import EntangledPairs
from noclone.records import MAX_SLOTS, U64, Detections

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# The detectors' polarisations, two for each basis: key (0 degrees), test (45), and for CHSH 22.5 and -22.5 degrees.
ANGLES = np.deg2rad([0.0, 90.0, 45.0, 135.0, 22.5, 112.5, -22.5, 67.5])
VECTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
FIRST_CHSH = 2  # of the bases
PARTS = ("bob", "light", "detectors-alice", "detectors")  # what is random, beside Alice's choices
PROJECTORS = np.einsum("di,dj->dij", VECTORS, VECTORS)


def basis_choices(protocol: EntangledPairs) -> I64:
    """Return the limits of both ends' choices of a basis; Bob's first choice is whether it is for CHSH."""
    shares = (protocol.p_key_alice, protocol.p_key_bob)
    limits = np.stack([basis_limits(share_of_32_bits(p)) for p in shares])
    limits[1, 0] = share_of_32_bits(1 - protocol.p_chsh)
    return limits


@dataclass(frozen=True, slots=True)
class PairSource:
    """A source of entangled pairs.

    Args:
        clock_hz: Pulses per second; of a continuous source, coincidence windows per second.
        mean_pairs: Per slot.
        statistics: "thermal": one mode in each polarisation; "poisson": very many, as of a continuous pump.
    """

    clock_hz: float
    mean_pairs: float
    statistics: Literal["thermal", "poisson"] = "thermal"

    def __post_init__(self) -> None:
        if not 1.0 <= self.clock_hz <= 1e12:
            raise ValueError(f"clock_hz must be between 1 and 1e12, and is {self.clock_hz!r}")
        if not 0.0 < self.mean_pairs <= 4.0:
            raise ValueError(f"mean_pairs must be above 0 and at most 4, and is {self.mean_pairs!r}")

    def silence(self, alice: F64, bob: F64) -> F64:
        """Return the probability that nothing of a slot is seen, where the two see 1 - alice and 1 - bob of it.

        Args:
            alice, bob: Matrices [..., 2, 2], of as many cases as there are.
        """
        seen = np.eye(2) - alice @ bob
        if self.statistics == "poisson":
            return np.asarray(np.exp(-self.mean_pairs * np.trace(seen, axis1=-2, axis2=-1) / 2.0))
        return np.asarray(1.0 / np.linalg.det(np.eye(2) + self.mean_pairs / 2.0 * seen))


@dataclass(frozen=True, slots=True)
class PairDevices:
    """Everything that the light meets on one link whose source is between its ends.

    Args:
        fibre_alice, fibre: From the source to either end.
        receiver_alice, receiver: Of either end. The sum of both misalignments is how often a pair comes out wrong.
    """

    source: PairSource
    fibre_alice: Fibre
    fibre: Fibre
    receiver_alice: Receiver
    receiver: Receiver
    protocol: EntangledPairs

    def __post_init__(self) -> None:
        assert all(self.clocked)  # refuses what does not fit the clock
        if self.protocol.p_chsh > 0 and "passive" in (self.receiver.scheme, self.receiver_alice.scheme):
            raise ValueError('p_chsh needs receivers that choose their bases: scheme = "active"')

    @property
    def clock_hz(self) -> float:
        """Slots per second."""
        return self.source.clock_hz

    @property
    def clocked(self) -> tuple[Clocked, Clocked]:
        """Alice's receiver and Bob's, beside the clock."""
        return Clocked(self.receiver_alice, self.clock_hz), Clocked(self.receiver, self.clock_hz)

    @property
    def misalignment(self) -> float:
        """How often a pair has the wrong correlation."""
        a, b = self.receiver_alice.misalignment, self.receiver.misalignment
        return a + b - 2 * a * b

    @property
    def loss_db(self) -> float:
        """Loss of both arms together."""
        return self.fibre_alice.loss_db + self.fibre.loss_db

    def rows(self) -> tuple[I64, list[tuple[int, int]]]:
        """Return the row of each pair of codes, and the pairs of bases that the rows stand for."""
        active = [receiver.scheme == "active" for receiver in (self.receiver_alice, self.receiver)]
        further = 2 if self.protocol.p_chsh > 0 else 0
        bases = [(a, b) for a in range(1 + active[0]) for b in range(1 + active[1] + further)]

        def bobs(code: int) -> int:
            return FIRST_CHSH + (code & 1) if further and code >> 2 else active[1] * (code >> 1 & 1)

        codes = range(CODES)
        rows = [[bases.index((active[0] * (a >> 1 & 1), bobs(b))) for b in codes] for a in codes]
        return np.array(rows, np.int64), bases

    def transmittances(self) -> tuple[F64, F64]:
        """Return, for each detector of Alice's and of Bob's, how much of the light on its path it would count."""
        ends = ((self.fibre_alice, self.receiver_alice), (self.fibre, self.receiver))
        found = [10 ** (-(fibre.loss_db + r.loss_db) / 10) * np.array(r.efficiency) for fibre, r in ends]
        return found[0], found[1]

    def silences(self, row: tuple[int, int], eta_alice: F64, eta_bob: F64) -> F64:
        """Return, for each set of all detectors, the probability that the light makes none outside it click.

        Alice's detectors are the lowest bits.

        Args:
            row: Both bases, where they are chosen actively.
            eta_alice, eta_bob: See `transmittances`.
        """
        alice = absorbed(self.receiver_alice, eta_alice, row[0], self.protocol.p_key_alice)
        bob = absorbed(self.receiver, eta_bob, row[1], self.protocol.p_key_bob)
        wrong, swapped = self.misalignment, bob[[swap_values(b) for b in range(len(bob))]]
        right, turned = (self.source.silence(alice[None], seen[:, None]) for seen in (bob, swapped))
        return np.asarray((1 - wrong) * right + wrong * turned).reshape(-1)

    def table(self) -> F64:
        """Return the probability of each set of all detectors, for each row of `rows`: of the light alone."""
        return np.stack([set_probabilities(self.silences(row, *self.transmittances())) for row in self.rows()[1]])

    def law(self) -> JointLaw:
        """Return which detectors the light of a slot makes click, were all alive."""
        return JointLaw.of(self.rows()[0], self.table())


def absorbed(receiver: Receiver, eta: F64, basis: int, p_key: float) -> F64:
    """Return, for each set of a receiver's detectors, 1 less what those outside it count, as a 2 x 2 matrix."""
    detectors = receiver.detectors
    if receiver.scheme == "active":
        counts = eta[:, None, None] * PROJECTORS[2 * basis : 2 * basis + 2]
    else:
        share = np.array([p_key, p_key, 1 - p_key, 1 - p_key])
        counts = (eta * share)[:, None, None] * PROJECTORS[:4]
    inside = np.arange(1 << detectors)[:, None] >> np.arange(detectors) & 1
    return np.asarray(np.eye(2) - np.einsum("sd,dij->sij", 1 - inside, counts))


def swap_values(detectors: int) -> int:
    """Return the set of detectors with both values exchanged in each basis."""
    return (detectors & 0b0101) << 1 | (detectors & 0b1010) >> 1


def dark_law(devices: PairDevices) -> JointLaw:
    """Return the same of the darkness."""
    means = np.array([*devices.receiver_alice.dark_count_hz, *devices.receiver.dark_count_hz]) / devices.clock_hz
    return JointLaw.of(np.zeros((CODES, CODES), np.int64), independent(-np.expm1(-means))[None, :])


@dataclass(frozen=True, slots=True)
class PairKeys:
    """What is random in one block, beside what Alice chooses.

    Args:
        alice_seed: Her choices of a basis, for this block and no other.
        seeds: One for each of `PARTS`.
        table: uint64[3, 30]: round keys of Alice's choices, Bob's and nature's.
    """

    alice_seed: bytes
    seeds: dict[str, bytes]
    table: U64

    @classmethod
    def of(cls, alice_seed: bytes, physics_seed: bytes, link: str, block: int) -> PairKeys:
        """Return the keys of a block; link and block are mixed into `physics_seed` here."""
        seeds = {part: physics_key(physics_seed, link, block, part) for part in PARTS}
        return cls(alice_seed, seeds, np.stack([aes256_keys(key) for key in (alice_seed, *list(seeds.values())[:2])]))


class PairSampler:
    """What the light of a block and the darkness do in each of its segments: a `segments.Worker`.

    Args:
        length: Slots of a segment; chosen from the devices if None.
    """

    def __init__(self, devices: PairDevices, keys: PairKeys, length: int | None = None) -> None:
        law, choosers = devices.law(), basis_choices(devices.protocol)
        self.length = length or segment_length(law.p_max)
        self._light = JointSampler(law, keys.table, choosers, self.length)
        self._dark = JointSampler(dark_law(devices), keys.table, choosers, self.length, purpose=1)

    def clicks(self, segment: int, n_slots: int, first_slot: int | None = None) -> I64:
        """Return what the light does in a segment; see `joint.JointSampler`."""
        return self._light.clicks(segment, n_slots, first_slot)

    def dark(self, segment: int, n_slots: int, first_slot: int | None = None) -> I64:
        """Return what the darkness does there."""
        return self._dark.clicks(segment, n_slots, first_slot)


def transmit_pairs(
    devices: PairDevices,
    *,
    alice_seed: bytes,
    physics_seed: bytes,
    n_slots: int,
    link: str,
    block: int,
    threads: int = 2,
    segment_slots: int | None = None,
) -> Iterator[tuple[U64, U64]]:
    """Yield both ends' events of one block in order of slots, a bounded number at a time; see `records.Detections`.

    Args:
        alice_seed: Her choices of a basis, for this block and no other.
        physics_seed: Everything else that is random; link and block are mixed in here.
        threads: How many segments are worked out side by side; the result does not depend on it.
        segment_slots: Length of a segment, for tests; chosen from the devices if None.
    """
    if not 0 < n_slots <= MAX_SLOTS:
        raise ValueError(f"n_slots must lie between 1 and {MAX_SLOTS}, and is {n_slots}")
    keys = PairKeys.of(alice_seed, physics_seed, link, block)
    sampler = PairSampler(devices, keys, segment_slots)
    readout, lengths = PairReadout(devices, keys, sampler.length), Lengths(n_slots, sampler.length)
    with Crew(threads) as crew:
        for segment, (seen, n) in enumerate(zip(crew.in_order(sampler, lengths), lengths, strict=True)):
            last = segment == len(lengths) - 1
            yield readout.events(segment, segment * sampler.length, n, seen, sampler.dark(segment, n), last=last)


def mark_chsh(events: U64, keys: U64, limits: I64) -> U64:
    """Mark what Bob measured in the bases for CHSH, which the value bit of his choice tells apart."""
    slots = np.ascontiguousarray(events >> np.uint64(Detections.SLOT_SHIFT))
    codes = np.empty(len(slots), np.uint8)
    alice_codes(AES, keys, slots, limits, codes)
    which = np.uint64(Detections.CHSH) | (codes & 1).astype(np.uint64) << np.uint64(1)
    marked = events & ~np.uint64(Detections.BASIS) | which
    return np.where(codes >> 2 > 0, marked, events)


class PairReadout:
    """Both ends' detectors during a block, whose losses and dark counts are of no matter here.

    Args:
        segment_slots: See `Readout.of`.
    """

    def __init__(self, devices: PairDevices, keys: PairKeys, segment_slots: int) -> None:
        self._keys, self._choosers = keys.table, basis_choices(devices.protocol)
        self._chsh = devices.protocol.p_chsh > 0
        bases = (keys.alice_seed, keys.seeds["bob"])
        shifts = (0, devices.receiver_alice.detectors)
        self._ends = [
            _End(
                clocked,
                keys.table[2],
                side,
                shifts[side],
                keys.seeds[PARTS[2 + side]],
                bases[side],
                limits,
                segment_slots,
            )
            for side, (clocked, limits) in enumerate(zip(devices.clocked, map(int, self._choosers[:, 3]), strict=True))
        ]

    def events(self, segment: int, first: int, n_slots: int, seen: I64, dark: I64, *, last: bool) -> tuple[U64, U64]:
        """Return what is certain of Alice's events and Bob's after a segment."""
        alice, bob = (end.events(segment, first, n_slots, seen, dark, last=last) for end in self._ends)
        return alice, mark_chsh(bob, self._keys[1], self._choosers[1]) if self._chsh else bob


class _End:
    """One end's detectors during a block."""

    def __init__(
        self,
        clocked: Clocked,
        nature: U64,
        side: int,
        shift: int,
        key: bytes,
        basis_key: bytes,
        p_key: int,
        segment_slots: int,
    ) -> None:
        self._nature, self._side, self._shift = nature, side, shift
        self._detectors = (1 << clocked.receiver.detectors) - 1
        self._jitter = clocked.jitter_periods * TICKS
        active = clocked.receiver.scheme == "active"
        self._readout = Readout.of(
            clocked,
            detector_key=key,
            bob_key=basis_key,
            bob_limit=p_key if active else None,
            segment_slots=segment_slots,
        )

    def events(self, segment: int, first: int, n_slots: int, seen: I64, unlit: I64, *, last: bool) -> U64:
        """Return what is certain after a segment."""
        parts = [self._clicks(seen, segment, dark=False), self._clicks(unlit, segment, dark=True)]
        return self._readout.segment(np.sort(np.concatenate(parts)), first, n_slots, last=last)

    def _clicks(self, happened: I64, segment: int, *, dark: bool) -> I64:
        sets = happened >> self._shift & self._detectors
        here = (happened >> 16)[sets != 0] << 4 | sets[sets != 0]
        out = np.empty(4 * len(here), np.int64)
        stream = np.uint64((2 + 2 * self._side + dark) << 51 | segment)
        n = would_be_clicks(AES, self._nature, stream, here, -1.0 if dark else self._jitter, out)
        return out[:n]


@kernel
def would_be_clicks(simd, keys, stream, happened, jitter_ticks, out):  # type: ignore[no-untyped-def]
    """Set out to the clicks of `slot << 4 | set`, as `tick << 2 | detector`, and return how many there are.

    Args:
        jitter_ticks: Of the photons around the slot's centre; below 0: they are dark counts, which fall anywhere.
    """
    counters, words = np.empty(BATCH, np.uint64), np.empty(BATCH, np.uint64)
    unused = np.empty(BATCH, np.uint64)
    n, ready = 0, 0
    for one in happened:
        left, slot = one & 15, one >> 4
        detector = 0
        while left:
            if left & 1:
                if n >= ready:
                    for j in range(BATCH):
                        counters[j] = np.uint64(ready + j)
                    aes256(
                        simd,
                        keys.ctypes.data,
                        counters.ctypes.data,
                        stream,
                        words.ctypes.data,
                        unused.ctypes.data,
                        np.int64(BATCH),
                    )
                    ready += BATCH
                word = words[n % BATCH]
                if jitter_ticks < 0.0:
                    tick = np.int64(word >> np.uint64(64 - TICK_BITS))
                else:
                    tick = photon_tick(word, jitter_ticks)
                out[n] = ((slot << TICK_BITS) + tick) << 2 | detector
                n += 1
            left >>= 1
            detector += 1
    return n
