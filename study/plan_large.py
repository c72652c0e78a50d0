"""A large plan: how long it takes, and how far from the optimum it may be.

    python study/plan_large.py [SITES [DEMANDS [SECONDS]]]        (1,000 sites, 10 demands, 560 s by default)

Sites strewn at random, each joined to its nearest neighbours (`noclone generate` makes the same, seed 3); far sites ask
for 500 bit/s each.
"""

import sys
import time

from noclone.network.topology_files import random_topology
from noclone.plan.candidates import candidates_of
from noclone.plan.sites import brief_of_topology
from noclone.plan.solver import solve


def main() -> None:
    """Plan, and print each step with its time."""
    given = [int(text) for text in sys.argv[1:4]]
    sites, demands, seconds = given + [1000, 10, 560][len(given) :]
    started = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:7.1f} s  {text}\n")
        sys.stdout.flush()

    brief = brief_of_topology(random_topology(sites, 3), bps=500.0, pairs=demands)
    candidates, _ = candidates_of(brief)
    say(f"{len(brief.sites)} sites, {len(brief.fibres)} fibres, {len(candidates)} candidates, {demands} demands")
    found = solve(brief, candidates, time_limit_s=seconds, gap=0.02, on_step=say)
    say(f"cost {found.cost:,.0f}, no network below {found.bound:,.0f}: gap {found.gap:.1%}; {found.met} demands met")


if __name__ == "__main__":
    main()
