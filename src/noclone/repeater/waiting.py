"""How long chains wait, where that is known in closed form: tests hold the engine against it.

In: success per attempt, links, cut-off.  Out: attempts until far ends share a pair; what the wait leaves of it.
Without cut-off: Bernardes, Praxmeyer and van Loock, Phys. Rev. A 83, 012323 (2011). With a memory that keeps a pair for
so many attempts: Collins, Jenkins, Kuzmich and Kennedy, Phys. Rev. Lett. 98, 060502 (2007); Praxmeyer, arXiv:1309.3407.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from noclone.errors import InputError

EXACT_LINKS = 15  # beyond, the alternating sum loses its digits


def attempts_of_all(links: int, success: float) -> float:
    """Return the mean number of attempts until each of some links, all trying at once, has succeeded.

    The sum over j of (-1)^(j+1) C(n, j) / (1 - (1 - p)^j); for many links H_n / -ln(1 - p) + 1/2, whose error is a
    ripple of 10^-5 or less where p is below 1/2 (Eisenberg, Stat. Probab. Lett. 78, 135, 2008).
    """
    _check(success)
    if links <= EXACT_LINKS:
        fail = 1 - success
        return math.fsum((-1) ** (j + 1) * math.comb(links, j) / (1 - fail**j) for j in range(1, links + 1))
    return sum(1 / j for j in range(1, links + 1)) / -math.log1p(-success) + 0.5


@dataclass(frozen=True, slots=True)
class TwoLinks:
    """Two links and one node between them, which gives up a half that has waited for so many attempts.

    Args:
        window: Attempts that the other link has after the first to succeed; None: any number.
    """

    success: float
    window: int | None = None

    def __post_init__(self) -> None:
        _check(self.success)
        if self.window is not None and self.window < 0:
            raise InputError("a cut-off is no negative number of attempts")

    @property
    def _late(self) -> float:
        """Probability that the other link does not succeed in the window."""
        return 0.0 if self.window is None else (1 - self.success) ** self.window

    def attempts(self) -> float:
        """Return the mean number of attempts until both hold a pair at once.

        From nothing, one of the two succeeds alone (2 p q) and then waits for min(G, w) attempts, (1 - q^w) / p on
        average, after which there is nothing again with probability q^w.
        """
        p, q, late = self.success, 1 - self.success, self._late
        return (1 + 2 * q * (1 - late)) / (1 - q * q - 2 * p * q * late)

    def kept(self, decay_per_attempt: float) -> float:
        """Return the mean of exp(-decay * wait) over delivered pairs; the earlier of the two waits, in attempts."""
        p, q = self.success, 1 - self.success
        each = q * math.exp(-decay_per_attempt)
        waits = each / q * p * (1 - (0.0 if self.window is None else each**self.window)) / (1 - each) if q else 0.0
        return (p * p + 2 * p * q * waits) / (p * p + 2 * p * q * (1 - self._late))


def _check(success: float) -> None:
    if not 0 < success <= 1:
        raise InputError(f"an attempt succeeds with a probability between 0 and 1, not {success:g}")
