"""Sending or not sending: the station's law against published formulas, sampling against the law."""

from __future__ import annotations

import math

import numpy as np
import pytest

from noclone import rng
from noclone.link.devices import Fibre, Receiver
from noclone.link.lights import one_block
from noclone.link.settings import SendingSettings
from noclone.link.sns import SnsStation, expected_sns_counts
from noclone.proofs.middle_station import bessel_i0
from noclone.protocols import PHASE_SLICES, Sender, SendOrNot, phases_fit, promised_detector
from noclone.records import Origin

SEED = rng.seed_from_int(41)
SIGMAS = 6.0
ALICE = Sender((0.5, 0.12, 0.0), (0.25, 0.5, 0.25), 0.6)
BOB = Sender((0.4, 0.09, 0.0), (0.3, 0.5, 0.2), 0.7)


def station(pairing: str = "none", **changes) -> SnsStation:
    fields = {"efficiency": (0.6,) * 2, "dark_count_hz": (1e4,) * 2, "misalignment": 0.0, **changes}
    noise = fields.pop("phase_noise_rad", 0.0)
    arms = Fibre(0, 0.2, 10.0), Fibre(0, 0.2, 8.0)
    protocol = SendOrNot(ALICE, BOB, 0.45, 0.35, pairing)
    return SnsStation(1e9, *arms, Receiver("active", **fields), protocol, 1.0, noise)


def test_the_key_basis_is_that_of_wang_yu_and_hu() -> None:
    """Gain and error rate of equal arms: S_NN, S_NS and S_SS of Wang, Yu, Hu 2018, as in `proofs.middle_station`."""
    sender = Sender((0.4, 0.1, 0.0), (0.2, 0.5, 0.3), 0.5)
    arm, receiver = Fibre(0, 0.2, 9.0), Receiver("active", (0.5,) * 2, (1e4,) * 2)
    found = expected_sns_counts(SnsStation(1e9, arm, arm, receiver, SendOrNot(sender, sender, 0.4, 0.4, "none")), 10**9)
    mean, live, sending = 0.4 * 10**-0.9 * 0.5, math.exp(-1e-5), 0.2
    q = live * math.exp(-mean / 2)
    nobody, one = 2 * (1 - live) * live, 2 * q * (1 - q)
    both = 2 * live * math.exp(-mean) * (bessel_i0(mean) - live * math.exp(-mean))
    wrong = (1 - sending) ** 2 * nobody + sending**2 * both
    assert sum(found.m_key) == pytest.approx(1e9 * 0.25 * wrong, rel=1e-6)
    assert sum(found.n_key) == pytest.approx(1e9 * 0.25 * (wrong + 2 * sending * (1 - sending) * one), rel=1e-6)


def test_the_law_of_slices_averages_to_that_of_random_phases() -> None:
    link = station(phase_noise_rad=0.2, misalignment=0.01)
    by_slices = link.by_slices().mean(axis=2)
    table = link.table()
    for a in range(3):
        for b in range(3):
            assert by_slices[a, b] == pytest.approx(table[2 | a << 2, 2 | b << 2], rel=1e-9)


def test_aligned_slices_err_as_their_width_and_noise_say() -> None:
    """Alike weak pulses: the wrong detector's share is (1 - E cos)/2, with E cos known in closed form."""
    sender = Sender((0.4, 0.1, 0.0), (0.2, 0.5, 0.3), 0.5)
    arm, receiver = Fibre(0, 0.2, 40.0), Receiver("active", (0.5,) * 2, (0.0,) * 2)
    link = SnsStation(1e9, arm, arm, receiver, SendOrNot(sender, sender, 0.4, 0.4), 1.0, 0.25)
    half = math.pi / PHASE_SLICES
    contrast = math.exp(-(0.25**2) / 2) * (math.sin(half) / half) ** 2
    law = link.by_slices()[1, 1, 0]
    assert law[2] / (law[1] + law[2]) == pytest.approx((1 - contrast) / 2, rel=1e-4)


def test_phases_fit_where_they_are_alike_or_opposite() -> None:
    apart = np.arange(PHASE_SLICES)
    assert np.flatnonzero(phases_fit(apart)).tolist() == [0, 8]
    assert promised_detector(apart).tolist() == [0] * 4 + [1] * 8 + [0] * 4


@pytest.mark.parametrize(("noise", "pairing"), [(0.0, "none"), (0.3, "aopp")])
def test_sampling_agrees_with_the_law(noise: float, pairing: str) -> None:
    link, n_slots = station(pairing, phase_noise_rad=noise, misalignment=0.02), 20_000_000
    seeds = {"alice_seed": rng.derive(SEED, "a"), "physics_seed": rng.derive(SEED, "p")}
    settings, seen = one_block(
        link, **seeds, n_slots=n_slots, link="l", block=0, origin=Origin("simulated", seeded=True)
    )
    expected = expected_sns_counts(link, n_slots)
    codes, events = settings.at(seen.slots).astype(np.int64), seen.events.astype(np.int64)
    his, level, slices = events & 1, events >> 8 & 3, events >> 10 & 0xF
    key, test = (((codes >> 1 & 1) == basis) & ((events >> 1 & 1) == basis) for basis in (0, 1))
    assert not (events[(events & 2) == 0] >> 8 & 0xFF).any(), "of the key basis nothing is told"
    assert not (codes[key] >> 1).any()
    zeros, ones = (int((key & (his == bit)).sum()) for bit in (0, 1))
    errors = int((key & (codes & 1 != his)).sum())
    if pairing == "none":
        checked = [(zeros + ones, expected.n_key[0]), (errors, expected.m_key[0])]
    else:
        assert expected.paired is not None
        checked = [(zeros + ones, expected.paired.raw), (min(zeros, ones), expected.paired.pairs)]
    apart = ((codes >> 4) - slices) % PHASE_SLICES
    hers = codes >> 2 & 3
    unfit = (hers == 1) & (level == 1) & ~phases_fit(apart)
    classes = np.where(unfit, 3, hers) * 3 + level
    for rows, means in ((test, expected.n_test), (test & (promised_detector(apart) != his), expected.m_test)):
        checked += list(zip(np.bincount(classes[rows], minlength=12), means, strict=True))
    for n, mean in checked:
        assert abs(n - mean) < SIGMAS * math.sqrt(mean) + 20


def test_slices_are_even_and_the_seed_alone_decides_them() -> None:
    slots = np.arange(200_000, dtype=np.uint64)
    codes = SendingSettings(rng.derive(SEED, "s"), ALICE).at(slots)
    tested = codes >> 1 & 1 == 1
    counts = np.bincount(codes[tested] >> 4, minlength=16)
    assert abs(counts - tested.sum() / 16).max() < SIGMAS * math.sqrt(tested.sum() / 16)
    assert abs((codes[~tested] == 1).mean() - 0.25) < SIGMAS * math.sqrt(0.19 / (~tested).sum())
    assert (codes == SendingSettings(rng.derive(SEED, "s"), ALICE).at(slots)).all()
    assert (codes != SendingSettings(rng.derive(SEED, "t"), ALICE).at(slots)).any()


@pytest.mark.parametrize(
    ("sender", "key", "message"),
    [
        (Sender((0.5, 0.1, 0.01), (0.3, 0.4, 0.3), 0.5), 0.4, "the last of them 0"),
        (Sender((0.5, 0.0), (0.3, 0.7), 0.5), 0.4, "three intensities"),
        (ALICE, 0.0, "above 0"),
    ],
)
def test_impossible_senders_are_refused(sender: Sender, key: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SendOrNot(sender, BOB, key, 0.3)
    with pytest.raises(ValueError, match="no way to pair"):
        SendOrNot(ALICE, BOB, 0.3, 0.3, "some")  # type: ignore[arg-type]
