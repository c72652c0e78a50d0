"""Uniform words into gaps, delays and errors of time: three functions that give the same bits on every machine.

Only + - * / and the square root are used, which IEEE 754 defines to the last bit; a library's logarithm is not.
"""

from __future__ import annotations

import math

import numpy as np

from noclone.kernels import kernel

LN_2 = 0.6931471805599453
LOG_START = 0.6875
_CENTRES = tuple(LOG_START + (i + 0.5) / 32 for i in range(10)) + tuple(1 + (i + 0.5) / 16 for i in range(6))
LOG_INVERSES = tuple(1.0 / c for c in _CENTRES)
LOGS = (
    -0.3522205935893521,
    -0.3087354816496133,
    -0.26706278524904525,
    -0.22705745063534608,
    -0.18859116980755003,
    -0.15154989812720093,
    -0.1158318155251217,
    -0.0813456394539524,
    -0.048009219186360606,
    -0.015748356968139168,
    0.030771658666753687,
    0.08961215868968714,
    0.1451820098444979,
    0.19782574332991987,
    0.24783616390458127,
    0.2954642128938359,
)  # of the centres; a library's logarithm might differ in the last bit
RAREST = 1e-12  # proposals per slot, at least, for gaps under 2^46; what is rarer is rejected, so laws stay exact
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


@kernel(error_model="numpy")
def natural_log(x):  # type: ignore[no-untyped-def]
    """Return ln(x) of a normal number above zero, to about 1e-16 of 1; `sampling_simd` does many.

    x = z * 2^k with z in [0.6875, 1.375), which is cut into 16 intervals. With c the middle of the one that holds z,
    ln z = ln c + ln(1 + r), r = (z - c) / c, and |r| < 1/32: ten terms of the series leave less than 2^-58. They are
    taken in pairs that need not wait for each other (Estrin's scheme).
    """
    z, k = math.frexp(x)
    if z < LOG_START:
        z = z + z
        k = k - 1
    if z < 1.0:
        i = np.int64((z - LOG_START) * 32.0)
        c = LOG_START + (np.float64(i) + 0.5) * 0.03125
    else:
        i = np.int64((z - 1.0) * 16.0) + 10
        c = 1.0 + (np.float64(i - 10) + 0.5) * 0.0625
    r = (z - c) * LOG_INVERSES[i]
    g = r * r
    h = g * g
    low = (1.0 + r * (-1.0 / 2.0)) + g * (1.0 / 3.0 + r * (-1.0 / 4.0))
    high = (1.0 / 5.0 + r * (-1.0 / 6.0)) + g * (1.0 / 7.0 + r * (-1.0 / 8.0))
    s = (low + h * high) + (h * h) * (1.0 / 9.0 + r * (-1.0 / 10.0))
    return r * s + (LOGS[i] + np.float64(k) * LN_2)


@kernel(error_model="numpy")
def geometric(word, mean_negated):  # type: ignore[no-untyped-def]
    """Turn a 64-bit word into how many slots it is to the next proposal, 1 or more; `sampling_simd.gap` does many.

    With u uniform in (0, 1), 1 + floor(ln u / ln(1 - p)) is geometric: P(gap > k) = (1 - p)^k.

    Args:
        mean_negated: 1 / ln(1 - p), for p from `RAREST` on.
    """
    u = (np.float64(np.int64(word >> np.uint64(12))) + 0.5) * 2.220446049250313e-16
    return np.int64(natural_log(u) * mean_negated) + 1


@kernel(error_model="numpy")
def _polynomial(x, coefficients):  # type: ignore[no-untyped-def]
    """Evaluate by Horner's scheme, the highest coefficient first."""
    total = coefficients[0]
    for k in range(1, len(coefficients)):
        total = total * x + coefficients[k]
    return total


@kernel(error_model="numpy")
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


@kernel(error_model="numpy")
def is_tail(word):  # type: ignore[no-untyped-def]
    """Return whether a word's upper half falls outside the central part of the normal law."""
    half = np.int64(word >> np.uint64(32))
    return (half < TAIL) | (half > (1 << 32) - 1 - TAIL)


@kernel(error_model="numpy")
def photon_tick(word, jitter_ticks):  # type: ignore[no-untyped-def]
    """Turn a word's upper half into the tick at which a photon arrives; `sampling_simd` does many.

    Args:
        jitter_ticks: Standard deviation around the slot's centre.
    """
    if jitter_ticks == 0.0:
        return np.int64(TICKS // 2)
    share = (np.float64(np.int64(word >> np.uint64(32))) + 0.5) * 2.3283064365386963e-10
    return np.int64(TICKS // 2) + np.int64(np.floor(normal_quantile(share) * jitter_ticks + 0.5))
