"""The conversation between two KMEs: JSON messages over mutual TLS, under the KMEs' own authority.

In: calls of one KME.  Out: answers of the other. Frames are a 4-byte length and a JSON object. Each KME calls the other
over a connection of its own and serves the other's; serving never calls out, every wait has an end, and no key byte
crosses in these calls: promises, ids and block names only, of at most 1024 keys in a call. After `hello` (version,
names, size of an atom):

    {"id", "op": "reserve", "keys": [assignment...]}    -> {"id", "refused": {key_id: [reason, seen]}}
    {"id", "op": "void", "key_ids": [...]}              -> {"id"}
    {"id", "op": "blocks", "blocks": [[link, number, atoms]...]} -> {"id", "blocks": [...]}
    {"id", "op": "ping"}                                -> {"id"}

and what else is registered as the KME's `handlers`, which look at their messages themselves: relays (`relay`), and the
state of the network. There key crosses as well, sealed with one-time pads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from OpenSSL import SSL

from noclone.errors import KmeError, NocloneError
from noclone.io import tls
from noclone.kms.keys import Assignment
from noclone.kms.kme import Kme, PeerRefused
from noclone.kms.limits import BATCH_KEYS_MAX
from noclone.kms.peer_frames import BROKEN, Frames
from noclone.kms.pools import BlockName
from noclone.kms.reservations import Refusal

VERSION = 2
CALL_TIMEOUT_S = 5.0
PING_INTERVAL_S = 10.0
FINISH_TIMEOUT_S = 5.0
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
UNANSWERED_MAX = 8
REFUSALS_KNOWN = ("unknown-block", "already-assigned", "malformed")


class PeerLink:
    """Our calls to one other KME. Connects by itself, and again when the connection is lost.

    Args:
        kme: Ours.
        name: Of the other; its certificate must say so.
        address: Where it listens for KMEs.
        context: From `io.tls.client_context`, trusting the KMEs' authority.
        patience_s: How long an answer may take before the conversation is begun anew; None: as usual.
    """

    def __init__(
        self,
        kme: Kme,
        name: str,
        address: tuple[str, int],
        context: SSL.Context,
        patience_s: float | None = None,
    ) -> None:
        self.name = name
        self.problem = "not connected yet"
        self._kme = kme
        self._address = address
        self._context = context
        self._patience_s = CALL_TIMEOUT_S if patience_s is None else patience_s
        self._frames: Frames | None = None
        self._serial_number: int | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether a call has a chance now."""
        return self._frames is not None

    def start(self) -> None:
        """Begin to connect, and stay connected until `stop`."""
        self._task = asyncio.create_task(self._stay_connected())

    def renew(self, context: SSL.Context, revoked: frozenset[int]) -> None:
        """Connect with another context from now on; hang up on a peer that was revoked."""
        self._context = context
        if self._serial_number in revoked and self._frames is not None:
            self._frames.close()

    async def stop(self) -> None:
        """Hang up for good."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def reserve(self, assignments: Sequence[Assignment]) -> dict[str, Refusal]:
        """Have the peer hold promises; return the refused ones."""
        answer = await self._call("reserve", keys=[promise.to_json() for promise in assignments])
        refused = {}
        for key_id, value in _dict(answer.get("refused")).items():
            match value:
                case [str(reason), int(seen)] if reason in REFUSALS_KNOWN and 0 <= seen < 1 << 40:
                    refused[key_id] = Refusal(reason, seen)
                case _:
                    raise KmeError("the other KME answered with what is no refusal")
        return refused

    async def void(self, key_ids: Sequence[str]) -> None:
        """Have the peer void keys."""
        await self._call("void", key_ids=list(key_ids))

    async def blocks(self, blocks: Sequence[BlockName]) -> list[BlockName]:
        """Tell the peer which blocks we hold; return those that it holds too."""
        answer = await self._call("blocks", blocks=[block.to_json() for block in blocks])
        try:
            both = [BlockName.from_json(entry) for entry in answer.get("blocks", [])]
        except (ValueError, TypeError):
            raise KmeError("the other KME answered with what are no blocks") from None
        return [block for block in both if block in set(blocks)]

    async def ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        """Call one of the peer's further operations; the answer is unchecked.

        Raises:
            PeerRefused: It was heard, and refused.
            KmeError: Nobody knows whether it was heard.
        """
        return await self._call(operation, **fields)

    async def _call(self, operation: str, **fields: Any) -> dict[str, Any]:
        frames = self._frames
        if frames is None:
            raise KmeError(f"the KME {self.name} cannot be reached: {self.problem}")
        self._number += 1
        number = self._number
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        try:
            async with asyncio.timeout(self._patience_s):
                await frames.send({"id": number, "op": operation, **fields})
                answer = await future
        except TimeoutError:
            frames.close()  # what comes now comes too late
            raise KmeError(f"the KME {self.name} did not answer within {self._patience_s:g} s") from None
        finally:
            self._answers.pop(number, None)
        if "error" in answer:
            raise PeerRefused(f"the KME {self.name} refused: {str(answer['error'])[:200]}")
        return answer

    async def _stay_connected(self) -> None:
        while True:
            try:
                await self._converse()
            except NocloneError as error:
                self.problem = error.message
            except (OSError, EOFError, TimeoutError) as error:
                self.problem = f"the connection broke ({type(error).__name__})"
            await asyncio.sleep(RETRY_S[min(self._failures, len(RETRY_S) - 1)])
            self._failures += 1

    async def _converse(self) -> None:
        """Connect, and read answers until the connection ends."""
        reader, writer, transport = await tls.connect_streams(self._context, *self._address, timeout_s=self._patience_s)
        frames = Frames(reader, writer)
        helper: asyncio.Task[None] | None = None
        try:
            self._serial_number = transport.peer_certificate.serial_number
            if tls.identity(transport.peer_certificate, "kme") != self.name:
                raise KmeError(f"what answers in place of the KME {self.name} is another")
            await frames.send(_hello(self._kme, self.name))
            answer = await frames.receive(self._patience_s)
            if "error" in answer:
                raise KmeError(f"the KME {self.name} refused: {str(answer['error'])[:200]}")
            self._frames, self.problem, self._failures = frames, "", 0
            helper = asyncio.create_task(self._keep_alive(frames))
            self._kme.events.add("kme.connected", f"kme:{self._kme.name}", peer=self.name)
            while True:
                answer = await frames.receive()
                number = answer.get("id")
                future = self._answers.get(number) if isinstance(number, int) else None
                if future is not None and not future.done():
                    future.set_result(answer)
        finally:
            if self._frames is not None:
                self._kme.events.add("kme.disconnected", f"kme:{self._kme.name}", peer=self.name)
            self._frames = None
            frames.close()
            if helper is not None:
                helper.cancel()
            for future in self._answers.values():
                if not future.done():
                    future.set_exception(KmeError(f"the connection to the KME {self.name} ended"))

    async def _keep_alive(self, frames: Frames) -> None:
        """Put things right with the peer, then ask now and then whether it is still there."""
        with contextlib.suppress(*BROKEN):
            await self._kme.resume(self.name)
        while True:
            await asyncio.sleep(PING_INTERVAL_S)
            try:
                await self._call("ping")
            except BROKEN:
                frames.close()
                return


class PeerServer:
    """Serve the calls of other KMEs. Nobody gets past `hello` who is not one of `peers`."""

    def __init__(self, kme: Kme, peers: Collection[str]) -> None:
        self._kme = kme
        self._peers = set(peers)
        self._server: tls.TlsServer | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    async def start(self, context: SSL.Context, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen, with a context that trusts the KMEs' authority alone."""

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = asyncio.StreamReader()
            return asyncio.StreamReaderProtocol(reader, self._serve)

        def refused(reason: str, address: str) -> None:
            self._kme.events.add("tls.refused", f"kme:{self._kme.name}", plane="kme", reason=reason, address=address)

        self._server = await tls.TlsServer.start(
            context, protocol, host=host, port=port, connections_max=4 * len(self._peers) + 16, on_refused=refused
        )

    @property
    def port(self) -> int:
        """The port that is open."""
        assert self._server is not None
        return self._server.port

    def renew(self, context: SSL.Context, revoked: frozenset[int]) -> int:
        """Take another context for whoever calls from now on, and hang up on who was revoked; return how many were."""
        assert self._server is not None
        return self._server.renew(context, revoked)

    async def stop(self) -> None:
        """Hang up on everybody."""
        for task in tuple(self._conversations):
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        if self._server is not None:
            await self._server.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        frames = Frames(reader, writer)
        try:
            peer = await self._greet(frames, writer)
            if peer is not None:
                await self._converse(frames, peer)
        except (*BROKEN, asyncio.CancelledError):
            pass
        finally:
            frames.close()
            self._conversations.discard(task)

    async def _greet(self, frames: Frames, writer: asyncio.StreamWriter) -> str | None:
        hello = await frames.receive(CALL_TIMEOUT_S)
        name = tls.identity(writer.get_extra_info("peercert"), "kme")
        ours = _hello(self._kme, str(name))
        expected = {**ours, "from": name, "to": self._kme.name}
        if name not in self._peers:
            problem = "this KME does not know yours"
        elif hello != expected:
            wrong = [field for field in expected if hello.get(field) != expected[field]]
            problem = f"your hello does not fit: {', '.join(wrong) or 'unknown fields'}"
        else:
            await frames.send(ours)
            return name
        self._kme.events.add("kme.refused", f"kme:{self._kme.name}", peer=str(name), reason=problem)
        await frames.send({"error": problem})
        return None

    async def _converse(self, frames: Frames, peer: str) -> None:
        room = asyncio.Semaphore(UNANSWERED_MAX)
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                message = await frames.receive()
                await room.acquire()
                task = asyncio.create_task(self._answer(frames, peer, message, room.release))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            if tasks:  # who hangs up, or stops, waits for what is under way, but not for ever
                await asyncio.wait(tasks, timeout=FINISH_TIMEOUT_S)
            for task in tuple(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, frames: Frames, peer: str, message: dict[str, Any], done: Callable[[], None]) -> None:
        answer: dict[str, Any]
        try:
            answer = await self._handle(peer, message)
        except (ValueError, TypeError, KeyError):
            answer = {"error": "what you sent is no call"}
        except NocloneError as error:
            answer = {"error": error.message}
        finally:
            done()
        try:
            await frames.send({"id": message.get("id"), **answer})
        except BROKEN:
            frames.close()

    def _handle(self, peer: str, message: dict[str, Any]) -> Awaitable[dict[str, Any]]:
        match message:
            case {"op": "reserve", "keys": [*keys]} if len(keys) <= BATCH_KEYS_MAX:
                promises = [Assignment.from_json(entry) for entry in keys]
                if sum(promise.number for promise in promises) > BATCH_KEYS_MAX:
                    raise ValueError("too many keys in a call")
                return self._reserve(peer, promises)
            case {"op": "void", "key_ids": [*ids]} if len(ids) <= BATCH_KEYS_MAX and all(map(_is_id, ids)):
                return self._void(peer, ids)
            case {"op": "blocks", "blocks": [*blocks]} if len(blocks) <= BATCH_KEYS_MAX:
                return self._blocks(peer, [BlockName.from_json(entry) for entry in blocks])
            case {"op": "ping"}:
                return _nothing()
            case {"op": str(operation)} if operation in self._kme.handlers:
                return self._kme.handlers[operation](peer, message)
        raise ValueError("unknown call")

    async def _reserve(self, peer: str, assignments: list[Assignment]) -> dict[str, Any]:
        refused = await self._kme.on_reserve(peer, assignments)
        return {"refused": {key_id: [refusal.reason, refusal.seen] for key_id, refusal in refused.items()}}

    async def _void(self, peer: str, key_ids: list[str]) -> dict[str, Any]:
        await self._kme.on_void(peer, key_ids)
        return {}

    async def _blocks(self, peer: str, blocks: list[BlockName]) -> dict[str, Any]:
        return {"blocks": [block.to_json() for block in await self._kme.on_blocks(peer, blocks)]}


async def _nothing() -> dict[str, Any]:
    return {}


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 64


def _hello(kme: Kme, peer: str) -> dict[str, Any]:
    return {
        "op": "hello",
        "version": VERSION,
        "from": kme.name,
        "to": peer,
        "unit_bits": kme.store.settings.unit_bits,
    }


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise KmeError("the other KME answered with what is no answer")
    return value
