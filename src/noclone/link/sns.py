"""Twin-field QKD's station where the bit is whether one sends at all (SNS): the law of its clicks, and of phases.

In: `SnsStation`.  Out: Bob's events, the counts to expect. All pulses have random phases, so that which detector clicks
says nothing of the key, and the clicks' law averages over the phase. In the test basis each knows his pulse's phase by
slices: given what clicked, the difference of the two slices has a law of its own, exact for coherent pulses whose
phases are uniform within their slices, with Gaussian noise between the two. Alice's slice is a function of her seed;
Bob's is hers less that difference, which is the same as if both had been drawn before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from noclone import rng
from noclone.counts import Paired
from noclone.link.joint import CODES
from noclone.link.meeting import F64, I64, PHASES, UNIFORM, Meeting, Seeds, weights
from noclone.link.settings import SeededSettings, SendingSettings
from noclone.link.theory import ExpectedCounts
from noclone.link.twin import NODES
from noclone.protocols import PHASE_SLICES, SendOrNot, phases_fit, promised_detector
from noclone.records import U64, Basis, Detections

LEVELS = 3
DECOY = 1
NEVER = 3  # index of a class of its own: decoys at both ends whose phases do not fit
WITHIN = 8  # nodes of Gauss and Legendre's quadrature over a slice
SLICE_SHIFT = Detections.ARRIVAL_SHIFT + 2


@dataclass(frozen=True, slots=True)
class SnsStation(Meeting):
    """A link whose station announces which of two detectors clicked; the key is in who sent."""

    DIFFER: ClassVar[dict[int, tuple[bool, bool]]] = {0b01: (True, False), 0b10: (True, True)}
    DETECTORS: ClassVar[int] = 2

    def means(self) -> tuple[F64, F64]:
        """Return mean photon numbers and the phases' weights; see `Meeting.means`."""
        alice, bob = self._amplitudes()
        found = self._interfere(alice[:, None, None], bob[None, :, None], UNIFORM)
        return found, np.full((CODES, CODES, PHASES), 1 / PHASES)

    def _amplitudes(self) -> tuple[F64, F64]:
        """Return the amplitudes that reach the station, by code."""
        assert isinstance(self.protocol, SendOrNot)
        codes = np.arange(CODES)
        level, key = codes >> 2, codes >> 1 & 1 == Basis.KEY
        found = []
        sent = ((self.protocol.alice, self.protocol.key_alice), (self.protocol.bob, self.protocol.key_bob))
        for (sender, strong), transmittance in zip(sent, self.transmittances, strict=True):
            tested = np.array([*sender.intensities, 0.0])[level]
            found.append(np.sqrt(np.where(key, np.where(level == 0, strong, 0.0), tested) * transmittance))
        return found[0], found[1]

    def _interfere(self, a: F64, b: F64, phase: F64) -> F64:
        beat = 2 * self.visibility * a * b * np.cos(phase)
        total = a * a + b * b + np.zeros_like(beat)
        return np.asarray(np.stack([total + beat, total - beat], axis=-1) / 2 * np.array(self.receiver.efficiency))

    def by_slices(self) -> F64:
        """Return the probability that each set clicks, by intensities of the test basis and difference of slices.

        Indexed [Alice's intensity][Bob's][difference][set].
        """
        alice, bob = (one[[Basis.TEST << 1 | level << 2 for level in range(LEVELS)]] for one in self._amplitudes())
        width = 2 * np.pi / PHASE_SLICES
        nodes, shares = np.polynomial.legendre.leggauss(WITHIN)
        noise, likely = np.polynomial.hermite_e.hermegauss(NODES)
        # Either phase is uniform within its slice, and noise comes on top.
        apart = nodes[:, None, None] * width / 2 + nodes[None, :, None] * width / 2 + noise * self.phase_noise_rad
        weight = shares[:, None, None] / 2 * shares[None, :, None] / 2 * likely / likely.sum()
        phase = width * np.arange(PHASE_SLICES)[:, None] + apart.reshape(1, -1)
        means = self._interfere(alice[:, None, None, None], bob[None, :, None, None], phase)
        found = np.einsum("abdps,p->abds", self.sets(means), weight.reshape(-1))
        wrong = self.receiver.misalignment
        return np.asarray((1 - wrong) * found + wrong * np.roll(found, PHASE_SLICES // 2, axis=2))

    def events(self, happened: I64, first: int, seeds: Seeds) -> U64:
        """Return announcements as Bob keeps them: his bit in the key basis, which detector clicked in the test basis.

        See `Meeting.events`.
        """
        slots = (happened >> 16).astype(np.uint64) + np.uint64(first)
        sets = happened & 0xF
        alice, bob = SendingSettings(seeds.alice, self.protocol.alice), SeededSettings(seeds.bob, self.protocol.bob)
        codes = bob.at(slots).astype(np.int64)
        basis, level = codes >> 1 & 1, codes >> 2
        tested = np.flatnonzero(basis == Basis.TEST)
        hers = alice.at(slots[tested]).astype(np.int64)
        draws = rng.stream(seeds.light, f"slices-{first}").random(len(tested))
        here = np.where(hers >> 1 & 1 == Basis.TEST, hers >> 2 & 3, LEVELS) * LEVELS + level[tested]
        row = here * 2 + (sets[tested] >> 1)
        apart = np.minimum((draws[:, None] >= slice_limits(self)[row]).sum(axis=1), PHASE_SLICES - 1)
        value = np.where(level == 0, 0, 1)
        value[tested] = sets[tested] >> 1
        told = np.zeros(len(slots), np.int64)
        told[tested] = level[tested] | ((hers >> 4) - apart) % PHASE_SLICES << 2
        low = value | basis << 1 | sets << Detections.DETECTOR_SHIFT | told << Detections.ARRIVAL_SHIFT
        return np.asarray(slots << np.uint64(Detections.SLOT_SHIFT) | low.astype(np.uint64))


@lru_cache(maxsize=64)
def slice_limits(station: SnsStation) -> F64:
    """Return, for each row of intensities and detector, the cumulative law of the difference of slices.

    Where Alice does not test, his slice means nothing, and is anything.
    """
    given = station.by_slices()[:, :, :, [0b01, 0b10]].transpose(0, 1, 3, 2)
    rows = np.concatenate([given, np.ones((1, LEVELS, 2, PHASE_SLICES))]).reshape(-1, PHASE_SLICES)
    total = rows.sum(axis=1, keepdims=True)
    shares = np.where(total > 0, rows / np.where(total > 0, total, 1), 1 / PHASE_SLICES)
    return np.asarray(np.cumsum(shares, axis=1)[:, :-1])


def expected_sns_counts(station: SnsStation, n_slots: int) -> ExpectedCounts:
    """Return the counts that a block of `n_slots` gives on average: exact, but for dead time, and for who is fewer.

    Pairs are as many as the fewer of Bob's zeros and ones on average; the fewer of two counts is a little fewer.
    """
    protocol = station.protocol
    assert isinstance(protocol, SendOrNot)
    sent = weights(protocol.alice)[:, None] * weights(protocol.bob)[None, :]
    clicks = station.table()[:, :, [0b01, 0b10]].sum(axis=2) * sent
    codes = np.arange(CODES)
    key, sends = codes >> 1 & 1 == Basis.KEY, codes >> 2 == 0
    # By Bob's bit, who has 0 where he sends: right if she does the other thing.
    right, wrong = np.zeros(2), np.zeros(2)
    for bit, his in enumerate((key & sends, key & ~sends)):
        right[bit], wrong[bit] = (
            clicks[np.ix_(key & hers, his)].sum() for hers in (sends == bool(bit), sends != bool(bit))
        )
    n_test, m_test = _tested(station)
    raw = n_slots * (right + wrong)
    kept, errors, paired = float(raw.sum()), n_slots * float(wrong.sum()), None
    if protocol.pairing == "aopp":
        paired = Paired(kept, float(raw.min()))
        both = [paired.pairs * float(np.prod(n_slots * x / raw)) for x in (right, wrong)]
        kept, errors = sum(both), both[1]
    rest = (0.0,) * (protocol.levels * protocol.peer_levels - 1)
    return ExpectedCounts(
        n_slots,
        (kept, *rest),
        tuple(n_slots * float(x) for x in n_test.reshape(-1)),
        (errors, *rest),
        tuple(n_slots * float(x) for x in m_test.reshape(-1)),
        float(clicks.sum()) * station.clock_hz,
        paired=paired,
    )


def _tested(station: SnsStation) -> tuple[F64, F64]:
    """Return how often each class of the test basis is announced, and with the other detector than phases promise."""
    protocol = station.protocol
    chosen = [np.array(sender.probabilities) * (1 - sender.p_key) for sender in (protocol.alice, protocol.bob)]
    sent = chosen[0][:, None, None, None] * chosen[1][None, :, None, None] / PHASE_SLICES
    by_slices = station.by_slices()[:, :, :, [0b01, 0b10]] * sent
    apart = np.arange(PHASE_SLICES)
    promised = promised_detector(apart)
    wrong = by_slices[:, :, apart, 1 - promised]
    every = by_slices.sum(axis=3)
    fits = phases_fit(apart)
    found = []
    for part in (every, wrong):
        classes = np.zeros((LEVELS + 1, LEVELS))
        classes[:LEVELS] = part.sum(axis=2)
        classes[DECOY, DECOY] = part[DECOY, DECOY, fits].sum()
        classes[NEVER, DECOY] = part[DECOY, DECOY, ~fits].sum()
        found.append(classes)
    return found[0], found[1]
