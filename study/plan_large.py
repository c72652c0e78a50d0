"""A large plan: how long it takes, and how far from the optimum it may be.

    python study/plan_large.py [SITES [DEMANDS [SECONDS]]]        (1,000 sites, 10 demands, 560 s by default)

The network of `noclone bench planner_large`, with each step and its time.
"""

import sys
import time

from noclone.plan.bench import bench_planner


def main() -> None:
    """Plan, and print each step with its time."""
    given = [int(text) for text in sys.argv[1:4]]
    sites, demands, seconds = given + [1000, 10, 560][len(given) :]
    started = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:7.1f} s  {text}\n")
        sys.stdout.flush()

    found = bench_planner(sites=sites, demands=demands, time_limit_s=seconds, on_step=say)
    say(
        f"cost {found['plan_cost']:,.0f}, no network below {found['plan_bound']:,.0f}: "
        f"gap {found['gap_above_cheapest']:.2%}; {found['demands_met']} demands met; "
        f"{found['processor_s']:.0f} s of processors"
    )


if __name__ == "__main__":
    main()
