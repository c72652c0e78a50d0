"""`kill -9` at every commit and every message of an exchange: no half blocks, no key twice, and the next one works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(300)
def test_no_point_of_death_of_an_exchange_leaves_half_a_block(tmp_path: Path, pki: Path) -> None:
    script = Path(__file__).with_name("crash_exchange.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(pki)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["points"] >= 15
    assert set(report["usable"]) == {0, 1}  # the one block of the workload, whole, or nothing of it
