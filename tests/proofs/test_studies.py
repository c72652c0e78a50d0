"""The studies meet the published numbers; provenance and tolerances in tests/data/SOURCES.md."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("scipy")
pytest.importorskip("matplotlib")

STUDY = Path(__file__).parents[2] / "study"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(STUDY))
    return importlib.import_module(name)


def test_ma2005(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {r.what: r for r in load("ma2005", monkeypatch).study(tmp_path, points=20)}
    assert (tmp_path / "ma2005.png").stat().st_size > 5000
    # Distances are printed to 0.05 km by authors who read them off a curve; 0.1 km is the stated tolerance.
    assert rows["reach, weak + vacuum (km)"].ours == pytest.approx(140.55, abs=0.1)
    assert rows["reach, infinite decoys (km)"].ours == pytest.approx(142.05, abs=0.1)
    # The others are met to the digits that are printed.
    assert rows["optimal signal, f = 1.22"].ours == pytest.approx(0.48, abs=0.005)
    assert rows["optimal signal, f = 1"].ours == pytest.approx(0.54, abs=0.005)
    assert rows["bound misses Y1 by (%)"].ours == pytest.approx(3.5, abs=0.05)
    assert rows["bound misses e1 by (%)"].ours == pytest.approx(16.8, abs=0.05)


def test_lim2014(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's one number, 1.75; an optimiser of ours finds 1.79 with a literal reading, within the 4 % allowed."""
    lim = load("lim2014", monkeypatch)
    big, small = lim.best_rate(100.0, 1e9), lim.best_rate(100.0, 1e7)
    assert big / small == pytest.approx(1.75, rel=0.04)
    assert big > small > lim.best_rate(100.0, 1e6) > 0


def test_rusca2018(monkeypatch: pytest.MonkeyPatch) -> None:
    """One decoy gives more key than two for blocks of up to 1e8 bits, and its lead shrinks with the block."""
    rusca = load("rusca2018", monkeypatch)
    lead = [rusca.best_rate(20.0, n, "rusca2018") / rusca.best_rate(20.0, n, "lim2014") for n in (1e6, 1e8, 1e10)]
    assert lead[0] > lead[1] > lead[2]
    assert lead[1] > 1


def test_boaron2018(monkeypatch: pytest.MonkeyPatch) -> None:
    """One fitted number for three rows of 18 dB; the two rows with the smallest blocks are declared misses."""
    boaron = load("boaron2018", monkeypatch)
    eta = boaron.fitted_efficiency()
    assert 0.2 < eta < 0.4
    ratios = [boaron.best_rate(row, eta) / row.rate_bps for row in boaron.TABLE]
    assert all(0.9 < r < 1.1 for r in ratios[:3])
    assert 0.5 < ratios[3] < 1
    assert 3 < ratios[4] < 6  # a declared miss: their phase error at 421 km is worse than the error rate that we use


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lim2014", "rusca2018", "boaron2018"])
def test_figures_are_drawn(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load(name, monkeypatch)
    coarse = {"lim2014": {"step_km": 100, "blocks": (1e7,)}, "rusca2018": {"blocks": (1e6,), "losses_db": (20.0,)}}
    assert study.study(tmp_path, **coarse.get(name, {}))
    assert (tmp_path / f"{name}.png").stat().st_size > 5000
