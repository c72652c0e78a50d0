"""Keys from Gaussian-modulated coherent states: GG02 and no-switching, trusted or untrusted receiver, finite blocks.

In: modulation, channel, receiver.  Out: bits per symbol. Collective attacks. Noise is in shot-noise units; excess noise
stands at the channel's input. Lodewyck et al., Phys. Rev. A 76, 042305 (2007), for homodyne and the trusted receiver;
Weedbrook et al., Phys. Rev. Lett. 93, 170504 (2004), for heterodyne (no switching); Leverrier, Grosshans, Grangier,
Phys. Rev. A 81, 062343 (2010), for finite blocks. Gaussian data are not reconciled here: the efficiency is stated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

Detection = Literal["homodyne", "heterodyne"]


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A link with coherent states.

    Args:
        variance: Of Alice's modulation, V_A.
        transmittance: Of the channel, T.
        excess: Excess noise at the channel's input.
        efficiency: Of Bob's receiver, eta.
        electronic: Bob's electronic noise.
        trusted: Whether the receiver's losses and noise are out of Eve's reach.
    """

    variance: float
    transmittance: float
    excess: float
    efficiency: float
    electronic: float
    detection: Detection = "homodyne"
    trusted: bool = True

    def as_untrusted(self) -> Gaussian:
        """Return the same link with the receiver given to Eve: its loss joins the channel, its noise the excess."""
        gain = self.transmittance * self.efficiency
        added = self.electronic * (2.0 if self.detection == "heterodyne" else 1.0)
        return replace(
            self, transmittance=gain, excess=self.excess + added / gain, efficiency=1.0, electronic=0.0, trusted=True
        )

    @property
    def _line(self) -> float:
        return 1.0 / self.transmittance - 1.0 + self.excess

    @property
    def _receiver(self) -> float:
        if self.detection == "homodyne":
            return (1.0 - self.efficiency + self.electronic) / self.efficiency
        return (2.0 - self.efficiency + 2.0 * self.electronic) / self.efficiency

    def mutual_information(self) -> float:
        """Return what Alice and Bob share, bits per symbol."""
        if not self.trusted:
            return self.as_untrusted().mutual_information()
        v, total = self.variance + 1.0, self._line + self._receiver / self.transmittance
        bits = math.log2((v + total) / (1.0 + total))
        return bits / 2.0 if self.detection == "homodyne" else bits

    def holevo(self) -> float:
        """Return the most that Eve knows of Bob's data, bits per symbol (reverse reconciliation)."""
        if not self.trusted:
            return self.as_untrusted().holevo()
        v, t, line, receiver = self.variance + 1.0, self.transmittance, self._line, self._receiver
        total = line + receiver / t
        # Alice's share and Bob's have variances v and t (v + line). Their difference, and the root of the determinant
        # of both, are written without the cancellation that the published A, B suffer at strong modulation.
        apart = self.variance * (1.0 - t) - t * self.excess
        root = t * (v * line + 1.0)
        a, b = apart * apart + 2.0 * root, root * root
        if self.detection == "homodyne":
            c = (a * receiver + v * root + t * (v + line)) / (t * (v + total))
            d = root * (v + root * receiver) / (t * (v + total))
        else:
            c = a * receiver**2 + b + 1.0 + 2.0 * receiver * (v * root + t * (v + line)) + 2.0 * t * (v * v - 1.0)
            c /= (t * (v + total)) ** 2
            d = ((v + root * receiver) / (t * (v + total))) ** 2
        return sum(map(_g, _eigenvalues(apart, root))) - sum(map(_g, _roots(c, d)))

    def rate(self, beta: float) -> float:
        """Return secret bits per symbol of long blocks: beta I - chi.

        Args:
            beta: Efficiency of reconciliation, a stated number.
        """
        return max(0.0, beta * self.mutual_information() - self.holevo())

    def finite_rate(
        self,
        beta: float,
        symbols: float,
        *,
        share_for_key: float = 0.5,
        epsilon: float = 1e-10,
        frame_error: float = 0.0,
    ) -> float:
        """Return secret bits per symbol of a block (Leverrier et al. 2010).

        Args:
            symbols: In the block.
            share_for_key: The rest estimates the channel.
            epsilon: Of parameter estimation, smoothing and amplification, each.
            frame_error: Share of frames that reconciliation loses.
        """
        n, m = share_for_key * symbols, (1.0 - share_for_key) * symbols
        worst = self.worst_case(m, epsilon)
        if worst is None:
            return 0.0
        delta = 7.0 * math.sqrt(math.log2(2.0 / epsilon) / n) + 2.0 / n * math.log2(1.0 / epsilon)
        secret = beta * self.mutual_information() - worst.holevo() - delta
        return max(0.0, (1.0 - frame_error) * share_for_key * secret)

    def worst_case(self, estimated: float, epsilon: float) -> Gaussian | None:
        """Return the worst channel that the estimate allows, from so many symbols; None if it may let nothing pass."""
        z = NormalDist().inv_cdf(1.0 - epsilon / 2.0)
        split = 2.0 if self.detection == "heterodyne" else 1.0
        gain = self.efficiency * self.transmittance / split
        noise = 1.0 + self.electronic + gain * self.excess
        t = math.sqrt(gain) - z * math.sqrt(noise / (estimated * self.variance))
        if t <= 0:
            return None
        noise_max = noise * (1.0 + z * math.sqrt(2.0 / estimated))
        worst_gain = t * t
        excess = (noise_max - 1.0 - self.electronic) / worst_gain
        return replace(self, transmittance=worst_gain * split / self.efficiency, excess=excess)


def _eigenvalues(apart: float, product: float) -> tuple[float, float]:
    """Return the two symplectic eigenvalues that differ by `apart` and have this product."""
    larger = (math.sqrt(apart * apart + 4.0 * product) + abs(apart)) / 2.0
    return larger, product / larger


def _roots(sum_of_squares: float, product: float) -> tuple[float, float]:
    """Return the two symplectic eigenvalues whose squares have this sum, and this product."""
    apart = math.sqrt(max(sum_of_squares**2 - 4.0 * product, 0.0))
    larger = (sum_of_squares + apart) / 2.0
    return math.sqrt(larger), math.sqrt(product / larger)


def _g(eigenvalue: float) -> float:
    """Return the entropy of a thermal state, in bits, by its symplectic eigenvalue.

    (x + 1) log2(x + 1) - x log2(x), written so that bright states lose no digits.
    """
    x = (eigenvalue - 1.0) / 2.0
    return 0.0 if x <= 1e-15 else math.log2(x + 1.0) + x * math.log1p(1.0 / x) / math.log(2.0)
