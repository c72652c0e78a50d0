"""The parallel half of the light against a twin that works one proposal at a time in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from noclone.link.chacha import LANES, WORDS, blocks, key_words
from noclone.link.choices import eve_outcomes
from noclone.link.clicktable import click_table
from noclone.link.optics import cases, dark_means
from noclone.link.pulses import TICK_BITS, TICKS, gaps, would_be_clicks
from noclone.link.sampling import normal_quantile
from noclone.link.settings import SeededSettings, setting_limits, share_of_32_bits
from noclone.link.tap import NO_TAP, PASS, Outcome, Tap
from noclone.records import Basis


def chacha8(key: bytes, counter: int, stream: int) -> np.ndarray:
    x = np.empty((WORDS, LANES), np.uint32)
    blocks(key_words(key), stream & 0xFFFFFFFF, stream >> 32, np.full(LANES, counter, np.uint64), 8, x)
    return x[:, 0]


def bob_basis(key: bytes, slot: int, limit: int) -> int:
    return int(int(chacha8(key, slot >> 4, 0)[slot & 15]) >= limit)


def twin(keys, segment, first, n_slots, devices, tap, jitter):
    """Return sorted (ticks, detector) of a segment; gaps come from the kernel, which has its own twin."""
    table = click_table(devices, tap)
    settings = SeededSettings(keys[0], devices.source.protocol)
    numbers, gap = np.empty(LANES), np.empty(LANES, np.int64)
    out, last, proposal = [], -1, 0
    while True:
        batch, lane = divmod(proposal, LANES)
        if table.choices == 2:  # two detectors: half a block is enough
            words = chacha8(keys[3], batch // 2 * LANES + lane, segment)[batch % 2 * 8 :][:8]
        else:
            words = chacha8(keys[3], proposal, segment)
        detectors = len(devices.receiver.efficiency)
        gaps(
            np.repeat(words[:, None], LANES, 1), 0, -1 / math.log1p(-table.p_max), numbers, numbers.view(np.int64), gap
        )
        last, proposal = last + int(gap[0]), proposal + 1
        if last >= n_slots:
            return sorted(out)
        slot = np.array([first + last], np.uint64)
        code = settings.at(slot)
        outcome = np.zeros(1, np.int64)
        eve_outcomes(key_words(keys[2]), slot, table.eve_limits, code, outcome)
        p_key = share_of_32_bits(devices.source.protocol.p_key_bob)
        basis = bob_basis(keys[1], first + last, p_key) if table.choices == 2 else 0
        row = (int(outcome[0]) * 16 + int(code[0])) * table.choices + basis
        draw = int(words[3]) << 32 | int(words[2])
        columns = [m for m in range(table.n_masks) if draw < int(table.limits[row, m])]
        for d in range(4) if columns else []:
            if int(table.masks[row, columns[0]]) >> d & 1:
                word = int(words[4 + detectors + d])
                ticks = TICKS // 2 + math.floor(normal_quantile((word + 0.5) / 2**32) * jitter + 0.5)
                if int(words[4 + d]) < int(table.dark_limits[row, d]):
                    ticks = word >> (32 - TICK_BITS)
                out.append(((last << TICK_BITS) + ticks, d))


@pytest.mark.parametrize("scheme", ["active", "passive"])
@pytest.mark.parametrize("tapped", [False, True])
def test_agrees_with_the_twin(make_devices, make_seed, scheme, tapped):
    devices = make_devices(3, scheme, dark_count_hz=(2e7,) * (2 if scheme == "active" else 4), jitter_ps=400)
    tap = Tap((PASS, Outcome("resend", 2.0, Basis.TEST, 1)), ((0.5, 0.5),) * 16) if tapped else NO_TAP
    table = click_table(devices, tap)
    keys = [make_seed(name) for name in ("alice", "bob", "eve", "light")]
    segment, first, n_slots, jitter = 2**33 + 5, 2**40 + 3, 1500, 0.4 * TICKS
    clicks = np.empty(10_000, np.int64)
    n = would_be_clicks(
        np.stack([key_words(key) for key in keys]),
        segment,
        first,
        n_slots,
        -1 / math.log1p(-table.p_max),
        setting_limits(devices.source.protocol),
        np.uint64(share_of_32_bits(0.7)),
        table.choices,
        table.eve_limits,
        table.limits,
        table.masks,
        table.n_masks,
        table.dark_limits,
        jitter,
        clicks,
    )
    expected = twin(keys, segment, first, n_slots, devices, tap, jitter)
    assert len(expected) > 100
    assert [(int(c) >> 2, int(c) & 3) for c in clicks[:n]] == expected


def test_bob_draws_like_openssl_would_with_8_rounds(make_seed):
    # Only the number of rounds differs from the cipher that OpenSSL has, so check the layout with 20.
    key = make_seed("bob")
    x = np.empty((WORDS, LANES), np.uint32)
    blocks(key_words(key), 3, 2, np.full(LANES, 2**36 + 1, np.uint64), 20, x)
    nonce = (2**36 + 1).to_bytes(8, "little") + (3 + (2 << 32)).to_bytes(8, "little")
    stream = Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor().update(bytes(64))
    assert x[:, 5].astype("<u4").tobytes() == stream


@pytest.mark.parametrize("scheme", ["active", "passive"])
def test_the_table_is_the_poisson_law(make_devices, scheme):
    devices = make_devices(3, scheme)
    table = click_table(devices, NO_TAP)
    for case in cases(devices):
        clicks = 1 - np.exp(-(case.means + dark_means(devices)))
        limits = table.limits[case.row, : table.n_masks].astype(float) / 2.0**64 * table.p_max
        probabilities = np.diff(limits, prepend=0.0)
        for d, p in enumerate(clicks):
            share = sum(q for q, s in zip(probabilities, table.masks[case.row], strict=False) if int(s) >> d & 1)
            assert share == pytest.approx(p, rel=1e-12)
        assert limits[-1] == pytest.approx(-math.expm1(-float((case.means + dark_means(devices)).sum())), rel=1e-12)
