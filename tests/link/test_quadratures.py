"""Light of continuous variables: moments as theory has them, secrets of the seed, and values that a converter shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from noclone import rng
from noclone.link.devices import Fibre
from noclone.link.lights import expected, one_block
from noclone.link.quadratures import PIECE, CoherentDevices, SeededAmplitudes, transmit_quadratures
from noclone.protocols import GaussianModulation
from noclone.records import QUADRATURE_UNIT, Origin

HOMODYNE = GaussianModulation(6.0, "homodyne", 0.6, 0.05, True, 0.3, 100, 5, 3)
HETERODYNE = replace(HOMODYNE, detection="heterodyne")
ALICE, NATURE = rng.derive(rng.seed_from_int(1), "alice"), rng.derive(rng.seed_from_int(1), "nature")
ORIGIN = Origin("simulated", seeded=True)


def devices(protocol: GaussianModulation, loss_db: float = 3.0, excess: float = 0.1) -> CoherentDevices:
    return CoherentDevices(1e6, Fibre(0.0, 0.2, loss_db), excess, protocol)


def block(light: CoherentDevices, n_slots: int = 600_000, **seeds: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Alice's amplitude beside each of Bob's values, the values in shot noises, and the quadratures."""
    given = {"alice_seed": ALICE, "physics_seed": NATURE, **seeds}
    settings, detections = one_block(light, n_slots=n_slots, link="l", block=0, origin=ORIGIN, **given)
    raw = detections.quadratures[: n_slots * light.protocol.values].astype(np.int64)
    which = raw & 1
    sent = settings.quadratures(0, n_slots).astype(float)
    x = sent.reshape(-1) if light.protocol.values == 2 else sent[np.arange(n_slots), which]
    return x, (raw >> 1) * QUADRATURE_UNIT, which


def close(found: float, exact: float, variance: float, n: int) -> bool:
    return abs(found - exact) < 6 * math.sqrt(variance / n)


@pytest.mark.parametrize("protocol", [HOMODYNE, HETERODYNE], ids=["homodyne", "heterodyne"])
def test_the_covariance_is_that_of_the_channel(protocol: GaussianModulation) -> None:
    """<x²> = V_A, <xy> = sqrt(eta T) V_A, <y²> = eta T V_A + 1 + v + eta T xi (half of eta T if heterodyne)."""
    light = devices(protocol)
    x, y, which = block(light)
    n = len(x)
    gain = 10**-0.3 * 0.6 / protocol.values
    v_y = gain * 6.0 + 1.05 + gain * 0.1
    assert light.value_variance == pytest.approx(v_y, rel=1e-12)
    assert close(np.mean(x * x), 6.0, 2 * 36.0, n)
    assert close(np.mean(y * y), v_y, 2 * v_y**2, n)
    assert close(np.mean(x * y), math.sqrt(gain) * 6.0, 6.0 * v_y + gain * 36.0, n)
    assert close(np.mean(y), 0.0, v_y, n)
    assert close(np.mean(which), 0.5, 0.25, n)
    for quadrature in (0, 1):
        some = y[which == quadrature]
        assert close(np.mean(some**2), v_y, 2 * v_y**2, len(some))
    # Gaussian, not only of that variance: kurtosis 3, and what is left of y beside x is independent of it
    assert close(np.mean((y / math.sqrt(v_y)) ** 4), 3.0, 96.0, n)
    rest = y - math.sqrt(gain) * x
    assert close(np.mean((rest * x) ** 2), light.noise_variance * 6.0, 8 * (light.noise_variance * 6.0) ** 2, n)


def test_what_a_block_should_give_is_what_it_gives() -> None:
    light = devices(HETERODYNE)
    x, y, _ = block(light)
    told = expected(light, 600_000)
    share = HETERODYNE.p_test
    assert told.n_key[0] + told.n_test[0] == len(x)
    assert told.moments is not None
    for found, mean in ((x @ x, told.moments.xx), (x @ y, told.moments.xy), (y @ y, told.moments.yy)):
        assert found * share == pytest.approx(mean, rel=0.02)
    wrong = np.count_nonzero((x < 0) != (y < 0))
    assert close(wrong / len(x), told.m_test[0] / told.n_test[0], 0.25, len(x))


def test_values_of_two_slots_or_quadratures_have_nothing_in_common() -> None:
    _, y, _ = block(devices(HETERODYNE))
    scale = np.mean(y * y)
    assert close(np.mean(y[::2] * y[1::2]), 0.0, scale**2, len(y) // 2)
    assert close(np.mean(y[:-2] * y[2:]), 0.0, scale**2, len(y))


def test_other_seeds_are_other_light_and_threads_do_not_matter() -> None:
    light = devices(HOMODYNE)
    args = {"alice_seed": ALICE, "physics_seed": NATURE, "n_slots": 2 * PIECE + 7, "link": "l", "block": 0}
    one, two = (np.concatenate(list(transmit_quadratures(light, threads=n, **args))) for n in (1, 2))
    assert np.array_equal(one, two)
    assert len(one) == (2 * PIECE + 7 + 3) // 4
    other = np.concatenate(list(transmit_quadratures(light, **{**args, "physics_seed": ALICE})))
    later = np.concatenate(list(transmit_quadratures(light, **{**args, "block": 1})))
    for changed in (other, later):
        same = np.mean(changed.view(np.int16) == one.view(np.int16))
        assert same < 0.01
    mine, another = (SeededAmplitudes(seed, HOMODYNE).quadratures(0, 100_000) for seed in (ALICE, NATURE))
    assert abs(np.corrcoef(mine[:, 0], another[:, 0])[0, 1]) < 6 / math.sqrt(100_000)


def test_any_slot_can_be_asked_for_alone() -> None:
    amplitudes = SeededAmplitudes(ALICE, HOMODYNE)
    whole = amplitudes.quadratures(0, 2000)
    assert np.array_equal(amplitudes.quadratures(777, 5), whole[777:782])
    assert "seed" not in repr(amplitudes)


def test_a_converter_that_would_be_saturated_is_refused() -> None:
    with pytest.raises(ValueError, match="saturated"):
        devices(replace(HOMODYNE, variance=1000.0), loss_db=0.0)
    with pytest.raises(ValueError, match="excess noise"):
        devices(HOMODYNE, excess=-0.1)
