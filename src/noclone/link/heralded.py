"""Light that repeaters deliver: pairs of memories at two far ends, and what each end reads from its own.

In: a chain of repeaters, or a link on a clock; seeds.  Out: both ends' events, slot by slot, or how many to expect.

A slot is a tick of the chain's clock. In most nothing comes; where a pair does, both ends measure their memories, each
in a basis of its own choice, and each gets a value: a memory always answers. The engine says when pairs come and what
is left of each; outcomes agree by its correlations, which are all that a Bell-diagonal pair has. So what repeaters did
to it, honest or not, is in the error rates, and in nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from noclone import rng
from noclone.link.aes import aes256_keys
from noclone.link.aes_simd import AES
from noclone.link.choices import alice_codes, basis_limits
from noclone.link.light import physics_key
from noclone.link.pairs import basis_choices
from noclone.link.theory import ExpectedCounts
from noclone.protocols import EntangledPairs
from noclone.records import MAX_SLOTS, U8, U64, Detections
from noclone.repeater.chain import Chain, Running
from noclone.repeater.clocked import Clocked
from noclone.repeater.expected import ExpectedPairs, expected_pairs

F64 = NDArray[np.float64]

NS = 1_000_000_000
LONGEST_TICK_NS = 1000
FIRST, MOST = 1 << 10, 1 << 16  # pairs worked out at a time
NO_CHOICE = basis_limits(1 << 32)
CHSH_SIGNS = np.array([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2.0)  # by Bob's further basis and Alice's


@dataclass(frozen=True)
class HeraldedPairs:
    """A link whose two ends measure memories that repeaters entangle.

    Args:
        source: What delivers the pairs.
        length_km, loss_db: Of all fibre between the ends.
        readout_error: How often an end reads its memory wrongly, either end alike.
    """

    source: Chain | Clocked
    protocol: EntangledPairs
    length_km: float
    loss_db: float
    readout_error: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.readout_error <= 0.5:
            raise ValueError(f"readout_error must lie between 0 and 0.5, and is {self.readout_error!r}")

    @cached_property
    def tick_ns(self) -> int:
        """Length of a slot: no longer than an attempt at either end, so that no two pairs share one."""
        if isinstance(self.source, Clocked):
            return round(self.source.period_s * NS)
        attempts = (link.attempt_s for link in (self.source.links[0], self.source.links[-1]))
        return max(1, min(LONGEST_TICK_NS, *(round(one * NS) for one in attempts)))

    @property
    def clock_hz(self) -> float:
        """Slots per second."""
        return NS / self.tick_ns

    @property
    def expected(self) -> ExpectedPairs:
        """What the source delivers on average."""
        return expected_pairs(self.source)

    @property
    def kept(self) -> float:
        """What two readings leave of a correlation."""
        return (1 - 2 * self.readout_error) ** 2

    def handed_over(self, _slots: U64, correlations: F64, _eve: U64) -> F64:
        """Return x, y, z of the pairs that the two ends get: those that the repeaters made."""
        return correlations

    def notes(self, slots: U64, _values: U8, _eve: U64) -> NDArray[np.int64]:
        """Return what somebody between the ends read of Alice's values: nothing."""
        return np.zeros(len(slots), np.int64)


def expected_heralded_counts(light: HeraldedPairs, n_slots: int) -> ExpectedCounts:
    """Return the counts that a block of `n_slots` gives on average."""
    found, protocol = light.expected, light.protocol
    pairs = n_slots / light.clock_hz * found.rate_hz
    sifted = pairs * (1 - protocol.p_chsh)
    n_key = sifted * protocol.p_key_alice * protocol.p_key_bob
    n_test = sifted * (1 - protocol.p_key_alice) * (1 - protocol.p_key_bob)
    m_key, m_test = (
        n * (1 - correlation * light.kept) / 2 for n, correlation in ((n_key, found.pair.z), (n_test, found.pair.x))
    )
    return ExpectedCounts(n_slots, (n_key,), (n_test,), (m_key,), (m_test,), found.rate_hz)


def expected_heralded_chsh(light: HeraldedPairs) -> float:
    """Return the CHSH value that Bob's further bases show on average: each correlation counts twice, over sqrt 2."""
    pair = light.expected.pair
    return math.sqrt(2.0) * light.kept * (pair.x + pair.z)


def transmit_heralded(
    light: HeraldedPairs, *, alice_seed: bytes, physics_seed: bytes, n_slots: int, link: str, block: int
) -> Iterator[tuple[U64, U64]]:
    """Yield both ends' events of one block in order of slots, a bounded number at a time; see `records.Detections`.

    The chain is empty when a block begins.

    Args:
        alice_seed: Her choices of a basis, for this block and no other.
        physics_seed: Everything else that is random; link and block are mixed in here.
    """
    if not 0 < n_slots <= MAX_SLOTS:
        raise ValueError(f"n_slots must lie between 1 and {MAX_SLOTS}, and is {n_slots}")
    bob, nature, eve = (aes256_keys(physics_key(physics_seed, link, block, part)) for part in ("bob", "light", "eve"))
    keys = (aes256_keys(alice_seed), bob, nature)
    limits = basis_choices(light.protocol)
    random = rng.stream(physics_seed, f"{link}/block-{block}/memories")
    for slots, made in _delivered(light, n_slots, rng.derive(physics_seed, f"{link}/block-{block}/chain")):
        correlations = light.handed_over(slots, made, eve)
        alices, bobs, drawn = (
            drawn_codes(key, slots, limit) for key, limit in zip(keys, (*limits, NO_CHOICE), strict=True)
        )
        further = bobs >> 2 > 0
        basis_a, basis_b = alices >> 1 & 1, bobs >> 1 & 1
        both = np.where(basis_a == 0, correlations[:, 2], correlations[:, 0])
        chsh = both * CHSH_SIGNS[bobs & 1, basis_a]
        agree = np.where(further, chsh, np.where(basis_a == basis_b, both, 0.0)) * light.kept
        values_a = (drawn & 1).astype(np.uint8)
        values_b = values_a ^ (random.random(len(slots)) < (1 - agree) / 2)
        told_b = np.where(further, Detections.CHSH | (bobs & 1) << 1, basis_b << 1).astype(np.uint8)
        yield _events(slots, values_a, (basis_a << 1).astype(np.uint8)), _events(slots, values_b, told_b)


def _delivered(light: HeraldedPairs, n_slots: int, seed: bytes) -> Iterator[tuple[U64, F64]]:
    """Yield the slots in which pairs come, and x, y, z of each."""
    if isinstance(light.source, Clocked):
        random = rng.stream(seed, "clocked")
        for first in range(0, n_slots, MOST):
            slots = np.arange(first, min(first + MOST, n_slots), dtype=np.uint64)
            yield slots, light.source.sample(len(slots), random)
        return
    running, wanted, at_ns = Running(light.source, seed), FIRST, 0
    end_ns = n_slots * light.tick_ns
    while at_ns < end_ns:
        found = running.request(wanted)
        times = at_ns + np.cumsum(np.rint(found.waited_s * NS).astype(np.int64))
        there = int(np.searchsorted(times, end_ns))
        yield (times[:there] // light.tick_ns).astype(np.uint64), found.correlations[:there]
        at_ns = int(times[-1])
        left = (end_ns - at_ns) / (found.mean_s * NS)
        wanted = int(min(MOST, max(FIRST, left)))


def notes_between(light: HeraldedPairs, slots: U64, physics_seed: bytes, link: str, block: int) -> NDArray[np.int64]:
    """Return what somebody between the ends read of the pairs in these slots, worked out again from the seeds."""
    nature, eve = (aes256_keys(physics_key(physics_seed, link, block, part)) for part in ("light", "eve"))
    return light.notes(slots, (drawn_codes(nature, slots, NO_CHOICE) & 1).astype(np.uint8), eve)


def drawn_codes(keys: U64, slots: U64, limits: NDArray[np.int64]) -> U8:
    """Return what a key chooses in each slot; see `choices.setting`."""
    codes = np.empty(len(slots), np.uint8)
    alice_codes(AES, keys, slots, limits, codes)
    return codes


def _events(slots: U64, values: U8, told: U8) -> U64:
    detector = np.left_shift(1, Detections.DETECTOR_SHIFT + values.astype(np.uint64))
    return slots << np.uint64(Detections.SLOT_SHIFT) | detector.astype(np.uint64) | told | values
