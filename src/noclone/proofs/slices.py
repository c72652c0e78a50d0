"""Bob's values in bins, and a bin's number in bits: what they are worth, and what it takes to tell them.

In: variances in shot-noise units, a width of bins.  Out: entropies, in bits, of Gaussian values; and the bins to use.
Sliced error correction (Van Assche, Cardinal, Cerf, IEEE Trans. Inf. Theory 50, 394 (2004)): slice i is bit i of the
bin's number, the lowest first; who knows Alice's amplitude and the slices below it guesses it by the likelier half.
They look for the bins that leave most after reconciliation; so do we, over bins of one width.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from noclone.records import QUADRATURE_UNIT

F64 = NDArray[np.float64]

POINTS = 161  # of Alice's amplitude, to 7 standard deviations: entropies are good to 1e-6
REACH = 7.0
SLICES = (3, 4, 5, 6)
WIDTHS = tuple(0.2 * 1.15**i for i in range(23))  # in standard deviations of the noise: 0.2 to 4.3
# What LDPC codes tell of a slice (docs/decisions/015-ldpc.md): so much over its entropy, and as much of every bit as
# the smallest code has; where the largest one is too small, all. Below NOTHING, a wrong guess among 10^7 is rarer than
# one block in a thousand: confirmation finds it, and nothing is told.
OVER, LEAST, MOST, NOTHING = 1.17, 0.0525, 0.6, 1e-9
ALMOST = 0.1  # of NOTHING is what a plan counts as nothing: a block's own noise may be a little larger
_erf = np.vectorize(math.erf, otypes=[float])


def bin_probabilities(means: F64, deviation: float, step: float, slices: int, unit: float = 0.0) -> F64:
    """Return how often values fall into each bin, one row for each mean.

    Args:
        step: Width of the bins; the lowest and the highest have no end.
        unit: In which values are rounded before they are put into bins: bins begin half of it lower.
    """
    edges = (np.arange(1, 1 << slices) - (1 << slices) / 2) * step - unit / 2
    below = (1.0 + _erf((edges[None, :] - means[:, None]) / (deviation * math.sqrt(2.0)))) / 2.0
    ends = np.zeros((len(means), 1)), np.ones((len(means), 1))
    return np.diff(np.concatenate((ends[0], below, ends[1]), 1), axis=1)


@lru_cache(maxsize=256)
def bin_entropy(variance: float, step: int, slices: int) -> float:
    """Return the entropy of the bin of a Gaussian value; `step` in `QUADRATURE_UNIT`."""
    unit = QUADRATURE_UNIT
    (shares,) = bin_probabilities(np.zeros(1), math.sqrt(variance), step * unit, slices, unit)
    return float(_entropy(shares).sum())


@lru_cache(maxsize=256)
def slice_entropies(variance: float, noise: float, step: float, slices: int) -> tuple[float, ...]:
    """Return the entropy of each slice, where Alice's amplitude and the slices below are known.

    Args:
        variance, noise: Of Bob's values, and the part that Alice does not know; `step` in the same standard deviation.
    """
    places, weights = _amplitudes()
    joint = bin_probabilities(places * math.sqrt(max(variance - noise, 0.0)), math.sqrt(noise), step, slices)
    found = []
    for i in range(slices):
        halves = joint.reshape(POINTS, -1, 2, 1 << i).sum(1)  # amplitude, bit i, bits below
        told = halves.sum(1)
        found.append(float((weights * (_entropy(halves).sum((1, 2)) - _entropy(told).sum(1))).sum()))
    return tuple(found)


def share_told(entropy: float) -> float:
    """Return how many bits are told about each bit of a slice: by a code, or as it is; 0 where guesses do."""
    if entropy < ALMOST * NOTHING:
        return 0.0
    share = max(OVER * entropy, LEAST)
    return share if share <= MOST else 1.0


@lru_cache(maxsize=256)
def choose_bins(signal_to_noise: float) -> tuple[float, int, int]:
    """Return the bins that leave most: their width over the noise's deviation, slices, how many to tell as they are.

    Args:
        signal_to_noise: Of one of Bob's values.
    """

    def left(choice: tuple[float, int]) -> float:
        width, slices = choice
        (shares,) = bin_probabilities(np.zeros(1), math.sqrt(1.0 + signal_to_noise), width, slices)
        told = map(share_told, slice_entropies(1.0 + signal_to_noise, 1.0, width, slices))
        return float(_entropy(shares).sum()) - math.fsum(told)

    width, slices = max(((w, s) for s in SLICES for w in WIDTHS), key=left)
    told = [share_told(entropy) for entropy in slice_entropies(1.0 + signal_to_noise, 1.0, width, slices)]
    return width, slices, min(next((i for i, share in enumerate(told) if share < 1.0), slices - 1), slices - 1)


def equivalent_error_rate(entropy: float) -> float:
    """Return the error rate whose binary entropy this is, at most one half."""
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        if -middle * math.log2(middle) - (1 - middle) * math.log2(1 - middle) < entropy:
            low = middle
        else:
            high = middle
    return high


@cache
def _amplitudes() -> tuple[F64, F64]:
    """Return places and weights of a standard normal number."""
    places = np.linspace(-REACH, REACH, POINTS)
    normal = NormalDist()
    weights = np.array([normal.pdf(place) for place in places])
    return places, weights / weights.sum()


def _entropy(shares: F64) -> F64:
    """Return -p log2 p of each."""
    return -shares * np.log2(np.where(shares > 0, shares, 1.0))
