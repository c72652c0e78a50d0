"""What stands in place of sifting where values are Gaussian: from quadratures to the same bits at both ends.

In: Alice's `Amplitudes`, Bob's `Detections`.  Out: packed bits, which then are confirmed and amplified as all others
are (`parties`).

    Bob                                      Alice
    ANNOUNCE   quadratures measured    ->            (heterodyne: nothing)
                                       <-   SIFT     seed: which slots are told
    TEST       their values            ->
                                       <-   COUNTS   moments, wrong signs, seed for codes, entropies of slices
    SLICES     the lowest slices       ->
    ANSWER     syndromes               ->            then slice after slice, each once those below it are known
                                       <-   QUERY    frames that failed (a few times)
                                       <-   RECONCILED  leak so far

Reconciliation is reverse and one-way: Bob's bits are the key, Alice corrects her guesses at them. Each bit that crosses
is counted once, from either side. Of slices that leave nothing open nothing is told: confirmation finds a wrong guess.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from noclone.bits import Words, word_count
from noclone.counts import Counts, Moments
from noclone.distill.ldpc import LdpcParameters
from noclone.distill.messages import Kind, Misbehaved, Steps
from noclone.distill.side import Side, conduct
from noclone.distill.slice_codes import BELIEF_MAX, SliceListener, SliceTeller, belief_unit, plan
from noclone.distill.slicing import add_slice, alices_values, bins, bobs_values, guesses, pack_bases, pack_slice
from noclone.errors import Aborted
from noclone.proofs.gaussian_key import expected_slices
from noclone.proofs.slices import NOTHING
from noclone.protocols import GaussianModulation
from noclone.records import F32, I16, QUADRATURE_MAX, QUADRATURE_UNIT, U8, Amplitudes, Detections

SEED_BYTES = 32
SUMS = struct.Struct(f">3dQ{SEED_BYTES}s")  # moments, wrong signs, seed
NUMBER = struct.Struct(">Q")
Entropy = Callable[[int], bytes]


def alices_bits(side: Side, amplitudes: Amplitudes, entropy: Entropy) -> Steps[tuple[Words, int]]:
    """Return Alice's copy of Bob's bits, and how many they are."""
    protocol, n_slots, talk = _protocol(side), side.job.n_slots, side.talk
    size = (n_slots + 7) // 8 if protocol.values == 1 else 0
    _, data = yield from talk.receive(Kind.ANNOUNCE, bytes_max=size)
    if len(data) != size:
        raise Misbehaved("the peer does not name one quadrature for each slot")
    seed = entropy(SEED_BYTES)
    yield from talk.send(Kind.SIFT, seed)
    x, x_told = alices_values(amplitudes, np.frombuffer(data, np.uint8) if size else None, protocol, n_slots, seed)
    side.statistics.detections = len(x) + len(x_told)
    side.statistics.stage = "sifting"
    _, data = yield from talk.receive(Kind.TEST, bytes_max=2 * len(x_told))
    if len(data) != 2 * len(x_told):
        raise Misbehaved(f"the peer told {len(data) // 2} values of {len(x_told)}")
    told = np.frombuffer(data, "<i2").astype(np.int16)
    refuse_saturation(told)
    y = told * QUADRATURE_UNIT
    amplitude = x_told.astype(float)
    moments = Moments(float(amplitude @ amplitude), float(amplitude @ y), _square_sum(told))
    wrong = int(np.count_nonzero((amplitude < 0) != (told < 0)))
    side.estimated(_counts(side, len(x), len(told), wrong, moments))
    seed = entropy(SEED_BYTES)
    entropies = tuple(min(max(one, 0.0), 1.0) for one in expected_slices(protocol, moments, len(told)))
    sums = SUMS.pack(moments.xx, moments.xy, moments.yy, wrong, seed)
    yield from talk.send(Kind.COUNTS, sums, struct.pack(f">{protocol.slices}d", *entropies))
    return (yield from _correct(side, x, moments, len(told), _Ledger(side, len(x), entropies, seed)))


def _correct(side: Side, x: F32, moments: Moments, n_told: int, ledger: _Ledger) -> Steps[tuple[Words, int]]:
    """Take the lowest slices as told, then correct guesses at the others, one after the other."""
    protocol, talk = _protocol(side), side.talk
    _, data = yield from talk.receive(Kind.SLICES, bytes_max=protocol.told * _slice_bytes(len(x)))
    numbers = _read_slices(data, protocol, len(x))
    gain = moments.xy / moments.xx
    noise = (moments.yy - moments.xy * gain) / n_told
    found = []
    for number in range(protocol.told, protocol.slices):
        params = ledger.plan(number)
        unit = 0.0 if params is None else belief_unit(params)
        words, sure = guesses(x, numbers, number, protocol, gain, noise, unit, BELIEF_MAX)
        if params is None:
            found.append(words)
            add_slice(numbers, number, words)
            continue
        listener = SliceListener(words, len(x), params, sure)
        while True:
            _, reply = yield from talk.receive(Kind.ANSWER, bytes_max=(1 << 20) + 2 * len(x))
            report = conduct(listener.next, reply)
            if report is None:
                break
            yield from talk.send(Kind.QUERY, report)
        ledger.add(listener)
        yield from talk.send(Kind.RECONCILED, NUMBER.pack(ledger.leak_bits))
        add_slice(numbers, number, listener.words)
        found.append(listener.words)
    side.reconciled(ledger.leak_bits, ledger.rounds)
    return _together(found)


def bobs_bits(side: Side, detections: Detections) -> Steps[tuple[Words, int]]:
    """Return Bob's bits, and how many they are."""
    protocol, n_slots, talk = _protocol(side), side.job.n_slots, side.talk
    raw = detections.quadratures
    if len(raw) < n_slots * protocol.values:
        raise Aborted("too-few-detections", f"{len(raw)} values came of {n_slots} slots", hint="is there light at all?")
    refuse_saturation(raw >> 1)
    yield from talk.send(Kind.ANNOUNCE, pack_bases(raw, n_slots) if protocol.values == 1 else b"")
    _, seed = yield from talk.receive(Kind.SIFT, bytes_max=SEED_BYTES)
    if len(seed) != SEED_BYTES:
        raise Misbehaved("the peer's seed is truncated")
    values, told = bobs_values(raw, protocol, n_slots, seed)
    side.statistics.detections = len(values) + len(told)
    side.statistics.stage = "sifting"
    yield from talk.send(Kind.TEST, told.astype("<i2").tobytes())
    size = SUMS.size + 8 * protocol.slices
    _, data = yield from talk.receive(Kind.COUNTS, bytes_max=size)
    if len(data) != size:
        raise Misbehaved("the peer's sums are truncated")
    xx, xy, yy, wrong, seed = SUMS.unpack_from(data)
    entropies = struct.unpack_from(f">{protocol.slices}d", data, SUMS.size)
    if yy != _square_sum(told) or not _plausible(xx, xy, yy, len(told), protocol.variance) or wrong > len(told):
        raise Misbehaved("the peer's sums are not those of what was told")
    if not all(0 <= entropy <= 1 for entropy in entropies):  # not so for NaN
        raise Misbehaved("the peer names slices that leave less than nothing open, or more than a bit")
    moments = Moments(xx, xy, yy)
    side.estimated(_counts(side, len(values), len(told), wrong, moments))
    return (yield from _tell(side, bins(values, protocol), _Ledger(side, len(values), entropies, seed)))


def _tell(side: Side, numbers: U8, ledger: _Ledger) -> Steps[tuple[Words, int]]:
    """Tell the lowest slices as they are, and syndromes of the others until Alice asks no more."""
    protocol, talk, n = _protocol(side), side.talk, len(numbers)
    rows = [pack_slice(numbers, number) for number in range(protocol.slices)]
    lowest = [row.astype("<u8", copy=False).view(np.uint8)[: _slice_bytes(n)].data for row in rows[: protocol.told]]
    yield from talk.send(Kind.SLICES, *lowest)
    for number in range(protocol.told, protocol.slices):
        params = ledger.plan(number)
        if params is None:
            continue
        teller = SliceTeller(rows[number], n, params)
        yield from talk.send(Kind.ANSWER, teller.opening())
        while True:
            kind, data = yield from talk.receive(Kind.QUERY, Kind.RECONCILED, bytes_max=(1 << 16) + n)
            if kind is Kind.RECONCILED:
                break
            yield from talk.send(Kind.ANSWER, conduct(teller.answer, data))
        ledger.add(teller)
        if data != NUMBER.pack(ledger.leak_bits):
            raise Misbehaved("the two ends do not count the same leak")
    side.reconciled(ledger.leak_bits, ledger.rounds)
    return _together(rows[protocol.told :])


class _Ledger:
    """What both ends keep while slices are reconciled: the leak, its limit, and what each slice should take."""

    def __init__(self, side: Side, n: int, entropies: tuple[float, ...], seed: bytes) -> None:
        protocol = _protocol(side)
        self.leak_bits = protocol.told * n
        self.rounds = 0
        self._n, self._seed = n, seed
        self._most = side.job.agreement.leak_bits_max
        self._entropies = entropies
        if self.leak_bits > self._most:
            raise Aborted("leak-above-agreed", f"slices of {n} values are more than the agreed {self._most} bits")

    def plan(self, number: int) -> LdpcParameters | None:
        """Return the codes of one slice; None where guesses do without."""
        if self._entropies[number] < NOTHING:
            return None
        left = self._most - self.leak_bits
        params = plan(self._n, self._entropies[number], self._seed, number, leak_bits_max=left)
        if params is None:
            raise Aborted(
                "reconciliation-failed",
                f"no code fits slice {number} of {self._n} values: {self._entropies[number]:.3f} bits of each are open",
                hint="use longer blocks (32,768 values at least), or tell one more slice as it is",
            )
        return params

    def add(self, party: SliceTeller | SliceListener) -> None:
        """Count what one slice took."""
        self.leak_bits += party.leak_bits
        self.rounds += 1 + party.rounds


def refuse_saturation(values: I16) -> None:
    """Give a block up in which a value lies at the end of the converter's range.

    The proof is for Gaussian values. Who displaces the light until the detector saturates hides noise by it (Qin,
    Kumar, Alleaume, Phys. Rev. A 94, 012325 (2016)); an honest value gets there in 3 of 10^12.

    Raises:
        Aborted: There is one.
    """
    if len(values) and int(np.abs(values.astype(np.int32)).max()) >= QUADRATURE_MAX:
        raise Aborted(
            "no-secret-key",
            "Bob's detector is saturated: its values end where the converter does, and say nothing of the noise",
            hint="look for an eavesdropper who displaces the light, or for a fault",
        )


def _plausible(xx: float, xy: float, yy: float, count: int, variance: float) -> bool:
    """Return whether such sums can be: of amplitudes as they are modulated, within a factor, and of noisy values."""
    return 0.25 * variance * count < xx < 4.0 * variance * count and xy * xy < xx * yy


def _protocol(side: Side) -> GaussianModulation:
    assert isinstance(side.job.protocol, GaussianModulation)
    return side.job.protocol


def _counts(side: Side, n_key: int, n_told: int, wrong: int, moments: Moments) -> Counts:
    return Counts(side.job.n_slots, (n_key,), (n_told,), (wrong,), moments=moments)


def _square_sum(told: I16) -> float:
    """Return the sum of squares, exactly: both ends must have the same."""
    wide = told.astype(np.int64)
    return float(int(wide @ wide)) * QUADRATURE_UNIT**2


def _slice_bytes(n: int) -> int:
    return (n + 7) // 8


def _read_slices(data: bytes, protocol: GaussianModulation, n: int) -> U8:
    """Return the numbers of all bins, as far as they were told."""
    size = _slice_bytes(n)
    if len(data) != protocol.told * size:
        raise Misbehaved("the slices that the peer tells are truncated")
    numbers = np.zeros(n, np.uint8)
    for number in range(protocol.told):
        row = np.zeros(8 * word_count(n), np.uint8)
        row[:size] = np.frombuffer(data, np.uint8, size, number * size)
        add_slice(numbers, number, row.view("<u8"))
    return numbers


def _together(slices: list[Words]) -> tuple[Words, int]:
    """Return slices one behind the other, each with the zeros that fill its last word: they are nobody's secret."""
    words: Words = np.concatenate(slices)
    return words, 64 * len(words)
