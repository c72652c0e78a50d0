"""An entangled pair of memories as three correlations, and what waiting, swapping and purifying does to them.

In: correlations.  Out: others. A Bell-diagonal pair is what Pauli errors leave of Phi+; it is fixed by x = <XX>,
y = -<YY> and z = <ZZ>, all 1 for Phi+ itself. In these numbers every step is a product: errors of a memory multiply two
of them or all three, a swap multiplies those of both pairs. Weights of the four Bell states follow by their sums.

Swap and memory: Briegel, Duer, Cirac and Zoller, Phys. Rev. Lett. 81, 5932 (1998). Purification: Bennett et al.,
Phys. Rev. Lett. 76, 722 (1996), "BBPSSW"; Deutsch et al., Phys. Rev. Lett. 77, 2818 (1996), "DEJMPS". Tests hold all of
it against density matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from noclone.errors import InputError

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class BellPair:
    """A Bell-diagonal pair, Pauli corrections made: x = <XX>, y = -<YY>, z = <ZZ>."""

    x: float
    y: float
    z: float

    def __post_init__(self) -> None:
        if not min(self.weights) >= -ROUNDING:
            raise InputError(f"no pair of qubits has the correlations {self.x:g}, {self.y:g}, {self.z:g}")

    @classmethod
    def werner(cls, fidelity: float) -> BellPair:
        """Return Phi+ with white noise: fidelity 1/4 is noise alone."""
        if not 0 <= fidelity <= 1:
            raise InputError(f"a fidelity lies between 0 and 1, not {fidelity:g}")
        share = (4 * fidelity - 1) / 3
        return cls(share, share, share)

    @classmethod
    def of_weights(cls, phi_plus: float, psi_minus: float, psi_plus: float, phi_minus: float) -> BellPair:
        """Return the pair that is each Bell state with such a probability."""
        if abs(phi_plus + psi_minus + psi_plus + phi_minus - 1) > ROUNDING:
            raise InputError("the weights of the four Bell states add up to 1")
        return cls(
            phi_plus + psi_plus - phi_minus - psi_minus,
            phi_plus + psi_minus - phi_minus - psi_plus,
            phi_plus + phi_minus - psi_plus - psi_minus,
        )

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """Probabilities of Phi+, Psi-, Psi+, Phi-, in the order of the DEJMPS paper."""
        x, y, z = self.x, self.y, self.z
        return (1 + x + y + z) / 4, (1 - x + y - z) / 4, (1 + x - y - z) / 4, (1 - x - y + z) / 4

    @property
    def fidelity(self) -> float:
        """Overlap with Phi+."""
        return self.weights[0]

    @property
    def error_z(self) -> float:
        """How often two measurements in Z disagree."""
        return (1 - self.z) / 2

    @property
    def error_x(self) -> float:
        """How often two measurements in X disagree."""
        return (1 - self.x) / 2

    def waited(self, seconds: float, memory: Memory) -> BellPair:
        """Return the pair after one of its halves has lain in a memory."""
        flips, noise = memory.kept(seconds)
        return BellPair(self.x * flips * noise, self.y * flips * noise, self.z * noise)

    def swapped(self, other: BellPair, quality: float = 1.0) -> BellPair:
        """Return what two pairs become when a station measures a half of each in the Bell basis.

        Args:
            quality: Share of measurements that are right; the others say nothing (depolarising).
        """
        return BellPair(self.x * other.x * quality, self.y * other.y * quality, self.z * other.z * quality)

    def twirled(self) -> BellPair:
        """Return the Werner pair of the same fidelity."""
        return BellPair.werner(min(1.0, max(0.0, self.fidelity)))


@dataclass(frozen=True, slots=True)
class Memory:
    """What holds a qubit.

    Args:
        dephasing_s: Its phase flips with probability (1 - exp(-t / dephasing_s)) / 2: T2, where T1 is far longer.
        depolarising_s: It is pure noise with probability 1 - exp(-t / depolarising_s).
    """

    dephasing_s: float = math.inf
    depolarising_s: float = math.inf

    def __post_init__(self) -> None:
        if not (self.dephasing_s > 0 and self.depolarising_s > 0):
            raise InputError("a memory's times are above zero", hint="leave out what should last for ever")

    def kept(self, seconds: float) -> tuple[float, float]:
        """Return the factors that are left of the phase, and of everything."""
        return math.exp(-seconds / self.dephasing_s), math.exp(-seconds / self.depolarising_s)


@dataclass(frozen=True, slots=True)
class Purified:
    """A pair made better at the cost of another, and how often that works."""

    pair: BellPair
    success: float


def bbpssw(kept: BellPair, spent: BellPair) -> Purified:
    """Purify by comparing Z: both pairs are made Werner pairs before, and the kept one after.

    For equal fidelities: F' = (F^2 + a^2) / p, p = F^2 + 2 F a + 5 a^2, a = (1 - F) / 3.
    """
    a, b = kept.twirled(), spent.twirled()
    norm = 1 + a.z * b.z
    found = BellPair((a.x * b.x + a.y * b.y) / norm, (a.x * b.y + a.y * b.x) / norm, (a.z + b.z) / norm)
    return Purified(found.twirled(), norm / 2)


def dejmps(kept: BellPair, spent: BellPair) -> Purified:
    """Purify by turning Y into Z and comparing that; no noise is added before.

    With (A, B, C, D) the weights of both pairs: A' = (A^2 + B^2) / N, B' = 2 C D / N, C' = (C^2 + D^2) / N,
    D' = 2 A B / N, N = (A + B)^2 + (C + D)^2. Written in correlations, where N = (1 + y^2) / 2.
    """
    norm = 1 + kept.y * spent.y
    if norm <= ROUNDING:
        raise InputError("these two pairs are never told to be alike")
    found = BellPair(
        (kept.x * spent.x + kept.z * spent.z) / norm,
        (kept.x * spent.z + kept.z * spent.x) / norm,
        (kept.y + spent.y) / norm,
    )
    return Purified(found, norm / 2)
