"""Families of sets, as zero-suppressed decision diagrams: 1e20 minimal cut sets fit in a few thousand nodes.

In: unions and products of families over the variables 0, 1, 2, ...  Out: the family of minimal sets, its exact counts,
and the sets themselves, smallest first.

A family is a number: `NONE` (no set), `UNIT` (only the empty set), or a node (variable, low, high): the sets of `low`
without the variable, and those of `high` with it (Minato 1993, DAC, "Zero-suppressed BDDs for set manipulation in
combinatorial problems"). Every family here is minimal: no set contains another (Rauzy 1993, "New algorithms for fault
trees analysis"; Knuth, The Art of Computer Programming 4A, 7.1.4, family algebra). The operations are generators on
an explicit stack, so thousands of variables need no deep recursion.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence

from noclone.errors import InputError

NONE = 0
UNIT = 1
_LAST = 1 << 62  # stands behind every variable
STEPS_MAX = 1_000_000  # seconds, and 120 MB; eight routes of 200 hops in a hybrid take 27,000

Step = Generator[tuple["Operation", int, int], int, int]
Operation = Callable[["Families", int, int], Step]


class Families:
    """A store of families that share their nodes."""

    def __init__(self) -> None:
        self._nodes: list[tuple[int, int, int]] = [(_LAST, NONE, NONE), (_LAST, NONE, NONE)]
        self._numbers: dict[tuple[int, int, int], int] = {}
        self._memo: dict[tuple[Operation, int, int], int] = {}

    def single(self, variable: int) -> int:
        """Return the family whose only set is {variable}."""
        return self._node(variable, NONE, UNIT)

    def union(self, f: int, g: int) -> int:
        """Return the minimal sets among those of both."""
        return self._run(_union, f, g)

    def product(self, f: int, g: int) -> int:
        """Return the minimal sets among all unions of a set of one with a set of the other."""
        return self._run(_product, f, g)

    def at_least(self, k: int, families: list[int]) -> int:
        """Return the minimal sets that contain a set of at least k of the families."""
        rows = {0: UNIT}  # rows[j]: at least j of the families from here to the last one
        for i in reversed(range(len(families))):
            needed = range(max(k - i, 0), min(k, len(families) - i) + 1)
            rows = {j: self.union(self.product(families[i], rows.get(j - 1, NONE)), rows.get(j, NONE)) for j in needed}
        return rows.get(k, NONE)

    def counts(self, family: int) -> dict[int, Counter[int]]:
        """Return, for each node that the family reaches, how many sets of each size there are."""
        counts: dict[int, Counter[int]] = {NONE: Counter(), UNIT: Counter({0: 1})}
        for number in self._reached(family):  # a node is always younger than what it points to
            _, low, high = self._nodes[number]
            counts[number] = counts[low] + Counter({size + 1: count for size, count in counts[high].items()})
        return counts

    def cheapest(self, family: int, weights: Sequence[float]) -> tuple[float, frozenset[int]] | None:
        """Return the set of least weight, and its weight; None if the family has no set.

        Exact, in one pass: below a node, either its variable is spared, or its weight is paid.
        """
        costs: dict[int, float] = {NONE: math.inf, UNIT: 0.0}
        for number in self._reached(family):  # a node is always younger than what it points to
            variable, low, high = self._nodes[number]
            costs[number] = min(costs[low], weights[variable] + costs[high])
        if math.isinf(costs[family]):
            return None
        chosen, number = [], family
        while number != UNIT:
            variable, low, high = self._nodes[number]
            if costs[number] == costs[low]:
                number = low
            else:
                chosen.append(variable)
                number = high
        return costs[family], frozenset(chosen)

    def sets(self, family: int, size: int, counts: dict[int, Counter[int]]) -> Iterator[frozenset[int]]:
        """Yield the sets of one size; `counts` are the family's own and spare all dead ends."""
        waiting: list[tuple[int, frozenset[int]]] = [(family, frozenset())]
        while waiting:
            number, chosen = waiting.pop()
            if size - len(chosen) not in counts[number]:
                continue
            if number == UNIT:
                yield chosen
                continue
            variable, low, high = self._nodes[number]
            waiting += [(high, chosen | {variable}), (low, chosen)]

    def _reached(self, family: int) -> list[int]:
        """Return the nodes that a family consists of, oldest first."""
        reached, waiting = {NONE, UNIT}, [family]
        while waiting:
            number = waiting.pop()
            if number not in reached:
                reached.add(number)
                waiting += self._nodes[number][1:]
        return sorted(reached - {NONE, UNIT})

    def _node(self, variable: int, low: int, high: int) -> int:
        if high == NONE:
            return low
        node = (variable, low, high)
        number = self._numbers.get(node)
        if number is None:
            number = self._numbers[node] = len(self._nodes)
            self._nodes.append(node)
        return number

    def _split(self, f: int, g: int) -> tuple[int, int, int, int, int]:
        """Return the first variable of two nodes, then low and high of each with respect to it."""
        (v, f0, f1), (w, g0, g1) = self._nodes[f], self._nodes[g]
        if v < w:
            return v, f0, f1, g, NONE
        if w < v:
            return w, f, NONE, g0, g1
        return v, f0, f1, g0, g1

    def _run(self, operation: Operation, f: int, g: int) -> int:
        """Run an operation: each generator yields the smaller calls that it waits for, and returns its answer."""
        stack = [((operation, f, g), operation(self, f, g))]
        answer: int | None = None
        while stack:
            call, step = stack[-1]
            try:
                wanted = next(step) if answer is None else step.send(answer)
            except StopIteration as end:
                stack.pop()
                answer = self._memo[call] = end.value
                self._refuse_to_explode()
                continue
            answer = self._memo.get(wanted)
            if answer is None:
                smaller, a, b = wanted
                stack.append((wanted, smaller(self, a, b)))
        assert answer is not None
        return answer

    def _refuse_to_explode(self) -> None:
        if len(self._memo) > STEPS_MAX:
            raise InputError(
                f"finding the minimal cut sets of this trust formula takes more than {STEPS_MAX} steps",
                hint="ask whether it leaks to single coalitions instead, or make it smaller",
            )


def _union(families: Families, f: int, g: int) -> Step:
    if UNIT in (f, g):
        return UNIT
    if f == g or NONE in (f, g):
        return f or g
    variable, f0, f1, g0, g1 = families._split(f, g)
    low = yield _union, f0, g0
    high = yield _union, f1, g1
    return families._node(variable, low, (yield _without, high, low))


def _product(families: Families, f: int, g: int) -> Step:
    if NONE in (f, g):
        return NONE
    if UNIT in (f, g) or f == g:
        return f if g == UNIT else g
    variable, f0, f1, g0, g1 = families._split(f, g)
    low = yield _product, f0, g0
    either = yield _union, g0, g1
    with_f = yield _product, f1, either
    with_g = yield _product, f0, g1
    high = yield _union, with_f, with_g
    return families._node(variable, low, (yield _without, high, low))


def _without(families: Families, f: int, g: int) -> Step:
    """Keep the sets of f that contain no set of g (Knuth's "nonsupersets")."""
    if f in (g, NONE) or g == UNIT:
        return NONE
    if f == UNIT or g == NONE:
        return f
    variable, f0, f1, g0, g1 = families._split(f, g)
    low = yield _without, f0, g0
    high = yield _without, f1, g0
    return families._node(variable, low, (yield _without, high, g1))
