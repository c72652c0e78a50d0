"""Uniform words into gaps, delays and errors of time: three functions that give the same bits on every machine.

Only + - * / and the square root are used, which IEEE 754 defines to the last bit; a library's logarithm is not.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LN_2 = 0.6931471805599453
SQRT_2 = 1.4142135623730951
LONGEST_GAP = 1 << 45  # slots; no segment has more than 2^40, so a longer gap ends it just as well
TICK_BITS = 20  # time is counted in 2^-20 of a slot, whatever the clock rate: nothing can drift
TICKS = 1 << TICK_BITS
CENTRE = 0.425  # AS 241 takes another function farther out
CENTRAL_TOP = (
    2509.0809287301226727,
    33430.575583588128105,
    67265.770927008700853,
    45921.953931549871457,
    13731.693765509461125,
    1971.5909503065514427,
    133.14166789178437745,
    3.387132872796366608,
)
CENTRAL_LOW = (
    5226.495278852854561,
    28729.085735721942674,
    39307.89580009271061,
    21213.794301586595867,
    5394.1960214247511077,
    687.1870074920579083,
    42.313330701600911252,
    1.0,
)
TAIL_TOP = (
    7.7454501427834140764e-4,
    0.0227238449892691845833,
    0.24178072517745061177,
    1.27045825245236838258,
    3.64784832476320460504,
    5.7694972214606914055,
    4.6303378461565452959,
    1.42343711074968357734,
)
TAIL_LOW = (
    1.05075007164441684324e-9,
    5.475938084995344946e-4,
    0.0151986665636164571966,
    0.14810397642748007459,
    0.68976733498510000455,
    1.6763848301838038494,
    2.05319162663775882187,
    1.0,
)
TAIL = math.floor(0.075 * 2**32)  # of the 2^32 shares, so many lie farther out on either side


@njit(cache=True, nogil=True, error_model="numpy")
def log_of_parts(mantissa, exponent):  # type: ignore[no-untyped-def]
    """Return ln(mantissa * 2^exponent) for a mantissa in [1, 2), to about 1e-16 of 1.

    ln(m) = 2 atanh(f) with f = (m - 1) / (m + 1), |f| < 0.172 after m is brought below sqrt 2; ten terms of the series,
    in pairs that need not wait for each other (Estrin's scheme).
    """
    if mantissa > SQRT_2:
        mantissa = mantissa * 0.5
        exponent = exponent + 1.0
    f = (mantissa - 1.0) / (mantissa + 1.0)
    g = f * f
    h = g * g
    i = h * h
    low = (1.0 + g * (1.0 / 3.0)) + h * (1.0 / 5.0 + g * (1.0 / 7.0))
    high = (1.0 / 9.0 + g * (1.0 / 11.0)) + h * (1.0 / 13.0 + g * (1.0 / 15.0))
    s = (low + i * high) + (i * i) * (1.0 / 17.0 + g * (1.0 / 19.0))
    return 2.0 * f * s + exponent * LN_2


@njit(cache=True, nogil=True, error_model="numpy")
def natural_log(x):  # type: ignore[no-untyped-def]
    """Return ln(x) of a normal number above zero."""
    mantissa, exponent = math.frexp(x)
    return log_of_parts(mantissa * 2.0, exponent - 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def geometric(word, inverse_rate):  # type: ignore[no-untyped-def]
    """Turn a 64-bit word into how many slots it is to the next proposal, 1 or more; `sampling_simd.gaps` does many.

    With u uniform in (0, 1), 1 + floor(ln u / ln(1 - p)) is geometric: P(gap > k) = (1 - p)^k.

    Args:
        inverse_rate: -1 / ln(1 - p).
    """
    u = (np.float64(np.int64(word >> np.uint64(12))) + 0.5) * 2.220446049250313e-16
    return np.int64(min(-natural_log(u) * inverse_rate, np.float64(LONGEST_GAP))) + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _polynomial(x, coefficients):  # type: ignore[no-untyped-def]
    """Evaluate by Horner's scheme, the highest coefficient first."""
    total = coefficients[0]
    for k in range(1, len(coefficients)):
        total = total * x + coefficients[k]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def normal_quantile(p):  # type: ignore[no-untyped-def]
    """Return the standard normal deviate below which a share p of the law lies, to about 1e-15.

    Wichura 1988, Algorithm AS 241 (PPND16), Applied Statistics 37 (3), 477-484; p at least 1e-11 away from 0 and 1.
    """
    q = p - 0.5
    if abs(q) <= CENTRE:
        r = 0.180625 - q * q
        return q * _polynomial(r, CENTRAL_TOP) / _polynomial(r, CENTRAL_LOW)
    r = math.sqrt(-natural_log(p if q < 0 else 1.0 - p)) - 1.6  # beyond 5 - 1.6 he takes a third function
    return math.copysign(_polynomial(r, TAIL_TOP) / _polynomial(r, TAIL_LOW), q)


@njit(cache=True, nogil=True, error_model="numpy")
def is_tail(word):  # type: ignore[no-untyped-def]
    """Return whether a word's upper half falls outside the central part of the normal law."""
    half = np.int64(word >> np.uint64(32))
    return (half < TAIL) | (half > (1 << 32) - 1 - TAIL)


@njit(cache=True, nogil=True, error_model="numpy")
def photon_tick(word, jitter_ticks):  # type: ignore[no-untyped-def]
    """Turn a word's upper half into the tick at which a photon arrives; `sampling_simd` does many.

    Args:
        jitter_ticks: Standard deviation around the slot's centre.
    """
    if jitter_ticks == 0.0:
        return np.int64(TICKS // 2)
    share = (np.float64(np.int64(word >> np.uint64(32))) + 0.5) * 2.3283064365386963e-10
    return np.int64(TICKS // 2) + np.int64(np.floor(normal_quantile(share) * jitter_ticks + 0.5))
