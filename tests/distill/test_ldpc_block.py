"""Whole blocks with LDPC codes: equal keys over every kind of channel, few turns, some frames through Cascade."""

import asyncio
import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noclone.distill import ldpc_search
from noclone.distill.chain_bench import model_block
from noclone.distill.greeting import differences
from noclone.distill.job import BlockAborted
from noclone.distill.messages import HEADER, Kind
from noclone.distill.parties import alice, bob
from noclone.distill.session import converse, distill_block, run_party
from noclone.errors import Aborted, ChannelError
from noclone.io.channel import TcpChannel, memory_pair
from noclone.io.channel_server import TcpServer
from noclone.proofs.epsilon import Epsilons
from noclone.records import DecoyBB84

PROTOCOL = DecoyBB84(intensities=(0.5, 0.1), probabilities=(0.6, 0.4), p_key_alice=0.7, p_key_bob=0.7)


def make(n_detections, efficiency):
    """A block with half as many key bits, at 1 % errors."""
    return model_block(
        n_detections, qber=0.01, efficiency=efficiency, reconciliation="ldpc", protocol=PROTOCOL,
        epsilons=Epsilons(1e-6, 1e-9),
    )  # fmt: skip


@pytest.fixture(scope="module")
def block():
    """Three frames."""
    return make(300_000, efficiency=1.45)


def sides(block, pools, guess=None):
    entropy = np.random.default_rng(5).bytes
    sender = alice(block.settings, block.job, pools[0], qber_expected=guess, entropy=entropy)
    return sender, bob(block.detections, block.job, pools[1])


def test_both_ends_hold_the_same_key_after_few_turns(block, make_pools):
    done = distill_block(block.settings, block.detections, block.job, *make_pools(), qber_expected=0.0105)
    assert done.alice.key.to_bytes() == done.bob.key.to_bytes()
    assert done.alice.key.n_bits > 1000
    ours, theirs = done.alice.statistics, done.bob.statistics
    assert (ours.leak_bits, ours.cascade_rounds) == (theirs.leak_bits, theirs.cascade_rounds)
    assert ours.corrected == theirs.corrected
    assert ours.rounds <= 12
    assert 1 < ours.leak_factor < 1.45


def test_frames_that_do_not_decode_fall_back_to_cascade(make_pools, monkeypatch):
    """One frame never decodes, whatever is told of it."""
    find_errors = ldpc_search.find_errors

    def stubborn(*args):
        patterns, iterations = find_errors(*args)
        iterations[1] = 0
        return patterns, iterations

    monkeypatch.setattr(ldpc_search, "find_errors", stubborn)
    block = make(400_000, efficiency=1.7)
    told = []

    def listen(role, message):
        told.append((role, message))
        return [message]

    at_alice, at_bob = converse(*sides(block, make_pools()), listen)
    magics = [m[HEADER.size : HEADER.size + 4] for _, m in told if m[0] in (Kind.QUERY, Kind.ANSWER)]
    assert {b"LS2!", b"LF1?", b"CQ3?", b"CA3!"} == set(magics)
    assert at_bob.result.key.to_bytes() == at_alice.result.key.to_bytes()
    assert at_bob.result.statistics.leak_bits == at_alice.result.statistics.leak_bits
    assert at_bob.result.statistics.leak_factor > 1.3


def test_over_a_memory_channel(block, make_pools):
    async def talk():
        ends = memory_pair(timeout_s=120)
        return await asyncio.gather(*map(run_party, sides(block, make_pools()), ends))

    at_alice, at_bob = asyncio.run(talk())
    assert at_alice.key.to_bytes() == at_bob.key.to_bytes()


def test_over_tcp(block, make_pools):
    async def talk():
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="alder-birch")
        connecting = TcpChannel.connect("127.0.0.1", server.port, role="bob", link="alder-birch")
        ends = await asyncio.gather(server.accept(20.0), connecting)
        try:
            return await asyncio.gather(*map(run_party, sides(block, make_pools()), ends))
        finally:
            for end in ends:
                await end.close()
            await server.close()

    at_alice, at_bob = asyncio.run(talk())
    assert at_alice.key.to_bytes() == at_bob.key.to_bytes()


def test_a_block_too_small_for_frames_goes_through_cascade(case, make_pools):
    job = dataclasses.replace(case.job, reconciliation="ldpc")
    told = []

    def listen(role, message):
        told.append(message)
        return [message]

    at_alice, at_bob = converse(*sides(dataclasses.replace(case, job=job), make_pools()), listen)
    assert at_alice.result.key.to_bytes() == at_bob.result.key.to_bytes()
    assert not [m for m in told if m[HEADER.size : HEADER.size + 4] == b"LS2!"]


def test_the_method_is_part_of_what_is_agreed(case, make_pools):
    other = dataclasses.replace(case.job, reconciliation="ldpc")
    assert list(differences(case.job.public(), other.public())) == ["reconciliation is cascade here and ldpc there"]
    at_alice, at_bob = converse(
        alice(case.settings, case.job, make_pools()[0]), bob(case.detections, other, make_pools()[1])
    )
    assert at_alice.error.reason == "peer-misbehaved"
    assert "reconciliation" in at_alice.error.message
    assert at_bob.result is None
    with pytest.raises(ValueError, match="no method"):
        dataclasses.replace(case.job, reconciliation="winnow")


def test_reconciliation_stops_at_the_agreed_leak(block, make_pools):
    agreement = dataclasses.replace(block.job.agreement, leak_bits_max=5000)
    with pytest.raises(BlockAborted) as told:
        distill_block(
            block.settings, block.detections, dataclasses.replace(block.job, agreement=agreement), *make_pools()
        )
    assert told.value.reason == "leak-above-agreed"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.integers(0, 3),
    place=st.floats(0, 1, exclude_max=True),
    flip=st.integers(1, 255),
    cut=st.booleans(),
)
def test_spoiled_syndromes_and_reports_end_the_block(block, make_pools, number, place, flip, cut):
    seen = []

    def change(role, message):
        if message[0] not in (Kind.QUERY, Kind.ANSWER):
            return [message]
        seen.append(message)
        if len(seen) != number + 1:
            return [message]
        changed = bytearray(message)
        changed[int(place * len(message))] ^= flip
        return [bytes(changed[: int(place * len(message))] if cut else changed)]

    at_alice, at_bob = converse(*sides(block, make_pools(), guess=0.0095), change)
    for end in (at_alice, at_bob):
        assert end.error is None or isinstance(end.error, (Aborted, ChannelError))
    if len(seen) > number:
        assert at_alice.result is None
        assert at_bob.result is None
