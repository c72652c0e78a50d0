"""The best cut-off: better than none where memories are poor, none where they are perfect."""

from __future__ import annotations

import json

import pytest

from noclone.cli.main import run_command
from noclone.repeater.chain import Chain
from noclone.repeater.links import Link
from noclone.repeater.pairs import BellPair, Memory
from noclone.repeater.tuning import best_cutoff
from noclone.rng import seed_from_int

LINK = Link(0.0, 0.02, 1e-3, BellPair(0.97, 0.97, 0.97))


def test_poor_memories_want_a_cutoff_and_perfect_ones_none() -> None:
    poor = best_cutoff(Chain.uniform(LINK, 4, Memory(0.3)), seed_from_int(1), pairs=1000)
    assert poor[0].cutoff_s is not None
    none = next(one for one in poor if one.cutoff_s is None)
    assert poor[0].secret_bps > 1.2 * none.secret_bps
    perfect = best_cutoff(Chain.uniform(LINK, 4, Memory()), seed_from_int(1), pairs=1000)
    assert perfect[0].cutoff_s is None or perfect[0].cutoff_s > 2 * LINK.mean_s


def test_the_command_takes_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--length-km",
        "100",
        "--links",
        "4",
        "--dephasing-s",
        "0.02",
        "--pairs",
        "20000",
        "--seed",
        "2",
        "--json",
    ]
    assert run_command(["repeater", *options]) == 1  # too little key for a block of this length
    plain = json.loads(capsys.readouterr().out)
    assert run_command(["repeater", "--best-cutoff", *options]) == 0
    best = json.loads(capsys.readouterr().out)
    assert best["secret_bps"] > 1.1 * plain["secret_bps"]
    assert best["cutoffs"][0]["secret_bps"] == max(one["secret_bps"] for one in best["cutoffs"])
