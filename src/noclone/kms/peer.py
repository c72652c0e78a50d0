"""The conversation between two KMEs, at who is called: JSON messages over mutual TLS, under the KMEs' own authority.

In: calls of other KMEs (`peer_link`).  Out: answers of this one. Each KME calls the other over a connection of its own
and serves the other's; serving never calls out, every wait has an end, and no key byte crosses in these calls:
promises, ids and block names only, of at most 1024 keys in a call. After `hello` (version, names, size of an atom):

    {"id", "op": "reserve", "keys": [assignment...]}    -> {"id", "refused": {key_id: [reason, seen]}}
    {"id", "op": "void", "key_ids": [...]}              -> {"id"}
    {"id", "op": "blocks", "blocks": [[link, number, atoms]...]} -> {"id", "blocks": [...]}
    {"id", "op": "ping"}                                -> {"id"}
    {"id", "op": "qkd-key", "key_id", "use"}            -> {"id"}    a QKD key to "mix" in, or for the next "call"

and what else is registered as the KME's `handlers`, which look at their messages themselves: relays (`relay`), and the
state of the network. There key crosses as well, sealed with one-time pads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, cast

from OpenSSL import SSL

from noclone.errors import KmeError, NocloneError
from noclone.io import tls, tls_psk
from noclone.kms.frames import BROKEN, Frames
from noclone.kms.hello import CALL_TIMEOUT_S, hello
from noclone.kms.keys import Assignment
from noclone.kms.kme import Kme
from noclone.kms.limits import BATCH_KEYS_MAX
from noclone.kms.pools import BlockName
from noclone.kms.qkd_tls import ALONE, EXPORT_BYTES, EXPORTER, QkdTls, Standing, introduces, seals
from noclone.kms.relay_messages import internal

UNANSWERED_MAX = 8


@dataclass(slots=True)
class _Caller:
    """A KME that calls us.

    Args:
        introducing: Only its certificate says who it is, and we share QKD key with it.
        mixed: A QKD key was mixed in; the next frame that opens proves that the caller has it as well.
    """

    frames: Frames
    peer: str
    transport: tls.TlsTransport
    introducing: bool
    mixed: bool = False


class PeerServer:
    """Serve the calls of other KMEs. Nobody gets past `hello` who is not one of `peers`.

    Args:
        qkd: What QKD key is taken for, in conversations with those that we share it with.
        sharing: These.
    """

    def __init__(self, kme: Kme, peers: Collection[str], qkd: QkdTls = "none", sharing: Collection[str] = ()) -> None:
        self._kme = kme
        self._peers = set(peers)
        self._qkd = qkd
        self._sharing = set(sharing) if qkd != "none" else set()
        self._standing = Standing()
        self._server: tls.TlsServer | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    async def start(self, context: SSL.Context, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen, with a context that trusts the KMEs' authority alone."""

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = asyncio.StreamReader()
            return asyncio.StreamReaderProtocol(reader, self._serve)

        def refused(reason: str, address: str) -> None:
            self._kme.events.add("tls.refused", f"kme:{self._kme.name}", plane="kme", reason=reason, address=address)

        if self._qkd == "psk":
            tls_psk.take_keys(context, self._standing.pop)
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
        if self._qkd == "psk":
            tls_psk.take_keys(context, self._standing.pop)
        self._standing.revoke(revoked)
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
            transport = cast(tls.TlsTransport, writer.transport)
            peer = await self._greet(frames, transport)
            if peer is not None:
                await self._converse(_Caller(frames, peer, transport, self._introducing(peer, transport)))
        except (*BROKEN, asyncio.CancelledError):
            pass
        finally:
            frames.close()
            self._conversations.discard(task)

    def _introducing(self, peer: str, transport: tls.TlsTransport) -> bool:
        return peer in self._sharing and transport.peer_key is None

    async def _greet(self, frames: Frames, transport: tls.TlsTransport) -> str | None:
        said = await frames.receive(CALL_TIMEOUT_S)
        key = transport.peer_key
        name = tls.identity(transport.peer_certificate, "kme") if key is None else key.peer
        ours = hello(self._kme, str(name))
        expected = {**ours, "from": name, "to": self._kme.name}
        if name not in self._peers:
            problem = "this KME does not know yours"
        elif said != expected:
            wrong = [field for field in expected if said.get(field) != expected[field]]
            problem = f"your hello does not fit: {', '.join(wrong) or 'unknown fields'}"
        else:
            await frames.send(ours)
            return name
        self._kme.events.add("kme.refused", f"kme:{self._kme.name}", peer=str(name), reason=problem)
        await frames.send({"error": problem})
        return None

    async def _converse(self, caller: _Caller) -> None:
        room = asyncio.Semaphore(UNANSWERED_MAX)
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                message = await caller.frames.receive()
                caller.introducing = caller.introducing and not caller.mixed  # what came was under the key
                if message.get("op") == "qkd-key":
                    await self._take_key(caller, message)  # before another frame is read
                    continue
                await room.acquire()
                task = asyncio.create_task(self._answer(caller, message, room.release))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            if tasks:  # the caller has given up by then, or is gone
                _, late = await asyncio.wait(tasks, timeout=CALL_TIMEOUT_S)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    async def _take_key(self, caller: _Caller, message: dict[str, Any]) -> None:
        """Take a QKD key that we share with the caller out of our store, once, for what the caller says.

        Raises:
            KmeError: It cannot be used; the conversation is over.
        """
        answer: dict[str, Any] = {"id": message.get("id")}
        seal = None
        try:
            match message:
                case {"key_id": str(key_id), "use": "mix" | "call" as use} if caller.peer in self._sharing and _is_id(
                    key_id
                ):
                    (key,) = await self._kme.store.collect(internal(self._kme.name), internal(caller.peer), [key_id])
                case _:
                    raise KmeError("QKD key is not taken for conversations here")
            if (use == "mix") != (self._qkd == "mixed") or caller.mixed:
                raise KmeError("this KME takes QKD key for something else")
            if use == "mix":
                ends = {"caller": caller.peer, "answerer": self._kme.name, "key_id": key_id}
                exported = caller.transport.export(EXPORTER, EXPORT_BYTES)
                theirs, seal = seals(key.value, exported, **ends)
                caller.frames.open_with(theirs)
                caller.mixed = True
            else:
                serial_number = caller.transport.serial_number
                self._standing.add(tls_psk.PresharedKey(key_id, key.value, caller.peer, serial_number))
        except NocloneError as error:
            await caller.frames.send({**answer, "error": error.message})
            raise KmeError(error.message) from None
        await caller.frames.send(answer, seal)

    async def _answer(self, caller: _Caller, message: dict[str, Any], done: Callable[[], None]) -> None:
        answer: dict[str, Any]
        try:
            if caller.introducing and not introduces(message, (internal(caller.peer), internal(self._kme.name))):
                raise KmeError(ALONE)
            answer = await self._handle(caller.peer, message)
        except (ValueError, TypeError, KeyError):
            answer = {"error": "what you sent is no call"}
        except NocloneError as error:
            answer = {"error": error.message}
        finally:
            done()
        try:
            await caller.frames.send({"id": message.get("id"), **answer})
        except BROKEN:
            caller.frames.close()

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
