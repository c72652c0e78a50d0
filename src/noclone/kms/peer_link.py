"""Our calls to one other KME: connected, and again when the connection is lost; under QKD key where the two share some.

In: calls of our KME.  Out: the other's answers, checked. What it takes to stand on QKD key is in `qkd_tls`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from OpenSSL import SSL

from noclone.errors import KmeError, NocloneError
from noclone.io import tls, tls_psk
from noclone.kms.calls import PeerRefused
from noclone.kms.frames import BROKEN, Frames, Seal
from noclone.kms.hello import CALL_TIMEOUT_S, hello
from noclone.kms.keys import Assignment, StoredKey
from noclone.kms.kme import Kme
from noclone.kms.pools import BlockName
from noclone.kms.qkd_tls import ALONE, EXPORT_BYTES, EXPORTER, INTRODUCTION, KEY_BYTES, QkdTls, seals
from noclone.kms.reservations import Refusal

PING_INTERVAL_S = 10.0
NO_KEY_RETRY_S = 1.0
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
REFUSALS_KNOWN = ("unknown-block", "already-assigned", "malformed")


class PeerLink:
    """Our calls to one other KME. Connects by itself, and again when the connection is lost.

    Args:
        kme: Ours.
        name: Of the other; its certificate must say so.
        address: Where it listens for KMEs.
        context: From `io.tls.client_context`, trusting the KMEs' authority.
        qkd: What QKD key that we share with it is taken for.
        patience_s: How long an answer may take before the conversation is begun anew; None: as usual.
    """

    def __init__(
        self,
        kme: Kme,
        name: str,
        address: tuple[str, int],
        context: SSL.Context,
        qkd: QkdTls = "none",
        patience_s: float | None = None,
    ) -> None:
        self.name = name
        self.problem = "not connected yet"
        self._kme = kme
        self._address = address
        self._context = context
        self._qkd = qkd
        self._patience_s = CALL_TIMEOUT_S if patience_s is None else patience_s
        self._next: tls_psk.PresharedKey | None = None
        self.introducing = False
        self._frames: Frames | None = None
        self._serial_number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether a call has a chance now."""
        return self._frames is not None

    @property
    def ready(self) -> bool:
        """Whether every call has a chance, not only those that agree on a QKD key for this conversation."""
        return self.connected and not self.introducing

    def start(self) -> None:
        """Begin to connect, and stay connected until `stop`."""
        self._task = asyncio.create_task(self._stay_connected())

    def renew(self, context: SSL.Context, revoked: frozenset[int]) -> None:
        """Connect with another context from now on; hang up on a peer that was revoked."""
        self._context = context
        if self._next is not None and self._next.serial_number in revoked:
            self._next = None
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
        if self.introducing and operation not in INTRODUCTION:
            raise KmeError(f"the KME {self.name} is not called yet: {ALONE}")
        return await self._exchange(frames, self._next_number(), operation, fields)

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    async def _exchange(
        self, frames: Frames, number: int, operation: str, fields: Mapping[str, Any], then: Seal | None = None
    ) -> dict[str, Any]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        try:
            async with asyncio.timeout(self._patience_s):
                await frames.send({"id": number, "op": operation, **fields}, then)
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
        key, self._next = self._next, None  # whatever comes of it, it served one call
        context = self._context if key is None else tls_psk.key_context(key)
        reader, writer, transport = await tls.connect_streams(context, *self._address, timeout_s=self._patience_s)
        frames = Frames(reader, writer)
        helper: asyncio.Task[None] | None = None
        try:
            if key is None:
                self._serial_number = transport.peer_certificate.serial_number
                if tls.identity(transport.peer_certificate, "kme") != self.name:
                    raise KmeError(f"what answers in place of the KME {self.name} is another")
            await frames.send(hello(self._kme, self.name))
            answer = await frames.receive(self._patience_s)
            if "error" in answer:
                raise KmeError(f"the KME {self.name} refused: {str(answer['error'])[:200]}")
            self.introducing = self._qkd != "none" and key is None
            self._frames, self.problem = frames, ""
            if self.ready:  # who only ever introduces itself burns a key each time: not often, then
                self._failures = 0
            helper = asyncio.create_task(self._keep_alive(frames, transport))
            self._say("kme.connected", stands_on="certificates" if key is None else "QKD key")
            while True:
                answer = await frames.receive()
                number = answer.get("id")
                future = self._answers.get(number) if isinstance(number, int) else None
                if future is not None and not future.done():
                    future.set_result(answer)
        finally:
            if self._frames is not None:
                self._say("kme.disconnected")
            self._frames = None
            frames.close()
            if helper is not None:
                helper.cancel()
            for future in self._answers.values():
                if not future.done():
                    future.set_exception(KmeError(f"the connection to the KME {self.name} ended"))

    async def _keep_alive(self, frames: Frames, transport: tls.TlsTransport) -> None:
        """Put things right with the peer, then ask now and then whether it is still there; take a QKD key up."""
        with contextlib.suppress(*BROKEN):
            await self._kme.resume(self.name)
        while True:
            has_key = self._qkd == "none" or (self._qkd == "mixed" and not self.introducing) or self._next is not None
            with contextlib.suppress(NocloneError):  # there is none now, or it was lost: the next one will do
                if not has_key:
                    await self._take_up_key(frames, transport)
                    has_key = True
            await asyncio.sleep(PING_INTERVAL_S if has_key else NO_KEY_RETRY_S)
            try:
                await self._call("ping")
            except BROKEN:
                frames.close()
                return

    async def _take_up_key(self, frames: Frames, transport: tls.TlsTransport) -> None:
        """Take a QKD key out of both stores, and mix it in, or call with it: now, or when this connection is lost.

        Raises:
            NocloneError: There is none, or it did not come into use. It is burned.
        """
        key = await self._kme.pad(self.name, KEY_BYTES, introducing=True)
        if self._qkd == "mixed":
            await self._mix(frames, transport, key)
        else:
            await self._call("qkd-key", key_id=key.key_id, use="call")
            self._next = tls_psk.PresharedKey(key.key_id, key.value, self.name, self._serial_number)
        if self.introducing and self._qkd == "psk":
            frames.close()  # and call again, under the key
        self._say("kme.qkd-key", key_id=key.key_id, use="mix" if self._qkd == "mixed" else "call")

    async def _mix(self, frames: Frames, transport: tls.TlsTransport, key: StoredKey) -> None:
        ends = {"caller": self._kme.name, "answerer": self.name, "key_id": key.key_id}
        ours, theirs = seals(key.value, transport.export(EXPORTER, EXPORT_BYTES), **ends)
        number = self._next_number()
        frames.open_with(theirs, after=number)
        try:
            await self._exchange(frames, number, "qkd-key", {"key_id": key.key_id, "use": "mix"}, ours)
            await self._exchange(frames, self._next_number(), "ping", {})  # under the new key, both ways
        except NocloneError:
            frames.close()
            raise
        self.introducing, self._failures = False, 0

    def _say(self, kind: str, **data: Any) -> None:
        self._kme.events.add(kind, f"kme:{self._kme.name}", peer=self.name, **data)


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise KmeError("the other KME answered with what is no answer")
    return value
