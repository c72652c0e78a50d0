"""Names that people choose from a list: what a misspelt one was probably meant to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from noclone.cli.main import run_command
from noclone.spelling import NAME_MAX, SHOWN_MAX, choices, did_you_mean, near

NAMES = ("metro", "backbone", "combs")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("metroo", "metro"),
        ("METRO", "metro"),
        ("bakcbone", "backbone"),
        ("comb", "combs"),
        ("metro", None),  # it is there: something else is wrong
        ("zebra", None),
        ("", None),
        ("metro" * NAME_MAX, None),
    ],
)
def test_what_was_meant(name: str, meant: str | None) -> None:
    assert near(name, NAMES) == meant
    assert did_you_mean(name, NAMES) == (f"; did you mean '{meant}'?" if meant else "")
    assert choices(name, iter(NAMES)).endswith("there is: metro, backbone, combs")
    assert choices(name, NAMES).startswith("did you mean") is bool(meant)


def test_case_is_kept_as_the_list_has_it() -> None:
    assert near("ml-kem-786", ("ML-KEM-768", "ML-KEM-1024")) == "ML-KEM-768"


def test_long_lists_are_cut_short_and_empty_ones_say_so() -> None:
    names = [f"node-{number}" for number in range(SHOWN_MAX + 1)]
    assert choices("x", names, "it has").endswith(f"node-{SHOWN_MAX - 1}, ...")
    assert choices("x", []) == "there is: none"


SITES = str(Path(__file__).parents[1] / "examples" / "sites.toml")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["sattelite", "day"], "satellite"),
        (["run", "metroo"], "metro"),
        (["serve", "metroo"], "metro"),
        (["repeater", "bostn"], "boston"),
        (["satellite", "day", "miciuss"], "micius"),
        (["validate", "ma205"], "ma2005"),
        (["redteam", "blindin"], "blinding"),
        (["attack", "blindin", "metro", "--on", "koganei-otemachi"], "blinding"),
        (["record", "metro", "--link", "koganei-otemach", "-o", "there-is-none.h5"], "koganei-otemachi"),
        (["audit", "metro", "--what-if", "node:kogane compromised"], "koganei"),
        (["plan", SITES, "--sweep", "device.avalanch.cost=1,2"], "avalanche"),
        (["plan", SITES, "--sweep", "costs.nod=1,2"], "node"),
    ],
)
def test_every_command_guesses_what_was_meant(words: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(words) == 2
    assert f"did you mean '{meant}'?" in " ".join(capsys.readouterr().err.split())
