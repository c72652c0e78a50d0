"""A chain of repeaters, and what it delivers: pairs of far ends, each with its time and its correlations.

In: links, memories, rules.  Out: `Deliveries`. `sample` runs the engine, in slices so that Ctrl-C ends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noclone.errors import InputError
from noclone.proofs.capacity import chain_bound
from noclone.repeater.links import Link
from noclone.repeater.pairs import BellPair, Memory
from noclone.rng import stream as random_stream

SLICE_EVENTS = 1_000_000
PATIENCE_EVENTS = 200_000_000
MOST_LINKS = 100_000
NS = 1e9
LAST_NS = 1 << 60


@dataclass(frozen=True, slots=True)
class Rules:
    """How the nodes of a chain behave.

    Args:
        swap_success: Probability that a node's Bell measurement gives a result: 1/2 with linear optics.
        swap_quality: Share of results that are right; the others are noise.
        cutoff_s: The longest that a half may wait in a memory before its pair is given up; None: no limit.
        pumps: How often each link's pair is purified (DEJMPS) by another fresh one before it is used.
        stream: The chain goes on while nobody asks; else it is emptied at each delivery and begins anew.
        ends: "measured": the far ends measure their halves at once, as for key; "stored": they keep them until all
            outcomes have arrived, and the pair is whole then.
    """

    swap_success: float = 1.0
    swap_quality: float = 1.0
    cutoff_s: float | None = None
    pumps: int = 0
    stream: bool = False
    ends: str = "measured"

    def __post_init__(self) -> None:
        if not (0 < self.swap_success <= 1 and 0 <= self.swap_quality <= 1):
            raise InputError("swaps succeed, and are right, with probabilities between 0 and 1")
        if self.cutoff_s is not None and not self.cutoff_s >= 1e-9:
            raise InputError("a cut-off is a time of 1 ns or more", hint="leave it out where nothing is given up")
        if not 0 <= self.pumps <= 20:
            raise InputError(f"{self.pumps} purifications of one pair: 0 to 20 are meant here")
        if self.ends not in ("measured", "stored"):
            raise InputError(f'ends are "measured" or "stored", not {self.ends!r}')


@dataclass(frozen=True, slots=True)
class Chain:
    """Links end to end.

    Args:
        memories: Of each node, one more than links, the same to either side.
    """

    links: tuple[Link, ...]
    memories: tuple[Memory, ...]
    rules: Rules = Rules()

    def __post_init__(self) -> None:
        if not 1 <= len(self.links) <= MOST_LINKS:
            raise InputError(f"a chain has 1 to {MOST_LINKS} links, not {len(self.links)}")
        if len(self.memories) != len(self.links) + 1:
            raise InputError(f"{len(self.links)} links have {len(self.links) + 1} nodes, not {len(self.memories)}")

    @classmethod
    def uniform(cls, link: Link, number: int, memory: Memory, rules: Rules = Rules()) -> Chain:
        """Return a chain of equal links and nodes."""
        return cls((link,) * number, (memory,) * (number + 1), rules)

    @property
    def length_km(self) -> float:
        """From end to end."""
        return sum(link.length_km for link in self.links)

    def bound(self, attenuation_db_per_km: float = 0.2) -> float:
        """Return the most secret bits per use of each link's fibre that any repeaters could give."""
        return chain_bound(10 ** (-attenuation_db_per_km * link.length_km / 10) for link in self.links)


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Pairs as they were delivered.

    Args:
        waited_s: From each request to its pair.
        correlations: x, y, z of each pair (`BellPair`); deliveries x 3.
        counted: Events, pairs of links, swaps, failed swaps, times up, purifications.
    """

    waited_s: NDArray[np.float64]
    correlations: NDArray[np.float64]
    counted: dict[str, int]

    def __len__(self) -> int:
        return self.waited_s.size

    @property
    def rate_hz(self) -> float:
        """Pairs per second of the network's time."""
        return len(self) / float(self.waited_s.sum())

    @property
    def mean_s(self) -> float:
        """Mean time from request to pair."""
        return float(self.waited_s.mean())

    @property
    def pair(self) -> BellPair:
        """The mean pair: what a user has who does not look at how old each one is."""
        x, y, z = (float(value) for value in self.correlations.mean(axis=0))
        return BellPair(x, y, z)

    @property
    def fidelity_error(self) -> float:
        """Standard error of the mean fidelity."""
        each = self.correlations.sum(axis=1) / 4
        return float(each.std(ddof=1) / math.sqrt(len(self))) if len(self) > 1 else math.nan


NAMES = ("events", "links_entangled", "swaps", "failed_swaps", "times_up", "purified")


class Running:
    """A chain at work: its state, and pairs on demand. Each is asked for when the last one has come."""

    def __init__(self, chain: Chain, seed: bytes, name: str = "repeater") -> None:
        from noclone.repeater import engine

        links = chain.links
        places = np.concatenate(([0.0], np.cumsum([link.travel_s * NS for link in links])))
        self._random = random_stream(seed, name)
        self._links = np.zeros((len(links), engine.LINK_COLUMNS))
        self._nodes = np.zeros((len(links) + 1, engine.NODE_COLUMNS))
        for i, link in enumerate(links):
            log_fail = math.log1p(-link.success) if link.success < 1 else -math.inf
            attempt_ns = max(1, round(link.attempt_s * NS))
            self._links[i] = (log_fail, attempt_ns, round(link.travel_s * NS), link.pair.x, link.pair.y, link.pair.z)
        for i, memory in enumerate(chain.memories):
            decay = 1 / (memory.dephasing_s * NS), 1 / (memory.depolarising_s * NS)
            self._nodes[i] = (round(places[i]), *decay)
        rules = chain.rules
        cutoff_ns = round(rules.cutoff_s * NS) if rules.cutoff_s is not None else 0
        held = rules.ends == "stored"
        self._rules = (rules.swap_success, rules.swap_quality, cutoff_ns, rules.pumps, rules.stream, held)
        leaves = 1 << max(1, (len(links) - 1).bit_length())
        self._clock = np.zeros(1, np.int64)
        self._tree = np.full(2 * leaves, engine.NEVER)
        self._memories = np.zeros((2 * len(links) + 2, engine.MEMORY_COLUMNS), np.int64)
        self._memories[:, engine.PARTNER] = engine.FREE
        self._pairs = np.zeros((2 * len(links) + 2, engine.PAIR_COLUMNS))
        self._made = np.zeros((len(links), 3))
        self._counted = np.zeros(engine.COUNTED, np.int64)
        self._started = False
        # A slice of events stays far from the end of 64 bits of nanoseconds, however slow a link is.
        slowest_ns = max(link.mean_s for link in links) * NS * 4**rules.pumps
        self._slice_events = int(min(SLICE_EVENTS, max(1.0, LAST_NS / 16 / slowest_ns)))

    def _now_ns(self) -> int:
        """Return when the last request was made, or the next event is due."""
        return max(int(self._clock[0]), int(self._tree[1] >> 1) if self._started else 0)

    def _step(self, times: NDArray[np.int64], correlations: NDArray[np.float64], most_events: int) -> int:
        from noclone.repeater import engine

        work = (self._random, self._links, self._nodes)
        if not self._started:
            engine.begin_all(*work, self._memories, self._tree, 0, self._rules, self._made, self._counted)
            self._started = True
        done: Any = engine.deliver(
            *work, self._rules, self._clock, self._tree, self._memories, self._pairs, self._made, self._counted,
            times, correlations, most_events,
        )  # fmt: skip
        return int(done)

    def request(
        self, number: int, tell: Callable[[int], None] | None = None, *, most_events: int | None = None
    ) -> Deliveries:
        """Return the next so many pairs.

        Args:
            tell: Is told how many have come.
            most_events: Give up after about so many.

        Raises:
            InputError: No pair came in 2 * 10^8 events, or not all in `most_events`: swaps fail too often for so long a
                chain; or the network's time has run for 36 years.
        """
        if number < 1:
            raise InputError("ask for one pair or more")
        times, correlations = np.zeros((number, 2), np.int64), np.zeros((number, 3))
        before = self._counted.copy()
        done = idle = 0
        while done < number:
            if self._now_ns() > LAST_NS:
                raise InputError(
                    f"{done} of {number} pairs in 36 years of the network's time", hint="fewer pairs, or better links"
                )
            fresh = self._step(times[done:], correlations[done:], self._slice_events)
            done, idle = done + fresh, 0 if fresh else idle + self._slice_events
            spent = int(self._counted[0] - before[0])
            if done < number and most_events is not None and spent >= most_events:
                raise InputError(f"{done} of {number} pairs in {spent:,} events")
            if idle >= PATIENCE_EVENTS:
                raise InputError(
                    f"no pair in {idle:,} events: this chain does not deliver",
                    hint="fewer links, swaps that succeed more often, or a longer cut-off",
                )
            if tell is not None:
                tell(done)
        counted = dict(zip(NAMES, map(int, self._counted - before), strict=True))
        return Deliveries((times[:, 1] - times[:, 0]) / NS, correlations, counted)


def sample(
    chain: Chain,
    number: int,
    seed: bytes,
    tell: Callable[[int], None] | None = None,
    *,
    most_events: int | None = None,
) -> Deliveries:
    """Return so many pairs of a chain that begins empty."""
    return Running(chain, seed).request(number, tell, most_events=most_events)


def joined(parts: Sequence[Deliveries]) -> Deliveries:
    """Return the deliveries of several chains as one."""
    counted = {name: sum(part.counted[name] for part in parts) for name in NAMES}
    return Deliveries(
        np.concatenate([part.waited_s for part in parts]),
        np.concatenate([part.correlations for part in parts]),
        counted,
    )
