"""Random words into gaps and ticks on the card: to the bit, what `sampling` says.

The compiler would join a product and a sum into one operation that rounds once; the processor's kernels round twice. So
products are asked for by a name that it leaves alone. Simulated, plain ones do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from noclone.gpu import inlined, simulated
from noclone.link.sampling import (
    CENTRAL_LOW,
    CENTRAL_TOP,
    CENTRE,
    LN_2,
    LONGEST_GAP,
    SQRT_2,
    TAIL_LOW,
    TAIL_TOP,
    TICKS,
)

ONE = 0x3FF0000000000000  # the bits of 1.0
MANTISSA = (1 << 52) - 1

times: Any
divided: Any
root: Any
bits_of: Any
float_of: Any
if simulated():
    times, divided, root = (lambda a, b: a * b), (lambda a, b: a / b), math.sqrt
    bits_of = lambda x: np.int64(np.float64(x).view(np.int64))  # noqa: E731
    float_of = lambda bits: float(np.int64(bits).view(np.float64))  # noqa: E731
else:
    from numba.cuda import libdevice

    times, divided, root = libdevice.dmul_rn, libdevice.ddiv_rn, libdevice.dsqrt_rn
    bits_of, float_of = libdevice.double_as_longlong, libdevice.longlong_as_double


@inlined
def _log(x):  # type: ignore[no-untyped-def]
    """Return `sampling.natural_log` of a normal number above zero."""
    bits = bits_of(x)
    exponent = np.float64((bits >> 52) - 1023)
    mantissa = float_of((bits & MANTISSA) | ONE)
    if mantissa > SQRT_2:
        mantissa = times(mantissa, 0.5)
        exponent = exponent + 1.0
    f = divided(mantissa - 1.0, mantissa + 1.0)
    g = times(f, f)
    h = times(g, g)
    i = times(h, h)
    low = (1.0 + times(g, 1.0 / 3.0)) + times(h, 1.0 / 5.0 + times(g, 1.0 / 7.0))
    high = (1.0 / 9.0 + times(g, 1.0 / 11.0)) + times(h, 1.0 / 13.0 + times(g, 1.0 / 15.0))
    s = (low + times(i, high)) + times(times(i, i), 1.0 / 17.0 + times(g, 1.0 / 19.0))
    return times(times(2.0, f), s) + times(exponent, LN_2)


@inlined
def geometric(word, inverse_rate):  # type: ignore[no-untyped-def]
    """Return `sampling.geometric`."""
    u = times(np.float64(np.int64(word >> np.uint64(12))) + 0.5, 2.220446049250313e-16)
    return np.int64(min(times(-_log(u), inverse_rate), np.float64(LONGEST_GAP))) + 1


@inlined
def _seven(x, c):  # type: ignore[no-untyped-def]
    """Evaluate eight coefficients by Horner's scheme, the highest first."""
    total = times(c[0], x) + c[1]
    total = times(total, x) + c[2]
    total = times(total, x) + c[3]
    total = times(total, x) + c[4]
    total = times(total, x) + c[5]
    total = times(total, x) + c[6]
    return times(total, x) + c[7]


@inlined
def _normal_quantile(p):  # type: ignore[no-untyped-def]
    q = p - 0.5
    if abs(q) <= CENTRE:
        r = 0.180625 - times(q, q)
        return divided(times(q, _seven(r, CENTRAL_TOP)), _seven(r, CENTRAL_LOW))
    r = root(-_log(p if q < 0 else 1.0 - p)) - 1.6
    size = divided(_seven(r, TAIL_TOP), _seven(r, TAIL_LOW))
    return -size if q < 0 else size


@inlined
def photon_tick(word, jitter_ticks):  # type: ignore[no-untyped-def]
    """Return `sampling.photon_tick`."""
    if jitter_ticks == 0.0:
        return np.int64(TICKS // 2)
    share = times(np.float64(np.int64(word >> np.uint64(32))) + 0.5, 2.3283064365386963e-10)
    return np.int64(TICKS // 2) + np.int64(math.floor(times(_normal_quantile(share), jitter_ticks) + 0.5))
