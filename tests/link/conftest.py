"""What the tests of the light share: devices, a counter of results, tolerances that follow from the counts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.light import transmit
from noclone.link.settings import SeededSettings
from noclone.records import DecoyBB84, Detections, Origin

PROTOCOL = DecoyBB84((0.5, 0.1, 0.002), (0.7, 0.2, 0.1), 0.8, 0.7)
FALSE_ALARM = 1e-9  # of each single comparison


class Seen(NamedTuple):
    """A run, counted: n and m are [intensity][basis] detections and errors in matching bases."""

    detections: Detections
    n: np.ndarray
    m: np.ndarray


def devices(loss_db: float = 10.0, scheme: str = "active", clock_hz: float = 1e9, protocol=PROTOCOL, **receiver):
    count = 2 if scheme == "active" else 4
    given = {"efficiency": (0.9, 1.0, 0.8, 0.95)[:count], "dark_count_hz": (1000.0,) * count, "misalignment": 0.01}
    given |= receiver
    return LinkDevices(Source(clock_hz, protocol), Fibre(0.0, 0.2, loss_db), Receiver(scheme, **given))


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def run(link_devices: LinkDevices, n_slots: int, name: str = "run", **options) -> Detections:
    return transmit(
        link_devices,
        alice_seed=seed(name + "/alice"),
        physics_seed=seed(name + "/physics"),
        n_slots=n_slots,
        link="a-b",
        block=0,
        origin=Origin("simulated", seeded=True),
        **options,
    )


def count(link_devices: LinkDevices, detections: Detections, name: str = "run") -> Seen:
    codes = SeededSettings(seed(name + "/alice"), link_devices.source.protocol).at(detections.slots)
    matched = ((codes >> 1) & 1) == detections.bases
    wrong = (codes & 1) != detections.values
    where = (codes >> 2).astype(int) * 2 + detections.bases
    cells = 2 * len(link_devices.source.protocol.intensities)
    n = np.bincount(where[matched], minlength=cells).reshape(-1, 2)
    m = np.bincount(where[matched & wrong], minlength=cells).reshape(-1, 2)
    return Seen(detections, n, m)


def tolerance(expected: float, spread: float = 1.0) -> float:
    """Return how far a count may lie from its mean with probability FALSE_ALARM (Bernstein's inequality, any mean)."""
    log = math.log(2 / FALSE_ALARM)
    return spread * (log / 3 + math.sqrt(log * log / 9 + 2 * log * expected))


def _s_box() -> list[int]:
    """FIPS 197, section 5.1.1: the inverse in GF(2^8), then an affine map."""

    def times(a: int, b: int, modulus: int) -> int:
        product = 0
        for bit in range(8):
            product ^= (a << bit) * (b >> bit & 1)
        for bit in range(14, 7, -1):
            product ^= (modulus << bit - 8) * (product >> bit & 1)
        return product

    inverses = [next((b for b in range(256) if times(a, b, 0x11B) == 1), 0) for a in range(256)]
    return [times(b, 0x1F, 0x101) ^ 0x63 for b in inverses]


S_BOX = _s_box()


def ars(key: bytes, low: int, high: int, rounds: int = 7) -> bytes:
    """Return ARS's 16 bytes for one counter: Salmon et al. 2011, section 4.2, byte by byte."""
    weyl = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
    words = [int.from_bytes(key[i : i + 8], "little") for i in (0, 8)]

    def round_key(number: int) -> bytes:
        return b"".join(
            ((w + number * step) % 2**64).to_bytes(8, "little") for w, step in zip(words, weyl, strict=True)
        )

    state = bytes(
        a ^ b for a, b in zip(low.to_bytes(8, "little") + high.to_bytes(8, "little"), round_key(0), strict=True)
    )
    for number in range(1, rounds + 1):
        x = [S_BOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if number < rounds:
            double = [(b << 1 ^ 0x11B * (b >> 7)) for b in x]
            x = [
                double[i] ^ double[j] ^ x[j] ^ x[k] ^ x[m]
                for c in range(0, 16, 4)
                for i, j, k, m in [(c + r, c + (r + 1) % 4, c + (r + 2) % 4, c + (r + 3) % 4) for r in range(4)]
            ]
        state = bytes(a ^ b for a, b in zip(x, round_key(number), strict=True))
    return state


@pytest.fixture
def s_box() -> list[int]:
    return S_BOX


@pytest.fixture
def ars_twin() -> Callable[..., bytes]:
    return ars


@pytest.fixture
def make_devices() -> Callable[..., LinkDevices]:
    return devices


@pytest.fixture
def send() -> Callable[..., Detections]:
    return run


@pytest.fixture
def tally() -> Callable[..., Seen]:
    return count


@pytest.fixture
def allowed() -> Callable[..., float]:
    return tolerance


@pytest.fixture
def make_seed() -> Callable[[str], bytes]:
    return seed
