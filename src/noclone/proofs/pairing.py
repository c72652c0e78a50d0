"""What pairing does to untagged bits and their phase errors (AOPP), for any eavesdropper and finitely many bits.

In: bounds on untagged bits and on phase errors among them, numbers of bits and pairs.  Out: bounds for the pairs.

Bob pairs his zeros with his ones at random, as many as he can; a pair that is unlike at Alice's, too, keeps one bit.
Its phase error is the parity of the two (Xu, Yu, Jiang, Hu, Wang, Phys. Rev. A 101, 042330 (2020)), who find a rate
of 2 e (1 - e) by de Finetti's theorem for endless keys. The finite form here is our own:

1. A pair is unlike and has a phase error exactly where its two qubits are in the singlet state, which is the same in
   all bases. Over random pairings the number of singlets depends on the total spin J of the n untagged qubits alone
   (Schur and Weyl), and J >= n/2 - m if m of them have phase errors.
2. Among strings of n bits with m errors at random places, classical in the basis of phases, J = n/2 - m has a share of
   (n - 2m + 1)/(n - m + 1); and such strings are independent coins, given that m come up wrong, which has a chance
   above 1/sqrt(8 m) (MacWilliams and Sloane, The Theory of Error-Correcting Codes, Ch. 10, Lemma 7). So whatever is
   unlikely for independent coins, each wrong with e = m/n, is unlikely for any state, but for the factor `price`.
   With coins, a pair is a singlet with chance e (1 - e).
3. Pairs of zeros with ones are the unlike pairs of a random pairing of all bits, but more of them: k random ones of
   Bob's K pairs are distributed as those, with k the number of unlike pairs of a random pairing. If x of K pairs are
   singlets, at least x k/K - sqrt(x k/K) of the k are with chance 1/2 or more (Cantelli).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from noclone.counts import Paired
from noclone.proofs.sampling import coins_at_least, coins_at_most


@dataclass(frozen=True, slots=True)
class Untagged:
    """What is known of untagged bits: those that single photons made.

    Args:
        zeros, ones: At least so many.
        phase_errors: At most so many among all of them.
    """

    zeros: float
    ones: float
    phase_errors: float


def paired(untagged: Untagged, told: Paired, epsilon: float) -> Untagged:
    """Return the same of the pairs that are kept: an untagged pair is one of zeros or of ones.

    All is given away (as many phase errors as pairs) where there are too few bits for the argument.

    Args:
        epsilon: Each step fails with a probability of epsilon^2 at most.
    """
    u, v, m = untagged.zeros, untagged.ones, untagged.phase_errors
    n = u + v
    most = told.raw - told.pairs  # of Bob's zeros or ones, whichever are more
    kept = 0.0
    if min(told.pairs, most) >= 1:
        kept = coins_at_least(min(u, most) * min(v, most) / most, epsilon**2)
    # With m below both u and v, more untagged bits than were vouched for would only lower the share of phase errors.
    if m >= min(u, v) or kept <= 0:
        return Untagged(kept / 2, kept / 2, kept)
    wrong = _singlets(n, m, told.raw, epsilon)
    unlike = told.pairs - 2.0 * _like_zeros(told, epsilon) - 1.0
    if unlike <= 0:
        return Untagged(kept / 2, kept / 2, kept)
    seen = ((1.0 + math.sqrt(1.0 + 4.0 * wrong)) / 2.0) ** 2  # x with x - sqrt(x) = wrong
    return Untagged(kept / 2, kept / 2, min(seen * told.pairs / unlike, kept))


def price(n: float, m: float) -> float:
    """Return how much likelier than for independent coins anything may be: step 2 above."""
    return (n - m + 1.0) / (n - 2.0 * m + 1.0) * max(math.sqrt(8.0 * m), 1.0)


def _singlets(n: float, m: float, raw: float, epsilon: float) -> float:
    """Return how many singlets a random pairing of all bits has at most."""
    e = m / n
    mean = n * max(n - 1.0, 0.0) / (2.0 * (raw - 1.0)) * e * (1.0 - e)
    return coins_at_most(mean, epsilon**2 / price(n, m))


def _like_zeros(told: Paired, epsilon: float) -> float:
    """Return how many pairs of two zeros a random pairing has at most, where zeros are the fewer."""
    return coins_at_most(told.pairs * max(told.pairs - 1.0, 0.0) / (2.0 * (told.raw - 1.0)), epsilon**2)
