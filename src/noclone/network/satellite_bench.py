"""Measure how long a day of a satellite over four stations takes: orbits, passes, keys, relays."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

from noclone.extras import how_to_install
from noclone.network.satellite_day import run_day
from noclone.network.satellite_file import load_satellites


def bench_satellites(*, hours: float = 24.0) -> dict[str, Any]:
    """Return the seconds that the shipped day takes, steps of a second, pointing in six cases each."""
    if importlib.util.find_spec("skyfield") is None:
        return {"not_run": f"Skyfield is not installed; {how_to_install('satellite')}"}
    brief = load_satellites("micius").at(None, hours)
    began = time.perf_counter()
    found = run_day(brief)
    return {
        "hours": hours,
        "day_s": time.perf_counter() - began,
        "passes": len(found.passes),
        "pass_seconds": sum(one.key.seconds for one in found.passes),
    }
