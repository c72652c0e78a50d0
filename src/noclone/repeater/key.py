"""BBM92 over repeaters: what far ends make of the pairs that a chain delivers, without trust in any node between.

In: deliveries.  Out: a key fraction, counts, the length of a finite key. The nodes may be anybody's: what they did to
the pairs shows as errors between the two ends, and the proof reads nothing else. Who controls the ends' own devices, or
the simulation, knows the key.

Each end measures in Z (for key) or X (to test). Asymptotically 1 - h(e_x) - f h(e_z) a pair (Shor and Preskill 2000;
`proofs.entangled` cites Ma, Fung and Lo); finite blocks by `proofs.entangled.finite_length` (Tomamichel et al. 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noclone.errors import InputError
from noclone.proofs.entangled import finite_length
from noclone.proofs.entropy import error_entropy
from noclone.proofs.epsilon import Epsilons
from noclone.repeater.chain import Deliveries
from noclone.repeater.pairs import BellPair

EFFICIENCY = 1.16


def key_fraction(pair: BellPair, efficiency: float = EFFICIENCY) -> float:
    """Return secret bits per delivered pair in the limit of long blocks, where tests cost nothing."""
    return max(0.0, 1.0 - error_entropy(pair.error_x) - efficiency * error_entropy(pair.error_z))


@dataclass(frozen=True, slots=True)
class MeasuredBlock:
    """A block of BBM92 over a chain, measured pair by pair.

    Args:
        n_key, n_test: Pairs that both ends measured in Z, in X.
        m_key, m_test: Of these, how many disagreed.
        secret_bits: Length that the finite-key proof allows; 0 if none.
    """

    pairs: int
    n_key: int
    n_test: int
    m_key: int
    m_test: int
    secret_bits: int


def best_p_key(number: int, pair: BellPair, epsilons: Epsilons, efficiency: float = EFFICIENCY) -> float:
    """Return how often to measure in Z so that a block of so many pairs, as expected, gives most key."""

    def length(p_key: float) -> int:
        n_key, n_test = int(number * p_key**2), int(number * (1 - p_key) ** 2)
        leak = efficiency * n_key * error_entropy(pair.error_z)
        return finite_length(n_key, n_test, pair.error_x, leak, epsilons.secrecy, epsilons.correctness)

    return max((p / 100 for p in range(50, 100)), key=length)


def measure(
    deliveries: Deliveries,
    random: np.random.Generator,
    epsilons: Epsilons,
    *,
    p_key: float = 0.9,
    efficiency: float = EFFICIENCY,
) -> MeasuredBlock:
    """Let both ends measure every pair, and return the counts and the length of the key.

    Args:
        p_key: Probability, at each end, of measuring in Z.
        efficiency: Of reconciliation: it tells f h(e) bits a bit, and e is the block's own.

    The length follows the counts by a statement for a fixed length: a real session agrees on it before the block, and
    accepts or aborts (docs/decisions/003).
    """
    if not 0 < p_key < 1:
        raise InputError(f"both bases are needed: p_key lies between 0 and 1, not {p_key:g}")
    number = len(deliveries)
    key_alice, key_bob = random.random(number) < p_key, random.random(number) < p_key
    chance = random.random(number)
    both_key, both_test = key_alice & key_bob, ~key_alice & ~key_bob
    wrong_z = chance < (1 - deliveries.correlations[:, 2]) / 2
    wrong_x = chance < (1 - deliveries.correlations[:, 0]) / 2
    n_key, n_test = int(both_key.sum()), int(both_test.sum())
    m_key, m_test = int((both_key & wrong_z).sum()), int((both_test & wrong_x).sum())
    leak = efficiency * n_key * error_entropy(m_key / n_key) if n_key else 0.0
    error = m_test / n_test if n_test else 0.5
    bits = finite_length(n_key, n_test, error, leak, epsilons.secrecy, epsilons.correctness)
    return MeasuredBlock(number, n_key, n_test, m_key, m_test, bits)
