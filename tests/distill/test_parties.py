"""The block protocol end to end: equal keys or none; what is counted; what interference does."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noclone.bits import bytes_from_words
from noclone.crypto.transcript_hash import transcript_forgery_bound
from noclone.distill.authentication import PAIR_BITS, AuthenticationPool
from noclone.distill.job import BLOCK_MAX, BlockAborted, RefillPolicy
from noclone.distill.messages import ABSORBED, HEADER, Kind
from noclone.distill.parties import alice, bob
from noclone.distill.session import converse, distill_block
from noclone.errors import Aborted, ChannelError, InputError
from noclone.records import Detections

MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def parties(case, pool_a, pool_b):
    """Both sides, with seeded entropy: every run of a case has the same messages."""
    entropy = np.random.default_rng(5).bytes
    return alice(case.settings, case.job, pool_a, entropy=entropy), bob(case.detections, case.job, pool_b)


class Wire:
    """What crossed the channel, in order; with a change to one message."""

    def __init__(self, change=None) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.change = change

    def __call__(self, role, message):
        self.messages.append((role, message))
        if self.change is None:
            return [message]
        return self.change(len(self.messages) - 1, role, message)

    def kinds(self, role):
        return [Kind(message[0]) for who, message in self.messages if who == role]


def test_both_ends_hold_the_same_key_and_say_the_same(case, make_pools):
    pool_a, pool_b = make_pools()
    done = distill_block(case.settings, case.detections, case.job, pool_a, pool_b, time_s=1_700_000_000.0)
    key = done.alice.key
    assert key.n_bits > 1000
    assert key.to_bytes() == done.bob.key.to_bytes()
    assert key.provenance == done.bob.key.provenance
    assert key.provenance.time_s == 1_700_000_000.0
    ours, theirs = done.alice.statistics, done.bob.statistics
    for name in (
        "counts",
        "leak_bits",
        "length",
        "epsilon",
        "refill_bits",
        "corrected",
        "cascade_rounds",
        "qber_estimate",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ours.bytes_sent, ours.messages_sent) == (theirs.bytes_received, theirs.messages_received)
    assert pool_a.available_bits == pool_b.available_bits


def test_everything_is_counted_once(case, make_pools):
    wire = Wire()
    pool_a, pool_b = make_pools()
    at_alice, at_bob = converse(*parties(case, pool_a, pool_b), wire)
    found = at_bob.result.statistics
    answered = [m[HEADER.size :] for who, m in wire.messages if who == "alice" and m[0] == Kind.ANSWER]
    queries = [m for who, m in wire.messages if who == "bob" and m[0] == Kind.QUERY]
    told = [int.from_bytes(message[12:20], "little") for message in answered]  # parities in each, as Cascade states it
    assert all(len(message) == 20 + (count + 7) // 8 for message, count in zip(answered, told, strict=True))
    assert found.leak_bits == sum(told)
    assert found.cascade_rounds == len(queries) == len(answered)
    assert found.rounds == wire.kinds("bob").count(Kind.QUERY) + 5  # hello, sift, counts, confirm, seed
    assert found.length.bits == at_bob.result.key.n_bits + found.refill_bits
    assert sum(term.bits for term in found.length.terms) == pytest.approx(found.length.bits)
    transcript = sum(len(m) + ABSORBED.size for _, m in wire.messages)
    assert found.epsilon == pytest.approx(1e-6 + 1e-9 + 2 * transcript_forgery_bound(transcript), rel=1e-12)
    assert pool_a.consumed_bits == pool_b.consumed_bits == PAIR_BITS
    assert pool_a.refilled_bits == found.refill_bits
    assert at_alice.result.key.to_bytes() == at_bob.result.key.to_bytes()


def test_no_value_of_the_key_basis_crosses(case, make_pools):
    """Bob's announcement stays the same when all his values flip (one peer put the raw key bit into it)."""

    def announced(detections):
        wire = Wire(lambda number, role, message: [message] if len(wire.messages) < 4 else [])
        converse(alice(case.settings, case.job, make_pools()[0]), bob(detections, case.job, make_pools()[1]), wire)
        return [m for who, m in wire.messages if who == "bob" and m[0] == Kind.ANNOUNCE]

    flipped = dataclasses.replace(case.detections, events=case.detections.events ^ np.uint64(1))
    assert announced(case.detections) == announced(flipped) != []


def test_the_key_is_on_no_message(case, make_pools):
    wire = Wire()
    at_alice, _ = converse(*parties(case, *make_pools()), wire)
    key = at_alice.result.key.to_bytes()
    everything = b"".join(message for _, message in wire.messages)
    assert key[:16] not in everything
    assert key[:16].hex() not in repr(at_alice) + json.dumps(at_alice.result.statistics.to_json())


def test_blocks_follow_each_other_and_epsilon_adds_up(make_block, make_pools):
    pool_a, pool_b = make_pools(bytes(range(64)) * 3)
    total = 0.0
    for block in range(4):
        case = make_block(block=block, seed=block, refill=RefillPolicy(target_bits=2048))
        done = distill_block(case.settings, case.detections, case.job, pool_a, pool_b)
        total += done.bob.statistics.epsilon
        assert done.alice.key.provenance.cumulative_epsilon == pytest.approx(total)
        assert done.alice.peer_holds == tuple(range(block))
        assert pool_a.available_bits == pool_b.available_bits == 2048
    with pytest.raises(InputError):
        distill_block(case.settings, case.detections, case.job, pool_a, pool_b)


def test_an_empty_pool_ends_the_block_before_any_bit_is_announced(case):
    pools = (AuthenticationPool(role, {0: (b"k" * 64, 1)}) for role in ("alice", "bob"))
    wire = Wire()
    at_alice, at_bob = converse(*parties(case, *pools), wire)
    assert at_alice.error.reason == "authentication-key-exhausted"
    assert at_bob.error.peer_reason == "authentication-key-exhausted"
    assert at_bob.error.verdict == "peer-aborted", "without a key there is no tag, and anybody could have said so"
    assert Kind.ANNOUNCE not in wire.kinds("bob")


def test_different_initial_secrets_give_no_key(case, make_pools):
    pool_a, pool_b = make_pools(b"a" * 640)[0], make_pools(b"b" * 640)[1]
    at_alice, at_bob = converse(*parties(case, pool_a, pool_b))
    assert at_bob.error.reason == "authentication-failed"
    assert at_alice.error.peer_reason == "authentication-failed"
    assert at_alice.error.verdict == "peer-aborted"
    assert not at_alice.error.authenticated
    assert pool_a.refilled_bits == pool_b.refilled_bits == 0


@pytest.mark.parametrize(
    "change",
    [
        {"block": 1},
        {"link": "alder-cedar"},
        {"bootstrap": "ML-DSA-65@session"},
        {"refill": RefillPolicy(target_bits=0)},
        {"clock_hz": 2e9},
    ],
)
def test_ends_that_mean_different_blocks_stop_and_say_where(case, make_pools, change):
    job = dataclasses.replace(case.job, **change)
    detections = dataclasses.replace(case.detections, link=job.link, block=job.block)
    at_alice, at_bob = converse(alice(case.settings, case.job, make_pools()[0]), bob(detections, job, make_pools()[1]))
    assert isinstance(at_alice.error, (BlockAborted, ChannelError))
    assert isinstance(at_bob.error, (BlockAborted, ChannelError))
    assert next(iter(change)) in f"{at_alice.error} {at_bob.error}"


def test_too_many_errors_abort_with_an_authenticated_reason(make_block, make_pools):
    case = make_block(qber=0.25, expected_qber=0.005)
    pool_a, pool_b = make_pools()
    at_alice, at_bob = converse(*parties(case, pool_a, pool_b))
    assert at_alice.error.reason == "qber-too-high"
    assert at_bob.error.reason == "peer-aborted"
    assert at_bob.error.peer_reason == at_bob.error.verdict == "qber-too-high"
    assert at_bob.error.authenticated
    assert at_alice.error.statistics.counts.qber_test == pytest.approx(0.25, abs=0.02)  # 5 sigma of 18,000 bits
    assert at_alice.error.statistics.leak_bits == 0
    assert pool_a.consumed_bits == pool_b.consumed_bits == PAIR_BITS
    with pytest.raises(BlockAborted) as told:
        distill_block(case.settings, case.detections, case.job, *make_pools())
    assert told.value.reason == "qber-too-high"


@pytest.mark.parametrize("n", [0, 1, 50, 700])
def test_too_few_detections_abort(make_block, make_pools, n):
    """A peer returned a "secure" 33-bit key from 50 sifted bits."""
    case = make_block(n_detections=n)
    with pytest.raises(BlockAborted) as told:
        distill_block(case.settings, case.detections, case.job, *make_pools())
    assert told.value.reason == "too-few-detections"


def test_reconciliation_stops_at_the_agreed_leak(case, make_pools):
    job = dataclasses.replace(case.job, agreement=dataclasses.replace(case.job.agreement, leak_bits_max=2000))
    with pytest.raises(BlockAborted) as told:
        distill_block(case.settings, case.detections, job, *make_pools())
    assert told.value.reason == "leak-above-agreed"


def test_a_wrong_guess_of_the_error_rate_costs_leak_not_correctness(case, make_pools):
    generous = dataclasses.replace(case.job.agreement, leak_bits_max=40_000, length_bits=1)
    job = dataclasses.replace(case.job, agreement=generous)
    for guess in (0.001, 0.05):
        at_alice, at_bob = converse(
            alice(case.settings, job, make_pools()[0], qber_expected=guess), bob(case.detections, job, make_pools()[1])
        )
        if at_alice.error is None:
            assert at_alice.result.key.to_bytes() == at_bob.result.key.to_bytes()
            assert at_alice.result.statistics.leak_factor > 1
        else:
            assert at_alice.error.verdict in ("confirmation-failed", "no-secret-key")


def test_keys_that_differ_are_noticed(case, make_pools, monkeypatch):
    """Break reconciliation: confirmation catches it, and nobody gets key."""
    from noclone.distill import side as module

    class Broken(module.Questioner):
        def next(self, answers):
            query = super().next(answers)
            if query is None:
                self.words[0] ^= np.uint64(1)
            return query

    monkeypatch.setattr(module, "Questioner", Broken)
    at_alice, at_bob = converse(*parties(case, *make_pools()))
    assert at_bob.error.reason == "confirmation-failed"
    assert at_alice.error.peer_reason == "confirmation-failed"
    assert at_alice.error.authenticated


# What somebody on the channel can do. Nobody may be left with a key that the other's messages did not make.


def check_outcome(at_alice, at_bob):
    """Return whether anybody got key; whoever did got the right one, and Alice never without Bob."""
    for end in (at_alice, at_bob):
        assert (end.result is None) != (end.error is None)
        assert end.error is None or isinstance(end.error, (Aborted, ChannelError))
    if at_alice.result is not None:
        assert at_bob.result is not None
        assert at_alice.result.key.to_bytes() == at_bob.result.key.to_bytes()
    return at_alice.result is not None or at_bob.result is not None


ELSEWHERE = (Kind.CHSH, Kind.SLICES, Kind.PAIRS)  # of other protocols, whose tests spoil them


@pytest.fixture(scope="module")
def length_of_talk(case):
    from noclone.distill.chain_bench import pools

    wire = Wire()
    converse(*parties(case, *pools()), wire)
    return len(wire.messages)


@MANY
@given(data=st.data())
def test_any_flipped_byte_ends_the_block(case, make_pools, length_of_talk, data):
    # All but the last message, Bob's tag: when that is spoiled he has his key already, and Alice has none.
    target = data.draw(
        st.integers(0, 8) | st.integers(0, length_of_talk - 2) | st.integers(length_of_talk - 6, length_of_talk - 2)
    )
    place = data.draw(st.floats(0, 1, exclude_max=True))
    flip = data.draw(st.integers(1, 255))

    def change(number, role, message):
        if number != target:
            return [message]
        changed = bytearray(message)
        changed[int(place * len(message))] ^= flip
        return [bytes(changed)]

    wire = Wire(change)
    assert not check_outcome(*converse(*parties(case, *make_pools()), wire))
    assert len(wire.messages) > target


@pytest.mark.parametrize("kind", [k for k in Kind if k not in (Kind.HELLO, Kind.ABORT, *ELSEWHERE)])
@pytest.mark.parametrize("part", [0, 3, 14, -1])
def test_a_flipped_byte_in_any_kind_of_message(case, make_pools, kind, part):
    if part == -1 and kind is Kind.ANNOUNCE:
        part = -2
    seen = []

    def change(number, role, message):
        if message[0] != kind or kind in seen:
            return [message]
        seen.append(kind)
        changed = bytearray(message)
        changed[part] ^= 0x11
        return [bytes(changed)]

    assert not check_outcome(*converse(*parties(case, *make_pools()), Wire(change)))
    assert seen


@pytest.mark.parametrize("action", ["drop", "twice", "cut", "longer", "swap", "empty"])
@pytest.mark.parametrize("kind", [k for k in Kind if k not in (Kind.ABORT, *ELSEWHERE)])
def test_lost_repeated_cut_and_reordered_messages(case, make_pools, kind, action):
    held = []

    def change(number, role, message):
        if held and held[0] is not None:
            first, held[0] = held[0], None
            return [message, first]
        if message[0] != kind or held:
            return [message]
        held.append(message if action == "swap" else None)
        return {
            "drop": [], "twice": [message, message], "cut": [message[:-1]], "longer": [message + b"\0"], "swap": [],
            "empty": [b""],
        }[action]  # fmt: skip

    wire = Wire(change)
    got_key = check_outcome(*converse(*parties(case, *make_pools()), wire))
    # Bob keeps his key where all that he must see arrived: Alice, confused, then has none (the lost last message).
    assert not got_key or action == "twice" or kind is Kind.TAG


def test_the_last_message_can_be_lost_and_then_only_bob_has_key(case, make_pools):
    """Why a key is usable only when both stores hold it; the next block tells Alice, authenticated."""
    pool_a, pool_b = make_pools()

    def change(number, role, message):
        return [] if role == "bob" and message[0] == Kind.TAG else [message]

    at_alice, at_bob = converse(*parties(case, pool_a, pool_b), Wire(change))
    assert at_alice.result is None
    assert at_bob.result is not None
    assert pool_b.refilled_bits > pool_a.refilled_bits == 0


def test_after_a_lost_last_message_the_next_block_works(make_block, make_pools):
    pool_a, pool_b = make_pools()
    first, second = make_block(), make_block(block=1, seed=2)
    converse(
        *parties(first, pool_a, pool_b),
        lambda role, message: [] if role == "bob" and message[0] == Kind.TAG else [message],
    )
    done = distill_block(second.settings, second.detections, second.job, pool_a, pool_b)
    assert done.alice.key.to_bytes() == done.bob.key.to_bytes()
    assert done.alice.peer_holds == (0,)
    assert done.bob.peer_holds == ()


def test_messages_of_an_earlier_block_cannot_be_replayed(make_block, make_pools):
    pool_a, pool_b = make_pools()
    first, second = make_block(), make_block(block=1, seed=2)
    old = Wire()
    converse(*parties(first, pool_a, pool_b), old)
    replay = [message for role, message in old.messages if role == "bob"]
    at_alice, at_bob = converse(
        *parties(second, pool_a, pool_b),
        lambda role, message: [replay.pop(0)] if role == "bob" and replay else [message],
    )
    assert not check_outcome(at_alice, at_bob)


def test_a_replayed_block_with_its_number_rewritten_fails_at_the_tag(make_block, make_pools):
    """Somebody plays all of Alice's part again, to a Bob with the same detections: only the fresh key stops him."""
    pool_a, pool_b = make_pools()
    first, second = make_block(), make_block(block=1)
    old = Wire()
    converse(*parties(first, pool_a, pool_b), old)

    def renumbered(frame):
        kind, flags, _, sequence = HEADER.unpack_from(frame)
        return HEADER.pack(kind, flags, 1, sequence) + frame[HEADER.size :]

    replay = [renumbered(m) for role, m in old.messages if role == "alice" and m[0] != Kind.HELLO]
    at_alice, at_bob = converse(
        *parties(second, pool_a, pool_b),
        lambda role, m: [m] if role == "bob" or m[0] == Kind.HELLO else [replay.pop(0)] if replay else [],
    )
    assert at_bob.error.reason == "authentication-failed"
    assert at_bob.error.statistics.length.bits > 0
    assert at_alice.result is None


@pytest.mark.parametrize("role", ["alice", "bob"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.lists(st.binary(max_size=100), max_size=4))
def test_garbage_instead_of_a_peer(case, make_pools, role, garbage):
    ends = parties(case, *make_pools())
    party = ends[0] if role == "alice" else ends[1]
    with pytest.raises((Aborted, ChannelError)):
        drive(party, [*garbage, b""])


@pytest.mark.parametrize("role", ["alice", "bob"])
@pytest.mark.parametrize(
    "hello",
    [
        b"",
        b"[" * 50_000,
        b"{}",
        b"null",
        b'{"format":2}',
        b'{"format":2,"role":"bob","job":{},"pool":[[0,-1,2]]}',
        b"1e999",
    ],
)
def test_hellos_that_are_none(case, make_pools, role, hello):
    ends = parties(case, *make_pools())
    with pytest.raises(BlockAborted) as told:
        drive(ends[0] if role == "alice" else ends[1], [HEADER.pack(Kind.HELLO, 0, 0, 0) + hello])
    assert told.value.reason == "peer-misbehaved"


def drive(party, messages):
    """Feed a party until it fails."""
    left = list(messages)
    wanted = next(party)
    while True:
        wanted = party.send(left.pop(0) if wanted is None else b"")


def test_a_forged_last_word_decides_nothing(case, make_pools):
    """Anybody can say that a block is given up; without a tag the reason said is not the verdict."""
    text = b"qber-too-high\n25.00 % errors in 99999 test bits"

    def change(number, role, message):
        return [HEADER.pack(Kind.ABORT, 0, 0, 1) + b"\0" + text] if message[0] == Kind.ANNOUNCE else [message]

    at_alice, _ = converse(*parties(case, *make_pools()), Wire(change))
    assert (at_alice.error.reason, at_alice.error.verdict) == ("peer-aborted", "peer-aborted")
    assert at_alice.error.peer_reason == "qber-too-high"
    assert not at_alice.error.authenticated


def test_alice_listens_to_no_more_detections_than_plausible(case, make_pools):
    n = len(case.detections.events)
    for most, refused in ((n, False), (n - 1, True)):
        job = dataclasses.replace(case.job, detections_max=most)
        at_alice, at_bob = converse(
            alice(case.settings, job, make_pools()[0]), bob(case.detections, case.job, make_pools()[1])
        )
        assert (at_alice.error is not None) == refused
    assert at_alice.error.reason == "peer-misbehaved"
    assert f"{n} detections, where {n - 1} at most" in at_alice.error.message
    assert at_bob.error.reason == "peer-aborted"


def test_alice_may_have_begun_the_block_before_but_only_this_one(case, make_pools):
    pool_a, pool_b = make_pools()
    pool_a.begin(case.job.block)
    at_alice, at_bob = converse(
        alice(case.settings, case.job, pool_a, begun=True), bob(case.detections, case.job, pool_b)
    )
    assert at_alice.result.key.to_bytes() == at_bob.result.key.to_bytes()
    with pytest.raises(InputError, match="last block"):
        next(alice(case.settings, case.job, make_pools()[0], begun=True))


def test_the_largest_block_number_is_a_number_and_the_next_is_none(case):
    assert dataclasses.replace(case.job, block=BLOCK_MAX - 1).block == BLOCK_MAX - 1
    with pytest.raises(ValueError, match="number"):
        dataclasses.replace(case.job, block=BLOCK_MAX)


def test_a_stranger_who_says_hello_spends_no_key(case, make_pools):
    pool_a, pool_b = make_pools()
    hello = next(bob(case.detections, case.job, pool_b))
    party = alice(case.settings, case.job, pool_a)
    before = pool_a.available_bits
    with pytest.raises(BlockAborted):
        drive(party, [hello, b"\0" * 100])
    assert pool_a.available_bits == before
    assert pool_a.consumed_bits == 0


def test_detections_of_another_block_are_refused(case, make_pools):
    other = Detections("alder-birch", 7, case.job.n_slots, 1e9, case.detections.events, case.detections.origin)
    with pytest.raises(InputError):
        next(bob(other, case.job, make_pools()[1]))


def test_seeded_entropy_makes_the_same_key_again(case, make_pools):
    def key():
        entropy = np.random.default_rng(5)
        done = distill_block(case.settings, case.detections, case.job, *make_pools(), entropy=entropy.bytes)
        return bytes_from_words(done.alice.key.bits, done.alice.key.n_bits)

    assert key() == key()


def test_large_messages_travel_in_parts(case, make_pools, monkeypatch):
    monkeypatch.setattr("noclone.distill.messages.PART_BYTES", 1000)
    wire = Wire()
    at_alice, at_bob = converse(*parties(case, *make_pools()), wire)
    assert at_alice.result.key.to_bytes() == at_bob.result.key.to_bytes()
    assert wire.kinds("alice").count(Kind.AMPLIFY) > 10
    assert max(len(message) for _, message in wire.messages) <= 1000 + HEADER.size


def test_parts_without_end_are_bounded(case, make_pools):
    """A peer that never finishes a message is stopped at the largest size that the message may have."""
    parts = [HEADER.pack(Kind.HELLO, 1, 0, number) + bytes(10_000) for number in range(1000)]
    with pytest.raises(BlockAborted, match="longer than"):
        drive(alice(case.settings, case.job, make_pools()[0]), parts)
    with pytest.raises(BlockAborted, match="empty part"):
        drive(alice(case.settings, case.job, make_pools()[0]), [HEADER.pack(Kind.HELLO, 1, 0, 0)])


def test_a_peer_cannot_draw_on_our_terminal(case, make_pools):
    """An abort's text is the peer's: what reaches a person is one printable line of bounded length."""
    text = b"qber-too-high\n" + b"\x1b[2J\r\n" * 1000
    abort = HEADER.pack(Kind.ABORT, 0, 0, 0) + b"\0" + text
    with pytest.raises(BlockAborted) as told:
        drive(alice(case.settings, case.job, make_pools()[0]), [abort])
    assert told.value.message.isprintable()
    assert len(told.value.message) < 600
    assert told.value.peer_reason == "qber-too-high"
    assert not told.value.authenticated
