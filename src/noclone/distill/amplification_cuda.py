"""Privacy amplification on the card: the family `reed-solomon-1` of `amplification`, with the same bits.

In: what `amplification.amplify` takes.  Out: what it returns. The key crosses to the card once, the seed once, and the
result back; where key and seed lie there already, `Amplifier.run` does the rest. Memory that has held key is wiped.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numba import cuda

from noclone import gpu
from noclone.bits import Words, word_count
from noclone.crypto.nim_cuda import planes
from noclone.crypto.nim_fft_cuda import blocks_for, multiply
from noclone.crypto.words_cuda import LOAD, STORE
from noclone.gpu import inlined, kernel, simulated

U32 = np.uint32
THREADS = 8 if simulated() else 64
_POINT_BITS = 512
_POINT_WORDS = 16  # of 32 bits
_ROOM = (_POINT_WORDS, 1)
_MOST_KEPT = 1 << 27  # words, of each kind
_card = threading.Lock()  # one block at a time: each fills the card
_kept: dict[str, Any] = {}

load16, store16 = LOAD[16], STORE[16]


@inlined
def _part(word, place, first, end):  # type: ignore[no-untyped-def]
    """Return a word of the key without the bits before bit `first` of the key, and from bit `end` on."""
    start = 32 * place
    if start < first:
        word = word >> U32(first - start) << U32(first - start) if start + 32 > first else U32(0)
    if start + 32 > end:
        word = word & U32((U32(1) << U32(end - start)) - U32(1)) if start < end else U32(0)
    return U32(word)


@kernel
def spread(key, first, end, points):  # type: ignore[no-untyped-def]
    """Write bits first .. end - 1 of the key in planes, the point that bit `first` lies in as point 0; zeros behind."""
    i = cuda.grid(1)
    if i < points.shape[1]:
        room = cuda.local.array(_ROOM, U32)
        for j in range(_POINT_WORDS):
            place = _POINT_WORDS * (i + first // _POINT_BITS) + j
            room[j, 0] = _part(key[place], place, first, end) if place < len(key) else U32(0)
        store16(points, 0, i, planes(load16(room, 0, 0)))


@kernel
def gather(points, first_point, key, n_bits, out):  # type: ignore[no-untyped-def]
    """Add the key's first bits to the coefficients from `first_point` on; keep n_bits of the sum."""
    i = cuda.grid(1)
    if i * _POINT_BITS < n_bits:
        room = cuda.local.array(_ROOM, U32)
        store16(room, 0, 0, planes(load16(points, 0, first_point + i)))
        for j in range(_POINT_WORDS):
            place = _POINT_WORDS * i + j
            if place < len(out):
                out[place] = _part(U32(room[j, 0] ^ key[place]), place, 0, n_bits)


@kernel
def wipe(points):  # type: ignore[no-untyped-def]
    """Set all words to zero."""
    i = cuda.grid(1)
    if i < points.shape[1]:
        for j in range(points.shape[0]):
            points[j, i] = U32(0)


class Amplifier:
    """Room on the card for one block, taken from what is kept for the next one."""

    def __init__(self, n_bits: int, length_bits: int, n_points: int) -> None:
        """Take the memory.

        Args:
            n_points: N of `amplification`.
        """
        self.n_bits, self.length_bits, self.n_points = n_bits, length_bits, n_points
        n_words = _POINT_WORDS << (n_points - 1).bit_length()
        self.points = _taken("points", n_words).reshape(_POINT_WORDS, n_words // _POINT_WORDS)
        self.key = _taken("key", 2 * word_count(n_bits))
        self.seed = _taken("seed", _POINT_WORDS * n_points).reshape(n_points, _POINT_WORDS)
        self.out = _taken("out", 2 * word_count(length_bits))

    def load(self, words: Words, seed: bytes | bytearray | memoryview) -> None:
        """Bring key and seed to the card."""
        self.key.copy_to_device(words[: word_count(self.n_bits)].view(U32))
        self.seed.copy_to_device(np.frombuffer(seed, U32).reshape(self.seed.shape))

    def run(self) -> None:
        """Work out the result, on the card."""
        n_out = -(-self.length_bits // _POINT_BITS)
        everywhere = blocks_for(self.points.shape[1], THREADS), THREADS
        spread[everywhere](self.key, self.length_bits, self.n_bits, self.points)
        multiply(self.points, self.n_points, self.seed)
        gather[blocks_for(n_out, THREADS), THREADS](
            self.points, self.n_points - n_out, self.key, self.length_bits, self.out
        )

    def result(self, into: Words | None = None) -> Words:
        """Bring the result back, to an array of its length if one is given."""
        found = np.empty(word_count(self.length_bits), np.uint64) if into is None else into
        self.out.copy_to_host(found.view(U32))
        return found

    def wipe(self) -> None:
        """Erase what has held key, and give back what is too much to keep."""
        for held in (self.points, self.key.reshape(1, -1), self.out.reshape(1, -1)):
            wipe[blocks_for(held.shape[1], THREADS), THREADS](held)
        cuda.synchronize()
        for name in [name for name, array in _kept.items() if array.size > _MOST_KEPT]:
            del _kept[name]


def _taken(name: str, n_words: int) -> Any:
    """Return words on the card; whoever asks holds `_card`."""
    if name not in _kept or _kept[name].size < n_words:
        _kept.pop(name, None)
        _kept[name] = cuda.device_array(n_words, U32)
    return _kept[name][:n_words]


def amplify(words: Words, n_bits: int, seed: bytes | bytearray | memoryview, length_bits: int, n_points: int) -> Words:
    """Return `length_bits` bits hashed from the first `n_bits`; the arguments were checked, and length_bits > 0."""
    with _card, gpu.in_plain_words():
        work = Amplifier(n_bits, length_bits, n_points)
        try:
            work.load(words, seed)
            work.run()
            return work.result()
        finally:
            work.wipe()
