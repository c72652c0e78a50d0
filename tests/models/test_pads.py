"""The model of the pad book, checked by Spin: every order of everything that can happen, for two batches."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("pads.pml")


def check(folder: Path, *defines: str) -> tuple[int, int]:
    """Explore all states; return how many errors and how many states there are."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if shutil.which("spin") is None or compiler is None:
        pytest.skip("not installed: spin, or a C compiler")
    for command in (
        ["spin", *defines, "-a", MODEL],
        [compiler, "-w", "-O2", "-o", "pan", "pan.c"],
        ["./pan", "-m1000000"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "max search depth too small" not in done.stdout
    errors = re.search(r"errors: (\d+)", done.stdout)
    states = re.search(r"(\d+) states, stored", done.stdout)
    assert errors
    assert states
    return int(errors[1]), int(states[1])


def test_no_batch_is_used_twice_while_one_end_at_most_is_restored(tmp_path: Path) -> None:
    errors, states = check(tmp_path)
    assert errors == 0
    assert states > 50_000


@pytest.mark.parametrize("define", ["-DBOTH_ENDS", "-DEAGER"])
def test_the_model_finds_what_must_go_wrong(tmp_path: Path, define: str) -> None:
    assert check(tmp_path, define)[0] == 1
