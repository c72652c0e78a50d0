"""Density evolution for the LDPC codes of `noclone.distill.ldpc`: which column degrees, and which normalisation.

In: numbers of base rows and columns.  Out: columns of each degree, the threshold, a schedule of normalisation factors.

    python study/ldpc_evolution.py 34/128 ...             a minute for each code
    python study/ldpc_evolution.py --long 23/256 ...      two minutes for each: for low error rates

Messages are the decoder's own: integers of 8 bits that saturate, min-sum, magnitudes times alpha / 256, rounded. Their
distribution is followed exactly for an ensemble without cycles (Richardson, Shokrollahi and Urbanke 2001, in the
discretised form of Chung, Forney, Richardson and Urbanke 2001). The channel is the binary symmetric one: all channel
values are +-CHANNEL. The factor alpha is free in every iteration and chosen greedily, so that the share of wrong
messages falls most: a fixed one loses 10 to 30 per cent of efficiency on this channel, where the first messages are
all alike.
"""

from __future__ import annotations

import numpy as np

CHANNEL = 16  # magnitude of a channel value; the scale is arbitrary, what is lost to rounding is not
TOP = 127
FFT = 4096
DEGREES = (2, 3, 4, 5, 6, 8, 10, 12, 14, 16)
DEGREES_LONG = (*DEGREES, 18, 20, 22)
SPLIT_LONG = 0.05  # of the checks: at low error rates about so many are when a frame decodes
TRIALS, TRIALS_LONG = 160, 700
ALPHAS = np.arange(2, 17) / 16
SPOILED = 1e-6
ITERATIONS = 110  # of a flooding schedule; a layered one needs about half


def entropy(q):
    return -q * np.log2(q) - (1 - q) * np.log2(1 - q)


class Ensemble:
    """Columns by degree over `rows` base rows, whose weights differ by one at most; a share of them told as halves."""

    def __init__(self, counts: dict[int, int], rows: int, split: float = 0.0) -> None:
        edges = sum(d * n for d, n in counts.items())
        self.columns = [(d - 1, d * n / edges) for d, n in sorted(counts.items()) if n]
        low, more = divmod(edges, rows)
        whole = [(low, low * (rows - more) / edges), (low + 1, (low + 1) * more / edges)]
        halves = [(half, half / weight * share) for weight, share in whole for half in (weight // 2, -(-weight // 2))]
        self.rows = [(weight - 1, (1 - split) * share) for weight, share in whole]
        self.rows += [(half - 1, split * share) for half, share in halves] if split else []

    def at_checks(self, pmf):
        """Return signed tails P(v >= x), P(v <= -x), x = 1 .. TOP, of a check's outgoing messages before alpha."""
        above = np.cumsum(pmf[:TOP:-1])[::-1]
        below = np.cumsum(pmf[:TOP])[::-1]
        both, difference = above + below, above - below
        f = sum(share * both**w for w, share in self.rows)
        d = sum(share * difference**w for w, share in self.rows)
        return np.concatenate(((f + d) / 2, [0.0])), np.concatenate(((f - d) / 2, [0.0]))

    def at_columns(self, above, below, alpha, q):
        """Return the distribution of a column's outgoing messages."""
        scaled = (np.arange(1, TOP + 1) * round(256 * alpha) + 128) >> 8
        grid = np.zeros(FFT)
        grid[:128] = np.bincount(scaled, above[:-1] - above[1:], 128)
        grid[-127:] += np.bincount(scaled, below[:-1] - below[1:], 128)[:0:-1]
        grid[0] += np.bincount(scaled, below[:-1] - below[1:], 128)[0] + 1 - above[0] - below[0]
        spectrum = np.fft.rfft(grid)
        total, power, done = 0.0, np.ones_like(spectrum), 0
        for w, share in self.columns:
            power = power * spectrum ** (w - done)
            done = w
            total = total + share * power
        sums = np.fft.irfft(total, FFT)
        sums = (1 - q) * np.roll(sums, CHANNEL) + q * np.roll(sums, -CHANNEL)
        wide = np.maximum(np.concatenate((sums[FFT // 2 :], sums[: FFT // 2])), 0)
        middle = FFT // 2
        pmf = wide[middle - TOP : middle + TOP + 1].copy()
        pmf[0] += wide[: middle - TOP].sum()
        pmf[-1] += wide[middle + TOP + 1 :].sum()
        return pmf / pmf.sum()

    def converges(self, q, iterations=ITERATIONS):
        """Return the schedule that brings the messages below SPOILED, or None."""
        pmf = np.zeros(2 * TOP + 1)
        pmf[TOP + CHANNEL], pmf[TOP - CHANNEL] = 1 - q, q
        schedule, place, wrong = [], 0, q
        for _ in range(iterations):
            above, below = self.at_checks(pmf)
            found = {}
            near = range(len(ALPHAS)) if not schedule else range(max(place - 1, 0), min(place + 2, len(ALPHAS)))
            for i in near:
                new = self.at_columns(above, below, ALPHAS[i], q)
                found[i] = new[:TOP].sum() + new[TOP] / 2, new
            place = min(found, key=lambda i: found[i][0])
            before, (wrong, pmf) = wrong, found[place]
            schedule.append(float(ALPHAS[place]))
            if wrong < SPOILED:
                return schedule
            if len(schedule) > 4 and wrong > before * 0.9995:
                return None
        return None

    def threshold(self, low, high, steps=9):
        """Return the largest error rate in low .. high that converges."""
        for _ in range(steps):
            middle = (low + high) / 2
            low, high = (middle, high) if self.converges(middle) else (low, middle)
        return low


def start(rows, columns, degrees):
    """Return column counts to begin the search with."""
    share = rows / columns
    twos = min(rows - 1, round(columns * (0.02 + 0.42 * share)))
    high = min(16, rows)
    many = round(columns * (0.30 - 0.20 * share))
    counts = dict.fromkeys([d for d in degrees if d <= rows], 0)
    counts[2], counts[max(d for d in counts if d <= min(high, 12))] = twos, many
    counts[3] += columns - twos - many
    return counts


def search(rows, columns, rng, *, long=False):
    """Climb from `start`: move a few columns to another degree wherever that lifts the threshold.

    Args:
        long: Allow more edges, aim at the checks as they are when a few have been split, and try more often.
    """
    counts = start(rows, columns, DEGREES_LONG if long else DEGREES)
    trials, split = (TRIALS_LONG, SPLIT_LONG) if long else (TRIALS, 0.0)
    # A denser code must earn its edges: each tenth of an edge a bit costs two per cent of speed.
    least, price, most = (1.0005, 0.003, 0.3) if long else (1.001, 0.01, 0.2)
    q = Ensemble(counts, rows, split).threshold(0.0005, 0.14, 12)
    for trial in range(trials):
        new = dict(counts)
        size = (
            columns // 128 * int(rng.choice([1, 2, 4, 8, 12])) if trial < trials // 2 else int(rng.choice([1, 1, 2, 3]))
        )
        for _ in range(int(rng.choice([1, 1, 2]))):
            give = int(rng.choice([d for d in new if new[d]]))
            take = int(rng.choice([d for d in new if d != give]))
            moved = min(size, new[give])
            new[give] -= moved
            new[take] += moved
        if new[2] >= rows or new == counts:
            continue
        edges = sum(d * (new[d] - counts[d]) for d in new) / columns
        if Ensemble(new, rows, split).converges(q * (least + max(edges, -most) * price)):
            counts = new
            q = Ensemble(new, rows, split).threshold(q, q * 1.05, 5)
    ensemble = Ensemble(counts, rows)
    if long:  # of the checks as they are; where they begin to converge is ragged, for the factors are chosen greedily
        q = next(x / 1e5 for x in range(round(1e5 * q), 0, -1) if ensemble.converges(x / 1e5))
    return counts, q, ensemble.converges(q if long else q * 0.995)


if __name__ == "__main__":
    import json
    import sys

    for size in [argument for argument in sys.argv[1:] if argument != "--long"]:  # such as 12/128
        rows, columns = map(int, size.split("/"))
        counts, q, schedule = search(rows, columns, np.random.default_rng(rows), long="--long" in sys.argv)
        used = {d: n for d, n in counts.items() if n}
        print(json.dumps({
            "rows": rows, "columns": columns, "degrees": used, "threshold": round(q, 5),
            "f": round(rows / columns / entropy(q), 4), "schedule": schedule,
        }), flush=True)  # fmt: skip
