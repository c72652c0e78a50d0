"""Finite keys of MDI-QKD: what the counts of each pair of intensities say of detections where both sent one photon.

In: counts by class (Alice's intensity index times three, and Bob's).  Out: `Evaluation`.
Curty, Xu, Cui, Lim, Tamaki, Lo, Nat. Commun. 5, 3732 (2014), for the protocol and the form of the length; Xu, Curty,
Qi, Lo, New J. Phys. 15, 113007 (2013), for the decoy bounds; Tupkary, Nahar, Sinha, Lütkenhaus, Quantum 9, 1937 (2025),
for how failure probabilities compose. The fluctuations are Chernoff's in the exact form; the Gamma that the first paper
prints is misprinted in the insecure direction (docs/protocols.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from noclone.proofs.decoy_bounds import Tally
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.proof import Evaluation, Proof
from noclone.proofs.published import ALL_SIFTED, FIXED
from noclone.proofs.sampling import mean_at_least, mean_at_most, serfling
from noclone.protocols import DecoyMdi, Sender

BRIGHT, DECOY, DIM = 0, 1, 2
EVENTS = 19  # seven counts in each basis, four of errors, one sampling
Coefficients = dict[tuple[int, int], float]


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Counts of one kind by class, made comparable: e^(a + b) / (p_a p_b) times each, and their bounds.

    Args:
        epsilon: The mean behind each count leaves its bound with a probability of epsilon^2 at most.
    """

    counts: Sequence[float]
    protocol: DecoyMdi
    epsilon: float

    def at_least(self, coefficients: Coefficients) -> float:
        """Return the least that a linear combination of the scaled means can be."""
        return math.fsum(c * self._scaled(a, b, c < 0) for (a, b), c in coefficients.items() if c)

    def at_most(self, coefficients: Coefficients) -> float:
        """Return the most that it can be."""
        return math.fsum(c * self._scaled(a, b, c > 0) for (a, b), c in coefficients.items() if c)

    def _scaled(self, a: int, b: int, upper: bool) -> float:
        alice, bob = self.protocol.alice, self.protocol.bob
        count = self.counts[a * self.protocol.peer_levels + b]
        mean = (mean_at_most if upper else mean_at_least)(count, self.epsilon**2)
        weight = math.exp(alice.intensities[a] + bob.intensities[b])
        return weight * mean / (alice.probabilities[a] * bob.probabilities[b])


def curty2014(tally: Tally, protocol: DecoyMdi, epsilons: Epsilons) -> Evaluation:
    """Return the parts of the length: n_11 (1 - h(e_11)) - leak - ..., for the detections of all intensities together.

    eps_sec = 2 sqrt(19) eps + eps_PA, all the same here. Nothing is earned by pulses without a photon.
    """
    epsilon = epsilons.secrecy / (2.0 * math.sqrt(EVENTS) + 1.0)
    single_key = _single_pairs(PairCounts(tally.n_key, protocol, epsilon), protocol)
    single_test = _single_pairs(PairCounts(tally.n_test, protocol, epsilon), protocol)
    wrong = _single_errors(PairCounts(tally.m_test, protocol, epsilon), protocol)
    phase_error = 0.5
    if min(single_key, single_test) > 0:
        phase_error = min(wrong / single_test + serfling(single_key, single_test, epsilon), 0.5)
    return Evaluation(
        vacuum=0.0,
        vacuum_counted=0.0,
        single=min(single_key, sum(tally.n_key)),
        single_test=min(single_test, sum(tally.n_test)),
        phase_error=phase_error,
        overhead=-2.0 - 2.0 * math.log2(epsilon),
    )


def _single_pairs(counts: PairCounts, protocol: DecoyMdi) -> float:
    """Return the least number of detections where both sent one photon: tau_11 Y_11, Xu et al. 2013."""
    a, b = protocol.alice.intensities, protocol.bob.intensities
    if (a[BRIGHT] + a[DIM]) / (a[DECOY] + a[DIM]) <= (b[BRIGHT] + b[DIM]) / (b[DECOY] + b[DIM]):
        first, second = a, b
    else:
        first, second = b, a
    near = (first[BRIGHT] ** 2 - first[DIM] ** 2) * (second[BRIGHT] - second[DIM])
    far = (first[DECOY] ** 2 - first[DIM] ** 2) * (second[DECOY] - second[DIM])
    below = (a[BRIGHT] - a[DIM]) * (b[BRIGHT] - b[DIM]) * (a[DECOY] - a[DIM]) * (b[DECOY] - b[DIM])
    below *= first[BRIGHT] - first[DECOY]
    coefficients = {
        (DECOY, DECOY): near,
        (DECOY, DIM): -near,
        (DIM, DECOY): -near,
        (DIM, DIM): near - far,
        (BRIGHT, BRIGHT): -far,
        (BRIGHT, DIM): far,
        (DIM, BRIGHT): far,
    }
    return max(_tau1(protocol.alice) * _tau1(protocol.bob) * counts.at_least(coefficients) / below, 0.0)


def _single_errors(counts: PairCounts, protocol: DecoyMdi) -> float:
    """Return the most errors among them: tau_11 (e Y)_11, Xu et al. 2013."""
    a, b = protocol.alice.intensities, protocol.bob.intensities
    coefficients = {(DECOY, DECOY): 1.0, (DIM, DIM): 1.0, (DECOY, DIM): -1.0, (DIM, DECOY): -1.0}
    below = (a[DECOY] - a[DIM]) * (b[DECOY] - b[DIM])
    return max(_tau1(protocol.alice) * _tau1(protocol.bob) * counts.at_most(coefficients) / below, 0.0)


def _tau1(sender: Sender) -> float:
    """Return how often a pulse holds one photon, whatever its intensity."""
    pairs = zip(sender.intensities, sender.probabilities, strict=True)
    return math.fsum(p * math.exp(-k) * k for k, p in pairs)


CURTY2014 = Proof(
    "curty2014",
    "Nat. Commun. 5, 3732 (2014), with the bounds of New J. Phys. 15, 113007 (2013)",
    DecoyMdi.NAME,
    (3,),
    "fixed-length",
    curty2014,
    (
        "Nothing is assumed of the station in the middle nor of its detectors: it may be Eve's, and announce what she "
        "likes.",
        "Both senders' pulses are phase-randomised, with exactly the stated mean photon numbers, independent of each "
        "other; both prepare ideal BB84 states, and nothing but what they mean leaves their labs.",
        "Both parties' choices are random and unknown to Eve; the public channel is authenticated.",
        "The count of failure events (19) and their composition are our own, after Tupkary et al. 2025.",
        FIXED,
        ALL_SIFTED,
    ),
)
