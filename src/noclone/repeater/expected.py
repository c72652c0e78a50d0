"""What a chain delivers on average: pairs a second, and the mean pair.

In: a `Chain`, or a link on a clock.  Out: `ExpectedPairs`. For a clock it is exact; a chain is sampled until its rate
is known well enough, always from the same seed: two machines that ask find the same, to the digits that are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from noclone.errors import InputError
from noclone.repeater.chain import Chain, Deliveries, Running, joined
from noclone.repeater.clocked import Clocked
from noclone.repeater.key import key_fraction
from noclone.repeater.pairs import BellPair
from noclone.rng import seed_from_int

SEED = seed_from_int(0)
SLICE_PAIRS = 10_000
MOST_EVENTS = 20_000_000  # some five seconds
DIGITS = 6  # more would differ between machines, and lie below what was sampled


@dataclass(frozen=True, slots=True)
class ExpectedPairs:
    """The average over many requests.

    Args:
        rate_hz: Pairs a second.
        rate_error: Standard error of the rate, relative; 0 where it is exact.
        pair: The mean pair. Of a Bell-diagonal one the error rates are all that two bases see.
    """

    rate_hz: float
    rate_error: float
    pair: BellPair

    @property
    def secret_bps(self) -> float:
        """Secret bits a second of BBM92, in the limit of long blocks."""
        return key_fraction(self.pair) * self.rate_hz


@lru_cache(maxsize=4096)
def expected_pairs(source: Chain | Clocked, accuracy: float = 1e-3) -> ExpectedPairs:
    """Return what is delivered on average.

    Args:
        accuracy: Relative standard error of a chain's rate at which sampling ends; it ends after 2 * 10^7 events, too.

    Raises:
        InputError: The chain does not deliver.
    """
    if not accuracy > 0:
        raise InputError(f"a rate is known to more than {accuracy:g}")
    if isinstance(source, Clocked):
        return ExpectedPairs(1 / source.period_s, 0.0, source.delivered())
    running = Running(source, SEED, "repeater/expected")
    parts: list[Deliveries] = []
    events = 0
    while True:
        parts.append(running.request(SLICE_PAIRS, most_events=MOST_EVENTS))
        events += parts[-1].counted["events"]
        found = joined(parts)
        error = float(found.waited_s.std(ddof=1) / found.mean_s / math.sqrt(len(found)))
        if error <= accuracy or events >= MOST_EVENTS:
            break
    pair = found.pair
    x, y, z = (round(value, DIGITS) for value in (pair.x, pair.y, pair.z))
    return ExpectedPairs(float(f"{found.rate_hz:.{DIGITS - 1}e}"), error, BellPair(x, y, z))
