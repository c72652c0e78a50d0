"""Many rounds of waves in one call, where both parties' desks lie in one process.

Each party enters what it was told at its own desk, by the same kernel as ever (`cascade_search.advance`); between the
two only the bits of messages are copied. Each message is also written down, with all that stands before its bits, as
both ends' tags take it in.
"""

from __future__ import annotations

import numpy as np

from noclone.distill import cascade_desk as on
from noclone.distill.cascade_search import OK, advance
from noclone.distill.cascade_words import load, store, store_byte, store_int
from noclone.kernels import inner, kernel

DISAGREE = 3  # beside the statuses of `advance`: the two searches are not the same
_WORD_BYTES = 8


@inner
def _copy(source, n_bits, out):  # type: ignore[no-untyped-def]
    """Copy bits by address, whole words of them."""
    for i in range(0, (n_bits + 7) >> 3, _WORD_BYTES):
        store(out + i, load(source + i))


@inner
def _write_down(at, head, places, sequence, round_number, n_bits, bits):  # type: ignore[no-untyped-def]
    """Write a message as the transcript has it, and return where the next one begins.

    Args:
        head: All that stands before its bits, some numbers still to be filled in: at `places` (see `duet`).
    """
    for i in range(len(head)):
        store_byte(at + i, head[i])
    size = (n_bits + 7) >> 3
    length_at, sequence_at, round_at, n_bits_at, frame_at = places
    for i in range(8):  # highest byte first
        store_byte(at + length_at + i, (len(head) - frame_at + size) >> (56 - 8 * i))
    for i in range(4):
        store_byte(at + sequence_at + i, sequence >> (24 - 8 * i))
    store_int(at + round_at, round_number)
    store(at + n_bits_at, n_bits)
    _copy(bits, n_bits, at + len(head))
    return at + len(head) + size


@kernel
def play(bob, alice, heads, places, numbers, limits, record):  # type: ignore[no-untyped-def]
    """Let Bob enter Alice's parities, which lie at his desk, and then both go on, until something is up to Python.

    This is: his search failed, came to an end or to a stage that is no wave (when so few queries follow), would tell
    too much, or the record is full. He has then entered all that Alice told, and not asked yet.

    Args:
        heads: What stands before the bits of his messages and of hers, by row.
        numbers: Of his next message and of hers, and of the round at hand.
        limits: How few queries end a stage, and how many parities may still be told.

    Returns:
        A status, how many queries come next, the errors that his search found and those of hers, full rounds, parities
        told, how many were told last, and bytes: of his messages' bits, and of all that was written down.
    """
    stop, most = limits
    sequence, hers, first = numbers
    at = start = np.int64(record.ctypes.data)
    rounds = told = found = found_hers = size = np.int64(0)
    while True:
        n_said = bob[on.N_QUERIES]
        status, n, errors = advance(bob, bob[on.CORRECTS] > 0)
        found += errors
        ends = status != OK or n <= stop or told + n > most
        if ends or at - start + 2 * heads.shape[1] + (n_said + n) // 8 + 2 * _WORD_BYTES > len(record):
            return status, n, found, found_hers, rounds, told, n_said, size, at - start
        said, tells = bob[on.SAID], alice[on.TELLS]
        at = _write_down(at, heads[0], places, sequence + rounds, first + rounds + 1, n_said, said)
        size += (n_said + 7) >> 3
        _copy(said, n_said, alice[on.SAID])
        status, n_hers, errors = advance(alice, alice[on.CORRECTS] > 0)
        found_hers += errors
        if status != OK or n_hers != n:
            return DISAGREE, n, found, found_hers, rounds, told, n_said, size, at - start
        rounds += 1
        told += n
        at = _write_down(at, heads[1], places, hers + rounds - 1, first + rounds, n, tells)
        _copy(tells, n, said)
