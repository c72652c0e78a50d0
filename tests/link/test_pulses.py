"""The parallel half of the light against a twin that works one proposal at a time in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from noclone.link.aes import aes256_keys, ars_keys
from noclone.link.aes_simd import AES
from noclone.link.clicktable import click_table
from noclone.link.hits import CELL_BITS, SEVERAL
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


def set_and_row(keys, slot, draw, devices, tap, table):
    """Return the detectors that click in a slot, and the row of the table that says so."""
    code = int(SeededSettings(keys[0], devices.source.protocol).at(np.array([slot], np.uint64))[0])
    eve = aes(keys[2], slot)[0]
    outcome = sum(eve > int(limit) for limit in table.eve_limits[code, :-1])
    p_key = share_of_32_bits(devices.source.protocol.p_key_bob)
    basis = int(aes(keys[1], slot)[0] & 0xFFFFFFFF >= p_key) if table.choices == 2 else 0
    row = (outcome * 16 + code) * table.choices + basis
    columns = [m for m in range(16) if draw < int(table.limits[row, m])]
    return (int(table.masks[row, columns[0]]) if columns else 0), row


def twin(keys, ars, segment, first, n_slots, devices, tap, jitter):
    """Return sorted (ticks, detector) of a segment, one proposal after the other, and how many a slot had at most."""
    table = click_table(devices, tap)
    out, most, last, proposal = [], 0, -1, 0
    while True:
        gap, draw = np.frombuffer(ars(keys[3], proposal, segment << 2), "<u8").tolist()
        last += geometric(np.uint64(gap), -1 / math.log1p(-table.p_max))
        if last >= n_slots:
            return sorted(out), most
        mask, row = set_and_row(keys, first + last, draw, devices, tap, table)
        words = b"".join(ars(keys[3], proposal, segment << 2 | part) for part in (1, 2))
        clicking = [d for d in range(4) if mask >> d & 1]
        most = max(most, len(clicking))
        for d, word in zip(clicking, np.frombuffer(words, "<u8").tolist(), strict=False):
            cause, place = word & 0xFFFFFFFF, word >> 32
            ticks = TICKS // 2 + math.floor(normal_quantile((place + 0.5) / 2**32) * jitter + 0.5)
            if cause < int(table.dark_limits[row, d]):
                ticks = place >> (32 - TICK_BITS)
            out.append(((last << TICK_BITS) + ticks, d))
        proposal += 1


@pytest.mark.parametrize("scheme", ["active", "passive"])
@pytest.mark.parametrize("tapped", [False, True])
@pytest.mark.parametrize("bright", [False, True])
def test_agrees_with_the_twin(make_devices, make_seed, ars_twin, scheme, tapped, bright):
    # Bright light makes all detectors click in one slot, which takes the second block of a proposal's words.
    protocol = DecoyBB84((9.0, 3.0, 0.002), (0.7, 0.2, 0.1), 0.8, 0.7) if bright else PROTOCOL
    devices = make_devices(
        3, scheme, protocol=protocol, dark_count_hz=(2e7,) * (2 if scheme == "active" else 4), jitter_ps=400
    )
    tap = Tap((PASS, Outcome("resend", 2.0, Basis.TEST, 1)), ((0.5, 0.5),) * 16) if tapped else NO_TAP
    table = click_table(devices, tap)
    keys = [make_seed(name) for name in ("alice", "bob", "eve", "light")]
    segment, first, n_slots, jitter = 2**33 + 5, 2**40 + 3, 600, 0.4 * TICKS
    secrets = [aes256_keys(key) for key in keys[:3]]
    clicks = np.empty(10_000, np.int64)
    n = would_be_clicks(
        AES,
        np.stack([*secrets, ars_keys(keys[3][:16])]),
        segment,
        first,
        n_slots,
        -1 / math.log1p(-table.p_max),
        (setting_limits(protocol), share_of_32_bits(0.7), table.choices, table.eve_limits),
        table.law(),
        jitter,
        clicks,
    )
    expected, most = twin(keys, ars_twin, segment, first, n_slots, devices, tap, jitter)
    assert len(expected) > 100
    assert most == 2 if scheme == "active" else most == 4 or not bright
    assert [(int(c) >> 2, int(c) & 3) for c in clicks[:n]] == expected


@pytest.mark.parametrize("scheme", ["active", "passive"])
def test_the_table_is_the_poisson_law(make_devices, scheme):
    devices = make_devices(3, scheme)
    table = click_table(devices, NO_TAP)
    for case in cases(devices):
        clicks = 1 - np.exp(-(case.means + dark_means(devices)))
        limits = table.limits[case.row].astype(float) / 2.0**64 * table.p_max
        probabilities = np.diff(limits, prepend=0.0)
        for d, p in enumerate(clicks):
            share = sum(q for q, s in zip(probabilities, table.masks[case.row], strict=False) if int(s) >> d & 1)
            assert share == pytest.approx(p, rel=1e-12)
        assert limits[-1] == pytest.approx(-math.expm1(-float((case.means + dark_means(devices)).sum())), rel=1e-12)


@pytest.mark.parametrize("loss_db", [0, 3, 40])
def test_the_cells_say_what_the_limits_say(make_devices, loss_db):
    table = click_table(make_devices(loss_db, "passive"), NO_TAP)
    rng = np.random.default_rng(4)
    several = 0
    for row, cells in enumerate(table.cells):
        edges = [int(limit) + step for limit in table.limits[row] for step in (-1, 0)]
        draws = [*rng.integers(0, 2**64, 300, dtype=np.uint64).tolist(), *(d for d in edges if 0 <= d < 2**64)]
        for draw in draws:
            columns = [m for m in range(16) if draw < int(table.limits[row, m])]
            expected = int(table.masks[row, columns[0]]) if columns else 0
            cell = int(cells[draw >> (64 - CELL_BITS)])
            assert cell in (expected, SEVERAL)
        several += int((cells == SEVERAL).sum())
    assert 0 < several < 0.02 * table.cells.size
