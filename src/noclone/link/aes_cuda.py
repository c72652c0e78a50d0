"""AES in counter mode on the card: two blocks to a thread, in eight planes of bits.

In: round keys (`aes`), two counters, the word above them.  Out: 128 random bits for each, those of `aes_simd`.

Word b holds bit b of all 32 bytes: byte r of the word belongs to row r of the state, bits 2c and 2c + 1 of it to
column c of the first and of the second block. No table is looked up at a place that depends on a key: the S-box is the
circuit of `aes`, written out as a function by this module when it is imported.
"""

# The S-box's source is made here, from the circuit that the processor's variants use.
# ruff: noqa: S102

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from noclone.crypto.words_cuda import ADD, LOAD_ACROSS, transposed
from noclone.gpu import inlined
from noclone.link.aes import ROUNDS_SECRET, substitute

U32, U64 = np.uint32, np.uint64
KEYS = ROUNDS_SECRET + 1  # rows of a table of keys, for each of them
LOW_WORD = U64(0xFFFFFFFF)

add8, load_across8 = ADD[8], LOAD_ACROSS[8]


def _s_box() -> Any:
    """Return a function of eight planes."""
    lines: list[str] = []

    def gate(expression: str) -> str:
        lines.append(f"    v{len(lines)} = U32({expression})")
        return f"v{len(lines) - 1}"

    found = substitute(
        [f"x[{i}]" for i in range(8)],
        lambda a, b: gate(f"{a} ^ {b}"),
        lambda a, b: gate(f"{a} & {b}"),
        lambda a: gate(f"~{a}"),
    )
    made: dict[str, Any] = {"U32": U32}
    exec("\n".join(["def s_box(x):", *lines, f"    return ({', '.join(found)})"]), made)
    return inlined(made["s_box"])


_substituted = _s_box()


@inlined
def _shifted(x):  # type: ignore[no-untyped-def]
    """Rotate row r by r columns: two bits each."""
    return U32(
        (x & U32(0x000000FF))
        | ((x & U32(0x0000FC00)) >> U32(2))
        | ((x & U32(0x00000300)) << U32(6))
        | ((x & U32(0x00F00000)) >> U32(4))
        | ((x & U32(0x000F0000)) << U32(4))
        | ((x & U32(0xC0000000)) >> U32(6))
        | ((x & U32(0x3F000000)) << U32(2))
    )


@inlined
def _rows_shifted(q):  # type: ignore[no-untyped-def]
    return (
        _shifted(q[0]), _shifted(q[1]), _shifted(q[2]), _shifted(q[3]),
        _shifted(q[4]), _shifted(q[5]), _shifted(q[6]), _shifted(q[7]),
    )  # fmt: skip


@inlined
def _next_row(x):  # type: ignore[no-untyped-def]
    return U32((x >> U32(8)) | U32(x << U32(24)))


@inlined
def _two_rows_on(x):  # type: ignore[no-untyped-def]
    return U32((x >> U32(16)) | U32(x << U32(16)))


@inlined
def _mixed_plane(below, top, own, following):  # type: ignore[no-untyped-def]
    """Return twice (a row + the next one) + the next one + the two after it, of one plane; x^8 = x^4 + x^3 + x + 1."""
    return U32(below ^ top ^ following ^ _two_rows_on(U32(own ^ following)))


@inlined
def _columns_mixed(q):  # type: ignore[no-untyped-def]
    r = (
        _next_row(q[0]), _next_row(q[1]), _next_row(q[2]), _next_row(q[3]),
        _next_row(q[4]), _next_row(q[5]), _next_row(q[6]), _next_row(q[7]),
    )  # fmt: skip
    both, none = add8(q, r), U32(0)
    return (
        _mixed_plane(both[7], none, q[0], r[0]),
        _mixed_plane(both[0], both[7], q[1], r[1]),
        _mixed_plane(both[1], none, q[2], r[2]),
        _mixed_plane(both[2], both[7], q[3], r[3]),
        _mixed_plane(both[3], both[7], q[4], r[4]),
        _mixed_plane(both[4], none, q[5], r[5]),
        _mixed_plane(both[5], none, q[6], r[6]),
        _mixed_plane(both[6], none, q[7], r[7]),
    )


@inlined
def _joined(low, high):  # type: ignore[no-untyped-def]
    return U64(U64(low) | (U64(high) << U64(32)))


@inlined
def two_blocks(keys, key, rounds, first, second, high):  # type: ignore[no-untyped-def]
    """Encrypt the blocks (first, high) and (second, high); return the first's low and high word, then the second's.

    Args:
        keys: What `key_planes` made, on the card; key: which of them.
    """
    low_high, high_high = U32(high & LOW_WORD), U32(high >> U64(32))
    words = (
        U32(first & LOW_WORD), U32(second & LOW_WORD), U32(first >> U64(32)), U32(second >> U64(32)),
        low_high, low_high, high_high, high_high,
    )  # fmt: skip
    q = add8(transposed(words), load_across8(keys, KEYS * key, 0))
    for number in range(1, rounds):
        mixed = _columns_mixed(_rows_shifted(_substituted(q)))
        q = add8(mixed, load_across8(keys, KEYS * key + number, 0))
    q = add8(_rows_shifted(_substituted(q)), load_across8(keys, KEYS * key + rounds, 0))
    x = transposed(q)
    return _joined(x[0], x[2]), _joined(x[4], x[6]), _joined(x[1], x[3]), _joined(x[5], x[7])


def key_planes(keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return a table of round keys (uint64[n, 2 * KEYS]) in planes: uint32[n * KEYS, 8]."""
    columns = np.repeat(np.ascontiguousarray(keys).view(np.uint8).reshape(-1, 4, 4), 2, axis=1)  # row, word, byte
    bits = np.unpackbits(columns, axis=-1, bitorder="little").reshape(-1, 8, 4, 8)  # row, word, byte, bit
    planes = np.packbits(bits.transpose(0, 3, 2, 1), axis=-1, bitorder="little")  # row, bit, byte; a bit a word
    return np.ascontiguousarray(planes).reshape(-1, 32).view(np.uint32)
