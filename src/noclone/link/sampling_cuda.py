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
    LOG_INVERSES,
    LOGS,
    TAIL_LOW,
    TAIL_TOP,
    TICKS,
)

START = 0x3FE6000000000000  # the bits of sampling.LOG_START

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
    above = bits - START
    k = above >> 52
    i = (above >> 48) & 15
    z = bits - (k << 52)
    centre = float_of((z >> 48 << 48) | (1 << 47))
    r = times(float_of(z) - centre, LOG_INVERSES[i])
    g = times(r, r)
    h = times(g, g)
    low = (1.0 + times(r, -1.0 / 2.0)) + times(g, 1.0 / 3.0 + times(r, -1.0 / 4.0))
    high = (1.0 / 5.0 + times(r, -1.0 / 6.0)) + times(g, 1.0 / 7.0 + times(r, -1.0 / 8.0))
    s = (low + times(h, high)) + times(times(h, h), 1.0 / 9.0 + times(r, -1.0 / 10.0))
    return times(r, s) + (LOGS[i] + times(np.float64(k), LN_2))


@inlined
def geometric(word, mean_negated):  # type: ignore[no-untyped-def]
    """Return `sampling.geometric`."""
    u = times(np.float64(np.int64(word >> np.uint64(12))) + 0.5, 2.220446049250313e-16)
    return np.int64(times(_log(u), mean_negated)) + 1


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
