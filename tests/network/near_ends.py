"""Both ends of a link in one loop: real light and real distillation, and somebody who holds the wire between them.

Nothing here opens a socket: the channel is a pair of `tests.distill.flying` ends, the light answers as a server would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from noclone import rng
from noclone.distill.authentication import AuthenticationPool, MemoryLedger
from noclone.events import Event, EventLog
from noclone.link.lights import chunks
from noclone.network import alice_end, bob_end, ends
from noclone.network.blocks import LinkPlan
from noclone.network.frames import LENGTH
from noclone.records import Origin, SecretKey
from tests.distill.flying import honest, wired

SECRET = bytes(range(1, 65)) * 40
SEED = bytes(32)
WAIT_S = 120.0
NOWHERE = ends.Addresses(("127.0.0.1", 1), ("127.0.0.1", 2))


class Light:
    """The light of a link: it sends a block's events to whichever Bob called last."""

    def __init__(self, plan: LinkPlan) -> None:
        self.plan = plan
        self.asked: list[int] = []
        self.bob = asyncio.StreamReader()
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, role: str) -> tuple[asyncio.StreamReader, Any]:
        reader = asyncio.StreamReader()
        if role == "bob":
            self.bob = reader

        def write(data: bytes) -> None:
            assert role == "alice"
            wish = json.loads(data[LENGTH.size :])
            self.asked.append(wish["block"])
            task = asyncio.create_task(self._send(wish["block"], bytes.fromhex(wish["seed"]), reader, self.bob))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        async def drain() -> None:
            pass

        return reader, SimpleNamespace(write=write, drain=drain, close=lambda: None)

    async def _send(self, block: int, seed: bytes, alice: asyncio.StreamReader, bob: asyncio.StreamReader) -> None:
        plan = self.plan.of(block)
        found = await asyncio.to_thread(
            lambda: list(
                chunks(
                    plan.light,
                    alice_seed=seed,
                    physics_seed=rng.derive(SEED, f"physics-{block}"),
                    n_slots=plan.n_slots,
                    link=plan.link.name,
                    block=block,
                    threads=1,
                )
            )
        )
        header = json.dumps({"block": block, "n_slots": plan.n_slots}).encode()
        for frame in (header, *(bobs.tobytes() for _, bobs in found if len(bobs)), b""):
            bob.feed_data(LENGTH.pack(len(frame)) + frame)
        answer = json.dumps({"block": block, "events": 0}).encode()
        alice.feed_data(LENGTH.pack(len(answer)) + answer)

    async def close(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Listening:
    """Where Alice waits for Bob: each of his calls makes a new pair of ends."""

    def __init__(self, near: NearEnds) -> None:
        self._near = near
        self._calls: asyncio.Queue[Any] = asyncio.Queue()

    async def accept(self) -> Any:
        return await self._calls.get()

    async def connect(self, *_: Any, **more: Any) -> Any:
        at_alice, at_bob = wired(self._near.carry)
        self._near.channel = {"alice": at_alice, "bob": at_bob}
        self._near.sessions += 1
        self._calls.put_nowait(at_alice)
        return at_bob

    async def close(self) -> None:
        pass


class NearEnds:
    """Both ends of a link, and all that happens between them.

    Args:
        wire: What becomes of each message, as in `flying`; may be changed at any time.
        pools: Of Alice and Bob.
        room: Shared by both, as by the nodes of one process.
    """

    def __init__(self, plan: LinkPlan, *, pools: Any = None, room: int = 16, vet: ends.Vet | None = None) -> None:
        self.log = EventLog()
        self.wire: Callable[[str, bytes], list[bytes]] = honest
        self.channel: dict[str, Any] = {}
        self.sessions = 0
        self.light = Light(plan)
        self.room = asyncio.Semaphore(room)
        self.deposits: dict[str, list[SecretKey]] = {"alice": [], "bob": []}
        self.capacity_bits = 1 << 40
        self.deposit_fails: set[tuple[str, int]] = set()
        pools = pools or [AuthenticationPool.from_secret(role, SECRET) for role in ("alice", "bob")]
        self.pools: dict[str, AuthenticationPool] = dict(zip(("alice", "bob"), pools, strict=True))
        listening = Listening(self)
        self.alice = alice_end.AliceEnd(plan, NOWHERE, self._services("alice", vet))
        self.bob = bob_end.BobEnd(plan, NOWHERE, self._services("bob", vet))
        self.alice._server = listening  # type: ignore[assignment]
        self._listening = listening
        for end in (self.alice, self.bob):
            end._call_light = self._caller(end.role)  # type: ignore[method-assign]

    def carry(self, role: str, message: bytes) -> list[bytes]:
        """Hand a message to whoever holds the wire now."""
        return self.wire(role, message)

    def _caller(self, role: str) -> Any:
        async def call() -> Any:
            return self.light.call(role)

        return call

    def _services(self, role: str, vet: ends.Vet | None) -> ends.EndServices:
        async def deposit(key: SecretKey) -> None:
            if (role, key.provenance.block) in self.deposit_fails:  # type: ignore[union-attr]
                raise OSError("no space left")
            await asyncio.sleep(0)
            self.deposits[role].append(key)

        async def wants_key(coming_bits: int) -> bool:
            return sum(key.n_bits for key in self.deposits[role]) + coming_bits < self.capacity_bits

        return ends.EndServices(
            context=None,  # type: ignore[arg-type]
            pool=self.pools[role],
            deposit=deposit,
            wants_key=wants_key,
            log=self.log,
            clock=SimpleNamespace(now_s=lambda: 0.0),
            origin=Origin("simulated"),
            vet=vet,
            room=self.room,
        )

    @contextlib.asynccontextmanager
    async def running(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        """Run both ends for a while, with pauses of next to nothing; stop them, and see that they have stopped."""
        monkeypatch.setattr(bob_end, "TcpChannel", self._listening)
        for module in (ends, alice_end):
            monkeypatch.setattr(module, "KEEPALIVE_S", 0.05, raising=True)
        monkeypatch.setattr(ends, "PAUSE_FIRST_S", 0.001)
        monkeypatch.setattr(ends, "PAUSE_MOST_S", 0.001)
        self.tasks = [asyncio.create_task(ends.End.run(end)) for end in (self.alice, self.bob)]
        try:
            async with asyncio.timeout(WAIT_S):
                yield
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Stop both ends, as a node does."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.light.close()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for something."""
        while not done():
            for task in self.tasks:
                assert not task.done()
            await asyncio.sleep(0.005)

    def events(self, kind: str, end: str = "") -> list[Event]:
        return [event for event in self.log if event.kind == kind and end in ("", event.data["end"])]

    def made(self, end: str) -> list[int]:
        """Blocks that gave key at an end, in the order that it said so."""
        return [event.data["block"] for event in self.events("block.distilled", end)]

    def refused(self, end: str) -> list[int]:
        """Blocks that gave none."""
        return [event.data["block"] for event in self.events("block.aborted", end)]

    def keys(self, end: str) -> dict[int, bytes]:
        """Keys that were kept, by block."""
        return {key.provenance.block: key.to_bytes() for key in self.deposits[end]}  # type: ignore[union-attr]

    def stored(self) -> int:
        """Bits that Alice's end keeps."""
        return sum(key.n_bits for key in self.deposits["alice"])

    def in_flight(self, end: str) -> int:
        """How many blocks an end distils now."""
        return (self.alice if end == "alice" else self.bob)._under_way


class Durable(MemoryLedger):
    """What survives a crash of one end, and every use of a pair of tag keys ever."""

    def __init__(self, role: Any, secret: bytes) -> None:
        self.role, self._secret = role, secret
        self.marks: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.refills: dict[int, bytes] = {}
        self.last_block = -1
        self.epsilon = 0.0
        self.gone = False

    def mark(self, segment: int, used_pairs: int, block: int, ahead: Any = ()) -> None:
        self._be_there()
        self.marks[segment] = (used_pairs, tuple(ahead))
        self.last_block = max(self.last_block, block)

    def refill(self, segment: int, key: bytes, cumulative_epsilon: float) -> None:
        self._be_there()
        assert segment not in self.refills, "a block's refill comes once"
        self.refills[segment] = key
        self.epsilon = max(self.epsilon, cumulative_epsilon)

    def _be_there(self) -> None:
        if self.gone:
            raise RuntimeError("this end has crashed")

    def pool(self) -> AuthenticationPool:
        """Return the pool as it is found after a crash."""
        segments = {}
        for number, key in {0: self._secret, **{n: k for n, k in self.refills.items() if k}}.items():
            used, ahead = self.marks.get(number, (0, ()))
            left = bytearray(key)
            for pair in (*range(used), *ahead):
                left[64 * pair : 64 * (pair + 1)] = bytes(64)
            segments[number] = (bytes(left), used)
        return AuthenticationPool(
            self.role, segments, ledger=self, last_block=self.last_block, cumulative_epsilon=self.epsilon
        )
