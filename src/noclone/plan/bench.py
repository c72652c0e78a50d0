"""Measure how long a plan takes: what devices give where, the bound, the network.

Sites strewn at random, each joined to its nearest neighbours (`noclone generate` makes the same, seed 3); far sites ask
for key. The gap is against a bound over every network.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

from noclone.extras import how_to_install
from noclone.network.topology_files import random_topology
from noclone.plan.candidates import candidates_of
from noclone.plan.sites import brief_of_topology
from noclone.plan.solver import solve

SEED = 3
BPS = 500.0


def bench_planner(
    *,
    sites: int = 50,
    demands: int = 10,
    time_limit_s: float = 60.0,
    gap: float = 0.01,
    on_step: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Return seconds, of wall clock and of processor, and how far from the cheapest the network is at most."""
    if importlib.util.find_spec("scipy") is None:
        return {"not_run": f"SciPy is not installed; {how_to_install('plan')}"}
    brief = brief_of_topology(random_topology(sites, SEED), bps=BPS, pairs=demands)
    began, worked = time.perf_counter(), time.process_time()
    candidates, _ = candidates_of(brief)
    rates_s = time.perf_counter() - began
    on_step(f"{sites} sites, {len(brief.fibres)} fibres, {len(candidates):,} candidates, {len(brief.demands)} demands")
    found = solve(brief, candidates, time_limit_s=time_limit_s, gap=gap, on_step=on_step)
    return {
        "sites": sites,
        "demands": len(brief.demands),
        "demands_met": found.met,
        "candidates": len(candidates),
        "rates_s": rates_s,
        "solved_s": found.seconds,
        "processor_s": time.process_time() - worked,
        "plan_cost": found.cost,
        "plan_bound": found.bound,
        "gap_above_cheapest": found.gap,
    }


def bench_planner_large() -> dict[str, Any]:
    """Measure 1,000 sites."""
    return bench_planner(sites=1000, time_limit_s=560.0)
