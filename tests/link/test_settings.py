"""Alice's choices: a function of seed and slot, with the promised probabilities, at any slot number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from noclone.link.settings import SeededSettings, setting_limits, share_of_32_bits
from noclone.records import MAX_SLOTS, DecoyBB84

PROTOCOL = DecoyBB84((0.5, 0.1, 0.002), (0.7, 0.2, 0.1), 0.8, 0.7)


def twin(seed: bytes, protocol: DecoyBB84, slot: int) -> int:
    cipher = Cipher(algorithms.AES(seed), modes.ECB()).encryptor()
    block = int.from_bytes(cipher.update(slot.to_bytes(16, "little")), "little")
    brightness, basis, value = block >> 32 & 0xFFFFFFFF, block & 0xFFFFFFFF, block >> 64 & 1
    cumulative = [round(sum(protocol.probabilities[: i + 1]) * 2**32) for i in range(len(protocol.intensities) - 1)]
    intensity = sum(brightness >= limit for limit in cumulative)
    return intensity << 2 | (basis >= round(protocol.p_key_alice * 2**32)) << 1 | value


@pytest.mark.parametrize("n", [1, 255, 256, 257, 600])
@pytest.mark.parametrize("first", [0, 2**40 - 7, MAX_SLOTS - 600])
def test_agrees_with_the_twin_wherever_the_slot(make_seed, first, n):
    seed = make_seed("alice")
    slots = np.arange(first, first + n, dtype=np.uint64)
    codes = SeededSettings(seed, PROTOCOL).at(slots)
    assert codes.tolist() == [twin(seed, PROTOCOL, int(slot)) for slot in slots]


def test_the_order_of_asking_does_not_matter(make_seed):
    settings = SeededSettings(make_seed("alice"), PROTOCOL)
    slots = np.random.default_rng(2).integers(0, 2**40, 1000, dtype=np.uint64)
    order = np.random.default_rng(3).permutation(1000)
    assert np.array_equal(settings.at(slots)[order], settings.at(slots[order]))
    assert settings.at(slots[:0]).shape == (0,)


def test_probabilities(make_seed, allowed):
    n = 1_000_000
    codes = SeededSettings(make_seed("alice"), PROTOCOL).at(np.arange(n, dtype=np.uint64))
    seen = np.bincount(codes, minlength=16)
    for code in range(16):
        p_intensity = PROTOCOL.probabilities[code >> 2] if code < 12 else 0.0
        p = p_intensity * (0.2 if code & 2 else 0.8) / 2
        assert abs(seen[code] - n * p) <= (allowed(n * p) if p else 0)


@pytest.mark.parametrize("lag", [1, 2, 4, 64])
def test_neighbouring_slots_are_independent(make_seed, lag):
    # Chi-square of all pairs of codes, one lag apart, against the product of what the protocol promises for each. The
    # bound is Wilson and Hilferty's at 5 standard deviations: one false alarm in 3.5 million.
    n = 1 << 21
    codes = SeededSettings(make_seed("alice"), PROTOCOL).at(np.arange(n + lag, dtype=np.uint64)).astype(np.int64)
    p = np.array([PROTOCOL.probabilities[code >> 2] * (0.2 if code & 2 else 0.8) / 2 for code in range(12)])
    expected = n * np.outer(p, p)
    seen = np.bincount(16 * codes[:n] + codes[lag:], minlength=256).reshape(16, 16)[:12, :12]
    assert seen.sum() == n
    assert expected.min() > 100
    chi_square = float(((seen - expected) ** 2 / expected).sum())
    freedom = 143
    assert abs((chi_square / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) < 5 * math.sqrt(2 / (9 * freedom))


def test_four_intensities_and_thresholds():
    protocol = DecoyBB84((0.5, 0.2, 0.1, 0.0), (0.25, 0.25, 0.25, 0.25), 0.5, 0.5)
    assert setting_limits(protocol).tolist() == [2**30, 2**31, 3 * 2**30, 2**31]
    assert share_of_32_bits(1.0) == 2**32
    assert share_of_32_bits(2.0**-32) == 1


def test_the_seed_stays_secret_and_must_be_whole(make_seed):
    seed = make_seed("alice")
    assert seed.hex()[:16] not in repr(SeededSettings(seed, PROTOCOL))
    assert repr(seed)[2:20] not in repr(SeededSettings(seed, PROTOCOL))
    with pytest.raises(ValueError, match="32 bytes"):
        SeededSettings(seed[:31], PROTOCOL)
