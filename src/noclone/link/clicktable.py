"""The table that turns one uniform number into clicks: which detectors, for each `Case` of a slot.

In: devices and a tap.  Out: thresholds for the kernels, and the largest click probability of any case, which is the
rate at which the light proposes slots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noclone.link.devices import LinkDevices
from noclone.link.hits import CELL_BITS, SEVERAL
from noclone.link.optics import Case, basis_choices, cases, dark_means
from noclone.link.tap import SETTINGS, Tap

RAREST = 1e-15  # proposals per slot, at least; all but some are then rejected, so the law stays exact
_ALL_ONES = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class ClickTable:
    """Thresholds, one row per case; see `hits`.

    Args:
        p_max: Largest probability, over the cases, that any detector clicks.
        masks: uint8[rows, 16]: sets of detectors, one bit each.
        limits: uint64[rows, 16]: a draw below limits[row, m], and not below those before, gives masks[row, m]; no
            detector clicks if it is not below the last one.
        cells: uint8[rows, 1024]: the same by the draw's first ten bits, where they suffice: the set, 0 if no detector
            clicks, or `hits.SEVERAL`.
        dark_limits: uint64[rows, 4]: share of 2^32 of a detector's clicks that no photon caused.
        eve_limits: uint64[16, outcomes]: cumulative shares of 2^64 of the tap's outcomes.
        choices: Bob's settings per slot.
    """

    p_max: float
    masks: NDArray[np.uint8]
    limits: NDArray[np.uint64]
    cells: NDArray[np.uint8]
    dark_limits: NDArray[np.uint64]
    eve_limits: NDArray[np.uint64]
    choices: int

    def law(self) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint64]]:
        """Return cells, limits, masks and dark_limits flat, for kernels, which read a little beyond the last one."""
        dark_limits = np.append(self.dark_limits, np.zeros(16, np.uint64))
        return self.cells.ravel(), self.limits.ravel(), self.masks.ravel(), dark_limits


def _share_of_64_bits(probability: float) -> int:
    return min(_ALL_ONES, max(0, int(probability * 2.0**64)))


def _mask_probabilities(click: NDArray[np.float64]) -> list[tuple[float, int]]:
    """Return (probability, set) for each non-empty set of detectors that may click together, the likeliest first."""
    found = []
    for mask in range(1, 1 << len(click)):
        factors = [p if (mask >> d) & 1 else 1 - p for d, p in enumerate(click)]
        found.append((math.prod(factors), mask))
    return sorted(found, key=lambda entry: (-entry[0], entry[1]))


def _cells(limits: NDArray[np.uint64], masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the table by the draw's first bits."""
    lowest = np.arange(1 << CELL_BITS, dtype=np.uint64) << np.uint64(64 - CELL_BITS)
    highest = lowest + np.uint64((1 << (64 - CELL_BITS)) - 1)
    found = np.empty((len(limits), len(lowest)), np.uint8)
    for row, (bounds, sets) in enumerate(zip(limits, masks, strict=True)):
        sets_and_none = np.append(sets, 0)
        columns = [np.searchsorted(bounds, draws, side="right") for draws in (lowest, highest)]
        found[row] = np.where(columns[0] == columns[1], sets_and_none[columns[0]], SEVERAL)
    return found


def click_table(devices: LinkDevices, tap: Tap) -> ClickTable:
    """Work out the thresholds."""
    choices = basis_choices(devices)
    detectors = devices.receiver.detectors
    dark = dark_means(devices)
    possible = [case for case in cases(devices, tap) if case.probability > 0]
    p_max = max(_any_click(case, dark) for case in possible)
    if p_max > 0:
        p_max = max(p_max, RAREST)

    rows = len(tap.outcomes) * SETTINGS * choices
    masks = np.zeros((rows, 16), np.uint8)
    limits = np.zeros((rows, 16), np.uint64)
    dark_limits = np.zeros((rows, 4), np.uint64)
    for case in possible if p_max > 0 else []:
        if case.law is None:
            light_clicks = -np.expm1(-case.means)
            clicks = -np.expm1(-(case.means + dark))
            together = _mask_probabilities(clicks)
        else:
            light_clicks = case.law.click()
            clicks = 1 - (1 - light_clicks) * np.exp(-case.law.dark)
            together = case.law.masks()
        total = 0.0
        for column, (probability, mask) in enumerate(together):
            total += probability
            masks[case.row, column] = mask
            limits[case.row, column:] = _share_of_64_bits(total / p_max)
        for d in range(detectors):
            share = 1 - light_clicks[d] / clicks[d] if clicks[d] > 0 else 0.0
            dark_limits[case.row, d] = round(share * 2**32)
    return ClickTable(p_max, masks, limits, _cells(limits, masks), dark_limits, eve_limits(tap), choices)


def _any_click(case: Case, dark: NDArray[np.float64]) -> float:
    """Return the probability that any detector clicks."""
    if case.law is None:
        return -math.expm1(-float(np.sum(case.means + dark)))
    return 1 - float(case.law.light[0]) * math.exp(-float(np.sum(case.law.dark)))


def eve_limits(tap: Tap) -> NDArray[np.uint64]:
    """Return the thresholds of `choices.eve_batch`."""
    limits = np.zeros((SETTINGS, len(tap.outcomes)), np.uint64)
    for code, row in enumerate(tap.probabilities):
        for number in range(len(row)):
            total = math.fsum(row[: number + 1])
            limits[code, number] = _ALL_ONES if total > 1 - 1e-15 else _share_of_64_bits(total)
    return limits
