"""The authentication pool: no key twice, both ends in step after crashes, closed when empty."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noclone.distill.authentication import (
    AHEAD_MAX,
    PAIR_BITS,
    PAIR_BYTES,
    AuthenticationPool,
    Mark,
    choose_pair,
    common_pairs,
)
from noclone.distill.job import RefillPolicy
from noclone.errors import Aborted, InputError


class Disk:
    """A ledger that survives a crash of the pool."""

    def __init__(self, secret: bytes) -> None:
        self.segments = {0: (secret, 0)}
        self.last_block = -1

    def mark(self, segment, used_pairs, block, ahead=()):
        key, used = self.segments[segment]
        assert used_pairs >= used
        wiped = bytearray(key)
        for pair in (*range(used_pairs), *ahead):
            wiped[pair * PAIR_BYTES : (pair + 1) * PAIR_BYTES] = bytes(PAIR_BYTES)
        self.segments[segment] = bytes(wiped), used_pairs
        self.last_block = max(self.last_block, block)

    def refill(self, segment, key, cumulative_epsilon):
        self.segments[segment] = key, 0

    def pool(self, role):
        return AuthenticationPool(role, self.segments, ledger=self, last_block=self.last_block)


def secret(pairs: int) -> bytes:
    """A secret in which each 32-byte key is different."""
    return b"".join(different(f"initial {number}") for number in range(2 * pairs))


def different(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def reserve(pool, peer, block=0):
    return pool.reserve(pool.marks(), peer.marks(), block)


def tags(keys, message=b"message"):
    """What the two keys of a pair make of a message."""
    found = []
    for key in (keys.own, keys.peer):
        tagger = key.tagger()
        tagger.update(message)
        found.append(tagger.tag())
    return tuple(found)


def test_both_ends_take_the_same_pair_and_directions_differ():
    alice, bob = Disk(secret(4)).pool("alice"), Disk(secret(4)).pool("bob")
    marks = alice.marks(), bob.marks()
    mine, theirs = tags(alice.reserve(*marks, 0)), tags(bob.reserve(*marks[::-1], 0))
    assert mine == theirs[::-1]
    assert mine[0] != mine[1]


def test_marks_are_durable_before_use_and_pairs_go_one_by_one():
    disk = Disk(secret(3))
    alice, bob = disk.pool("alice"), Disk(secret(3)).pool("bob")
    keys = reserve(alice, bob)
    assert disk.segments[0][1] == 0
    keys.commit()
    assert disk.segments[0][1] == 1
    assert alice.consumed_bits == PAIR_BITS
    keys.release()
    assert [mark.used for mark in alice.marks()] == [1]
    assert alice.available_bits == 2 * PAIR_BITS


def test_a_pair_that_was_never_used_serves_again():
    alice, bob = Disk(secret(3)).pool("alice"), Disk(secret(3)).pool("bob")
    first = reserve(alice, bob)
    assert alice.marks()[0].used == 1
    first.release()
    assert alice.marks()[0].used == 0


def test_the_end_that_crashed_follows_the_larger_mark():
    ahead, behind = Disk(secret(9)), Disk(secret(9))
    alice, bob = ahead.pool("alice"), behind.pool("bob")
    for _ in range(3):
        reserve(alice, bob).commit()
    bob = behind.pool("bob")
    assert choose_pair(bob.marks(), alice.marks()) == (0, 3)
    keys = reserve(bob, alice)
    keys.commit()
    assert behind.segments[0][1] == 0, "the peer has proved nothing yet"
    keys.settle()
    assert behind.segments[0][1] == 4
    assert bob.consumed_bits == 4 * PAIR_BITS


def test_a_forged_hello_costs_one_pair_and_locks_nobody_out():
    """Whoever claims to be far ahead makes an end spend that pair alone; the real peer goes on as if nothing was."""
    alice, bob = Disk(secret(400)).pool("alice"), Disk(secret(400)).pool("bob")
    for forged in (65, 399, 200):
        keys = alice.reserve(alice.marks(), (Mark(0, forged, 400),), 0)
        keys.commit()
        keys.release()
    assert alice.marks() == (Mark(0, 0, 400, (65, 200, 399)),)
    assert alice.consumed_bits == 3 * PAIR_BITS
    seen = set()
    for block in range(397):
        place = choose_pair(alice.marks(), bob.marks())
        assert place == choose_pair(bob.marks(), alice.marks())
        seen.add(place[1])
        marks = alice.marks(), bob.marks()
        for keys in (alice.reserve(*marks, block), bob.reserve(*marks[::-1], block)):
            keys.commit()
            keys.settle()
            keys.release()
    assert seen == set(range(400)) - {65, 200, 399}
    assert common_pairs(alice.marks(), bob.marks()) == 0


def test_a_verified_peer_is_followed_for_good():
    """Bob spent 100 pairs alone; once his tag has verified, Alice's mark stands beside his."""
    alice, bob = Disk(secret(200)).pool("alice"), Disk(secret(200)).pool("bob")
    for _ in range(100):
        keys = bob.reserve(bob.marks(), bob.marks(), 0)
        keys.commit()
        keys.release()
    keys = reserve(alice, bob)
    keys.commit()
    assert alice.marks() == (Mark(0, 0, 200, (100,)),)
    keys.settle()
    keys.release()
    assert alice.marks() == (Mark(0, 101, 200),)


def test_many_forged_hellos_do_not_grow_the_list_for_ever():
    pool = Disk(secret(AHEAD_MAX + 200)).pool("alice")
    for pair in range(AHEAD_MAX + 100, AHEAD_MAX - 157, -1):
        keys = pool.reserve(pool.marks(), (Mark(0, pair, AHEAD_MAX + 200),), 0)
        keys.commit()
        keys.release()
    (mark,) = pool.marks()
    assert len(mark.ahead) <= AHEAD_MAX
    assert mark.used > 0


def test_what_is_spent_ahead_survives_a_crash():
    disk = Disk(secret(10))
    pool = disk.pool("alice")
    keys = pool.reserve(pool.marks(), (Mark(0, 7, 10),), 0)
    keys.commit()
    again = disk.pool("alice")
    assert again.marks() == (Mark(0, 0, 10, (7,)),)
    again.reserve(again.marks(), (Mark(0, 8, 10),), 1).commit()
    with pytest.raises(Aborted):  # a spent pair is never handed out, whatever is claimed
        again.reserve((Mark(0, 7, 10),), (Mark(0, 7, 10),), 2)


@pytest.mark.parametrize(
    "mark", [(0, 5, 4), (0, 0, 4, (0,)), (0, 0, 4, (4,)), (0, 1, 9, (3, 3)), (0, 1, 9, (5, 4)), (-1, 0, 4)]
)
def test_impossible_marks_are_refused(mark):
    with pytest.raises(ValueError):
        Mark(*mark)


@pytest.mark.parametrize(
    ("own", "peer"),
    [
        ((Mark(0, 2, 2),), (Mark(0, 2, 2),)),
        ((Mark(0, 1, 2),), (Mark(0, 2, 2),)),
        ((Mark(0, 0, 2),), (Mark(1, 0, 2),)),
        ((Mark(0, 0, 2),), (Mark(0, 0, 3),)),
        ((), ()),
    ],
)
def test_an_empty_pool_fails_closed(own, peer):
    with pytest.raises(Aborted) as refused:
        choose_pair(own, peer)
    assert refused.value.reason == "authentication-key-exhausted"
    assert common_pairs(own, peer) == 0


def test_a_refill_that_one_end_missed_is_never_used():
    alice, bob = Disk(secret(1)).pool("alice"), Disk(secret(1)).pool("bob")
    bob.deposit(0, b"\1" * 2 * PAIR_BYTES, 1e-9)
    assert choose_pair(alice.marks(), bob.marks()) == (0, 0)
    alice.deposit(1, b"\2" * PAIR_BYTES, 2e-9)
    bob.deposit(1, b"\2" * PAIR_BYTES, 2e-9)
    reserve(alice, bob).commit()
    assert choose_pair(bob.marks(), alice.marks()) == (2, 0)  # into the refill that both have
    assert bob.released == (0, 1)
    assert bob.cumulative_epsilon == 2e-9


def test_spent_key_is_forgotten():
    alice, bob = Disk(secret(2)).pool("alice"), Disk(secret(2)).pool("bob")
    reserve(alice, bob).commit()
    assert bytes(alice._segments[0].key) == bytes(PAIR_BYTES) + secret(2)[PAIR_BYTES:]


def test_a_block_is_tried_once():
    pool = Disk(secret(1)).pool("alice")
    pool.begin(3)
    for block in (3, 2):
        with pytest.raises(InputError):
            pool.begin(block)
    pool.begin(4)


def test_a_secret_that_is_too_short_is_refused():
    with pytest.raises(InputError):
        AuthenticationPool.from_secret("alice", b"x" * 63)


def test_refill_keeps_the_reserve_full_and_takes_whole_pairs():
    policy = RefillPolicy(target_bits=4096, share_max=0.5)
    assert policy.refill_bits(100_000, 4096) == 0
    assert policy.refill_bits(100_000, 4000) == PAIR_BITS
    assert policy.refill_bits(100_000, 0) == 4096
    assert policy.refill_bits(2000, 0) == PAIR_BITS
    assert policy.refill_bits(1000, 0) == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["both", "alice", "bob", "crash alice", "crash bob", "missed"]), max_size=40))
def test_no_key_ever_tags_two_messages(actions):
    """Any order of blocks, one-sided losses and crashes: each key tags one message, or the pool is closed."""
    disks = {"alice": Disk(secret(6)), "bob": Disk(secret(6))}
    pools = {role: disk.pool(role) for role, disk in disks.items()}
    tagged: dict[tuple[str, bytes], int] = {}

    def spend(keys, role, message):
        keys.commit()
        tagger = keys.own.tagger()
        tagger.update(b"probe")  # the same message under the same key gives the same tag: that is how reuse shows
        tag = tagger.tag()
        assert tagged.setdefault((role, tag), message) == message
        keys.release()

    for message, action in enumerate(actions):
        if action.startswith("crash"):
            role = action.split()[1]
            pools[role] = disks[role].pool(role)
            continue
        try:
            marks = {role: pool.marks() for role, pool in pools.items()}
            alice_keys = pools["alice"].reserve(marks["alice"], marks["bob"], message)
            keys = {"alice": alice_keys, "bob": pools["bob"].reserve(marks["bob"], marks["alice"], message)}
        except Aborted:
            assert common_pairs(marks["alice"], marks["bob"]) == 0
            continue
        for role in pools:
            if action in ("both", "missed", role):
                spend(keys[role], role, message)
            else:
                keys[role].release()
        refill = different(f"alice {message}") + different(f"bob {message}")
        if action == "both":
            for pool in pools.values():
                pool.deposit(message, refill, 0.0)
        elif action == "missed":
            pools["bob"].deposit(message, refill, 0.0)


def test_blocks_under_way_count_among_what_the_key_may_fail_by():
    pool = AuthenticationPool("alice", {0: (b"k" * 640, 0)}, cumulative_epsilon=1.0)
    assert pool.undertake(1, 0.25) == 1.0
    assert pool.undertake(2, 0.5) == 1.25
    assert pool.undertake(1, 0.25) == 1.5
    pool.conclude(1)
    pool.conclude(7)
    assert pool.undertake(3, 0.125) == 1.5
    assert pool.cumulative_epsilon == 1.0
