"""The duet: the same messages, tags, counts and keys as when every message is carried, however it is interrupted."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noclone.bits import pack
from noclone.distill import duet as duets
from noclone.distill.cascade import Answerer, Questioner, plan
from noclone.distill.chain_bench import model_block
from noclone.distill.duet import Duet
from noclone.distill.job import BlockAborted, BlockStatistics
from noclone.distill.messages import HEADER, Conversation, Kind
from noclone.distill.session import distill_block
from noclone.errors import Aborted

MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def distil(case, make_pools, *, carried):
    """Distil a block whose randomness is always the same; return what came of it, its tags, and how many queries."""
    tags, queries = [], 0

    def heed(role, message):
        nonlocal queries
        queries += message[0] == Kind.QUERY
        if message[0] == Kind.TAG:
            tags.append((role, message))

    entropy = np.random.default_rng(5).bytes
    carriage = (lambda _role, message: [message]) if carried else None
    blocks = case.settings, case.detections, case.job, *make_pools()
    try:
        done = distill_block(*blocks, entropy=entropy, carriage=carriage, heed=heed)
    except BlockAborted as abort:
        return (abort.reason, abort.message, abort.statistics), tags, queries
    keys = done.alice.key.to_bytes(), done.bob.key.to_bytes()
    return (keys, done.alice.statistics, done.bob.statistics), tags, queries


@pytest.mark.parametrize("qber", [0.001, 0.005, 0.01])
def test_tags_counts_and_keys_are_those_of_carried_messages(make_block, make_pools, qber):
    case = make_block(qber=qber)
    carried, tags, every = distil(case, make_pools, carried=True)
    played, same_tags, seen = distil(case, make_pools, carried=False)
    assert played == carried
    assert tags == same_tags
    assert len(tags) == 2
    assert seen < every / 3  # the others took the shortcut


@pytest.mark.parametrize("record_bytes", [0, 200, 1000, 5000])
def test_a_full_record_only_interrupts(case, make_pools, monkeypatch, record_bytes):
    carried, tags, every = distil(case, make_pools, carried=True)
    monkeypatch.setattr(duets, "RECORD_BYTES", record_bytes)
    played, same_tags, seen = distil(case, make_pools, carried=False)
    assert (played, same_tags) == (carried, tags)
    assert seen == every if record_bytes < 200 else seen <= every


def test_blocks_of_several_groups_play_each(make_pools):
    case = model_block(9_000_000, qber=0.01, seed=3)
    carried, tags, every = distil(case, make_pools, carried=True)
    played, same_tags, seen = distil(case, make_pools, carried=False)
    assert (played, same_tags) == (carried, tags)
    assert seen < every / 3


def test_the_agreed_leak_ends_it_at_the_same_place(case, make_pools):
    done, _, _ = distil(case, make_pools, carried=True)
    for less in (1, 40, 400):
        agreement = replace(case.job.agreement, leak_bits_max=done[1].leak_bits - less)
        short = replace(case, job=replace(case.job, agreement=agreement))
        carried, played = (distil(short, make_pools, carried=each)[0] for each in (True, False))
        assert carried[0] == "leak-above-agreed"
        assert played == carried


def ends(rng, n_bits, qber, planned):
    """Both parties of Cascade."""
    key = rng.integers(0, 2, n_bits, dtype=np.uint8)
    other = key ^ (rng.random(n_bits) < qber).astype(np.uint8)
    params = plan(n_bits, planned, rng.bytes(32), leak_bits_max=4 * n_bits)
    return Answerer(pack(key), n_bits, params), Questioner(pack(other), n_bits, params)


def talks():
    return [Conversation(role, BlockStatistics("link", 7, role)) for role in ("alice", "bob")]


def run(answerer, questioner, *, together):
    """Let the two talk, each frame through both conversations; return the transcripts and how it ended."""
    hers, his = talks()
    if together:
        duet = Duet()
        duet.alice_joins(answerer, hers)
        duet.bob_joins(questioner, his)

    def carry(sender, receiver, kind, payload):
        frame = next(sender.send(kind, payload))
        waiting = receiver.receive_view(kind, bytes_max=1 << 30)
        next(waiting)
        try:
            waiting.send(frame)
        except StopIteration as end:
            return bytes(end.value)
        raise AssertionError("one frame was not the whole message")

    failure = None
    try:
        query = questioner.next(None)
        while query is not None:
            asked = carry(his, hers, Kind.QUERY, query)
            query = questioner.next(carry(hers, his, Kind.ANSWER, answerer.answer(asked)))
    except Aborted as abort:
        failure = abort.reason, abort.message
    transcripts = [b"".join(talk._gathered) for talk in (hers, his)]
    return transcripts, [talk.statistics for talk in (hers, his)], failure


@MANY
@given(
    st.integers(min_value=256, max_value=40_000),
    st.sampled_from([0.0, 0.002, 0.02, 0.06, 0.11]),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.integers(min_value=0, max_value=1 << 30),
)
def test_transcripts_are_equal_bit_for_bit(n_bits, qber, misjudged, seed):
    planned = min(0.2, max(0.002, qber * misjudged))
    results = []
    for together in (False, True):
        answerer, questioner = ends(np.random.default_rng(seed), n_bits, qber, planned)
        said = run(answerer, questioner, together=together)
        counts = [(one.leak_bits, one.rounds, one.search.corrected) for one in (answerer, questioner)]
        results.append((*said, counts, questioner.words.tobytes(), questioner.corrected))
    assert results[0] == results[1]
    (hers, his), _, failure = results[1][:3]
    assert failure is not None or hers == his


def test_far_more_errors_than_planned_fail_alike():
    found = []
    for together in (False, True):
        answerer, questioner = ends(np.random.default_rng(1), 1 << 16, 0.25, 0.002)
        found.append(run(answerer, questioner, together=together))
    assert found[0] == found[1]


def test_parties_that_did_not_hear_the_same_are_found_out():
    answerer, questioner = ends(np.random.default_rng(1), 1 << 16, 0.02, 0.02)
    hers, his = talks()
    duet = Duet()
    duet.alice_joins(answerer, hers)
    duet.bob_joins(questioner, his)
    answer = answerer.answer(questioner.next(None))
    while not answerer.search.in_waves:
        answer = answerer.answer(questioner.next(answer))
    answerer.search.counts[answerer.search.counts > 0] -= 1  # she believes that less is asked
    with pytest.raises(AssertionError, match="different ends"):
        questioner.next(answer)


def test_nothing_outlives_the_block():
    gc.collect()
    gc.disable()  # only counted references free things now
    try:
        answerer, questioner = ends(np.random.default_rng(1), 1 << 14, 0.02, 0.02)
        run(answerer, questioner, together=True)
        left = [weakref.ref(one) for one in (answerer, questioner, questioner.search, answerer.search)]
        del answerer, questioner
        assert [one() for one in left] == [None] * 4
    finally:
        gc.enable()


def test_numbers_of_frames_go_on_from_both_ends():
    answerer, questioner = ends(np.random.default_rng(1), 1 << 14, 0.02, 0.02)
    (transcript, same), (hers, his), _ = run(answerer, questioner, together=True)
    assert transcript == same
    at, sequences = 0, ([], [])
    while at < len(transcript):
        direction, length = transcript[at], int.from_bytes(transcript[at + 1 : at + 9])
        kind, flags, block, sequence = HEADER.unpack_from(transcript, at + 9)
        assert (kind, flags, block) == ((Kind.ANSWER, Kind.QUERY)[direction], 0, 7)
        sequences[direction].append(sequence)
        at += 9 + length
    assert sequences == (list(range(hers.messages_sent)), list(range(his.messages_sent)))
    assert (hers.bytes_sent, hers.bytes_received) == (his.bytes_received, his.bytes_sent)
    assert hers.bytes_sent + hers.bytes_received == len(transcript) - 9 * (hers.messages_sent + his.messages_sent)
