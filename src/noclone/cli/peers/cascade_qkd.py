"""Cascade by `qkd` (a Rust core), a simulator of what the protocol leaks: it draws keys, corrects them, counts.

In: qber, block_bits and how many bits a frame has.  Out: megabits per second of the call, f and frames left wrong.
"""

import json
import math
import sys
import time
from importlib.metadata import version
from typing import Any


def entropy(p: float) -> float:
    """Return h(p) (Shannon 1948, section 6)."""
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Run it on frames that hold as many bits as our block, the best of two runs with different keys."""
    from qkd.reconcile import Cascade, run_cascade

    qber, frame = float(job["qber"]), int(job.get("frame_bits", 1 << 14))
    frames = max(1, int(job["block_bits"]) // frame)
    configuration = Cascade(frame=frame)
    run_cascade(qber, 1, 99, configuration)
    best_s, leaks, failed = math.inf, [], 0
    for seed in (1, 2):
        start = time.perf_counter()
        leak, wrong = run_cascade(qber, frames, seed, configuration)
        best_s = min(best_s, time.perf_counter() - start)
        leaks.append(leak)
        failed += int(wrong)
    f = sum(leaks) / len(leaks) / (frame * entropy(qber))
    # It tells counts and no keys: fewer
    # it did not correct. The error count of a run scatters, hence the margin of five standard deviations.
    scatter = 5 * math.sqrt(qber * (1 - qber) / (2 * frames * frame)) / qber
    if f < 1 - scatter or failed > frames:
        raise SystemExit(f"qkd did not reconcile: f = {f:.3f}, {failed} of {2 * frames} frames left wrong")
    return {
        "peer": f"qkd {version('qkd')}",
        "mbps": frames * frame / best_s / 1e6,
        "efficiency_f": f,
        "frame_error_rate": failed / (2 * frames),
        "frames": 2 * frames,
        "frame_bits": frame,
        "verified": "its own count of frames left wrong (it hands out no key); leak at or above Shannon's limit",
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))) + "\n")
