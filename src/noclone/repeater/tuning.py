"""How long should a half wait before it is given up? As long as gives most key: found by trying.

In: a chain.  Out: cut-offs with what each gave, the best first. Short ones throw pairs away, long ones keep bad pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from noclone.errors import InputError
from noclone.repeater.chain import SLICE_EVENTS, Chain, sample
from noclone.repeater.key import key_fraction
from noclone.rng import derive

STEPS = 12
PATIENCE = 50
SHORTEST, LONGEST = 0.1, 20.0  # in mean times of the slowest link


@dataclass(frozen=True, slots=True)
class Tried:
    """A cut-off, and the secret bits a second that it gave in long blocks; None: no cut-off."""

    cutoff_s: float | None
    secret_bps: float


def best_cutoff(chain: Chain, seed: bytes, *, pairs: int = 2000, tell: Callable[[], None] | None = None) -> list[Tried]:
    """Return the cut-offs that were tried, the best first.

    Args:
        pairs: Sampled with each; the better ones lie within the noise of so many.
        tell: Is called after each.
    """
    slowest_s = max(link.mean_s for link in chain.links)
    grid = [slowest_s * SHORTEST * (LONGEST / SHORTEST) ** (i / (STEPS - 1)) for i in range(STEPS)]
    without = sample(replace(chain, rules=replace(chain.rules, cutoff_s=None)), pairs, derive(seed, "cutoff/none"))
    found = [Tried(None, key_fraction(without.pair) * without.rate_hz)]
    # Whatever needs so much more work delivers too little: shorter ones need more still.
    most_events = PATIENCE * without.counted["events"] + SLICE_EVENTS
    for number, cutoff_s in enumerate(reversed(grid)):
        trial = replace(chain, rules=replace(chain.rules, cutoff_s=cutoff_s))
        try:
            deliveries = sample(trial, pairs, derive(seed, f"cutoff/{number}"), most_events=most_events)
        except InputError:
            break
        found.append(Tried(cutoff_s, key_fraction(deliveries.pair) * deliveries.rate_hz))
        if tell is not None:
            tell()
    return sorted(found, key=lambda one: -one.secret_bps)
