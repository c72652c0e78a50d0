"""A domain of two KMEs, site a and gate b; another operator's KME, p, is played by the tests, at the real door."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noclone.errors import KmeError
from noclone.kms.border import Border
from noclone.kms.border_in import Incoming
from noclone.kms.border_messages import ACK_PATH, KEYS_PATH, VOID_PATH
from noclone.kms.border_out import Domain, Outgoing
from noclone.kms.etsi020 import application
from noclone.kms.relay_calls import Calls, RelaySettings
from noclone.network.identities import load_certificate

CALLBACK = "https://127.0.0.1:9999/kmapi/v1/ext_keys/ack"
DOMAIN = Domain(
    "abroad",
    "b",
    "p",
    "https://127.0.0.1:9999",
    "https://127.0.0.1:8888" + ACK_PATH,
    frozenset({"sae-p", "sae-q"}),
    2.0,
)


class PeerDoor:
    """How our gate calls p; the test says what p answers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self.answers: list[Any] = []
        self.usual: Callable[[str, Any], tuple[int, Any]] = lambda path, body: (200 if path == ACK_PATH else 202, None)

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        self.said.append((path, json.loads(json.dumps(body))))
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers and path == KEYS_PATH else self.usual(path, body)
        if answer == "lost":
            raise KmeError("the conversation broke")
        return answer

    def sent(self, path: str) -> list[Any]:
        return [body for where, body in self.said if where == path]

    def acks(self) -> list[tuple[str, list[str]]]:
        return [
            (one["ack_status"], [entry["key_id"] for entry in one["key_id_container"]])
            for body in self.sent(ACK_PATH)
            for one in body
        ]


class Frontier:
    """Our domain, running."""

    def __init__(self, folder: Path, pki: Path) -> None:
        self.folder, self.pki = folder, pki
        saes = {"sae-a": "a", "sae-a2": "a", "sae-b": "b"}
        self.web = sys.modules["relay_web"].Web(folder, pki, ["ab"], saes=saes)
        self.door = PeerDoor()
        self.certificate = load_certificate(pki / "kmes" / "p" / "kme.crt")
        self.tasks: list[asyncio.Task[None]] = []
        self.borders: dict[str, Border] = {}
        self.join()

    def join(self) -> None:
        """Let both KMEs know of the border, as after a start."""
        quick = RelaySettings(timeout_s=2.0)
        for node in "ab":
            kme = self.web.kmes[node]
            wires = dict(kme.peers)

            async def reach(name: str, wires: Any = wires) -> Any:
                wire = wires.get(name)
                return wire if wire is not None and wire.connected else None

            calls = Calls(kme, None, reach, quick)  # type: ignore[arg-type]
            gates = {}
            if node == "b":
                self.outgoing = Outgoing(calls, DOMAIN, self.door, 128, 65_536)
                self.incoming = Incoming(calls, DOMAIN, self.door)
                gates = {DOMAIN.name: (self.outgoing, self.incoming)}
                self.app = application(DOMAIN, self.outgoing, self.incoming, kme.events, "b")
            self.borders[node] = Border(calls, {DOMAIN.name: DOMAIN}, gates)

    async def __aenter__(self) -> Frontier:
        await self.outgoing.recover()
        self.tasks = [asyncio.create_task(self.outgoing.run()), asyncio.create_task(self.incoming.run())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.rest()
        await self.web.close()

    async def rest(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.outgoing.close()

    async def ask(self, method: str, path: str, body: Any = None, certificate: Any = None) -> tuple[int, Any]:
        """Make a request of p's at our door."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent: list[Any] = []
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [], "http_version": "1.1", "scheme": "https", "server": ("127.0.0.1", 1), "root_path": "",
            "extensions": {"noclone.tls": {"peer": certificate or self.certificate}},
        }  # fmt: skip

        async def receive() -> Any:
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        text = b"".join(message.get("body", b"") for message in sent)
        return sent[0]["status"], json.loads(text) if text else None

    async def pass_on(self, keys: dict[str, bytes], **changes: Any) -> tuple[int, Any]:
        return await self.ask("POST", KEYS_PATH, container(keys, **changes))

    async def void(self, ids: list[str], **changes: Any) -> tuple[int, Any]:
        body = {"key_ids": ids, "initiator_sae_id": "sae-p", "target_sae_ids": ["sae-a"], "ack_callback_url": CALLBACK}
        return await self.ask("POST", VOID_PATH, body | changes)

    async def until(self, true: Callable[[], Any], timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not true():
                await asyncio.sleep(0.01)


def container(fresh: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    body = {
        "keys": [{"key_id": i, "value": base64.b64encode(value).decode()} for i, value in fresh.items()],
        "initiator_sae_id": "sae-p",
        "target_sae_ids": ["sae-a"],
        "ack_callback_url": CALLBACK,
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


def some_keys(number: int = 2, size: int = 32) -> dict[str, bytes]:
    return {str(uuid.uuid4()): os.urandom(size) for _ in range(number)}
