"""Parameter estimation: errors and counts, per intensity.

In: both parties' bits of one basis.  Out: how many differ for each intensity; the wire form of the counts.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from noclone.bits import Words
from noclone.counts import Counts
from noclone.distill.sifting import Levels, count_classes
from noclone.errors import Aborted
from noclone.proofs.entropy import QBER_MIN, binary_entropy

QBER_MAX = 0.5


def errors_by_intensity(
    ours: Words, theirs: Words, levels: Levels, n_bits: int, intensities: int, peers: int = 1
) -> tuple[int, ...]:
    """Return how many of the first `n_bits` differ, for each intensity or pair of intensities."""
    wrong = ours ^ theirs
    if n_bits % 64:
        wrong[-1] &= np.uint64((1 << n_bits % 64) - 1)
    return count_classes(wrong, levels, intensities, peers)


def qber_estimate(counts: Counts, expected: float | None) -> float:
    """Return the error rate that reconciliation should plan for; a bad guess costs efficiency, never security.

    Args:
        counts: Of this block, with the errors of the test basis.
        expected: The key basis' error rate in earlier blocks, if there were any.
    """
    rate = counts.qber_test if expected is None else expected
    return min(max(rate, QBER_MIN, 1.0 / max(counts.key_total, 1)), QBER_MAX)


def leak_factor(leak_bits: int, n_bits: int, qber: float) -> float:
    """Return the leak in units of Shannon's limit n h(qber); 0 where there were no errors."""
    limit = n_bits * binary_entropy(qber)
    return leak_bits / limit if limit > 0 else 0.0


def pack_numbers(*rows: Sequence[int]) -> bytes:
    """Return counts as bytes: eight for each, big-endian."""
    flat = [number for row in rows for number in row]
    return struct.pack(f">{len(flat)}Q", *flat)


def unpack_numbers(data: bytes, rows: int, intensities: int) -> list[tuple[int, ...]]:
    """Read what `pack_numbers` wrote.

    Raises:
        Aborted: The length is wrong.
    """
    if len(data) != 8 * rows * intensities:
        raise Aborted("peer-misbehaved", "a table of counts does not have the size that it should")
    flat = struct.unpack(f">{rows * intensities}Q", data)
    return [flat[row * intensities : (row + 1) * intensities] for row in range(rows)]
