"""How far a command is: told on stderr, to a pipe in whole lines, and with --json to a terminal alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from noclone.cli import terminal
from noclone.cli.main import run_command


def test_a_pipe_is_told_in_lines_and_nothing_with_json(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "LINE_EVERY_S", 0.0)
    for as_json, told in ((False, ["sorting ...", "sorting: 1 of 2", "sorting: 2 of 2"]), (True, [])):
        with terminal.parts("sorting", 2, as_json=as_json) as part_done:
            part_done()
            part_done()
        out, errors = capfd.readouterr()
        assert out == ""
        assert errors.splitlines() == told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["audit", "SCENARIO"], "auditing small"),
        (["report", "SCENARIO", "-o", "report.html"], "auditing small"),
        (["redteam", "replay"], "red team"),
        (["run", "SCENARIO", "--blocks", "1"], "running small"),
    ],
)
def test_commands_say_what_they_are_at(
    small_scenario: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [str(small_scenario) if one == "SCENARIO" else one for one in arguments]
    run_command(given)
    out, errors = capfd.readouterr()
    assert words in errors
    assert words not in out
    run_command([*given, "--json"])
    assert words not in capfd.readouterr().err
