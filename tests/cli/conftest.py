"""A command as a user types it, run in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, and check what must hold for all: errors on stderr alone, 0, 1 or 2."""
    from noclone.cli.main import run_command

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")

    def command(*arguments: str | Path, cwd: Path | None = None) -> Done:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capfd.readouterr()
        try:
            code = run_command([str(argument) for argument in arguments])
        except SystemExit as leaving:  # how the parser ends
            code = leaving.code if isinstance(leaving.code, int) else 1
        out, errors = capfd.readouterr()
        assert code in (0, 1, 2), errors
        if code == 2:
            assert out == "", "bad input leaves stdout empty"
        return Done(code, out, errors)

    return command
