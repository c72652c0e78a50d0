"""What a KME asks of another, whatever carries it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from noclone.errors import KmeError
from noclone.kms.containers import Delivered
from noclone.kms.keys import Assignment
from noclone.kms.pools import BlockName
from noclone.kms.requests import KeyRequest
from noclone.kms.reservations import Refusal


class PeerRefused(KmeError):
    """Another KME heard a call, and refused it: asking again changes nothing."""


class PeerCalls(Protocol):
    """What a KME asks of another: over TLS (`peer_link.PeerLink`), or straight in tests.

    It is `connected` before it is `ready`, where a QKD key must be agreed on first (`qkd_tls`).
    """

    name: str

    @property
    def connected(self) -> bool: ...

    @property
    def ready(self) -> bool: ...

    async def reserve(self, assignments: Sequence[Assignment]) -> Mapping[str, Refusal]: ...

    async def void(self, key_ids: Sequence[str]) -> None: ...

    async def blocks(self, blocks: Sequence[BlockName]) -> Sequence[BlockName]: ...

    async def ask(self, operation: str, **fields: Any) -> dict[str, Any]: ...


class Abroad(Protocol):
    """What a KME does for applications in other operators' domains: `border.Border`."""

    def domain_of(self, sae: str) -> str | None: ...

    async def status(self, caller: str, slave: str) -> dict[str, Any]: ...

    async def enc_keys(self, caller: str, slave: str, request: KeyRequest) -> Delivered: ...

    async def withdrawn(self, peer: str, key_ids: Sequence[str]) -> None: ...


Handler = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
