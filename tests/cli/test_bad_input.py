"""Bad input, as a user types it: one message, what to do, the right exit code, nothing on stdout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "run"),
        (["run"], "scenario"),
        (["run", "nowhere"], "shipped scenario"),
        (["run", "metro", "--blocks", "0"], "blocks"),
        (["run", "metro", "--blocks", "many"], "blocks"),
        (["run", "missing.toml"], "cannot be read"),
        (["record", "metro", "-o", "/nonexistent/x.h5"], "no such folder"),
        (["record", "metro", "-o", "."], "is a folder"),
        (["distill", "missing.h5"], "no such file"),
        (["keylength", "missing.toml"], "cannot be read"),
        (["key", "get", "--to", "b"], "--scenario"),
        (["key", "get", "--to", "b", "--kme", "https://127.0.0.1:1"], "--certificate"),
        (["serve", "metro", "--speed", "-1", "--pki", "."], "speed"),
        (["file", "send", "x", "--to", "b", "-o", "y", "--scenario", "metro"], "--as"),
        (["attack", "intercept-resend", "metro", "--on", "x", "--strength", "7"], "strength"),
        (["report", "metro", "-o", "/nonexistent/x.html"], "no such folder"),
        (["report", "metro", "--matrix", "missing.json"], "redteam --all"),
        (["redteam", "blinding", "-o", "."], "is a folder"),
        (["generate", "5", "-o", "/nonexistent/x.toml"], "no such folder"),
        (["plan", str(ROOT / "examples" / "sites.toml"), "--report", "/nonexistent/x.html"], "no such folder"),
        (["distill", "x.h5", "--eps-secrecy", "2"], "eps-secrecy"),
        (["distill", "x.h5", "--eps-correctness", "1e-300"], "eps-correctness"),
        (["distill", "."], "this is no file"),
        (["repeater", "--eps-secrecy", "0"], "eps-secrecy"),
        (["satellite", "--eps-secrecy", "nan"], "eps-secrecy"),
        (["satellite", "--clock-hz", "1e13"], "between 1 and 1e+12"),
        (["satellite", "--gate-ns", "1000"], "must not exceed"),
        (["satellite", "--divergence-urad", "1e-300"], "divergence-urad"),
    ],
)
def test_bad_input_is_said_and_ends_with_2(run: Run, arguments: list[str], words: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words.lower() in done.stderr.lower()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--pointing-urad", "1e15"), ("--pointing-urad", "1e-300"), ("--divergence-urad", "1e-6")],
)
def test_beams_that_nobody_builds_are_computed_all_the_same(run: Run, option: str, value: str) -> None:
    done = run("satellite", option, value)
    assert done.returncode in (0, 1)
    assert "secret bits" in done.stdout or "NO KEY" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["attack", "status", "metro"],
        ["link", "status", "metro"],
        ["site", "drain", "koganei", "metro"],
        ["key", "explain", "x", "metro"],
        ["key", "status", "--scenario", "metro", "--as", "sae-koganei", "--to", "sae-otemachi"],
        ["serve", "metro"],
    ],
)
def test_what_needs_certificates_says_how_they_are_made(run: Run, command: list[str], tmp_path: Path) -> None:
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert "make them: noclone pki metro; --pki says" in done.stderr
    elsewhere = run(*command, "--pki", "there")
    assert "make them: noclone pki metro -o there" in elsewhere.stderr
    (tmp_path / "there").mkdir()
    assert "noclone pki SCENARIO -o FOLDER" in run(*command, "--pki", "there").stderr
