"""`kill -9` at every commit and every message of a relay: both ends hold the same bytes, nothing comes twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKLOAD = Path(__file__).with_name("crash_workload.py")


def report_of(folder: Path, step: int, first: int) -> dict[str, Any]:
    command = [sys.executable, str(WORKLOAD), str(folder), str(step), str(first)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    for victim, found in report.items():
        assert found["points"] >= 20, victim
        assert found["blocks"][0] == 0  # dead at once: nothing was relayed
        assert max(found["blocks"]) >= 1  # dead at the end: the first block serves
        assert max(found["alone"]) >= 1  # and when the others live on
    return report


def test_some_points_of_death(tmp_path: Path) -> None:
    report_of(tmp_path, 20, 3)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_every_point_of_death(tmp_path: Path) -> None:
    report_of(tmp_path, 1, 1)
