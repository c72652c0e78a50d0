"""The table that turns one uniform number into clicks: which detectors, for each `Case` of a slot.

In: devices and a tap.  Out: thresholds for the kernels, and the largest click probability of any case, which is the
rate at which the light proposes slots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from noclone.link.devices import LinkDevices
from noclone.link.hits import COLUMNS
from noclone.link.optics import Case, basis_choices, cases, dark_means
from noclone.link.pulses_simd import LIMITS
from noclone.link.sampling import RAREST
from noclone.link.slotlaw import Law
from noclone.link.tap import SETTINGS, Tap

FREE_BITS = 20  # of a draw
STEP_BITS = 64 - FREE_BITS
_ALL_ONES = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class ClickTable:
    """Thresholds, one row per case. A draw says most at once; a second one is needed where it says to look closer.

    Args:
        p_max: Largest probability, over the cases, that any detector clicks.
        limits: uint64[5, rows]: a draw below limits[d, row], and not below those before, makes detector d click by a
            photon, and no other; below limits[4, row] it needs a closer look; no detector clicks otherwise. Multiples
            of 2^20, so that the draw's lowest 20 bits are free for another use.
        masks: uint8[rows, 16]: sets of detectors, one bit each.
        closer: uint64[rows, 16]: a second draw below closer[row, m], and not below those before, gives masks[row, m];
            no detector clicks if it is not below the last one.
        dark_limits: uint64[rows, 2, 4]: share of 2^32 of a detector's clicks that no photon caused, after a closer
            look; first where it clicks alone, then where others do too.
        eve_limits: uint64[16, outcomes]: cumulative shares of 2^64 of the tap's outcomes.
        choices: Bob's settings per slot.
    """

    p_max: float
    limits: NDArray[np.uint64]
    masks: NDArray[np.uint8]
    closer: NDArray[np.uint64]
    dark_limits: NDArray[np.uint64]
    eve_limits: NDArray[np.uint64]
    choices: int

    def law(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint64]]:
        """Return limits, closer, masks and dark_limits for kernels; the last three flat."""
        return self.limits, self.closer.ravel(), self.masks.ravel(), self.dark_limits.ravel()


def _share_of_64_bits(probability: float) -> int:
    return min(_ALL_ONES, max(0, int(probability * 2.0**64)))


@dataclass(frozen=True, slots=True)
class _Together:
    """What one case's light and dark counts do together.

    Args:
        by_photon: Of each detector: that it clicks alone, and by a photon.
        by_dark: That it clicks alone, and not by one.
        several: Of each set of two and more: that just these click.
        dark_among: Of each detector that clicks: how likely no photon did it, others clicking too.
    """

    by_photon: list[float]
    by_dark: list[float]
    several: dict[int, float]
    dark_among: NDArray[np.float64]


def _together(case: Case, dark: NDArray[np.float64]) -> _Together:
    if case.law is not None:
        return _by_law(case.law)
    photon, no_photon, snap = -np.expm1(-case.means), np.exp(-case.means), -np.expm1(-dark)
    clicks = -np.expm1(-(case.means + dark))
    others = [math.prod(1 - p for e, p in enumerate(clicks) if e != d) for d in range(len(clicks))]
    several = {
        mask: math.prod(p if (mask >> d) & 1 else 1 - p for d, p in enumerate(clicks))
        for mask in range(1, 1 << len(clicks))
        if mask & (mask - 1)
    }
    return _Together(
        [photon[d] * others[d] for d in range(len(clicks))],
        [no_photon[d] * snap[d] * others[d] for d in range(len(clicks))],
        several,
        1 - np.divide(photon, clicks, out=np.ones_like(clicks), where=clicks > 0),
    )


def _by_law(law: Law) -> _Together:
    """Return the same for light that is not coherent: the law of its sets joined with dark counts."""
    snap, photon = -np.expm1(-law.dark), law.click()
    detectors = range(len(snap))
    others = [math.prod(1 - p for e, p in enumerate(snap) if e != d) for d in detectors]
    clicks = 1 - (1 - photon) * (1 - snap)
    return _Together(
        [float(law.light[1 << d]) * others[d] for d in detectors],
        [float(law.light[0]) * float(snap[d]) * others[d] for d in detectors],
        {mask: p for p, mask in law.masks() if mask & (mask - 1)},
        1 - np.divide(photon, clicks, out=np.ones_like(clicks), where=clicks > 0),
    )


class _Row:
    """The thresholds of one case.

    Each detector's "clicks alone, by a photon" gets a whole number of steps of 2^-44, rounded down. Everything else,
    and what the rounding left, is said by the second draw, so that nothing is lost.
    """

    def __init__(self, one: _Together, p_max: float) -> None:
        step = p_max / (1 << STEP_BITS)
        by_photon, by_dark = [x / step for x in one.by_photon], [x / step for x in one.by_dark]
        steps = [math.floor(x) for x in by_photon]
        alone = [x - whole + dark_share for x, whole, dark_share in zip(by_photon, steps, by_dark, strict=True)]
        sets = {1 << d: x for d, x in enumerate(alone)} | {mask: p / step for mask, p in one.several.items()}
        rest = max(1, min(math.ceil(math.fsum(sets.values())), (1 << STEP_BITS) - sum(steps)))
        ends = list(accumulate([*steps, *[0] * (4 - len(steps)), rest]))
        self.limits = [min(_ALL_ONES, end << FREE_BITS) for end in ends]
        self.sets = sorted(((x / rest, mask) for mask, x in sets.items() if x > 0), key=lambda s: (-s[0], s[1]))
        by_itself = np.divide(by_dark, alone, out=np.zeros(len(alone)), where=np.array(alone) > 0)
        self.dark = np.round(np.array([by_itself, one.dark_among]) * 2.0**32)


def click_table(devices: LinkDevices, tap: Tap) -> ClickTable:
    """Work out the thresholds."""
    choices = basis_choices(devices)
    dark = dark_means(devices)
    possible = [case for case in cases(devices, tap) if case.probability > 0]
    p_max = max(_any_click(case, dark) for case in possible)
    if p_max > 0:
        p_max = max(p_max, RAREST)

    rows = len(tap.outcomes) * SETTINGS * choices
    limits = np.zeros((LIMITS, rows), np.uint64)
    masks = np.zeros((rows, COLUMNS), np.uint8)
    closer = np.zeros((rows, COLUMNS), np.uint64)
    dark_limits = np.zeros((rows, 2, 4), np.uint64)
    for case in possible if p_max > 0 else []:
        row = _Row(_together(case, dark), p_max)
        limits[:, case.row] = row.limits
        total = 0.0
        for column, (probability, mask) in enumerate(row.sets):
            total += probability
            masks[case.row, column] = mask
            closer[case.row, column:] = _share_of_64_bits(total)
        dark_limits[case.row, :, : len(dark)] = row.dark
    return ClickTable(p_max, limits, masks, closer, dark_limits, eve_limits(tap), choices)


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
