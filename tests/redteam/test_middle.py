"""Eve holds the source or the station: nothing at strength zero, every touched bit hers, and no key comes out."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest

from noclone import rng
from noclone.errors import InputError
from noclone.events import EventLog
from noclone.link.joint import CODES
from noclone.link.meeting import Meeting, weights
from noclone.network.scenario import AttackSection, load_scenario
from noclone.network.simulate import run
from noclone.redteam.attacks import LIGHT_ATTACKS, resolve
from noclone.redteam.light_trial import trial_devices
from noclone.redteam.middle import KEY_CODES, MIDDLE_ATTACKS
from noclone.redteam.middle_trial import smaller, trial_plan, try_middle

SEED = rng.seed_from_int(17)
NAMES = list(MIDDLE_ATTACKS)
STATIONS = ["measuring-station", "discriminating-station"]


@lru_cache(maxsize=32)
def outcome(name: str, defended: bool, strength: float):
    return try_middle(MIDDLE_ATTACKS[name], defended=defended, strength=strength, seed=SEED)


@pytest.mark.parametrize("name", NAMES)
def test_an_honest_middle_gives_key_and_eve_nothing(name):
    honest = outcome(name, True, 0.0)
    assert honest.key_bits > 5_000
    assert honest.eve_bits == honest.exposed_bits == 0
    light = trial_plan(MIDDLE_ATTACKS[name]).light
    assert MIDDLE_ATTACKS[name].eavesdropper(light, 0.0).devices is light


@pytest.mark.parametrize("name", NAMES)
def test_who_takes_errors_for_noise_hands_her_the_key(name):
    seen = outcome(name, False, 0.3)
    assert abs(seen.eve_bits - seen.predicted) < 5 * 0.5 / math.sqrt(seen.sifted_bits) + 0.003
    assert seen.exposed_bits > 0.2 * seen.key_bits
    honest = outcome(name, True, 0.0)
    assert seen.sifted_bits == pytest.approx(honest.sifted_bits, abs=6 * math.sqrt(2 * honest.sifted_bits))


@pytest.mark.parametrize(("name", "strength"), [*((name, 1.0) for name in NAMES), ("separable-source", 0.1)])
def test_the_protocol_refuses_such_a_block(name, strength):
    seen = outcome(name, True, strength)
    assert (seen.key_bits, seen.exposed_bits) == (0, 0)
    assert seen.refused in ("qber-too-high", "no-secret-key", "below-agreed-length")


def test_half_of_the_test_bits_are_wrong_where_she_measures_in_the_key_basis():
    for name, honest in (("separable-source", 0.027), ("measuring-repeater", 0.075), ("measuring-station", 0.321)):
        assert outcome(name, True, 1.0).qber == pytest.approx(0.5, abs=0.02)
        assert outcome(name, True, 0.0).qber == pytest.approx(honest, abs=0.02)


@pytest.mark.parametrize("name", STATIONS)
def test_her_announcements_are_as_many_as_expected_and_right_in_the_key_basis(name):
    light = trial_plan(MIDDLE_ATTACKS[name]).light
    assert isinstance(light, Meeting)
    held = MIDDLE_ATTACKS[name].eavesdropper(light, 1.0).devices
    sent = weights(light.protocol.alice)[:, None] * weights(light.protocol.bob)[None, :]
    sent = sent * KEY_CODES[:, None] * KEY_CODES[None, :]
    law, honest = held.law(), light.announced()
    whole = law.p_max * (law.limits[:, -1].astype(float) / 2.0**64).reshape(CODES, CODES)
    assert float((sent * whole).sum()) == pytest.approx(float((sent[:, :, None] * honest).sum()), rel=1e-6)
    shares = np.diff(law.limits.astype(float) / 2.0**64, axis=1, prepend=0.0).reshape(CODES, CODES, -1)
    sets = law.sets.reshape(CODES, CODES, -1) & 0xF
    for alice in np.flatnonzero(KEY_CODES & (np.arange(CODES) < 4)):
        for bob in np.flatnonzero(KEY_CODES & (np.arange(CODES) < 4)):
            for said, share in zip(sets[alice, bob], shares[alice, bob], strict=True):
                if share > 0:
                    assert light.DIFFER[int(said)][0] == ((alice ^ bob) & 1 == 1)


def test_two_separable_photons_violate_no_inequality():
    scenario = load_scenario("entangled")
    attack = AttackSection(name="separable-source", on=scenario.links[0].name)
    link = smaller(scenario.links[0], MIDDLE_ATTACKS["separable-source"].key_bits)
    attacked = scenario.model_copy(update={"lab": True, "attacks": [attack], "links": [link]})
    log = EventLog()
    result = run(attacked, log, seed=SEED, seeded=True, blocks=1, resolve=resolve)
    events = {event.kind: event.data for event in log}
    refused = events["block.aborted"]
    assert refused["reason"] == "qber-too-high"
    assert 1 < refused["chsh"]["value"] < 2 + 6 * refused["chsh"]["standard_error"]
    assert events["eve.learned"]["per_sifted_bit"] > 0.99
    assert result.links[0].secret_bits == 0


def test_attacks_meet_only_the_light_that_they_are_for():
    entangled = trial_plan(MIDDLE_ATTACKS["separable-source"]).light
    flaws, guards = LIGHT_ATTACKS["blinding"].flaws, LIGHT_ATTACKS["blinding"].guards
    with pytest.raises(InputError, match="nothing to attack on a link of decoy-bb84"):
        resolve("separable-source", 1.0, trial_devices(flaws, guards))
    with pytest.raises(InputError, match="nothing to attack on a link of bbm92"):
        resolve("measuring-station", 1.0, entangled)
    with pytest.raises(InputError, match="nothing to attack on a link of bbm92"):
        resolve("measuring-repeater", 1.0, entangled)
    with pytest.raises(InputError, match="decoy-bb84 links, and this is one of bbm92"):
        resolve("blinding", 1.0, entangled)
    assert resolve("tampering", 1.0, entangled).carriage is not None
