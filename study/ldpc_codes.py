"""Build the LDPC codes of `noclone.distill.ldpc_codes` and write their table.

    python study/ldpc_evolution.py 12/128 14/128 ... > study/ldpc_degrees.jsonl     a minute for each code
    python study/ldpc_codes.py study/ldpc_degrees.jsonl src/noclone/distill/ldpc_codes.json     a minute for all

In: column degrees from density evolution.  Out: rows and shifts of all circulants. The seed is fixed: the
same degrees give the same table. What the codes are worth stands in docs/decisions/015-ldpc.md.

Progressive edge growth (Hu, Eleftheriou and Arnold 2005) on the base graph: columns are placed in the order of their
degrees; each new edge goes to a row with the fewest edges, and there to the place that closes the least harmful cycles.
How harmful is weighed by the extrinsic message degree of the cycle, ACE (Tian, Jones, Villasenor and Wesel 2004): a
column of degree d on it counts FADE^(d - 2), for edges that leave a cycle bring help from outside. Columns of degree
two form a path, so they close no cycle among themselves.

All cycles are counted at once. Walks from row to row over the columns placed so far, which add up to some shift, are
elements of the group ring of the cyclic group; walks over two and three columns are products of its matrices, taken
with a Fourier transform. A column that enters rows a and b with shifts s and t closes a cycle of length 4, 6 or 8 for
each walk from a to b that adds up to s - t.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

SEED = 20_260
FADE = 0.45
COST4, COST6, COST8 = 1e4, 1.0, 0.05
POOL = 4  # rows with the fewest edges that compete for an edge
SWEEPS = 4


class Walks:
    """What it costs a new column to enter two rows with some difference of shifts."""

    def __init__(self, rows, circulant):
        self.rows, self.circulant = rows, circulant
        self.single = np.zeros((rows, rows, circulant))
        self.plain = np.zeros((rows, rows, circulant))

    def add(self, chosen, shifts):
        weight = FADE ** (len(chosen) - 2)
        for a, s in zip(chosen, shifts, strict=True):
            for b, t in zip(chosen, shifts, strict=True):
                if a != b:
                    self.single[a, b, (s - t) % self.circulant] += weight
                    self.plain[a, b, (s - t) % self.circulant] += 1

    def costs(self):
        """Return cost[a, b, s - t]."""
        one = np.moveaxis(np.fft.rfft(self.single), 2, 0)
        diagonal = np.arange(self.rows)
        two = one @ one
        through = two.copy()
        through[:, diagonal, diagonal] = 0
        three = through @ one
        walks = np.moveaxis(COST6 * two + COST8 * three, 0, 2)
        return COST4 * self.plain + np.fft.irfft(walks, self.circulant)


def place_column(degree, costs, weights, rng):
    """Return rows and shifts of a column: edge by edge, then each shift again while the others stand."""
    circulant = costs.shape[2]
    chosen, shifts = [], []
    places = np.arange(circulant)
    for _ in range(degree):
        free = [r for r in np.argsort(weights + rng.random(len(weights)) / 2) if r not in chosen]
        fewest = weights[free[0]]
        best = None
        for row in [r for r in free if weights[r] == fewest][:POOL]:
            cost = rng.random(circulant) * 1e-9
            for other, shift in zip(chosen, shifts, strict=True):
                cost = cost + costs[row, other][(places - shift) % circulant]
            shift = int(np.argmin(cost))
            if best is None or cost[shift] < best[0]:
                best = cost[shift], row, shift
        chosen.append(int(best[1]))
        shifts.append(best[2])
    for _ in range(SWEEPS):
        for i in range(degree):
            cost = rng.random(circulant) * 1e-9
            for j in range(degree):
                if j != i:
                    cost = cost + costs[chosen[i], chosen[j]][(places - shifts[j]) % circulant]
            shifts[i] = int(np.argmin(cost))
    return chosen, shifts


def build(rows, circulant, degrees, rng):
    """Return each column's rows and shifts, in random order of the columns."""
    weights, walks = np.zeros(rows, np.int64), Walks(rows, circulant)
    path = rng.permutation(rows)
    columns = []
    for number, degree in enumerate(sorted(degrees)):
        if degree == 2:
            chosen = [int(path[number]), int(path[number + 1])]
            shifts = [int(s) for s in rng.integers(0, circulant, 2)]
        else:
            chosen, shifts = place_column(degree, walks.costs(), weights, rng)
        turn = int(rng.integers(circulant))  # all shifts of a column may be turned alike
        shifts = [(s + turn) % circulant for s in shifts]
        walks.add(chosen, shifts)
        weights[chosen] += 1
        columns.append((chosen, shifts))
    fours = int(((walks.plain * (walks.plain - 1)) / 2).sum() / 2)
    return [columns[i] for i in rng.permutation(len(columns))], fours, int(weights.max())


def halves(columns, rows):
    """Return for each edge which half of its row it belongs to: columns of like degree are shared out evenly."""
    found = {}
    for row in range(rows):
        here = sorted((len(chosen), c) for c, (chosen, _) in enumerate(columns) if row in chosen)
        found.update({(row, c): (i + row) % 2 for i, (_, c) in enumerate(here)})
    return found


def entry(found):
    """Return one line of the table."""
    rows, n_columns = found["rows"], found["columns"]
    degrees = [int(d) for d, n in found["degrees"].items() for _ in range(n)]
    rng = np.random.default_rng((SEED, rows, n_columns))
    columns, fours, widest = build(rows, 65_536 // n_columns, degrees, rng)
    half = halves(columns, rows)
    flat = [
        [int(x) for r, s in sorted(zip(*column, strict=True)) for x in (r, s, half[r, c])]
        for c, column in enumerate(columns)
    ]
    print(f"{rows}/{n_columns}: {sum(degrees)} edges, rows of {widest} at most, {fours} cycles of length 4")
    return {
        "rows": rows, "circulant": 65_536 // n_columns, "threshold": found["threshold"],
        "degrees": found["degrees"], "columns": flat,
    }  # fmt: skip


def main(source, target):
    found = [json.loads(line) for line in Path(source).read_text().splitlines()]
    found.sort(key=lambda f: f["rows"] / f["columns"])
    lines = [json.dumps(entry(f), separators=(",", ":")) for f in found]
    head = '{"format":1,"made_by":"study/ldpc_codes.py","codes":['
    Path(target).write_text(head + "\n" + ",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
