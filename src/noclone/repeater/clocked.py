"""Entanglement at a stated time: a link tries until it has a pair, keeps it, and hands over what it has at the tick.

In: a link, a memory, a period.  Out: how often the pair is there, and the mean fidelity, ticks without one included.
Humphreys et al., Nature 558, 268 (2018), Eqs. (1) and (2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noclone.errors import InputError
from noclone.repeater.links import Link
from noclone.repeater.pairs import BellPair, Memory


@dataclass(frozen=True, slots=True)
class Clocked:
    """A link that delivers at every tick.

    Args:
        memory: Of either end: both decay.
        period_s: From tick to tick.
        setup_s: Of it, before the first attempt: checking charges, finding the phase.
        without: Fidelity of what is handed over when nothing succeeded: 1/4 is noise, 1/2 two bits that agree.
    """

    link: Link
    memory: Memory
    period_s: float
    setup_s: float = 0.0
    without: float = 0.25

    def __post_init__(self) -> None:
        if not (0 <= self.setup_s < self.period_s and 0 <= self.without <= 0.5):
            raise InputError("a tick leaves time for attempts; without entanglement a fidelity is 1/2 at most")

    @property
    def attempts(self) -> int:
        """How many attempts there are before a tick."""
        return int((self.period_s - self.setup_s) / self.link.attempt_s)

    @property
    def success(self) -> float:
        """How often there is a pair at the tick."""
        return -math.expm1(self.attempts * math.log1p(-self.link.success)) if self.link.success < 1 else 1.0

    def pair(self) -> BellPair:
        """Return the mean pair at a tick that has one: the first success is kept, and waits."""
        p, n = self.link.success, self.attempts
        if n == 0:
            raise InputError("no attempt fits between two ticks")
        phase, noise = self.memory.kept(2 * self.link.attempt_s)  # of both halves, in one attempt
        made = self.link.pair

        def mean(kept: float) -> float:
            # Success at attempt k of n, then n - k attempts of waiting: sum of p q^(k-1) kept^(n-k).
            q = 1 - p
            total = p * n * q ** (n - 1) if math.isclose(kept, q, rel_tol=1e-12) else p * (kept**n - q**n) / (kept - q)
            return total / self.success

        flipped, whole = mean(phase * noise), mean(noise)
        return BellPair(made.x * flipped, made.y * flipped, made.z * whole)

    @property
    def instead(self) -> BellPair:
        """What is handed over when nothing succeeded: two bits that agree as often as the fidelity says."""
        return BellPair(0.0, 0.0, 4 * self.without - 1)

    def delivered(self) -> BellPair:
        """Return the mean pair at every tick."""
        share, made, instead = self.success, self.pair(), self.instead
        return BellPair(*(share * getattr(made, c) + (1 - share) * getattr(instead, c) for c in "xyz"))

    @property
    def fidelity(self) -> float:
        """Mean fidelity at every tick, Eq. (1)."""
        return self.delivered().fidelity

    def figures(self) -> dict[str, float]:
        """Return what can stand beside a published number."""
        return {
            "clocked_rate_hz": 1 / self.period_s,
            "clocked_fidelity": self.fidelity,
            "clocked_success": self.success,
        }

    def sample(self, ticks: int, random: np.random.Generator) -> NDArray[np.float64]:
        """Return x, y, z of what is handed over at so many ticks; ticks x 3."""
        made, n = self.link.pair, self.attempts
        # Attempt k of n is the first to succeed where a uniform number lies between 1 - q^(k-1) and 1 - q^k.
        chance = random.random(ticks)
        there = chance < self.success
        first = np.ones(ticks)
        if self.link.success < 1:
            first = np.floor(np.log1p(-chance) / math.log1p(-self.link.success)) + 1
        waits = 2 * self.link.attempt_s * (n - np.minimum(first, n))
        phase, noise = (np.exp(-waits / lasts) for lasts in (self.memory.dephasing_s, self.memory.depolarising_s))
        kept = np.stack([made.x * phase * noise, made.y * phase * noise, made.z * noise], axis=1)
        instead = self.instead
        return np.where(there[:, None], kept, [instead.x, instead.y, instead.z])


def best_fidelity(link_efficiency: float) -> float:
    """Return the most that perfect pairs reach at every tick, Eq. (2): (1 + 3 eta^(1 / (1 - eta))) / 4.

    Args:
        link_efficiency: Rate of entangling over rate of decay, both exponential; above 0.83 it beats 1/2.
    """
    if not link_efficiency > 0:
        raise InputError("a link efficiency is a ratio of two rates, above zero")
    if math.isclose(link_efficiency, 1.0, rel_tol=1e-9):
        return (1 + 3 / math.e) / 4
    return (1 + 3 * math.pow(link_efficiency, 1 / (1 - link_efficiency))) / 4
