"""The LDPC codes: a table of circulants, and the program that a decoder runs for one of them.

In: `ldpc_codes.json`, which study/ldpc_codes.py wrote.  Out: `Code`, and for a number of split checks its `Program`.

A code's check matrix is made of circulants: base rows times 128 columns, each entry empty or a 512 x 512 permutation
that shifts cyclically (256 columns and 256 x 256 where few rows would leave too little choice). A frame has 65,536
positions. The edges of each base row stand in two halves. A stretch of 64
checks can be told as it is, 64 bits, or *split*: the parities of both halves, 64 bits more, since the whole is their
sum. So the syndrome of one code grows in steps of 64 bits, a thousandth of the frame, from all checks whole to all
split. That is how the rate is adapted, and how more is told of a frame that did not decode: what was told stays of use.
(A split check is a whole one with a punctured position in its middle, of which the value is told: the rate adaptation
of Elkouss, Martinez-Mateo and Martin 2011, and the blind protocol of Martinez-Mateo, Elkouss and Martin 2012, without
giving up positions of the frame for it.)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_BITS = 1 << 16
BEFORE, BEHIND = 64, 128  # bytes around a column's levels; see `ldpc_decoder`
# The decoder's normalisation, in 256ths, where so many 32nds of the checks that did not fit at the start still do not;
# the last for the first iteration. Found by study/ldpc_pace.py.
PACE = (
    231, 223, 216, 210, 208, 206, 204, 195, 185, 175, 175, 176, 178, 172, 163, 154, 146,
    140, 134, 129, 126, 123, 114, 103, 95, 99, 104, 108, 103, 98, 93, 88, 51,
)  # fmt: skip
ITERATIONS = 60  # frames that decode do so in 10 to 30
_ORDER = (0, 4, 2, 6, 1, 5, 3, 7)  # in which a row's stretches of 64 checks are split

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Code:
    """One mother code; edges are sorted by row, and within a row by half.

    Args:
        rows: Base rows: the syndrome has `circulant` bits for each at least, and twice as many at most.
        circulant: Size of the circulants.
        threshold: Error rate that an endless code with these degrees would correct, by density evolution.
        pace: Normalisation of the decoder, in 256ths, by how far a frame has come: see `ldpc_decoder.decode`.
        iterations: At most.
    """

    rows: int
    circulant: int
    threshold: float
    row: I64
    column: I64
    shift: I64
    half: I64
    pace: tuple[int, ...] = PACE
    iterations: int = ITERATIONS

    @property
    def chunks(self) -> int:
        """How many stretches of 64 checks a base row has."""
        return self.circulant // 64

    @property
    def whole_words(self) -> int:
        """Length of the syndrome in words of 64 bits with no check split; so many more can be split."""
        return self.rows * self.chunks

    @property
    def prior(self) -> int:
        """Return the belief in each position at the beginning, a tuned scale: levels must not saturate too soon."""
        return 16 if 4 * self.rows * self.circulant < FRAME_BITS else 12

    @property
    def stride(self) -> int:
        """Bytes from one column's levels to the next."""
        return BEFORE + self.circulant + BEHIND

    def split_order(self) -> I64:
        """Return the stretches, each row * chunks + stretch, in the order in which they are split."""
        order = [chunk for chunk in _ORDER if chunk < self.chunks]
        return np.array([row * self.chunks + chunk for chunk in order for row in range(self.rows)], np.int64)


@dataclass(frozen=True, eq=False)
class Program:
    """What `ldpc_decoder.decode` takes of a code; see there."""

    steps: I64
    places: I32
    mirrors: I32
    bits: I32


@cache
def codes() -> tuple[Code, ...]:
    """Return all codes, fewest rows first."""
    text = (resources.files("noclone.distill") / "ldpc_codes.json").read_text(encoding="utf-8")
    return tuple(make_code(entry) for entry in json.loads(text)["codes"])


def make_code(entry: dict[str, Any]) -> Code:
    """Return a code from its line of the table; each column is a list of row, shift, half, row, shift, half ..."""
    edges = [
        (row, half, column, shift)
        for column, flat in enumerate(entry["columns"])
        for row, shift, half in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
    table = np.array(sorted(edges), np.int64)
    return Code(
        rows=entry["rows"],
        circulant=entry["circulant"],
        threshold=entry["threshold"],
        row=table[:, 0],
        half=table[:, 1],
        column=table[:, 2],
        shift=table[:, 3],
    )


def compile_program(code: Code, splits: int) -> Program:
    """Return the steps for the code with its first `splits` stretches split.

    Within a step the edges whose levels lie near an end of their column come first, since they are written twice.
    """
    chunks, size = code.chunks, code.circulant
    split = np.full(code.whole_words, -1, np.int64)
    split[code.split_order()[:splits]] = code.whole_words + np.arange(splits)
    chunk = np.tile(np.arange(chunks), len(code.row))
    edge = np.repeat(np.arange(len(code.row)), chunks)
    stretch = code.row[edge] * chunks + chunk
    step = 2 * stretch + np.where(split[stretch] >= 0, code.half[edge], 0)
    place = (64 * chunk + code.shift[edge]) % size
    interior = (place >= 64) & (place <= size - 64)
    order = np.lexsort((edge, interior, step))
    edge, step, place = edge[order], step[order], place[order]
    interior = interior[order]
    at = code.column[edge] * code.stride + BEFORE + place
    mirror = (at + np.where(place < 64, size, -size))[~interior]
    steps, first, count = np.unique(step, return_index=True, return_counts=True)
    bordering = np.add.reduceat(~interior, first, dtype=np.int64)
    whole, told = steps // 2, split[steps // 2]
    one = np.where(told >= 0, told, whole)
    other = np.where((told >= 0) & (steps % 2 == 1), whole, -1)
    program = np.stack((first, bordering, count, one, other, np.cumsum(bordering) - bordering), 1).astype(np.int64)
    bits = code.column[edge] * size + place
    return Program(program, at.astype(np.int32), mirror.astype(np.int32), bits.astype(np.int32))
