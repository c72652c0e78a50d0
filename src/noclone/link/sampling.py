"""Uniform words into gaps, delays and errors of time: three functions that give the same bits on every machine.

Only + - * / and the square root are used, which IEEE 754 defines to the last bit; a library's logarithm is not.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LN_2 = 0.6931471805599453
SQRT_2 = 1.4142135623730951
CENTRE = 0.425  # AS 241 takes another function farther out


@njit(cache=True, nogil=True, error_model="numpy")
def log_of_parts(mantissa, exponent):  # type: ignore[no-untyped-def]
    """Return ln(mantissa * 2^exponent) for a mantissa in [1, 2), to about 1e-16 of 1.

    ln(m) = 2 atanh(f) with f = (m - 1) / (m + 1), |f| < 0.172 after m is brought below sqrt 2; ten terms of the series.
    """
    if mantissa > SQRT_2:
        mantissa = mantissa * 0.5
        exponent = exponent + 1.0
    f = (mantissa - 1.0) / (mantissa + 1.0)
    g = f * f
    s = 1.0 / 17.0 + g * (1.0 / 19.0)
    s = 1.0 / 13.0 + g * (1.0 / 15.0 + g * s)
    s = 1.0 / 9.0 + g * (1.0 / 11.0 + g * s)
    s = 1.0 / 5.0 + g * (1.0 / 7.0 + g * s)
    s = 1.0 + g * (1.0 / 3.0 + g * s)
    return 2.0 * f * s + exponent * LN_2


@njit(cache=True, nogil=True, error_model="numpy")
def natural_log(x):  # type: ignore[no-untyped-def]
    """Return ln(x) of a normal number above zero."""
    mantissa, exponent = math.frexp(x)
    return log_of_parts(mantissa * 2.0, exponent - 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _centre(q):  # type: ignore[no-untyped-def]
    """Return the quantile at 0.5 + q, |q| <= CENTRE: Wichura's first rational function."""
    r = 0.180625 - q * q
    top = 2509.0809287301226727 * r + 33430.575583588128105
    top = (top * r + 67265.770927008700853) * r + 45921.953931549871457
    top = (top * r + 13731.693765509461125) * r + 1971.5909503065514427
    top = (top * r + 133.14166789178437745) * r + 3.387132872796366608
    low = 5226.495278852854561 * r + 28729.085735721942674
    low = (low * r + 39307.89580009271061) * r + 21213.794301586595867
    low = (low * r + 5394.1960214247511077) * r + 687.1870074920579083
    low = (low * r + 42.313330701600911252) * r + 1.0
    return q * top / low


@njit(cache=True, nogil=True, error_model="numpy")
def _tail(r):  # type: ignore[no-untyped-def]
    """Return the quantile's size where the nearer tail holds exp(-r^2), r <= 5: Wichura's second rational function."""
    r = r - 1.6
    top = 7.7454501427834140764e-4 * r + 0.0227238449892691845833
    top = (top * r + 0.24178072517745061177) * r + 1.27045825245236838258
    top = (top * r + 3.64784832476320460504) * r + 5.7694972214606914055
    top = (top * r + 4.6303378461565452959) * r + 1.42343711074968357734
    low = 1.05075007164441684324e-9 * r + 5.475938084995344946e-4
    low = (low * r + 0.0151986665636164571966) * r + 0.14810397642748007459
    low = (low * r + 0.68976733498510000455) * r + 1.6763848301838038494
    low = (low * r + 2.05319162663775882187) * r + 1.0
    return top / low


@njit(cache=True, nogil=True, error_model="numpy")
def normal_quantile(p):  # type: ignore[no-untyped-def]
    """Return the standard normal deviate below which a share p of the law lies, to about 1e-15.

    Wichura 1988, Algorithm AS 241 (PPND16), Applied Statistics 37 (3), 477-484.
    """
    q = p - 0.5
    if abs(q) <= CENTRE:
        return _centre(q)
    r = math.sqrt(-natural_log(p if q < 0 else 1.0 - p))
    if r <= 5.0:
        return math.copysign(_tail(r), q)
    r = r - 5.0
    top = 2.01033439929228813265e-7 * r + 2.71155556874348757815e-5
    top = (top * r + 0.0012426609473880784386) * r + 0.026532189526576123093
    top = (top * r + 0.29656057182850489123) * r + 1.7848265399172913358
    top = (top * r + 5.4637849111641143699) * r + 6.6579046435011037772
    low = 2.04426310338993978564e-15 * r + 1.4215117583164458887e-7
    low = (low * r + 1.8463183175100546818e-5) * r + 7.868691311456132591e-4
    low = (low * r + 0.0148753612908506148525) * r + 0.13692988092273580531
    low = (low * r + 0.59983220655588793769) * r + 1.0
    return math.copysign(top / low, q)


@njit(cache=True, nogil=True, error_model="numpy")
def normal_quantiles(p, n, bits, numbers, where, out):  # type: ignore[no-untyped-def]
    """Set out[:n] to `normal_quantile` of p[:n], to the same bits, in vectors: first all as if central, then the tails.

    Args:
        p: float64[a multiple of 8], the first n at least 2^-34 away from 0 and 1.
        bits: int64[as many], for work.
        numbers: The same memory as float64.
        where: int64[as many], for work.
    """
    for j in range(-(-n // 8) * 8):  # whole vectors, with no odd ones over
        out[j] = _centre(p[j] - 0.5)
    exponents = np.empty(len(p))
    tails = np.int64(0)
    for j in range(n):
        where[tails] = j
        tails += np.int64(abs(p[j] - 0.5) > CENTRE)
    for k in range(tails):
        share = p[where[k]]
        numbers[k] = share if share < 0.5 else 1.0 - share
    whole = -(-tails // 8) * 8
    for k in range(whole):
        exponents[k] = np.float64((bits[k] >> 52) - 1023)
        bits[k] = (bits[k] & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000
    for k in range(whole):
        numbers[k] = _tail(math.sqrt(-log_of_parts(numbers[k], exponents[k])))
    for k in range(tails):
        out[where[k]] = math.copysign(numbers[k], p[where[k]] - 0.5)
