"""Routes: least cost, no node in common, never below the reserve; held against brute force on small networks."""

import itertools
import random

import pytest

from noclone.network.link_state import LinkReport
from noclone.network.routing import (
    FAILURE_COST,
    Demand,
    NoRoute,
    costs,
    count_disjoint,
    fewest_between,
    find_routes,
    fit_routes,
)


def both_ways(*edges, ready=10_000, rate=1e6):
    return {
        (a, b): LinkReport(b, True, ready, rate)
        for edge in edges
        for a, b in itertools.permutations(edge)
    }  # fmt: skip


def simple_paths(prices, source, target):
    """Every path that comes by no node twice, by trying."""
    waiting = [(source,)]
    while waiting:
        path = waiting.pop()
        for a, b in prices:
            if a == path[-1] and b not in path:
                if b == target:
                    yield (*path, b)
                else:
                    waiting.append((*path, b))


def best(prices, source, target, count):
    """The least cost of so many paths that share no node, by trying all; None if there are none."""

    def cost(path):
        return sum(prices[hop] for hop in itertools.pairwise(path))

    paths = list(simple_paths(prices, source, target))
    fits = []
    for chosen in itertools.combinations(paths, count):
        between = [node for path in chosen for node in path[1:-1]]
        if len(set(between)) == len(between):
            fits.append(sum(map(cost, chosen)))
    return min(fits) if fits else None


@pytest.mark.parametrize("seed", range(40))
def test_routes_are_the_cheapest_that_share_no_node(seed):
    draw = random.Random(seed)
    nodes = "abcdez"
    prices = {hop: draw.randint(1, 9) for hop in itertools.permutations(nodes, 2) if draw.random() < 0.45}
    for count in (1, 2, 3):
        expected = best(prices, "a", "z", count)
        if expected is None:
            with pytest.raises(NoRoute) as refused:
                find_routes(prices, "a", "z", count)
            assert refused.value.found < count
            continue
        routes = find_routes(prices, "a", "z", count)
        assert len(routes) == count
        assert all((route[0], route[-1]) == ("a", "z") for route in routes)
        between = [node for route in routes for node in route[1:-1]]
        assert len(set(between)) == len(between)
        assert sum(prices[hop] for route in routes for hop in itertools.pairwise(route)) == expected
        assert count_disjoint(prices, "a", "z") >= count


def test_a_link_is_not_drained_below_its_reserve():
    links = both_ways("ab", "bz", ready=1000) | both_ways("ac", "cz", ready=900)
    assert set(costs(links, Demand(500, 500))) == set(both_ways("ab", "bz"))
    assert find_routes(costs(links, Demand(500, 500)), "a", "z", 1) == [("a", "b", "z")]
    with pytest.raises(NoRoute) as refused:
        find_routes(costs(links, Demand(500, 500)), "a", "z", 2)
    assert (refused.value.found, "1 of 2" in refused.value.message) == (1, True)


def test_full_fast_and_reliable_links_are_preferred():
    rich = both_ways("ab", "bz", ready=100_000)
    poor = both_ways("ac", "cz", ready=1000)
    assert find_routes(costs(rich | poor, Demand(500)), "a", "z", 1) == [("a", "b", "z")]
    slow = both_ways("ab", "bz", rate=0.0)
    assert find_routes(costs(slow | both_ways("ac", "cz"), Demand(500)), "a", "z", 1) == [("a", "c", "z")]
    again = costs(both_ways("ab", "bz", "ac", "cd", "dz"), Demand(500), failed=[("b", "z")])
    assert again["b", "z"] > FAILURE_COST
    assert find_routes(again, "a", "z", 1) == [("a", "c", "d", "z")]


def test_direction_counts():
    links = both_ways("ab", "bz")
    links["a", "b"] = LinkReport("b", True, 0, 1e6)
    with pytest.raises(NoRoute):
        find_routes(costs(links, Demand(500)), "a", "z", 1)
    assert find_routes(costs(links, Demand(500)), "z", "a", 1) == [("z", "b", "a")]


def test_a_path_may_be_held_short():
    links = both_ways("ab", "bz", ready=600) | both_ways("ac", "cd", "dz", ready=10**9)
    prices = costs(links, Demand(500))
    assert find_routes(prices, "a", "z", 1) == [("a", "c", "d", "z")]
    assert fit_routes(prices, "a", "z", 1, Demand(500, hops_max=2)) == [("a", "b", "z")]
    with pytest.raises(NoRoute):
        fit_routes(prices, "a", "z", 1, Demand(500, hops_max=1))


def test_the_shape_of_a_network():
    hops = both_ways("ab", "bc", "cz", "ad", "dz")
    assert count_disjoint(hops, "a", "z") == 2
    assert fewest_between(hops, "a", "z") == 1
    assert fewest_between(both_ways("ab", "cz"), "a", "z") is None
    assert count_disjoint(both_ways("ab", "cz"), "a", "z") == 0
    assert count_disjoint(both_ways("az", "ab", "bz"), "a", "z") == 2
