"""Where a curve crosses a value: the one search that several results share."""

from __future__ import annotations

from collections.abc import Callable


def crossing(curve: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling curve crosses zero, by bisection: between `low`, where it is positive, and `high`."""
    if not curve(low) > 0:
        raise ValueError(f"the curve is not above zero at {low:g}")
    for _ in range(200):
        middle = (low + high) / 2.0
        low, high = (middle, high) if curve(middle) > 0 else (low, middle)
        if high - low <= 1e-13 * max(abs(high), 1.0):
            break
    return low
