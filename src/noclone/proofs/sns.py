"""Finite keys of twin-field QKD by sending or not sending (SNS), with pairing of bits (AOPP) or without.

In: counts by class of the test basis (Alice's index times three, and Bob's; her index 3: decoys whose phases do not
fit), of the key basis their sum; errors among decoys whose phases fit.  Out: `Evaluation`.

Published: the protocol, untagged bits and decoy bounds, Wang, Yu, Hu, Phys. Rev. A 98, 062323 (2018), and Jiang, Yu,
Hu, Wang, Phys. Rev. Applied 12, 024061 (2019), who have the form of the length, too; pairing, Xu, Yu, Jiang, Hu, Wang,
Phys. Rev. A 101, 042330 (2020); unlike arms, Hu, Jiang, Yu, Wang, Phys. Rev. A 100, 062337 (2019). Of our own: the
bounds on each count (Chernoff's, exact), how failures compose (after Tupkary et al. 2025), pairing with finitely many
bits (`pairing`), and unlike arms that keep the published condition only nearly.

1. A bit is untagged where one of the two alone sends, and one photon. |0,n> from vacuum at one end and pulses of random
   phase at the other looks alike in both bases: classes with nothing at one end bound how many such bits there are.
2. One photon, of whichever of the two, is in the same state in the key basis and in decoys at both ends whose phases
   differ by nearly 0 or pi, if the two are as likely to have sent it; the likelier one's surplus is called tagged. So
   those decoys' errors, less what empty pulses explain, bound the phase errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from noclone.proofs import pairing
from noclone.proofs.decoy_bounds import Tally
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.pairing import Untagged
from noclone.proofs.proof import Evaluation, Proof
from noclone.proofs.published import ALL_SIFTED, FIXED
from noclone.proofs.sampling import coins_at_least, coins_at_most, mean_at_least, mean_at_most
from noclone.protocols import PHASE_SLICES, Sender, SendOrNot

BRIGHT, DECOY, NOTHING = 0, 1, 2
ALIGNED = 2.0 / PHASE_SLICES  # of decoys at both ends: slices alike or opposite
COUNTED = 7  # five counts of the decoys, zeros, ones
ERRING = 3  # errors from above, empty pulses from below, phase errors of the key
# Pairing looks twice at the phase errors: at k of the pairs, which are at least half as often as bad as all.
EVENTS = {"none": COUNTED + ERRING, "aopp": COUNTED + 1 + 2 * (COUNTED + ERRING + 2)}


@dataclass(frozen=True, slots=True)
class Decoys:
    """Bounds on what the test basis counts, as if all slots were of one class; each fails with epsilon^2 at most."""

    tally: Tally
    protocol: SendOrNot
    epsilon: float

    @property
    def test(self) -> float:
        """How often both test."""
        return (1.0 - self.protocol.alice.p_key) * (1.0 - self.protocol.bob.p_key)

    @property
    def dark(self) -> tuple[float, float]:
        """Bounds on the announcements if nobody ever sent."""
        return self._at_least(NOTHING, NOTHING), self._at_most(NOTHING, NOTHING)

    def alone(self) -> tuple[float, float]:
        """Return the least announcements if Alice, or Bob, always sent one photon alone; Wang et al. 2018, Eq. (10)."""
        dark, protocol = self.dark[1], self.protocol
        alice = _one_photon(protocol.alice, self._at_least(DECOY, NOTHING), self._at_most(BRIGHT, NOTHING), dark)
        bob = _one_photon(protocol.bob, self._at_least(NOTHING, DECOY), self._at_most(NOTHING, BRIGHT), dark)
        return alice, bob

    def errors_of_one(self) -> float:
        """Return the most errors that one photon made, of decoys at both ends whose phases fit (their mean)."""
        alice, bob = self.protocol.alice, self.protocol.bob
        seen = mean_at_most(self.tally.m_test[DECOY * self.protocol.peer_levels + DECOY], self.epsilon**2)
        empty = math.exp(-alice.intensities[DECOY] - bob.intensities[DECOY]) * self.dark[0]
        share = self.test * alice.probabilities[DECOY] * bob.probabilities[DECOY] * ALIGNED
        return max(seen - 0.5 * share * empty, 0.0)

    def _at_least(self, alice: int, bob: int) -> float:
        return self._alone(alice, bob, mean_at_least(self._count(alice, bob), self.epsilon**2))

    def _at_most(self, alice: int, bob: int) -> float:
        return self._alone(alice, bob, mean_at_most(self._count(alice, bob), self.epsilon**2))

    def _count(self, alice: int, bob: int) -> float:
        return self.tally.n_test[alice * self.protocol.peer_levels + bob]

    def _alone(self, alice: int, bob: int, mean: float) -> float:
        one, other = self.protocol.alice.probabilities[alice], self.protocol.bob.probabilities[bob]
        return mean / (self.test * one * other)


def _one_photon(sender: Sender, decoy: float, bright: float, dark: float) -> float:
    """Return the least announcements of one photon, from those of a decoy, of the brightest pulses, and of none."""
    mu2, mu1, _ = sender.intensities
    share = mu2 * mu2 * math.exp(mu1) * decoy - mu1 * mu1 * math.exp(mu2) * bright - (mu2 * mu2 - mu1 * mu1) * dark
    return max(share / (mu1 * mu2 * (mu2 - mu1)), 0.0)


def sent_alone(protocol: SendOrNot) -> tuple[float, float]:
    """Return how often Alice, or Bob, sends one photon alone in a slot of the key basis."""
    alice, bob = protocol.alice.probabilities[BRIGHT], protocol.bob.probabilities[BRIGHT]
    return (
        alice * (1.0 - bob) * protocol.key_alice * math.exp(-protocol.key_alice),
        bob * (1.0 - alice) * protocol.key_bob * math.exp(-protocol.key_bob),
    )


def untagged(decoys: Decoys) -> Untagged:
    """Return what the decoys vouch for in the key basis."""
    protocol, epsilon = decoys.protocol, decoys.epsilon
    a, b = (sender.intensities[DECOY] for sender in (protocol.alice, protocol.bob))
    by_alice, by_bob = sent_alone(protocol)
    # The largest part of the two that is as a to b, as decoys' photons are (Hu et al. 2019); the rest is tagged.
    share = protocol.alice.p_key * protocol.bob.p_key * min(by_alice / a, by_bob / b)
    ones, zeros = (share * x * announced for x, announced in zip((a, b), decoys.alone(), strict=True))
    p = decoys.test * protocol.alice.probabilities[DECOY] * protocol.bob.probabilities[DECOY]
    seen = p * ALIGNED * math.exp(-a - b)
    return Untagged(
        zeros=coins_at_least(zeros, epsilon**2),
        ones=coins_at_least(ones, epsilon**2),
        phase_errors=coins_at_most(share / seen * decoys.errors_of_one(), epsilon**2),
    )


def jiang2019(tally: Tally, protocol: SendOrNot, epsilons: Epsilons) -> Evaluation:
    """Return the parts of the length: n_1 (1 - h(e_1)) - leak - ..., eps_sec = 2 sqrt(events) eps + eps_PA."""
    epsilon = epsilons.secrecy / (2.0 * math.sqrt(EVENTS[protocol.pairing]) + 1.0)
    found = untagged(Decoys(tally, protocol, epsilon))
    if protocol.pairing == "aopp":
        assert tally.paired is not None
        found = pairing.paired(found, tally.paired, epsilon)
    single = found.zeros + found.ones
    return Evaluation(
        vacuum=0.0,
        vacuum_counted=0.0,
        single=min(single, sum(tally.n_key)),
        single_test=float(sum(tally.n_test)),
        phase_error=min(found.phase_errors / single, 0.5) if single > 0 else 0.5,
        overhead=-2.0 - 2.0 * math.log2(epsilon),
    )


JIANG2019 = Proof(
    "jiang2019",
    "Phys. Rev. Applied 12, 024061 (2019); pairing: Phys. Rev. A 101, 042330 (2020); finite statistics of our own",
    SendOrNot.NAME,
    (4,),
    "fixed-length",
    jiang2019,
    (
        "Nothing is assumed of the station in the middle nor of its detectors: it may be Eve's, and announce what she "
        "likes.",
        "All pulses have uniformly random phases and exactly the stated mean photon numbers, independent of each "
        "other; where nothing is to be sent, nothing leaves the labs.",
        "Both parties' choices, Bob's pairing among them, are random and unknown to Eve when she announces; the public "
        "channel is authenticated.",
        "The finite statistics (Chernoff's bound for each count, a symmetry argument for pairs) are our own and not "
        "published.",
        FIXED,
        ALL_SIFTED,
    ),
)
