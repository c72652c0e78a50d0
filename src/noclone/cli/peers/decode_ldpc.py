"""Syndrome decoding by `ldpc`, belief propagation in C++ with double precision.

In: qber, and checks: a file with the row and the column of each one in a parity-check matrix (`noclone` gives its own
code for that error rate); without a file, a regular code with three checks a bit, drawn here.
Out: megabits per second, f, and the share of frames that did not decode.
"""

import json
import math
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np

# Checks of so many bits leave a margin to the threshold of the regular code at that error rate, so that few of its
# frames fail: found by trying, with 20 frames of 16,384 bits each.
ROW_WEIGHTS = {0.01: 20, 0.02: 13, 0.03: 10, 0.05: 8, 0.08: 5}
REGULAR_BITS = 16_384
ITERATIONS = 60


def regular_code(qber: float, rng: Any, n: int = REGULAR_BITS) -> tuple[Any, Any]:
    """Return row and column of each one of a random (3, k)-regular code (Gallager 1962) with no double edge."""
    k = ROW_WEIGHTS[min(ROW_WEIGHTS, key=lambda known: abs(known - qber))]
    n -= n % k
    rows = rng.permutation(np.repeat(np.arange(3 * n // k), k)).reshape(n, 3)
    while True:
        ordered = np.sort(rows, axis=1)
        double = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if not len(double):
            return rows.ravel(), np.repeat(np.arange(n), 3)
        for bit in double:
            other, here, there = rng.integers(n), rng.integers(3), rng.integers(3)
            rows[bit, here], rows[other, there] = rows[other, there], rows[bit, here]


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Decode the syndromes of random errors until the time is spent; compare each with the errors."""
    from ldpc import BpDecoder
    from scipy.sparse import csr_matrix

    qber, seconds = float(job["qber"]), float(job.get("seconds", 3.0))
    rng = np.random.default_rng(1)
    if job.get("checks"):
        with np.load(job["checks"]) as stored:
            row, column = stored["row"], stored["column"]
    else:
        row, column = regular_code(qber, rng)
    checks = csr_matrix((np.ones(len(row), np.uint8), (row, column)))
    m, n = checks.shape
    decoder = BpDecoder(
        checks, error_rate=qber, max_iter=ITERATIONS, bp_method="product_sum", input_vector_type="syndrome"
    )
    spent_s, frames, failed = 0.0, 0, 0
    while frames < 2 or (spent_s < seconds and frames < 200):
        errors = (rng.random(n) < qber).astype(np.uint8)
        syndrome = (checks @ errors.astype(np.int64) % 2).astype(np.uint8)
        start = time.perf_counter()
        found = decoder.decode(syndrome)
        spent_s += time.perf_counter() - start
        frames += 1
        failed += not np.array_equal(found, errors)
    if failed == frames:
        raise SystemExit(f"ldpc decoded none of {frames} frames at an error rate of {qber:g}")
    ideal = n * -(qber * math.log2(qber) + (1 - qber) * math.log2(1 - qber))
    return {
        "peer": f"ldpc {version('ldpc')}",
        "mbps": frames * n / spent_s / 1e6,
        "efficiency_f": m / ideal,
        "frame_error_rate": failed / frames,
        "frames": frames,
        "frame_bits": n,
        "verified": "each decoded frame compared with the errors that were drawn",
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))) + "\n")
