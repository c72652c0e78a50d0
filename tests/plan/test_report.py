"""The plan's HTML report: everything in it, nothing that runs, nothing that is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from noclone.cli.main import run_command

LONG_HAUL = Path(__file__).parents[2] / "examples" / "long-haul.toml"


def test_the_report_stands_alone_and_says_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "plan.html"
    assert run_command(["plan", str(LONG_HAUL), "--report", str(page)]) == 0
    assert "it is the cheapest" in capsys.readouterr().out
    text = page.read_text()
    assert "<script" not in text
    assert "src=" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "5 of 5 demands met in full" in text
    assert text.count('class="planned"') == 1, "a vendor's: all else is simulated"
    assert text.count('class="link"') == 6, "two of a satellite, two arms of a station, a hut's, a fibre's"
    assert "<polygon" in text
    assert "What was not considered" in text
    assert "finite blocks, as noclone run proves them" in text


def test_names_cannot_break_out_of_the_report(tmp_path: Path) -> None:
    brief, page = tmp_path / "b.toml", tmp_path / "b.html"
    brief.write_text(
        'name = "b"\ntitle = "<script>alert(1)</script>"\n'
        '[[site]]\nname = "a"\ntitle = "<b>"\n[[site]]\nname = "z"\n'
        '[[fibre]]\na = "a"\nb = "z"\nlength_km = 900.0\n[[demand]]\nbetween = ["a", "z"]\nbps = 1.0\n'
    )
    assert run_command(["plan", str(brief), "--report", str(page)]) == 1
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;b&gt;" in text
    assert "no link with any device" in text
