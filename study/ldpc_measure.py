"""How often each LDPC code fails, with no check split: the table in study/README.md.

python study/ldpc_measure.py [FRAMES]       a minute for 64 frames
"""

from __future__ import annotations

import sys

import numpy as np

from noclone.distill import ldpc_frames
from noclone.distill.ldpc_codes import FRAME_BITS, codes
from noclone.distill.ldpc_search import find_errors
from noclone.proofs.entropy import binary_entropy

FACTORS = (1.14, 1.16, 1.18)  # syndrome over Shannon's limit


def error_rate(entropy):
    """Return the error rate whose binary entropy this is."""
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if binary_entropy(middle) < entropy else (low, middle)
    return low


def draw(code, qber, lanes, rng):
    """Return error patterns of some frames, packed, and their syndromes with no check split."""
    bits = rng.random((FRAME_BITS, lanes)) < qber
    sliced = (bits.astype(np.uint64) << np.arange(lanes, dtype=np.uint64)).sum(1, dtype=np.uint64)
    whole, half = np.empty((2, 64 * code.whole_words), np.uint64)
    ldpc_frames.syndromes(sliced, code.circulant, code.row, code.half, code.column, code.shift, whole, half)
    rows = np.empty((lanes, code.whole_words), np.uint64)
    ldpc_frames.pack_rows(whole, lanes, rows)
    return np.ascontiguousarray(np.packbits(bits.T, axis=1, bitorder="little")).view(np.uint64), rows


def failures(code, qber, lanes, rng):
    """Return how many of `lanes` frames do not decode, and the mean number of iterations of those that do."""
    right, rows = draw(code, qber, lanes, rng)
    known = np.zeros(FRAME_BITS, bool)
    patterns, iterations = find_errors(code, 0, known, rows, np.arange(lanes), 1)
    found = iterations > 0
    assert (patterns[found] == right[found]).all(), "a frame decoded to a wrong pattern"
    return int((~found).sum()), float(iterations[found].mean()) if found.any() else 0.0


def main(frames=64):
    print("| rows/columns | leak | edges/bit | threshold | f there | " + " | ".join(f"f = {f}" for f in FACTORS) + " |")
    print("|---|---|---|---|---|" + "---|" * len(FACTORS))
    for code in codes():
        share = code.rows * code.circulant / FRAME_BITS
        rng = np.random.default_rng(code.rows)
        cells = []
        for factor in FACTORS:
            failed, iterations = failures(code, error_rate(share / factor), frames, rng)
            cells.append(f"{failed / frames:.2f} ({iterations:.0f})")
        best = share / binary_entropy(code.threshold)
        density = len(code.row) * code.circulant / FRAME_BITS
        size = f"{code.rows}/{FRAME_BITS // code.circulant}"
        print(
            f"| {size} | {share:.4f} | {density:.2f} | {code.threshold} | {best:.3f} | {' | '.join(cells)} |",
            flush=True,
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
