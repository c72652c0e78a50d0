"""The catalogue and the matrix: names, data, and every attack on nodes, cryptography and availability tried."""

from __future__ import annotations

import json
import os
from typing import get_args

import pytest

from noclone import rng
from noclone.audit.threats import THREATS
from noclone.crypto.secret_sharing import join
from noclone.errors import InputError
from noclone.redteam import broken_kem, compromised_node
from noclone.redteam.attacks import LIGHT_ATTACKS, MESSAGE_ATTACKS, resolve
from noclone.redteam.catalogue import CATALOGUE
from noclone.redteam.entry import Live
from noclone.redteam.light_trial import trial_devices
from noclone.redteam.live import LIVE_ATTACKS
from noclone.redteam.matrix import Tried, lines, select, to_json, try_attack
from noclone.redteam.middle import MIDDLE_ATTACKS
from noclone.redteam.record import worth
from noclone.redteam.rows import Row

SEED = rng.seed_from_int(13)
OTHERS = [
    name
    for name, entry in CATALOGUE.items()
    if entry.layer not in ("light", "public channel") and name not in LIGHT_ATTACKS
]


def test_every_attack_says_what_it_is() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert all((entry.does, entry.hopes, entry.caught_by, entry.source))
    live = {kind: {name for name, entry in CATALOGUE.items() if entry.live == kind} for kind in get_args(Live)}
    assert live["link"] == {*LIGHT_ATTACKS, *MIDDLE_ATTACKS, *MESSAGE_ATTACKS}
    for kind in ("node", "application"):
        assert live[kind] == {name for name, attack in LIVE_ATTACKS.items() if attack.target == kind}


def test_the_audit_knows_the_threats_that_attacks_bear_on() -> None:
    known = {threat.name for threat in THREATS}
    assert {entry.threat for entry in CATALOGUE.values()} - {""} <= known


@pytest.mark.parametrize("name", OTHERS)
def test_an_attack_works_without_its_countermeasure_and_fails_with_it(name: str) -> None:
    tried = try_attack(CATALOGUE[name], SEED)
    assert tried.rows
    assert tried.as_expected, tried.rows
    for row in tried.rows:
        if row.outcome == "broken":
            assert row.eve_bits == 1
            assert row.exposed_bits > 0
        else:
            assert row.exposed_bits == 0


def test_a_node_learns_what_the_trust_formula_says_at_every_shape() -> None:
    for defended, learns in ((False, 1.0), (True, 0.0)):
        row = compromised_node.trial(SEED, defended, 1.0)
        assert row.eve_bits == row.predicted == learns


def test_a_share_alone_joins_to_nothing() -> None:
    """The check can fail: with both shares the same function gives the key."""
    key, first = os.urandom(64), os.urandom(64)
    second = bytes(a ^ b for a, b in zip(key, first, strict=True))
    assert bytes(join({0: first, 1: second}, 2, 2)) == key
    assert first != key


@pytest.mark.parametrize("combiner", broken_kem.COMBINERS)
def test_a_combiner_protects_if_and_only_if_qkd_is_in_it(combiner: str) -> None:
    row = broken_kem.trial(SEED, True, 1.0, combiner=combiner)
    assert (row.outcome == "held") == (combiner != "kem")


def test_information_is_measured_without_a_bonus_for_luck() -> None:
    """1 - h of a frequency overstates by 1 / (2 n ln 2): a coin's record is worth nothing on average."""
    random = rng.stream(SEED, "coins")
    found = [worth(1000, int(random.binomial(1000, 0.5))) for _ in range(2000)]
    assert sum(found) / len(found) < 0.6  # what clipping at zero leaves; uncorrected it would be 0.72 and more
    assert worth(100, 100) == 100
    assert worth(0, 0) == 0
    assert worth(10_000, 7_500) == pytest.approx(10_000 * 0.1887, rel=0.01)


def test_names_and_strengths_are_checked() -> None:
    devices = trial_devices(LIGHT_ATTACKS["blinding"].flaws, LIGHT_ATTACKS["blinding"].guards)
    with pytest.raises(InputError, match="no attack 'tickling'"):
        resolve("tickling", 1.0, devices)
    for strength in (-0.1, 1.1):
        with pytest.raises(InputError, match="strength"):
            resolve("blinding", strength, devices)
    with pytest.raises(InputError, match="no attack 'tickling'"):
        select(["tickling"])
    assert resolve("tampering", 1.0, devices).carriage is not None


def test_the_matrix_is_data_and_text() -> None:
    tried = [try_attack(entry, SEED) for entry in select(["spoofed-sae", "broken-kem"])]
    data = json.loads(json.dumps(to_json(tried, 13)))
    assert [one["name"] for one in data["attacks"]] == ["spoofed-sae", "broken-kem"]
    assert [row["defended"] for row in data["attacks"][1]["rows"]] == [False, True]
    text = "\n".join(lines(tried))
    assert "nodes and people" in text
    assert "broken" in text


def test_a_matrix_that_is_not_as_it_should_be_says_so() -> None:
    entry = CATALOGUE["spoofed-sae"]
    held = Row("spoofed-sae", True, 0.0, 256, 0.0, "held")
    broken = Row("spoofed-sae", True, 1.0, 256, 256.0, "broken")
    assert Tried(entry, (held,), 0.0).as_expected
    assert not Tried(entry, (broken,), 0.0).as_expected
    assert not Tried(entry, (Row("spoofed-sae", False, 0.0, 256, 0.0, "held"), held), 0.0).as_expected
