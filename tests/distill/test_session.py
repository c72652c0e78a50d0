"""Parties over channels: in one loop, and over TCP between two real processes."""

import asyncio
import dataclasses
import hashlib
import json
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from noclone.bits import bytes_from_words
from noclone.distill import binary_toeplitz, side
from noclone.distill.job import BlockAborted
from noclone.distill.messages import HEADER, Kind
from noclone.distill.parties import alice, bob
from noclone.distill.session import converse, distill_block, run_party
from noclone.errors import Aborted, ChannelError
from noclone.io.channel import memory_pair


def both(case, pools, *, timeout_s=120, delay_s=0.0):
    """Run both parties over a memory channel, each as a task; return results or errors."""

    async def talk():
        ends = memory_pair(timeout_s=timeout_s, delay_s=delay_s)

        async def one(party, channel):
            try:
                return await run_party(party, channel)
            finally:
                await channel.close()

        return await asyncio.gather(
            one(alice(case.settings, case.job, pools[0]), ends[0]),
            one(bob(case.detections, case.job, pools[1]), ends[1]),
            return_exceptions=True,
        )

    return asyncio.run(talk())


def test_over_a_memory_channel(case, make_pools):
    at_alice, at_bob = both(case, make_pools())
    assert at_alice.key.to_bytes() == at_bob.key.to_bytes()


def test_many_chunks_in_one_turn_do_not_lock_up(case, make_pools, monkeypatch):
    """More announcements than the channel buffers, so that both ends have to take turns."""
    monkeypatch.setattr("noclone.distill.sifting.CHUNK", 1000)
    monkeypatch.setattr("noclone.distill.parties.CHUNK", 1000)
    at_alice, at_bob = both(case, make_pools())
    assert at_alice.key.to_bytes() == at_bob.key.to_bytes()
    assert at_alice.statistics.messages_received > 200


def test_an_abort_reaches_the_peer_over_a_channel(make_block, make_pools):
    case = make_block(qber=0.2, expected_qber=0.005)
    start = time.monotonic()
    at_alice, at_bob = both(case, make_pools())
    assert (at_alice.reason, at_bob.peer_reason) == ("qber-too-high", "qber-too-high")
    assert at_bob.authenticated
    assert time.monotonic() - start < 5


def test_an_abort_while_bob_still_announces_reaches_him(make_block, make_pools, monkeypatch):
    monkeypatch.setattr("noclone.distill.parties.CHUNK", 1000)
    monkeypatch.setattr("noclone.distill.sifting.CHUNK", 1000)
    case = make_block()
    case.detections.events[3000:] += np.uint64(case.job.n_slots << 16)  # slots that were never sent
    at_alice, at_bob = both(case, make_pools())
    assert at_alice.reason == "peer-misbehaved"
    assert isinstance(at_bob, BlockAborted)
    assert at_bob.peer_reason == "peer-misbehaved"
    assert not at_bob.authenticated


def test_a_peer_that_falls_silent(case, make_pools):
    async def talk():
        ours, theirs = memory_pair(timeout_s=120)
        party = bob(case.detections, case.job, make_pools()[1])
        with pytest.raises(ChannelError, match="sent nothing"):
            await run_party(party, ours, timeout_s=0.2)
        await theirs.receive()
        await ours.close()

    asyncio.run(talk())


def test_a_cancelled_party_frees_its_keys(case, make_pools):
    pool = make_pools()[0]

    async def talk():
        ours, theirs = memory_pair()
        await theirs.send(next(bob(case.detections, case.job, make_pools()[1])))
        task = asyncio.create_task(run_party(alice(case.settings, case.job, pool), ours))
        assert (await theirs.receive())[0] == Kind.HELLO
        assert pool.marks()[0].used == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await theirs.close()

    asyncio.run(talk())
    assert pool.marks()[0].used == 0


def test_stale_messages_of_an_earlier_block_are_passed_over(case, make_pools, make_block):
    """The channel may be used again after a block that ended early."""
    case = make_block(block=5)

    async def talk():
        ends = memory_pair(timeout_s=120)
        for _ in range(20):
            await ends[1].send(HEADER.pack(Kind.ANNOUNCE, 0, 4, 1) + b"late")
        pools = make_pools()
        return await asyncio.gather(
            run_party(alice(case.settings, case.job, pools[0]), ends[0]),
            run_party(bob(case.detections, case.job, pools[1]), ends[1]),
        )

    at_alice, at_bob = asyncio.run(talk())
    assert at_alice.key.to_bytes() == at_bob.key.to_bytes()


def test_the_event_loop_stays_free(make_block, make_pools):
    """While a block is distilled, the loop answers others within a few tens of milliseconds."""
    case, pools = make_block(n_detections=1_000_000, seed=4), make_pools()
    both(make_block(), make_pools())

    async def talk():
        ends = memory_pair()
        longest, running = 0.0, True

        async def watch():
            nonlocal longest
            while running:
                before = time.perf_counter()
                await asyncio.sleep(0.001)
                longest = max(longest, time.perf_counter() - before)

        watcher = asyncio.create_task(watch())
        await asyncio.gather(
            run_party(alice(case.settings, case.job, pools[0]), ends[0]),
            run_party(bob(case.detections, case.job, pools[1]), ends[1]),
        )
        running = False
        await watcher
        return longest

    assert asyncio.run(talk()) < 0.5


PROCESS = """
import asyncio, hashlib, json, sys
from noclone.distill.chain_bench import model_block, pools
from noclone.distill.parties import alice, bob
from noclone.distill.session import run_party
from noclone.errors import NocloneError
from noclone.io.channel import TcpChannel
from noclone.io.channel_server import TcpServer
from noclone.proofs.epsilon import Epsilons
from noclone.records import DecoyBB84

role, qber, secret = sys.argv[1], float(sys.argv[2]), bytes.fromhex(sys.argv[3])
protocol = DecoyBB84((0.5, 0.1), (0.6, 0.4), 0.7, 0.7)

async def main():
    server = None
    if role == "alice":
        server = await TcpServer.listen("127.0.0.1", 0, role="alice", link="alder-birch")
        print(json.dumps({"port": server.port}), flush=True)
        channel = await server.accept(100.0)
    else:
        port = int(sys.stdin.readline())
        channel = await TcpChannel.connect("127.0.0.1", port, role="bob", link="alder-birch")
    pool = pools(secret)[role == "bob"]
    for block in range(2):
        case = model_block(200_000, protocol=protocol, epsilons=Epsilons(1e-6, 1e-9), qber=qber, expected_qber=0.005,
                           block=block, seed=block)
        party = alice(case.settings, case.job, pool) if role == "alice" else bob(case.detections, case.job, pool)
        try:
            result = await run_party(party, channel, timeout_s=100.0)
        except NocloneError as error:
            print(json.dumps({"error": type(error).__name__, "reason": getattr(error, "verdict", "")}), flush=True)
            break
        digest = hashlib.sha256(result.key.to_bytes()).hexdigest()
        print(json.dumps({"digest": digest, "bits": result.key.n_bits}), flush=True)
    await channel.close()
    if role == "alice":
        await server.close()

asyncio.run(main())
"""


def two_processes(qber, secrets):
    """Run each party in a process of its own; return what each said."""
    command = [sys.executable, "-W", "error", "-c", PROCESS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([*command, "alice", str(qber), secrets[0].hex()], **pipes) as first,
        subprocess.Popen([*command, "bob", str(qber), secrets[1].hex()], **pipes) as second,
    ):
        try:
            port = json.loads(first.stdout.readline())["port"]
            said = [second.communicate(f"{port}\n", timeout=100)[0], first.communicate(timeout=100)[0]]
        finally:
            first.kill()
            second.kill()
    return [[json.loads(line) for line in text.splitlines()] for text in reversed(said)]


def test_two_processes_over_tcp_make_the_same_key():
    at_alice, at_bob = two_processes(0.005, [b"s" * 512] * 2)
    assert at_alice == at_bob
    assert len(at_alice) == 2
    assert at_alice[0]["bits"] > 1000
    assert at_alice[0]["digest"] != at_alice[1]["digest"]
    assert hashlib.sha256(b"").hexdigest() != at_alice[0]["digest"]


def test_two_processes_refuse_a_noisy_block():
    at_alice, at_bob = two_processes(0.2, [b"s" * 512] * 2)
    assert at_alice == at_bob == [{"error": "BlockAborted", "reason": "qber-too-high"}]


def test_two_processes_with_different_secrets_get_nothing():
    at_alice, at_bob = two_processes(0.005, [b"s" * 512, b"t" * 512])
    assert at_bob == [{"error": "BlockAborted", "reason": "authentication-failed"}]
    assert at_alice == [{"error": "BlockAborted", "reason": "peer-aborted"}], "Bob has no tag that she could check"


@pytest.mark.parametrize("role", ["alice", "bob"])
def test_a_broken_channel_inside_a_block(case, make_pools, role):
    """The peer hangs up after a few messages: an error, no key, and the keys that were not used stay."""
    pool_a, pool_b = make_pools()

    async def talk():
        ends = memory_pair(timeout_s=120)
        counted = 0
        true_receive = ends[0].receive

        async def receive():
            nonlocal counted
            counted += 1
            if counted == 12:
                await ends[0].close()
                await ends[1].close()
            return await true_receive()

        ends[0].receive = receive
        order = ends if role == "alice" else ends[::-1]
        return await asyncio.gather(
            run_party(alice(case.settings, case.job, pool_a), order[0]),
            run_party(bob(case.detections, case.job, pool_b), order[1]),
            return_exceptions=True,
        )

    for error in asyncio.run(talk()):
        assert isinstance(error, (ChannelError, Aborted))
    assert pool_a.consumed_bits == pool_b.consumed_bits == 0


def test_a_link_may_amplify_by_the_binary_toeplitz_matrix(case, make_pools):
    """Both ends hash as `binary_toeplitz` says, with the seed that crossed; one end alone cannot choose it."""
    job = dataclasses.replace(case.job, amplification="binary-toeplitz")
    seeds, corrected = [], []

    def listen(role, message):
        if message[0] == Kind.AMPLIFY:
            seeds.append(message[HEADER.size :])
        return [message]

    def note(words, n_bits, seed, length_bits):
        corrected.append((words.copy(), n_bits))
        return binary_toeplitz.amplify(words, n_bits, seed, length_bits)

    family = types.SimpleNamespace(seed_bytes=binary_toeplitz.seed_bytes, amplify=note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(side.HASHES, "binary-toeplitz", family)
        done = distill_block(case.settings, case.detections, job, *make_pools(), carriage=listen)
    key, statistics = done.alice.key.to_bytes(), done.alice.statistics
    assert done.bob.key.to_bytes() == key
    words, n_bits = corrected[0]
    whole = binary_toeplitz.amplify(words, n_bits, seeds[0], statistics.length.bits)
    kept = bytes_from_words(whole, statistics.length.bits)[statistics.refill_bits // 8 :]
    assert kept[: len(key) - 1] == key[:-1]  # the last byte may have bits behind the key's end
    at_alice, at_bob = converse(
        alice(case.settings, case.job, make_pools()[0]), bob(case.detections, job, make_pools()[1])
    )
    assert at_alice.error is not None
    assert at_bob.error is not None


def test_large_blocks_pass_in_chunks(make_block, make_pools):
    """Several announcements and a seed that travels in parts."""
    case = make_block(n_detections=2_500_000, seed=9)
    done = distill_block(case.settings, case.detections, case.job, *make_pools())
    assert done.alice.key.to_bytes() == done.bob.key.to_bytes()


@pytest.mark.slow
def test_a_very_large_block(make_block, make_pools):
    case = make_block(n_detections=60_000_000, seed=9, mean_gap=8)
    done = distill_block(case.settings, case.detections, case.job, *make_pools())
    assert done.alice.key.to_bytes() == done.bob.key.to_bytes()
