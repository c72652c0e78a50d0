"""A crash at any point of a draw: what was drawn is used once or never, and both ends go on alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORKLOAD = Path(__file__).with_name("crash_workload.py")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 7])
def test_a_crash_at_any_point_of_a_draw_uses_nothing_twice(tmp_path: Path, step: int) -> None:
    command = [sys.executable, str(WORKLOAD), str(tmp_path), str(step)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["points"] >= 40
    assert {0, 1} <= set(report["blocks"])  # crashes hit before and after a block was there
