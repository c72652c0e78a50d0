"""Search the LDPC decoder's normalisation by how far a frame has come: `noclone.distill.ldpc_codes.PACE`.

    python study/ldpc_pace.py [SEED]        some minutes

Density evolution gives a factor for each iteration of an endless code at its threshold (`ldpc_evolution.py`). Frames
differ: one with fewer errors comes forward faster, and wants the later factors sooner. So the factor is a function of
the share of wrong checks that is left, drawn through some knots and climbed at random: fewer frames lost and fewer
iterations taken on the same frames, of six codes near what they can correct. Other frames judge what was found.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from ldpc_measure import draw, error_rate

from noclone.distill.ldpc_codes import FRAME_BITS, PACE, codes
from noclone.distill.ldpc_search import find_errors

# Rows and columns, and the leak over Shannon's limit: where a fifth to a half of the frames fail.
CASES = ((18, 256, 1.18), (23, 256, 1.16), (24, 256, 1.15), (25, 128, 1.14), (42, 128, 1.125), (56, 128, 1.12))
KNOTS = np.array([0, 0.06, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.76, 0.86, 1.0])
START = (220, 208, 205, 180, 160, 144, 130, 112, 98, 96, 94, 85, 48)  # density evolution's, by its own wrong checks
FRAMES, TRIALS = 64, 700  # a frame in each bit of a word
ITERATION = 0.025  # costs as much as this share of the frames lost


def table(knots):
    """Return `PACE` through these values; the last is for the first iteration."""
    middle = (np.arange(32) + 0.5) / 32
    return tuple(round(float(a)) for a in (*np.interp(middle, KNOTS, knots[:-1]), knots[-1]))


def cost(pace, cases):
    """Return what is to be small, the share of frames lost, and the mean number of iterations."""
    lost, taken = [], []
    for code, syndromes in cases:
        n = len(syndromes)
        _, iterations = find_errors(replace(code, pace=pace), 0, np.zeros(FRAME_BITS, bool), syndromes, np.arange(n), 1)
        lost.append(float(np.mean(iterations < 0)))
        taken.append(float(np.mean(np.abs(iterations))))
    return np.mean(lost) + ITERATION * np.mean(taken), np.round(lost, 3), np.round(taken, 1)


def drawn(rng, frames):
    """Return each case's code, and syndromes."""
    found = {(code.rows, FRAME_BITS // code.circulant): code for code in codes()}
    return [(found[r, c], draw(found[r, c], error_rate(r / c / factor), frames, rng)[1]) for r, c, factor in CASES]


def main(seed=1):
    rng = np.random.default_rng(seed)
    cases = drawn(rng, FRAMES)
    knots = np.array(START, float)
    best = cost(table(knots), cases)
    for trial in range(TRIALS):
        new = knots.copy()
        for place in rng.integers(0, len(knots), rng.integers(1, 4)):
            new[place] = min(max(new[place] * np.exp(rng.normal() * 0.1), 16), 256)
        here = cost(table(new), cases)
        if here[0] < best[0]:
            knots, best = new, here
            print(trial, *best, flush=True)
    print(table(knots))
    others = drawn(np.random.default_rng(seed + 1), FRAMES)
    print("on other frames", *cost(table(knots), others))
    print("the one in use ", *cost(PACE, others))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
