"""What a chain of repeaters over given spans would deliver, and cost: for whoever plans a network.

In: what can be bought (`Equipment`), the spans in km.  Out: `Offer`: key a second by the proof that `noclone run` uses,
and a price. Nodes between are no candidates for trust: they count by their price alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from noclone.errors import InputError
from noclone.proofs.entangled import finite_length
from noclone.proofs.entropy import error_entropy
from noclone.proofs.epsilon import Epsilons
from noclone.repeater.chain import Chain, Rules
from noclone.repeater.expected import ExpectedPairs, expected_pairs
from noclone.repeater.key import EFFICIENCY, best_p_key
from noclone.repeater.tables import DevicesTable, MemoryTable, RulesTable
from noclone.repeater.tuning import best_cutoff
from noclone.rng import seed_from_int

ACCURACY = 0.01  # of the rate
EPSILONS = Epsilons(1e-10, 1e-15)


@dataclass(frozen=True, slots=True)
class Equipment:
    """What chains are built of.

    Args:
        end_cost: Of the memory at either end of a chain; a chain has two.
        node_cost: Of a node between, with a memory to either side.
        link_cost: Of what stands in the middle of each link: the station that hears its photons.
        tuned: Choose the cut-off of each chain by trying, instead of `rules.cutoff_s`.
    """

    devices: DevicesTable = field(default_factory=DevicesTable)
    memory: MemoryTable = field(default_factory=MemoryTable)
    rules: RulesTable = field(default_factory=RulesTable)
    end_cost: float = 0.0
    node_cost: float = 0.0
    link_cost: float = 0.0
    tuned: bool = False

    def cost(self, links: int) -> float:
        """Return the price of a chain of so many links, fibre not included."""
        return 2 * self.end_cost + (links - 1) * self.node_cost + links * self.link_cost


@dataclass(frozen=True, slots=True)
class Offer:
    """A chain over given spans.

    Args:
        pairs: What it delivers; None where it delivers nothing.
        p_key: How often either end measures in the key basis, so that a block gives most key.
        secret_bps: Secret bits a second in blocks of a stated size, known to about a per cent; 0 where there is no key.
        cost: Without the fibre.
        cutoff_s: The rules' own, or the one found.
        reason: Why there is no key; else empty.
    """

    pairs: ExpectedPairs | None
    p_key: float
    secret_bps: float
    cost: float
    cutoff_s: float | None
    reason: str = ""


def offer(
    spans_km: Sequence[float],
    equipment: Equipment,
    *,
    block_pairs: int = 200_000,
    epsilons: Epsilons = EPSILONS,
) -> Offer:
    """Return what a chain gives whose links have these lengths, in this order.

    The key is that of finite blocks (`proofs.entangled.finite_length`), reconciliation telling 1.16 n h(e) bits. One
    chain takes some hundredths of a second, or a second with `tuned`; equal questions are answered once.

    Args:
        block_pairs: Pairs in a block, both bases together.
    """
    cost = equipment.cost(len(spans_km))
    rules = equipment.rules
    try:
        links = tuple(equipment.devices.link(length) for length in spans_km)
        memories = (equipment.memory.memory(),) * (len(links) + 1)
        chain = Chain(links, memories, Rules(**rules.model_dump()))
        if equipment.tuned:
            best = best_cutoff(chain, seed_from_int(0))[0].cutoff_s
            chain = replace(chain, rules=replace(chain.rules, cutoff_s=best))
        pairs = expected_pairs(chain, ACCURACY)
    except InputError as error:  # a link too long, or swaps that fail too often: an answer, not a mistake
        return Offer(None, 0.5, 0.0, cost, rules.cutoff_s, error.message)
    p_key = best_p_key(block_pairs, pairs.pair, epsilons)
    n_key, n_test = int(block_pairs * p_key**2), int(block_pairs * (1 - p_key) ** 2)
    leak = EFFICIENCY * n_key * error_entropy(pairs.pair.error_z)
    bits = finite_length(n_key, n_test, pairs.pair.error_x, leak, epsilons.secrecy, epsilons.correctness)
    reason = "" if bits else f"pairs with {pairs.pair.error_z:.1%} and {pairs.pair.error_x:.1%} of errors give no key"
    return Offer(pairs, p_key, bits / block_pairs * pairs.rate_hz, cost, chain.rules.cutoff_s, reason)
