"""Finite keys of twin-field QKD in Curty, Azuma and Lo's form (CAL): how many phase errors the decoys allow.

In: counts by class (Alice's intensity index times three, and Bob's) of the test basis; of the key basis, their sum.
Out: `Evaluation`. Curty, Azuma, Lo, npj Quantum Inf. 5, 64 (2019), for the bound on phase errors by the yields of
photon numbers; the finite statistics are our own, after the plan of Currás-Lorenzo et al., npj Quantum Inf. 7, 22
(2021):

1. Given all rounds before, a round of the key basis is announced with a phase error with a chance of at most
   p sum_j (sum over m, n of parity j of c_m c_n sqrt(Y_mn))^2, where c are the amplitudes of photon numbers in the key
   basis' pulses and Y_mn is the chance of an announcement if photons m, n were sent (both announcements together, by
   the triangle inequality). Over all rounds the sum obeys the same with Y_mn summed, by that inequality again.
2. The chances of each pair of intensities in the test basis sum up to known linear combinations of those sums. Counts
   bound them whatever Eve does in the course of the block (`sampling.chances_at_most`), and so the number of phase
   errors (`sampling.count_at_most`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from noclone.proofs.decoy_bounds import Tally
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.proof import Evaluation, Proof
from noclone.proofs.published import ALL_SIFTED, FIXED
from noclone.proofs.sampling import chances_at_least, chances_at_most, count_at_most
from noclone.protocols import TwinField

BRIGHT, DECOY, DIM = 0, 1, 2
EVENTS = 19  # nine counts from above, nine from below, one number of phase errors
MOST = 4  # photons: with more, or of other kinds than `_yields` bounds, the brightest decoys bound all at once


@dataclass(frozen=True, slots=True)
class Chances:
    """Sums of announcements' chances by class, made comparable: e^(a + b) / (p p_a p_b) times each, both bounds."""

    upper: tuple[tuple[float, ...], ...]
    lower: tuple[tuple[float, ...], ...]
    alice: tuple[float, ...]
    bob: tuple[float, ...]

    @classmethod
    def of(cls, tally: Tally, protocol: TwinField, epsilon: float) -> Chances:
        """Return what the counts of the test basis say, each bound but with probability epsilon^2."""
        alice, bob = protocol.alice, protocol.bob
        test = (1.0 - alice.p_key) * (1.0 - bob.p_key)
        rows: list[list[list[float]]] = [[], []]
        for i, (a, p) in enumerate(zip(alice.intensities, alice.probabilities, strict=True)):
            counts = [tally.n_test[i * protocol.peer_levels + j] for j in range(protocol.peer_levels)]
            scale = [math.exp(a + b) / (test * p * q) for b, q in zip(bob.intensities, bob.probabilities, strict=True)]
            for side, bound in ((0, chances_at_most), (1, chances_at_least)):
                rows[side].append([s * bound(n, epsilon**2) for s, n in zip(scale, counts, strict=True)])
        upper, lower = (tuple(map(tuple, side)) for side in rows)
        return cls(upper, lower, alice.intensities, bob.intensities)

    def swapped(self) -> Chances:
        """Return the same with Alice and Bob exchanged."""
        upper, lower = (tuple(zip(*rows, strict=True)) for rows in (self.upper, self.lower))
        return Chances(upper, lower, self.bob, self.alice)

    def yield_at_most(self, m: int, n: int) -> float:
        """Return an upper bound on the summed yield of photons m and n: no class holds more of them than it counts."""
        found = []
        for i, a in enumerate(self.alice):
            for j, b in enumerate(self.bob):
                share = (a**m if m else 1.0) * (b**n if n else 1.0)
                if share > 0:
                    found.append(self.upper[i][j] * math.factorial(m) * math.factorial(n) / share)
        return min(found)

    def none_and_two(self) -> float:
        """Return an upper bound on the yield of none from Alice and two from Bob, less what fewer photons explain."""
        bright, decoy, dim = self.bob
        upper, lower = self.upper[DIM], self.lower[DIM]
        none = max((decoy * lower[DIM] - dim * upper[DECOY]) / (decoy - dim), 0.0)
        share = (decoy**2 - dim**2) / bright**2
        one = lower[DECOY] - upper[DIM] - share * (upper[BRIGHT] - none)
        one = max(bright * one / (bright * (decoy - dim) - decoy**2 + dim**2), 0.0)  # Ma et al. 2005, Eq. (21)
        return min(2.0 * max(upper[BRIGHT] - none - bright * one, 0.0) / bright**2, self.yield_at_most(0, 2))

    def one_each(self) -> float:
        """Return an upper bound on the yield of one photon from either."""
        a, b = self.alice, self.bob
        apart = self.upper[DECOY][DECOY] + self.upper[DIM][DIM] - self.lower[DECOY][DIM] - self.lower[DIM][DECOY]
        return min(max(apart, 0.0) / ((a[DECOY] - a[DIM]) * (b[DECOY] - b[DIM])), self.yield_at_most(1, 1))


def cal2019(tally: Tally, protocol: TwinField, epsilons: Epsilons) -> Evaluation:
    """Return the parts of the length; eps_sec = 2 sqrt(19) eps + eps_PA, all the same here."""
    epsilon = epsilons.secrecy / (2.0 * math.sqrt(EVENTS) + 1.0)
    key = float(sum(tally.n_key))
    errors = count_at_most(phase_error_chances(Chances.of(tally, protocol, epsilon), protocol), epsilon**2)
    return Evaluation(
        vacuum=0.0,
        vacuum_counted=0.0,
        single=key,
        single_test=float(sum(tally.n_test)),
        phase_error=min(errors / key, 0.5) if key > 0 else 0.5,
        overhead=-2.0 - 2.0 * math.log2(epsilon),
    )


def phase_error_chances(chances: Chances, protocol: TwinField) -> float:
    """Return an upper bound on the summed chances of a phase error in the key basis: step 1 above."""
    a, b = protocol.key_alice, protocol.key_bob
    vacuum = math.exp(-(a + b) / 2.0)
    # What the brightest decoys bound: c_m c_n sqrt(Y_mn) <= e^(-(a + b)/2) r^m s^n sqrt(their chances), all m and n.
    r, s = math.sqrt(a / chances.alice[BRIGHT]), math.sqrt(b / chances.bob[BRIGHT])
    most = vacuum * math.sqrt(chances.upper[BRIGHT][BRIGHT])
    total = 0.0
    for parity in (0, 1):
        amplitude = most * (r * s if parity else 1.0) / ((1.0 - r * r) * (1.0 - s * s))
        for m in range(parity, MOST + 1, 2):
            for n in range(parity, MOST + 1, 2):
                weight = vacuum * a ** (m / 2) * b ** (n / 2) / math.sqrt(math.factorial(m) * math.factorial(n))
                better = weight * math.sqrt(_yield(chances, m, n))
                amplitude += min(better - most * r**m * s**n, 0.0)
        total += amplitude**2
    return protocol.alice.p_key * protocol.bob.p_key * total


def _yield(chances: Chances, m: int, n: int) -> float:
    """Return the best upper bound on the summed yield of photons m and n."""
    if (m, n) == (0, 2):
        return chances.none_and_two()
    if (m, n) == (2, 0):
        return chances.swapped().none_and_two()
    return chances.one_each() if (m, n) == (1, 1) else chances.yield_at_most(m, n)


CAL2019 = Proof(
    "cal2019",
    "npj Quantum Inf. 5, 64 (2019), with finite statistics of our own",
    TwinField.NAME,
    (3,),
    "fixed-length",
    cal2019,
    (
        "Nothing is assumed of the station in the middle nor of its detectors: it may be Eve's, and announce what she "
        "likes.",
        "In the key basis both send coherent states of exactly the stated mean photon numbers with a phase of 0 or pi; "
        "in the test basis pulses of uniformly random phase and the stated ones; nothing else leaves their labs.",
        "Both parties' choices are random and unknown to Eve; the public channel is authenticated.",
        "The finite statistics (martingale bounds, 19 failure events) are our own and not published.",
        FIXED,
        ALL_SIFTED,
    ),
)
