"""Files of repeaters: those that are shipped, what they say of their numbers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from noclone.cli.main import run_command
from noclone.repeater.brief import SHIPPED, load_repeaters
from noclone.repeater.clocked import Clocked, best_fidelity
from noclone.repeater.links import Emitters, Link, one_click
from noclone.repeater.pairs import BellPair, Memory
from noclone.repeater.result import leaks, leaks_over_relays
from noclone.repeater.tables import RepeaterError
from noclone.trust.formula import Atom

SMALL = """
name = "small"
[devices]
emission = 0.6
[rules]
swap_quality = 0.99
[[link]]
between = ["a", "b"]
length_km = 20
[[link]]
between = ["b", "c"]
length_km = 20
[[link]]
between = ["a", "c"]
length_km = 150
[request]
between = ["a", "c"]
pairs = 20_000
"""


def nv(bright: float) -> Link:
    """Humphreys et al. 2018: detection 3.5e-4 on average, 20 Hz in 25 ns, V = 0.9, 15 degrees, 4 %, 5.5 us."""
    return one_click(0.0, Emitters(3.5e-4, 1.0, 5e-7, 0.9, 5.5e-6), bright, phase_rad=0.262, double_excitation=0.04)


@pytest.mark.parametrize(("bright", "published_hz"), [(0.05, 6.0), (0.3, 39.0)])
def test_delft_entangles_as_often_as_published(bright: float, published_hz: float) -> None:
    assert 1 / nv(bright).mean_s == pytest.approx(published_hz, rel=0.1)


def test_delft_on_demand_beats_one_half_ten_times_a_second() -> None:
    found = load_repeaters("delft").clocked()
    assert found is not None
    assert found.period_s == 0.1
    assert 0.5 < found.fidelity < 0.65


def test_a_clocked_link_is_what_trying_and_waiting_gives() -> None:
    """The closed form of first successes that wait until the tick, against drawn ones."""
    link = Link(0.0, 0.01, 1e-3, BellPair(0.8, 0.8, 0.9))
    clocked = Clocked(link, Memory(0.3, 0.5), 0.2, 0.05)
    first = np.random.default_rng(4).geometric(0.01, 200_000)
    there = first[first <= 150]
    assert clocked.success == pytest.approx(there.size / first.size, abs=0.006)
    waited_s = (150 - there) * 1e-3
    noise = np.exp(-2 * waited_s / 0.5)
    assert clocked.pair().z == pytest.approx(0.9 * noise.mean(), abs=0.006)
    assert clocked.pair().x == pytest.approx((0.8 * noise * np.exp(-2 * waited_s / 0.3)).mean(), abs=0.006)


@pytest.mark.parametrize("efficiency", [0.5, 1.0, 8.0])
def test_a_clocked_link_reaches_the_published_optimum(efficiency: float) -> None:
    """Equation (2) of Humphreys et al.: pairs that are perfect, attempts without end, white noise on one half."""
    decay_hz, attempt_s = 5.0, 1e-5
    link = Link(0.0, efficiency * decay_hz * attempt_s, attempt_s, BellPair(1, 1, 1))
    best = max(Clocked(link, Memory(depolarising_s=2 / decay_hz), t / 1000).fidelity for t in range(5, 700, 2))
    assert best == pytest.approx(best_fidelity(efficiency), abs=2e-4)


def test_every_number_of_a_shipped_file_has_an_origin() -> None:
    assert SHIPPED.names() == ["backbone", "boston", "delft"]
    for name in SHIPPED.names():
        brief = load_repeaters(name)
        assert not set(brief.numbers()) - set(brief.origins), name
        assert brief.chain().length_km > 0


def test_boston_is_fitted_and_says_so() -> None:
    brief = load_repeaters("boston")
    link = brief.chain().links[0]
    assert link.pair.fidelity == pytest.approx(0.69, abs=0.005)
    assert [place for place, origin in brief.origins.items() if origin.startswith("fitted")] == ["devices.dark"]
    local = brief.devices.link(0.0)
    assert local.pair.fidelity == pytest.approx(0.86, abs=0.03)


def test_the_path_is_the_quickest(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    assert load_repeaters(path).path() == ["a", "b", "c"]


def test_the_command_delivers_key_and_says_whom_to_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    assert run_command(["repeater", str(path), "--seed", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["simulated"] is True
    assert found["pairs"] == 20_000
    assert 0 < found["bbm92"]["secret_bits"] < found["asymptotic_key_fraction"] * 20_000
    assert "no node between" in found["trusted"]
    assert "node:" not in found["leaks"]
    assert "node:b" in found["leaks_over_trusted_relays"]
    assert found["origins"]["devices.emission"] == {"value": 0.6, "origin": "given"}
    assert run_command(["repeater", str(path), "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found


def test_whoever_holds_all_nodes_between_does_not_have_the_key() -> None:
    path = ["a", "b", "c", "d"]
    between = [Atom("node", "b"), Atom("node", "c")]
    assert not leaks(path).leaks(between)
    assert leaks_over_relays(path).leaks(between[:1])
    for atom in (Atom("site", "a"), Atom("site", "d"), Atom("link", "a-d"), Atom("fibre", "a-d")):
        assert leaks(path).leaks([atom])


def test_the_command_says_when_there_is_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["repeater", "--links", "2", "--visibility", "0.6", "--pairs", "100", "--seed", "1"]) == 1
    told = capsys.readouterr().out
    assert "NO KEY from pairs like these" in told
    assert "too few" not in told


def test_a_block_that_is_too_short_gives_no_key_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    assert run_command(["repeater", str(path), "--seed", "3", "--pairs", "100"]) == 1
    told = capsys.readouterr().out
    assert "NO KEY: too few pairs" in told
    assert "secret bits a pair" in told  # long blocks would give some


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["a", "c"]\npairs', '["a", "d"]\npairs', "no links lead from a to d"),
        ("emission = 0.6", "emision = 0.6", "did you mean 'emission'"),
        ("emission = 0.6", "emission = 1.6", "emission"),
        ("emission = 0.6", "emission = 0.0", "is no link"),
        ("emission = 0.6", 'scheme = "measured"', "measured devices need"),
        ('["b", "c"]', '["b", "b"]', "joins two nodes"),
        ('name = "small"', 'name = "small"\norigins = {"devices.colour" = "assumed: red"}', "no number"),
        ('name = "small"', 'name = "small"\norigins = {"devices.emission" = "surely"}', "begins with"),
        ('name = "small"', 'name = "small"\nclock = {period_s = 1.0}', "clock is for one link"),
    ],
)
def test_mistakes_in_a_file_are_named(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.toml"
    assert old in SMALL
    path.write_text(SMALL.replace(old, new))
    assert run_command(["repeater", str(path), "--seed", "1"]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(RepeaterError, match="neither a file nor a shipped"):
        load_repeaters("bostn")
