"""The parallel half of the light against a twin that works one proposal at a time in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from noclone.link.aes import aes256_keys, ars_keys
from noclone.link.aes_simd import VARIANT, token, variants_here
from noclone.link.choices import basis_limits
from noclone.link.clicktable import click_table
from noclone.link.optics import cases, dark_means
from noclone.link.pulses import would_be_clicks
from noclone.link.sampling import TICK_BITS, TICKS, geometric, normal_quantile
from noclone.link.settings import SeededSettings, setting_limits, share_of_32_bits
from noclone.link.tap import NO_TAP, PASS, Outcome, Tap
from noclone.records import Basis, DecoyBB84

PROTOCOL = DecoyBB84((0.5, 0.1, 0.002), (0.7, 0.2, 0.1), 0.8, 0.7)


def aes(key: bytes, slot: int) -> tuple[int, int]:
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(slot.to_bytes(16, "little"))
    return int.from_bytes(block[:8], "little"), int.from_bytes(block[8:], "little")


def row_of(keys, slot, devices, table):
    """Return the row of the table that tells what a slot's light may do."""
    code = int(SeededSettings(keys[0], devices.source.protocol).at(np.array([slot], np.uint64))[0])
    eve = aes(keys[2], slot)[0]
    outcome = sum(eve > int(limit) for limit in table.eve_limits[code, :-1])
    p_key = share_of_32_bits(devices.source.protocol.p_key_bob)
    basis = int(aes(keys[1], slot)[0] & 0xFFFFFFFF >= p_key) if table.choices == 2 else 0
    return (outcome * 16 + code) * table.choices + basis


def chosen(draw, limits):
    """Return the first place whose limit lies above the draw."""
    return next((place for place, limit in enumerate(limits) if draw < int(limit)), None)


def twin(keys, ars, segment, first, n_slots, devices, tap, jitter):
    """Return sorted (ticks, detector) of a segment, one proposal after the other, and how many a slot had at most."""
    table = click_table(devices, tap)
    out, most, closer, last, proposal = [], 0, 0, -1, 0

    def tick(place):
        return TICKS // 2 + math.floor(normal_quantile((place + 0.5) / 2**32) * jitter + 0.5)

    while True:
        gap, draw = np.frombuffer(ars(keys[3], proposal, segment << 2), "<u8").tolist()
        last += geometric(np.uint64(gap), 1 / math.log1p(-table.p_max))
        if last >= n_slots:
            return sorted(out), most, closer
        row = row_of(keys, first + last, devices, table)
        place = chosen(draw, table.limits[:, row])
        if place is not None and place < 4:
            out.append(((last << TICK_BITS) + tick((draw & 0xFFFFF) << 12 | gap & 0xFFF), place))
        elif place is not None:
            words = b"".join(ars(keys[3], proposal, segment << 2 | part) for part in (1, 2, 3))
            second, *words = np.frombuffer(words, "<u8").tolist()
            column = chosen(second, table.closer[row])
            mask = int(table.masks[row, column]) if column is not None else 0
            clicking = [d for d in range(4) if mask >> d & 1]
            most = max(most, len(clicking))
            closer += 1
            for d, word in zip(clicking, words, strict=False):
                dark = word & 0xFFFFFFFF < int(table.dark_limits[row, int(len(clicking) > 1), d])
                ticks = word >> (64 - TICK_BITS) if dark else tick(word >> 32)
                out.append(((last << TICK_BITS) + ticks, d))
        proposal += 1


@pytest.mark.parametrize("scheme", ["active", "passive"])
@pytest.mark.parametrize("tapped", [False, True])
@pytest.mark.parametrize("bright", [False, True])
@pytest.mark.parametrize("variant", [VARIANT, *(pytest.param(v, marks=pytest.mark.slow) for v in variants_here()[:-1])])
def test_agrees_with_the_twin(make_devices, make_seed, ars_twin, scheme, tapped, bright, variant):
    # Bright light makes all detectors click in one slot, which takes the second block of a proposal's words.
    protocol = DecoyBB84((9.0, 3.0, 0.002), (0.7, 0.2, 0.1), 0.8, 0.7) if bright else PROTOCOL
    devices = make_devices(
        3, scheme, protocol=protocol, dark_count_hz=(2e7,) * (2 if scheme == "active" else 4), jitter_ps=400
    )
    tap = (
        Tap((PASS, Outcome("resend", 9.0 if bright else 2.0, Basis.TEST, 1)), ((0.5, 0.5),) * 16) if tapped else NO_TAP
    )
    table = click_table(devices, tap)
    keys = [make_seed(name) for name in ("alice", "bob", "eve", "light")]
    segment, first, n_slots, jitter = 2**33 + 5, 2**40 + 3, 600, 0.4 * TICKS
    secrets = [aes256_keys(key) for key in keys[:3]]
    clicks = np.empty(10_000, np.int64)
    n = would_be_clicks(
        token(variant),
        np.stack([*secrets, ars_keys(keys[3][:16])]),
        segment,
        first,
        n_slots,
        1 / math.log1p(-table.p_max),
        (np.stack([setting_limits(protocol), basis_limits(share_of_32_bits(0.7))][: table.choices]), table.eve_limits),
        table.law(),
        jitter,
        clicks,
    )
    expected, most, closer = twin(keys, ars_twin, segment, first, n_slots, devices, tap, jitter)
    assert len(expected) > 100
    assert closer > 5
    assert most == 2 if scheme == "active" else most == 4 or not bright
    assert [(int(c) >> 2, int(c) & 3) for c in clicks[:n]] == expected


def shares(table, row):
    """Return each set's probability in a slot, as the thresholds have it."""
    steps = np.diff(table.limits[:, row].astype(object), prepend=0)
    second = np.diff(table.closer[row].astype(object), prepend=0)
    found = {1 << d: int(step) / 2**64 for d, step in enumerate(steps[:4])}
    for mask, step in zip(table.masks[row].tolist(), second, strict=True):
        found[mask] = found.get(mask, 0.0) + int(steps[4]) / 2**64 * int(step) / 2**64
    return {mask: share * table.p_max for mask, share in found.items() if mask}


@pytest.mark.parametrize("scheme", ["active", "passive"])
@pytest.mark.parametrize(("loss_db", "dark_count_hz"), [(3, 1000.0), (0, 1e-3), (60, 1.0), (500, 100.0), (20, 1e8)])
def test_the_table_is_the_poisson_law(make_devices, scheme, loss_db, dark_count_hz):
    # However rare a dark count is beside the light, and however the first draw's steps of 2^-44 fall.
    devices = make_devices(loss_db, scheme, dark_count_hz=(dark_count_hz,) * (2 if scheme == "active" else 4))
    table = click_table(devices, NO_TAP)
    dark = dark_means(devices)
    assert not np.any(table.limits & np.uint64(2**20 - 1) * (table.limits != 2**64 - 1))
    for case in cases(devices):
        found = shares(table, case.row)
        clicks = -np.expm1(-(case.means + dark))
        for mask in range(1, 1 << len(dark)):
            expected = math.prod(p if mask >> d & 1 else 1 - p for d, p in enumerate(clicks))
            assert found.get(mask, 0.0) == pytest.approx(expected, rel=1e-9, abs=2**-51 * table.p_max)
        by_dark = table.dark_limits[case.row, :, : len(dark)].astype(float) / 2.0**32
        rest = int(table.limits[4, case.row]) - int(table.limits[3, case.row])
        columns = dict(
            zip(table.masks[case.row].tolist(), np.diff(table.closer[case.row].astype(object), prepend=0), strict=True)
        )
        for d in range(len(dark)):
            others = math.prod(1 - p for e, p in enumerate(clicks) if e != d)
            alone = math.exp(-case.means[d]) * -math.expm1(-dark[d]) * others
            share = rest / 2**64 * int(columns.get(1 << d, 0)) / 2**64 * table.p_max * by_dark[0, d]
            assert share == pytest.approx(alone, rel=1e-9, abs=2**-51 * table.p_max)
            assert by_dark[1, d] * clicks[d] == pytest.approx(
                math.exp(-case.means[d]) * -math.expm1(-dark[d]), abs=2**-32
            )
