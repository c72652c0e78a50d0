"""`kill -9` at every commit and every hand-over: nothing is delivered twice, nothing that was promised is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKLOAD = Path(__file__).with_name("crash_workload.py")


def test_no_point_of_death_breaks_a_promise(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(WORKLOAD), str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["points"] >= 30
    # A copy is burned only between its commit and its arrival: at most the two keys of one request, at few points.
    assert sum(1 for copies in report["burned"] if copies) <= 3
    assert max(report["burned"]) <= 2


@pytest.mark.timeout(600)
@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_nor_on_a_server(postgres: Any, tmp_path: Path, every: int) -> None:
    command = [sys.executable, str(WORKLOAD), str(tmp_path), str(postgres.folder), str(every)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["points"] >= 30 // every
    assert sum(1 for copies in report["burned"] if copies) <= 3
    assert max(report["burned"]) <= 2


def test_the_environment_says_where_to_die(tmp_path: Path) -> None:
    environment = {**os.environ, "NOCLONE_CRASH_AT": "3"}
    done = subprocess.run([sys.executable, str(WORKLOAD), str(tmp_path)], env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "alder.db").exists()


def test_no_point_of_death_of_a_rotation_or_a_restore_loses_the_store(tmp_path: Path) -> None:
    script = WORKLOAD.with_name("crash_upkeep.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    points = json.loads(done.stdout)
    assert points["rotate"] >= 10
    assert points["restore"] >= 6
