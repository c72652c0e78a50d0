"""Find the best settings of a link: Nelder and Mead's simplex from several starts, deterministic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

Point = Sequence[float]


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best point that was found, and its value."""

    point: tuple[float, ...]
    value: float


def best(value: Callable[[Point], float], starts: Sequence[Point], *, evaluations: int = 2000) -> Optimum:
    """Return where `value` is largest. It returns minus infinity, or a penalty, where settings are impossible."""
    found = []
    for start in starts:
        result = minimize(
            lambda x: -value(x),
            np.asarray(start, float),
            method="Nelder-Mead",
            options={"maxfev": evaluations, "xatol": 1e-6, "fatol": 0.0, "adaptive": True},
        )
        found.append(Optimum(tuple(float(x) for x in result.x), -float(result.fun)))
    return max(found, key=lambda o: o.value)
