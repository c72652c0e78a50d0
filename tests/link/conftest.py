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
