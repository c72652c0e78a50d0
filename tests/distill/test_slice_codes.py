"""Slices by LDPC codes with soft decisions: guesses corrected at what is left open, frames told whole, leak counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noclone.bits import word_count
from noclone.distill.slice_codes import BELIEF_MAX, SliceListener, SliceTeller, belief_unit, plan
from noclone.distill.slicing import add_slice, bins, guesses, pack_slice, put_in_bins
from noclone.errors import Aborted, ChannelError
from noclone.proofs.slices import slice_entropies
from noclone.protocols import GaussianModulation
from noclone.records import QUADRATURE_UNIT

N = 131_000
SEED = b"\x11" * 32
NOISE, SIGNAL = 1.05, 5.0  # variances
PROTOCOL = GaussianModulation(SIGNAL, "homodyne", 1.0, 0.05, True, 0.2, 105, 5, 3)


def values(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    x = (math.sqrt(SIGNAL) * random.standard_normal(n)).astype(np.float32)
    y = (x + math.sqrt(NOISE) * random.standard_normal(n)) / QUADRATURE_UNIT
    return x, np.floor(y + 0.5).astype(np.int16)


def entropies() -> tuple[float, ...]:
    return slice_entropies(SIGNAL + NOISE, NOISE, PROTOCOL.step * QUADRATURE_UNIT, PROTOCOL.slices)


def ends(number: int, entropy: float, most: int = 10**9) -> tuple[SliceTeller, SliceListener]:
    x, y = values()
    numbers = bins(y, PROTOCOL)
    params = plan(N, entropy, SEED, number, leak_bits_max=most)
    assert params is not None
    below = (numbers & (1 << number) - 1).astype(np.uint8)
    words, sure = guesses(x, below, number, PROTOCOL, 1.0, NOISE, belief_unit(params), BELIEF_MAX)
    return SliceTeller(pack_slice(numbers, number), N, params), SliceListener(words, N, params, sure)


def converse(teller: SliceTeller, listener: SliceListener) -> int:
    """Return how many bits crossed, headers aside."""
    message: bytes | None = teller.opening()
    crossed = 8 * (len(message) - 20)
    while (report := listener.next(message)) is not None:
        crossed += 8 * (len(report) - 20)
        message = teller.answer(report)
        crossed += 8 * (len(message) - (16 if message.startswith(b"LW") else 20))
    return crossed


@pytest.mark.parametrize("number", [3, 4])
def test_guesses_become_bobs_bits_for_little_more_than_they_leave_open(number: int) -> None:
    entropy = entropies()[number]
    teller, listener = ends(number, entropy)
    wrong = np.count_nonzero(np.bitwise_count(listener.words ^ teller._key))
    assert wrong > 10
    crossed = converse(teller, listener)
    assert np.array_equal(listener.words, teller._key)
    assert teller.leak_bits == listener.leak_bits
    assert abs(crossed - teller.leak_bits) < 8 * 12  # reports are whole bytes
    assert teller.leak_bits < N * max(1.25 * entropy, 0.07)


def test_frames_that_no_code_corrects_are_told_whole_and_counted() -> None:
    teller, listener = ends(3, 0.2)  # half of what it takes
    crossed = converse(teller, listener)
    assert np.array_equal(listener.words, teller._key)
    assert listener.failed_frames == listener.params.frames
    assert teller.leak_bits == listener.leak_bits > N
    assert abs(crossed - teller.leak_bits) < 8 * 12 + 64
    with pytest.raises(ChannelError):
        listener.next(b"")


def test_nothing_is_told_beyond_what_was_agreed() -> None:
    teller, listener = ends(3, 0.2, most=N // 2)
    with pytest.raises(Aborted, match="more than the agreed"):
        converse(teller, listener)
    assert teller.leak_bits <= N // 2


@pytest.mark.parametrize("spoil", [lambda m: m[:-8], lambda m: b"LW2!" + m[4:], lambda m: m[:4] + b"\x07" + m[5:]])
def test_whole_frames_are_checked(spoil) -> None:
    teller, listener = ends(3, 0.2)
    message = teller.opening()
    while (report := listener.next(message)) is not None:
        message = teller.answer(report)
        if message.startswith(b"LW"):
            with pytest.raises(ChannelError):
                listener.next(spoil(message))
            return
    raise AssertionError("no frame failed")


def test_a_report_with_something_behind_it_is_refused() -> None:
    teller, listener = ends(3, 0.2)
    message = teller.opening()
    while not listener._awaits_whole:
        report = listener.next(message)
        assert report is not None
        if not listener._awaits_whole:
            message = teller.answer(report)
    with pytest.raises(ChannelError, match="behind its end"):
        teller.answer(report + b"x")


def test_short_slices_have_no_code() -> None:
    assert plan(20_000, 0.4, SEED, 3, leak_bits_max=10**9) is None
    assert plan(N, 0.9, SEED, 3, leak_bits_max=10**9) is None


def test_bins_have_one_width_and_the_outermost_no_end() -> None:
    edge = np.array([-32767, -1601, -1600, -101, -100, -1, 0, 99, 100, 1499, 1500, 32767], np.int16)
    out = np.empty(len(edge), np.uint8)
    put_in_bins(edge, np.int64(100), np.int64(32), out)
    assert out.tolist() == [0, 0, 0, 14, 15, 15, 16, 16, 17, 30, 31, 31]


def test_slices_put_together_are_the_numbers() -> None:
    numbers = np.random.default_rng(1).integers(0, 32, 1001).astype(np.uint8)
    again = np.zeros(1001, np.uint8)
    for number in range(5):
        words = pack_slice(numbers, number)
        assert len(words) == word_count(1001)
        add_slice(again, number, words)
    assert np.array_equal(again, numbers)


def test_beliefs_are_what_they_say() -> None:
    """Of guesses with a belief, so many are wrong: a log-likelihood is calibrated, or the codes would need more."""
    x, y = values(400_000)
    numbers = bins(y, PROTOCOL)
    words, sure = guesses(x, numbers & 7, 3, PROTOCOL, 1.0, NOISE, 20.0, 120)
    wrong = np.unpackbits((words ^ pack_slice(numbers, 3)).view(np.uint8), count=len(x), bitorder="little")
    for low, high in ((0, 10), (10, 25), (25, 45), (45, 80)):
        some = (sure >= low) & (sure < high)
        expected = np.mean(1 / (1 + np.exp(sure[some] / 20.0)))
        found = wrong[some].mean()
        assert abs(found - expected) < 6 * math.sqrt(expected / some.sum()) + 0.007
