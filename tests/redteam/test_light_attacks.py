"""Every attack on light: nothing at strength zero, its closed form, a naive proof broken, the right one not."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from noclone import rng
from noclone.link.devices import Fibre
from noclone.link.flaws import Guards
from noclone.link.light import transmit
from noclone.link.optics import cases
from noclone.link.overheard import overheard
from noclone.link.settings import SeededSettings
from noclone.link.theory import expected_counts
from noclone.proofs.entropy import binary_entropy
from noclone.records import Basis, Origin
from noclone.redteam.attacks import LIGHT_ATTACKS
from noclone.redteam.dead_time import FLASH
from noclone.redteam.light_trial import LINK, PROTOCOL, block_of, counts_of, plan, trial_devices, try_light
from noclone.redteam.photon_number_splitting import honest_gain, poisson, sieve
from noclone.redteam.trojan_horse import helstrom_error, mixed_error, photons_out

SEED = rng.seed_from_int(11)
LEARNING = [name for name, attack in LIGHT_ATTACKS.items() if attack.naive]
SILENT = [name for name in LIGHT_ATTACKS if name not in LEARNING]


@lru_cache(maxsize=64)
def outcome(name: str, defended: bool, strength: float = 1.0):
    return try_light(LIGHT_ATTACKS[name], defended=defended, strength=strength, seed=SEED)


def light(eve, n_slots=3_000_000):
    detections = transmit(
        eve.devices,
        alice_seed=bytes(range(32)),
        physics_seed=bytes(range(32, 64)),
        n_slots=n_slots,
        link=LINK,
        block=0,
        origin=Origin("simulated", seeded=True),
        tap=eve.tap,
    )
    settings = SeededSettings(bytes(range(32)), eve.devices.source.protocol)
    return detections, overheard(
        detections, eve.devices, eve.tap, settings, alice_seed=bytes(range(32)), physics_seed=bytes(range(32, 64))
    )


def tolerance(mean, sigmas=6.0):
    return sigmas * math.sqrt(mean) + sigmas**2 / 3


@pytest.mark.parametrize("name", LIGHT_ATTACKS)
def test_strength_zero_is_the_honest_run_bit_for_bit(name):
    attack = LIGHT_ATTACKS[name]
    link = trial_devices(attack.flaws, Guards())
    honest = trial_devices(LIGHT_ATTACKS["intercept-resend"].flaws, Guards())
    quiet = light(attack.eavesdropper(link, 0.0))[0]
    ideal = light(LIGHT_ATTACKS["intercept-resend"].eavesdropper(honest, 0.0))[0]
    assert len(quiet) > 1000
    assert np.array_equal(quiet.events, ideal.events)  # neither a flaw alone nor an idle Eve changes anything
    assert attack.eavesdropper(link, 0.0).learned(light(attack.eavesdropper(link, 0.0))[1]).information_bits == 0


@pytest.mark.parametrize("strength", [0.3, 1.0])
@pytest.mark.parametrize("name", LEARNING)
def test_what_she_learns_follows_the_closed_form(name, strength):
    attack = LIGHT_ATTACKS[name]
    one = plan(trial_devices(attack.flaws, Guards()), 100_000)
    learned = block_of(one, attack, strength, SEED, 0).learned
    predicted = attack.bits(one.devices, strength)
    # Each sifted bit is worth between 0 and 1: five standard deviations of that, and a per cent for the closed forms,
    # which leave dark counts and double clicks out.
    assert abs(learned.per_sifted_bit - predicted) <= 5 * 0.5 / math.sqrt(learned.sifted_bits) + 0.01 * predicted


@pytest.mark.parametrize("name", LEARNING)
def test_without_its_countermeasure_a_key_comes_out_that_is_not_secret(name):
    seen = outcome(name, False)
    assert seen.key_bits > 0
    assert seen.exposed_bits > 0.05 * seen.key_bits  # the proof claims more than anybody can keep from her
    assert seen.detected_after is None


@pytest.mark.parametrize("name", LEARNING)
def test_with_it_she_is_seen_or_what_she_learned_is_paid_for(name):
    seen = outcome(name, True)
    assert seen.exposed_bits == 0
    assert seen.detected_after == 1 or seen.key_bits > 0


EXPECTED_ALARMS = {
    "intercept-resend": "error-rate",
    "photon-number-splitting": "gain-1",
    "blinding": "photocurrent",
    "trojan-horse": "back-reflection",
    "time-shift": "arrival-",
    "after-gate": "gain-0",
    "dead-time": "gain-0",
    "laser-seeding": "output-power",
    "laser-damage": "output-power",
    "intensity-correlation": "setting-correlation",
    "fibre-cut": "gain-0",
    "jamming": "error-rate",
}


@pytest.mark.parametrize(("name", "monitor"), EXPECTED_ALARMS.items())
def test_the_monitor_that_should_see_her_does(name, monitor):
    assert any(alarm.startswith(monitor) for alarm in outcome(name, True).alarms)


@pytest.mark.parametrize("name", SILENT)
def test_who_wants_silence_gets_it_and_learns_nothing(name):
    seen = outcome(name, True)
    assert seen.eve_bits == 0
    assert seen.key_bits == 0
    assert seen.detected_after == 1


@pytest.mark.parametrize(
    "name", ["photon-number-splitting", "blinding", "after-gate", "time-shift", "dead-time", "intensity-correlation"]
)
def test_every_gain_and_error_as_in_theory(name):
    """Light of counted photons, bright, late or after a flash: simulation and closed form are two computations."""
    attack = LIGHT_ATTACKS[name]
    link = trial_devices(attack.flaws, Guards())
    eve = attack.eavesdropper(link, 0.7)
    n_slots = 20_000_000
    counts = counts_of(light(eve, n_slots)[1])
    expected = expected_counts(eve.devices, n_slots, eve.tap)
    for seen, means in (
        (counts.n_key, expected.n_key),
        (counts.n_test, expected.n_test),
        (counts.m_test, expected.m_test),
    ):
        for n, mean in zip(seen, means, strict=True):
            # Jitter moves a photon into the next slot's start: a part in a thousand is allowed for that.
            assert abs(n - mean) <= tolerance(mean) + 2e-3 * mean


def test_a_case_of_every_attack_adds_up():
    for attack in LIGHT_ATTACKS.values():
        link = trial_devices(attack.flaws, Guards())
        found = cases(link, attack.eavesdropper(link, 0.5).tap)
        assert math.fsum(case.probability for case in found) == pytest.approx(1)
        assert all(case.law is None or case.law.light.sum() == pytest.approx(1) for case in found)


def test_photon_number_splitting_keeps_the_signals_gain_and_not_the_decoys():
    seen = outcome("photon-number-splitting", True)
    assert "gain-0" not in seen.alarms
    assert "gain-1" in seen.alarms


def test_photon_number_splitting_reaches_the_bound_of_brassard_and_others():
    """(1 - exp(-mu)(1 + mu)) / Q_mu where Bob counts every photon, and no more bits are detected than have twins."""
    link = trial_devices(LIGHT_ATTACKS["photon-number-splitting"].flaws, Guards())
    link = replace(
        link, receiver=replace(link.receiver, efficiency=(1.0, 1.0), dark_count_hz=(0.0, 0.0)), fibre=Fibre(20, 0.2)
    )
    mean = PROTOCOL.intensities[0]
    gaps = sieve(link, mean)
    several = 1 - math.exp(-mean) * (1 + mean)
    assert gaps.several == 1
    assert several / honest_gain(link, mean) == pytest.approx(
        several / (several + gaps.single * poisson(mean, 1)), rel=1e-4
    )


def test_trojan_horse_anchors():
    """10^20 photons a second, 1 GHz, 170 dB: 10^-6 photons come back (Lucamarini et al. 2015, section III)."""
    link = trial_devices(LIGHT_ATTACKS["trojan-horse"].flaws, Guards())
    link = replace(link, flaws=replace(link.flaws, probe_loss_db=170.0))
    assert photons_out(link, 1.0) == pytest.approx(1e-6)
    assert helstrom_error(0.0) == 0.5
    assert helstrom_error(10.0) < 1e-17 + 1e-12
    assert mixed_error(0.02, 0.0, 0.01) == pytest.approx(0.02)
    assert mixed_error(0.02, 1e-6, 0.01) > 0.02
    assert mixed_error(0.02, 1.0, 0.01) == 0.5


def test_with_170_db_the_trojan_horse_is_paid_for_and_key_is_left():
    attack = LIGHT_ATTACKS["trojan-horse"]
    safe = replace(attack, flaws=replace(attack.flaws, probe_loss_db=170.0), guards=Guards())
    seen = try_light(safe, defended=True, seed=SEED, blocks=1)
    assert seen.exposed_bits == 0
    assert 0 < seen.key_bits < outcome("beam-splitting", True).key_bits
    assert seen.eve_bits < 1e-4


def test_time_shift_alone_is_right_as_often_as_the_mismatch_says():
    attack = LIGHT_ATTACKS["time-shift"]
    one = plan(trial_devices(replace(attack.flaws, mismatch=0.5), Guards()), 200_000)
    view = block_of(one, attack, 1.0, SEED, 0).view
    record = attack.record(view, 1.0)
    right = np.mean((record.guess == view.detections.values)[record.ground > 0])
    n = int((record.ground > 0).sum())
    assert abs(right - 1 / 1.5) <= 5 * math.sqrt(0.25 / n)
    assert binary_entropy(2 / 3) == pytest.approx(0.918, abs=1e-3)  # the ceiling of the rate at r = 1/2: Fung 2009


def test_swapped_detectors_tell_the_time_shifter_nothing():
    attack = LIGHT_ATTACKS["time-shift"]
    one = plan(trial_devices(attack.flaws, Guards(four_state=True)), 200_000)
    learned = block_of(one, attack, 1.0, SEED, 0).learned
    assert learned.per_sifted_bit < 1e-3


def test_what_a_flash_leaves_alive():
    attack = LIGHT_ATTACKS["dead-time"]
    link = trial_devices(attack.flaws, Guards())
    tap = attack.eavesdropper(link, 1.0).tap
    flash = tap.outcomes[1]
    bob = link.receiver.efficiency[0]
    assert flash.mean_photons * bob == pytest.approx(FLASH)
    shared = replace(link, flaws=replace(link.flaws, dead_each=False))
    assert expected_counts(shared, 10**7, tap).n_key[0] < 0.01 * expected_counts(link, 10**7, tap).n_key[0]


def test_blinded_detectors_show_neither_errors_nor_doubles():
    seen = outcome("blinding", False)
    assert seen.qber < 1e-4
    view = block_of(
        plan(trial_devices(LIGHT_ATTACKS["blinding"].flaws, Guards()), 50_000), LIGHT_ATTACKS["blinding"], 1.0, SEED, 0
    ).view
    assert not np.any(view.detections.events & np.uint64(4))
    key = view.sifted_key
    assert np.array_equal(view.detections.values[key], view.alice_values[key])


def test_detectors_that_bright_light_does_not_move_stay_dark():
    attack = LIGHT_ATTACKS["blinding"]
    link = trial_devices(LIGHT_ATTACKS["intercept-resend"].flaws, Guards())
    detections, _ = light(attack.eavesdropper(link, 1.0))
    assert len(detections) == 0


def test_a_block_pays_for_a_small_share_or_refuses():
    """Partial intercept-resend: at every strength the agreed length is secret, or there is no key."""
    for strength in (0.02, 0.05, 0.1, 0.2):
        seen = outcome("intercept-resend", True, strength)
        assert seen.exposed_bits == 0, strength
        assert abs(seen.qber - (0.01 + 0.24 * strength)) < 0.01


def test_counts_are_those_of_both_bases():
    one = plan(trial_devices(LIGHT_ATTACKS["intercept-resend"].flaws, Guards()), 20_000)
    view = block_of(one, LIGHT_ATTACKS["beam-splitting"], 0.5, SEED, 0).view
    counts = counts_of(view)
    matched = ((view.codes >> 1) & 1) == view.detections.bases
    assert counts.key_total + counts.test_total == int(matched.sum())
    assert counts.key_total == int((matched & (view.detections.bases == Basis.KEY)).sum())
