"""Compiling ahead, and what a start costs without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from noclone.cli.bench_figures import FIGURES


def test_warmup_does_every_job(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from noclone.cli import warmup
    from noclone.cli.main import run_command

    done: list[str] = []
    jobs = {name: lambda name=name: done.append(name) for name in warmup.JOBS}
    monkeypatch.setattr(warmup, "JOBS", jobs)
    monkeypatch.setattr(warmup, "prepare", lambda *sections: done.append(f"all but {len(sections)}"))
    assert run_command(["warmup", "--json"]) == 0
    out, errors = capfd.readouterr()
    assert done == ["all but 0", *jobs]
    assert list(json.loads(out)["seconds"]) == ["compiling", *jobs]
    assert "trying light" in errors


@pytest.mark.slow
def test_warmup_fills_the_cache(tmp_path: Path) -> None:
    from noclone.cli import warmup

    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    code = "from noclone.cli.warmup import JOBS; JOBS['amplification']()"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(tmp_path.rglob("*.nbi"))
    assert set(warmup.JOBS) >= {"light", "cascade", "amplification", "chain"}


@pytest.mark.slow
def test_a_cold_start_is_slower_than_a_cached_one() -> None:
    from noclone.cli.bench_cold_start import bench_cold_start

    figures = bench_cold_start(runs=2, stages=("light",))
    assert 0 < figures["help_s"] < figures["light_cached_s"] < figures["light_uncached_s"]
    assert figures["first_kernel_s"] == figures["light_cached_s"]
    assert set(figures) <= set(FIGURES)
