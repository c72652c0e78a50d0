"""A mixed-integer program, built up row by row, and HiGHS that solves it.

HiGHS: Huangfu and Hall, Math. Program. Comput. 10, 119 (2018), through SciPy. It works in a thread of its own, so that
Ctrl-C is answered at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from noclone.errors import NocloneError
from noclone.extras import how_to_install

INFEASIBLE = 2  # as SciPy numbers HiGHS's answers


class Program:
    """Variables from 0 to an upper bound, some of them whole numbers, and rows low <= sum of terms <= high."""

    def __init__(self) -> None:
        self.cost: list[float] = []
        self.upper: list[float] = []
        self.whole: list[int] = []
        self._rows: list[tuple[dict[int, float], float, float]] = []

    def variable(self, cost: float = 0.0, upper: float = 1.0, *, whole: bool = False) -> int:
        """Add a variable."""
        self.cost.append(cost)
        self.upper.append(upper)
        self.whole.append(int(whole))
        return len(self.cost) - 1

    def row(self, terms: dict[int, float], low: float, high: float) -> None:
        """Add a row."""
        self._rows.append((terms, low, high))

    def _matrix(self) -> tuple[Any, Any, Any]:
        from scipy.sparse import csr_array

        data: list[float] = []
        columns: list[int] = []
        starts = [0]
        for terms, _, _ in self._rows:
            columns += list(terms)
            data += list(terms.values())
            starts.append(len(columns))
        matrix = csr_array((data, columns, starts), shape=(len(self._rows), len(self.cost)))
        low, high = (np.array([row[i] for row in self._rows], float) for i in (1, 2))
        return matrix, low, high

    def solve(self, cost: list[float], time_limit_s: float, gap: float) -> Any:
        """Find the least of a cost, within `gap` above the optimum.

        Returns:
            What SciPy's `milp` returns; `x` is None where nothing was found in the time.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        matrix, low, high = self._matrix()
        return interruptible(
            lambda: milp(
                np.array(cost),
                integrality=np.array(self.whole),
                bounds=Bounds(0, np.array(self.upper)),
                constraints=LinearConstraint(matrix, low, high),
                options={"time_limit": time_limit_s, "mip_rel_gap": gap / (1.0 + gap)},  # HiGHS: of what it found
            )
        )

    def relax(self, cost: list[float], time_limit_s: float) -> Any:
        """Find the least of a cost where every variable may be broken: no whole solution costs less.

        Returns:
            What SciPy's `linprog` returns; `status` is 0 where it was solved.
        """
        from scipy.optimize import linprog
        from scipy.sparse import vstack

        matrix, low, high = self._matrix()
        equal = low == high
        above, below = ~equal & np.isfinite(high), ~equal & np.isfinite(low)
        return interruptible(
            lambda: linprog(
                np.array(cost),
                A_ub=vstack([matrix[above], -matrix[below]]),
                b_ub=np.concatenate([high[above], -low[below]]),
                A_eq=matrix[equal],
                b_eq=high[equal],
                bounds=np.column_stack([np.zeros(len(cost)), self.upper]),
                method="highs-ipm",
                options={"time_limit": time_limit_s},
            )
        )


def interruptible(work: Callable[[], Any]) -> Any:
    """Do what lets go of the interpreter's lock in a thread, while this one waits for it or for Ctrl-C."""
    done: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as problem:
            failed.append(problem)

    thread = threading.Thread(target=run, name="highs", daemon=True)  # given up on Ctrl-C: the process ends
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if failed:
        raise failed[0]
    return done[0]


def require_scipy() -> None:
    """Raise a clear error where SciPy is missing.

    Raises:
        NocloneError: It is.
    """
    try:
        import scipy.optimize  # noqa: F401
    except ImportError:
        raise NocloneError(
            "the planner's solver is not installed",
            hint=how_to_install("plan"),
        ) from None
