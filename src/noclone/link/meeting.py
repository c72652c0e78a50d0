"""Light of two senders that meets in a station between them, whatever it announces: what its protocols have alike.

In: a `Meeting` (`station`: MDI-QKD, `twin`: twin-field, `sns`: sending or not sending) and seeds.  Out: Bob's record
of the slots that the station announced, with what he had sent there; or the counts to expect. Coherent pulses: given
the phase between the two, detectors click independently; the law averages over whatever of the phase is random.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from noclone.link.aes import aes256_keys
from noclone.link.devices import Clocked, Fibre, Receiver
from noclone.link.joint import CODES, JointLaw, JointSampler
from noclone.link.light import physics_key
from noclone.link.segments import Crew, Lengths, segment_length
from noclone.link.settings import SeededSettings, setting_limits
from noclone.link.theory import ExpectedCounts
from noclone.protocols import DecoyMdi, Sender, SendOrNot, TwinField
from noclone.records import MAX_SLOTS, U64, Basis, Detections

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

PHASES = 64  # the average over a random phase is that of a smooth periodic function: exact to rounding
ROWS = np.arange(CODES * CODES).reshape(CODES, CODES)  # of a law: Alice's code and Bob's
UNIFORM = 2 * np.pi * np.arange(PHASES) / PHASES


@dataclass(frozen=True, slots=True)
class Seeds:
    """What a block's light is drawn from: both ends' choices and the rest."""

    alice: bytes
    bob: bytes
    light: bytes

    @classmethod
    def of(cls, alice_seed: bytes, physics_seed: bytes, link: str, block: int) -> Seeds:
        """Return those of one block."""
        return cls(alice_seed, *(physics_key(physics_seed, link, block, part) for part in ("bob", "light")))


@dataclass(frozen=True, slots=True)
class Meeting(ABC):
    """Everything that the light meets on one link with a station between its ends.

    Args:
        fibre_alice, fibre: From either end to the station.
        receiver: The station's detectors. Its misalignment is how often a sender's pulse arrives as the other value of
            its basis. Dead time enters as the share of time that a detector is alive, not click by click.
        visibility: How well the two pulses overlap: 1 for alike ones.
        phase_noise_rad: Standard deviation of the phase between the two, where the protocol needs it.
    """

    # What is announced: for each set of detectors, whether values differ in the key basis, and in the test basis.
    DIFFER: ClassVar[dict[int, tuple[bool, bool]]] = {}
    DETECTORS: ClassVar[int] = 0

    clock_hz: float
    fibre_alice: Fibre
    fibre: Fibre
    receiver: Receiver
    protocol: DecoyMdi | TwinField | SendOrNot
    visibility: float = 1.0
    phase_noise_rad: float = 0.0

    def __post_init__(self) -> None:
        if self.receiver.detectors != self.DETECTORS:
            raise ValueError(f"a station for {self.protocol.NAME} has {self.DETECTORS} detectors")
        if not 0.0 <= self.visibility <= 1.0:
            raise ValueError(f"visibility must be between 0 and 1, and is {self.visibility!r}")
        if not 0.0 <= self.phase_noise_rad <= math.pi:
            raise ValueError(f"phase_noise_rad must be between 0 and pi, and is {self.phase_noise_rad!r}")
        assert self.clocked  # refuses what does not fit the clock

    @property
    def clocked(self) -> Clocked:
        """The station's receiver beside the clock."""
        return Clocked(self.receiver, self.clock_hz)

    @property
    def loss_db(self) -> float:
        """Loss of both arms together."""
        return self.fibre_alice.loss_db + self.fibre.loss_db

    @property
    def transmittances(self) -> tuple[float, float]:
        """Of Alice's arm and Bob's, the station's optics included."""
        alice, bob = (10 ** (-(f.loss_db + self.receiver.loss_db) / 10) for f in (self.fibre_alice, self.fibre))
        return alice, bob

    @abstractmethod
    def means(self) -> tuple[F64, F64]:
        """Return the mean photon numbers that detectors would count, and the weights of the phases.

        Both are indexed [Alice's code][Bob's][phase], the first by detector as well.
        """

    def table(self) -> F64:
        """Return the probability of each set of detectors, indexed [Alice's code][Bob's code][set]."""
        means, phases = self.means()
        given_phase = self.sets(means)
        sets = np.asarray(np.einsum("abp,abps->abs", phases, given_phase))
        wrong = self.receiver.misalignment
        return np.asarray((1 - wrong) * sets + wrong * sets[:, np.arange(CODES) ^ 1, :])  # the other value of Bob's

    def sets(self, means: F64) -> F64:
        """Return the probability of each set of detectors, given what each would count (the last axis of `means`)."""
        clocked = self.clocked
        dark = np.array(self.receiver.dark_count_hz) / self.clock_hz
        usual, phases = self.means()
        sent = weights(self.protocol.alice)[:, None] * weights(self.protocol.bob)[None, :]
        rates = np.einsum("ab,abp,abpd->d", sent, phases, -np.expm1(-(usual + dark)))
        more = 1 / (1 - self.receiver.afterpulse_probability)
        alive = 1 / (1 + rates * more * max(0.0, math.ceil(clocked.dead_time_periods - 1e-9) - 1.0))
        stray = (dark + rates * (more - 1)) * clocked.gate_fraction
        click = -np.expm1(-(means * clocked.in_gate + stray)) * alive
        found = np.empty((*means.shape[:-1], 1 << self.DETECTORS))
        for one in range(1 << self.DETECTORS):
            inside = np.array([one >> d & 1 for d in range(self.DETECTORS)], bool)
            found[..., one] = np.where(inside, click, 1 - click).prod(axis=-1)
        return found

    def events(self, happened: I64, first: int, seeds: Seeds) -> U64:
        """Return announcements as Bob keeps them.

        Args:
            happened: `(slot in the segment) << 16 | set of detectors`.
            first: The segment's first slot.
        """
        return bobs_events(self, happened, first, SeededSettings(seeds.bob, self.protocol.bob))

    def announced(self) -> F64:
        """Return the probability of each set of detectors that is announced; indexed as `table` is."""
        table = self.table()
        kept = sorted(self.DIFFER)
        announced = np.zeros_like(table)
        announced[:, :, kept] = table[:, :, kept]
        return announced

    def law(self) -> JointLaw:
        """Return the law of what the station announces."""
        return JointLaw.of(ROWS, self.announced().reshape(CODES * CODES, -1))


def strengths(intensities: tuple[float, ...], transmittance: float) -> F64:
    """Return the amplitude that reaches the station, by code."""
    strong = np.zeros(4)
    strong[: len(intensities)] = np.sqrt(np.array(intensities) * transmittance)
    return np.asarray(strong[np.arange(CODES) >> 2])


def weights(sender: Sender) -> F64:
    """Return how often a sender chooses each code."""
    limits = setting_limits(sender) / 2**32
    levels = np.diff(np.concatenate([[0.0], limits[:3], [1.0]]))
    codes = np.arange(CODES)
    return np.asarray(levels[codes >> 2] * np.array([limits[3], 1 - limits[3]])[codes >> 1 & 1] / 2)


def station_sampler(
    devices: Meeting, alice_seed: bytes, physics_seed: bytes, link: str, block: int, segment_slots: int | None = None
) -> JointSampler:
    """Return what tells of each segment of a block what is announced; see `transmit_to_station`."""
    law, protocol = devices.law(), devices.protocol
    seeds = Seeds.of(alice_seed, physics_seed, link, block)
    keys = np.stack([aes256_keys(key) for key in (seeds.alice, seeds.bob, seeds.light)])
    choosers = np.stack([setting_limits(protocol.alice), setting_limits(protocol.bob)])
    return JointSampler(law, keys, choosers, segment_slots or segment_length(law.p_max))


def transmit_to_station(
    devices: Meeting,
    *,
    alice_seed: bytes,
    physics_seed: bytes,
    n_slots: int,
    link: str,
    block: int,
    threads: int = 2,
    segment_slots: int | None = None,
) -> Iterator[U64]:
    """Yield Bob's events of one block: announced slots, with what he sent there, made comparable with Alice's bits.

    His value is flipped where the announcement says that the two differ.

    Args:
        alice_seed: The seed of her `SeededSettings` for this block, and for no other.
        physics_seed: Everything else that is random, Bob's choices too; link and block are mixed in here.
        threads: How many segments are worked out side by side; the result does not depend on it.
        segment_slots: Length of a segment, for tests; chosen from the devices if None.
    """
    if not 0 < n_slots <= MAX_SLOTS:
        raise ValueError(f"n_slots must lie between 1 and {MAX_SLOTS}, and is {n_slots}")
    sampler = station_sampler(devices, alice_seed, physics_seed, link, block, segment_slots)
    seeds, length = Seeds.of(alice_seed, physics_seed, link, block), sampler.length
    with Crew(threads) as crew:
        for segment, happened in enumerate(crew.in_order(sampler, Lengths(n_slots, length))):
            yield devices.events(happened, segment * length, seeds)


def bobs_events(devices: Meeting, happened: I64, first: int, settings: SeededSettings) -> U64:
    """Return announcements as Bob keeps them."""
    slots = (happened >> 16).astype(np.uint64) + np.uint64(first)
    sets = happened & 0xF
    codes = settings.at(slots).astype(np.int64)
    basis, level = codes >> 1 & 1, codes >> 2
    differ = np.zeros((2, 16), np.int64)
    for one, differs in devices.DIFFER.items():
        differ[:, one] = differs
    value = codes & 1 ^ differ[basis, sets]
    low = value | basis << 1 | sets << Detections.DETECTOR_SHIFT | level << Detections.ARRIVAL_SHIFT
    return np.asarray(slots << np.uint64(Detections.SLOT_SHIFT) | low.astype(np.uint64))


def expected_station_counts(devices: Meeting, n_slots: int) -> ExpectedCounts:
    """Return the counts that a block of `n_slots` gives on average: exact, but for dead time."""
    protocol = devices.protocol
    table = devices.table() * weights(protocol.alice)[:, None, None] * weights(protocol.bob)[None, :, None]
    shape = (protocol.levels, protocol.peer_levels)
    counts, wrong, total = np.zeros((2, *shape)), np.zeros((2, *shape)), 0.0
    for one, differs in devices.DIFFER.items():
        total += float(table[:, :, one].sum())
        # A code is intensity, basis, value: [level][basis][value], first Alice's, then Bob's.
        cells = table[:, :, one].reshape(4, 2, 2, 4, 2, 2)[: shape[0], :, :, : shape[1]]
        for basis in Basis:
            here = cells[:, basis, :, :, basis, :]
            counts[basis] += np.einsum("ivjw->ij", here)
            wrong[basis] += np.einsum("ivjw,vw->ij", here, np.eye(2) if differs[basis] else 1 - np.eye(2))

    def row(of: F64) -> tuple[float, ...]:
        return tuple(n_slots * float(x) for x in of.reshape(-1))

    return ExpectedCounts(
        n_slots, row(counts[0]), row(counts[1]), row(wrong[0]), row(wrong[1]), total * devices.clock_hz
    )
