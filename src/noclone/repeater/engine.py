"""The engine: one event after the other along a chain, in whole nanoseconds, until far ends share pairs.

In: arrays of links and nodes, a state.  Out: times and correlations of delivered pairs. What happens is that a link has
its pair, or that a memory's time is up. A node swaps as soon as it holds a half of a pair on either side. Each node has
one memory to either side, and a second one for as long as a link purifies. Pairs decay lazily: how long a half lay in
its memory is looked at when it is measured, which is exact, since all errors are Pauli errors and commute.

A link works whenever both its memories are free, so a long chain already makes new pairs at one end while the old ones
wait at the other. What is simplified: that a pair was lost far away is known at once to those who might swap with it;
their memories are free only when word of it has arrived.
"""

from __future__ import annotations

import math

import numpy as np

from noclone.kernels import inner, kernel

NEVER = np.int64(1 << 62)
FREE = np.int64(-1)
# Columns. Links: ln(1 - success), attempt and way in ns, correlations of a fresh pair.
LOG_FAIL, ATTEMPT, WAY, FRESH = 0, 1, 2, 3
LINK_COLUMNS = 6
# Nodes: where (ns of light from node 0), decay per ns of the phase and of everything.
PLACE, DECAY = 0, 1
NODE_COLUMNS = 3
# Memories, 2 k to the left of node k and 2 k + 1 to its right: the other half's memory, when it was filled, from when
# it may be used again; when those who hold it have heard of all swaps that made its pair.
PARTNER, BORN, FREE_AT, HEARD = range(4)
MEMORY_COLUMNS = 4
# Pairs, by their left half's memory: correlations when made, exponents lost since by halves that were measured.
LOST = 3
PAIR_COLUMNS = 5
# What is counted.
EVENTS, BIRTHS, SWAPS, FAILED_SWAPS, DISCARDED, PUMPED = range(6)
COUNTED = 6


@inner
def set_event(tree, link, key):  # type: ignore[no-untyped-def]
    """Note a link's next event; the tree keeps the least of each two below it."""
    place = tree.size // 2 + link
    tree[place] = key
    place >>= 1
    while place >= 1:
        left, right = tree[2 * place], tree[2 * place + 1]
        least = left if left < right else right
        if tree[place] == least:
            break
        tree[place] = least
        place >>= 1


@inner
def next_link(tree):  # type: ignore[no-untyped-def]
    """Return the link whose event comes first."""
    place, leaves = 1, tree.size // 2
    while place < leaves:
        place = 2 * place if tree[2 * place] == tree[1] else 2 * place + 1
    return place - leaves


@kernel
def attempts(random, log_fail):  # type: ignore[no-untyped-def]
    """Return how many attempts the first success takes."""
    return 1.0 + math.floor(math.log(1.0 - random.random()) / log_fail)


@inner
def entangle(random, links, nodes, i, pumps, cutoff_ns, made, counted):  # type: ignore[no-untyped-def]
    """Let a link work until it has a pair, purified `pumps` times; return how long that took.

    The pair waits for each fresh one and for the partner's word, and decays meanwhile; a failed comparison, or a wait
    beyond the cut-off, and all begins again.
    """
    took, way = 0.0, links[i, WAY]
    decay = nodes[i, DECAY] + nodes[i + 1, DECAY], nodes[i, DECAY + 1] + nodes[i + 1, DECAY + 1]
    u, v, w = links[i, FRESH], links[i, FRESH + 1], links[i, FRESH + 2]
    while True:
        took += attempts(random, links[i, LOG_FAIL]) * links[i, ATTEMPT]
        x, y, z = u, v, w
        done = 0
        while done < pumps:
            wait = attempts(random, links[i, LOG_FAIL]) * links[i, ATTEMPT]
            if cutoff_ns > 0 and wait > cutoff_ns:
                took += cutoff_ns
                break
            took += wait + way
            phase, noise = math.exp(-wait * decay[0]), math.exp(-wait * decay[1])
            x, y, z = x * phase * noise, y * phase * noise, z * noise
            norm = 1.0 + y * v
            if random.random() * 2.0 >= norm:
                break
            x, y, z = (x * u + z * w) / norm, (x * w + z * u) / norm, (y + v) / norm
            phase, noise = math.exp(-way * decay[0]), math.exp(-way * decay[1])
            x, y, z = x * phase * noise, y * phase * noise, z * noise
            done += 1
            counted[PUMPED] += 1
        if done == pumps:
            made[0], made[1], made[2] = x, y, z
            return took


@inner
def begin(random, links, nodes, memories, tree, i, now, rules, made, counted):  # type: ignore[no-untyped-def]
    """Start a link if both its memories are free and it does not work yet."""
    event = tree[tree.size // 2 + i]
    here, there = 2 * i + 1, 2 * i + 2
    if (event != NEVER and event & 1 == 0) or memories[here, PARTNER] != FREE or memories[there, PARTNER] != FREE:
        return
    start = max(now, memories[here, FREE_AT], memories[there, FREE_AT])
    took = entangle(random, links, nodes, i, rules[3], rules[2], made[i], counted)
    set_event(tree, i, 2 * (start + np.int64(took)))


@kernel
def begin_all(random, links, nodes, memories, tree, now, rules, made, counted):  # type: ignore[no-untyped-def]
    """Start every link that can."""
    for i in range(links.shape[0]):
        begin(random, links, nodes, memories, tree, i, now, rules, made, counted)


@inner
def discard(nodes, memories, one, now, rules):  # type: ignore[no-untyped-def]
    """Give up the pair of a memory whose time is up, if it holds one; return the other half's memory, or its own."""
    node = one // 2
    kept = rules[5] or 0 < node < nodes.shape[0] - 1
    other = memories[one, PARTNER]
    if other == FREE or memories[one, BORN] + rules[2] > now or not kept:
        return one
    memories[one, PARTNER], memories[other, PARTNER] = FREE, FREE
    memories[one, FREE_AT] = now
    memories[other, FREE_AT] = now + np.int64(abs(nodes[other // 2, PLACE] - nodes[node, PLACE]))
    return other


@inner
def store(memories, pairs, i, now, made):  # type: ignore[no-untyped-def]
    """Put a link's new pair into its memories."""
    right, left = 2 * i + 1, 2 * i + 2
    memories[right, PARTNER], memories[left, PARTNER] = left, right
    memories[right, BORN], memories[left, BORN] = now, now
    memories[right, HEARD], memories[left, HEARD] = now, now
    pairs[right, :LOST] = made
    pairs[right, LOST:] = 0.0


@inner
def swap(random, nodes, memories, pairs, node, now, success, quality, counted):  # type: ignore[no-untyped-def]
    """Join the two pairs that a node holds; return the left and right memories of what came of it, and if it did."""
    from_left, from_right = 2 * node, 2 * node + 1
    a, b = memories[from_left, PARTNER], memories[from_right, PARTNER]
    memories[from_left, PARTNER], memories[from_right, PARTNER] = FREE, FREE
    memories[from_left, FREE_AT], memories[from_right, FREE_AT] = now, now
    to_a = np.int64(nodes[node, PLACE] - nodes[a // 2, PLACE])
    to_b = np.int64(nodes[b // 2, PLACE] - nodes[node, PLACE])
    if success < 1.0 and random.random() >= success:
        counted[FAILED_SWAPS] += 1
        memories[a, PARTNER], memories[b, PARTNER] = FREE, FREE
        memories[a, FREE_AT], memories[b, FREE_AT] = now + to_a, now + to_b
        return a, b, False
    counted[SWAPS] += 1
    memories[a, PARTNER], memories[b, PARTNER] = b, a
    # The node passes on what it has heard of the other side, with its own outcome.
    memories[a, HEARD] = max(memories[a, HEARD], max(memories[from_right, HEARD], now) + to_a)
    memories[b, HEARD] = max(memories[b, HEARD], max(memories[from_left, HEARD], now) + to_b)
    lay = 2 * now - memories[from_left, BORN] - memories[from_right, BORN]
    for c in range(2):
        pairs[a, LOST + c] += pairs[from_right, LOST + c] + lay * nodes[node, DECAY + c]
    for c in range(LOST):
        pairs[a, c] *= pairs[from_right, c] * quality
    return a, b, True


@inner
def hand_over(nodes, memories, pairs, held_ends, correlations):  # type: ignore[no-untyped-def]
    """Write the correlations of the pair that spans the chain, free its memories, return when both ends know of it."""
    far = memories.shape[0] - 2
    until = max(memories[1, HEARD], memories[far, HEARD])
    phase, noise = pairs[1, LOST], pairs[1, LOST + 1]
    if held_ends:
        here, there = until - memories[1, BORN], until - memories[far, BORN]
        phase += here * nodes[0, DECAY] + there * nodes[-1, DECAY]
        noise += here * nodes[0, DECAY + 1] + there * nodes[-1, DECAY + 1]
    correlations[0] = pairs[1, 0] * math.exp(-phase - noise)
    correlations[1] = pairs[1, 1] * math.exp(-phase - noise)
    correlations[2] = pairs[1, 2] * math.exp(-noise)
    for one in (1, far):
        memories[one, PARTNER] = FREE
        memories[one, FREE_AT] = until
    return until


@kernel
def deliver(random, links, nodes, rules, clock, tree, memories, pairs, made, counted, times, correlations, most_events):  # type: ignore[no-untyped-def]
    """Go on from a state until the output is full or so many events have passed; return how many were delivered.

    Args:
        rules: Swaps that succeed, their quality, cut-off in ns (0: none), purifications of a link's pair, whether the
            chain goes on by itself after a delivery (else it is emptied and begins anew), whether far ends keep their
            halves until all is known (else they measure at once).
        clock: When the present request was made, in ns.
        tree: Next event of each link, 2 ns, plus 1 where a memory's time is up: pairs come before losses.
        made: Pairs that links are working on.
        times: Of each delivery: when it was asked for, when it came.
    """
    success, quality, cutoff_ns, _, stream, held_ends = rules
    far, last = memories.shape[0] - 2, links.shape[0] - 1
    delivered = 0
    for _ in range(most_events):
        if delivered == times.shape[0]:
            break
        i, now = next_link(tree), tree[1] >> 1
        counted[EVENTS] += 1
        if tree[1] & 1:
            counted[DISCARDED] += 1
            set_event(tree, i, NEVER)
            other = discard(nodes, memories, 2 * i + 1, now, rules), discard(nodes, memories, 2 * i + 2, now, rules)
            for side in range(2):
                link = min(last, other[side] // 2 if other[side] & 1 else other[side] // 2 - 1)
                begin(random, links, nodes, memories, tree, link, now, rules, made, counted)
            begin(random, links, nodes, memories, tree, i, now, rules, made, counted)
            continue
        counted[BIRTHS] += 1
        store(memories, pairs, i, now, made[i])
        set_event(tree, i, 2 * (now + cutoff_ns) + 1 if cutoff_ns > 0 else NEVER)
        for node in (i, i + 1):
            if (
                node == 0
                or node > last
                or memories[2 * node, PARTNER] == FREE
                or memories[2 * node + 1, PARTNER] == FREE
            ):
                continue
            a, b, joined = swap(random, nodes, memories, pairs, node, now, success, quality, counted)
            begin(random, links, nodes, memories, tree, node - 1, now, rules, made, counted)
            begin(random, links, nodes, memories, tree, node, now, rules, made, counted)
            if not joined:
                begin(random, links, nodes, memories, tree, a // 2, now, rules, made, counted)
                begin(random, links, nodes, memories, tree, b // 2 - 1, now, rules, made, counted)
                break
        if memories[1, PARTNER] == far:
            times[delivered, 0] = clock[0]
            clock[0] = hand_over(nodes, memories, pairs, held_ends, correlations[delivered])
            times[delivered, 1] = clock[0]
            delivered += 1
            if stream:
                begin(random, links, nodes, memories, tree, np.int64(0), now, rules, made, counted)
                begin(random, links, nodes, memories, tree, last, now, rules, made, counted)
            else:
                memories[:, PARTNER] = FREE
                memories[:, FREE_AT] = clock[0]
                tree[:] = NEVER
                begin_all(random, links, nodes, memories, tree, now, rules, made, counted)
    return delivered
