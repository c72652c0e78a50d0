"""What the parts of a relay share: the KME, who signs, how other KMEs are reached; and the sending of one share.

In: a share in the clear, the hops that it came by.  Out: the next KME has it, or `ShareLost` with who may have seen it.
A message whose answer was lost is sent again as it was, byte by byte; no share is ever sealed twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from noclone.errors import KmeError, NocloneError
from noclone.kms import failpoints, relay_shares
from noclone.kms.keys import Refused
from noclone.kms.kme import Kme, PeerCalls, PeerRefused
from noclone.kms.relay_messages import REASON_CHARACTERS_MAX, Header, ShareMessage
from noclone.kms.relay_statements import Notary
from noclone.relayed import RelayHop

Reach = Callable[[str], Awaitable[PeerCalls | None]]

TRIES = 3
RETRY_S = 0.3
UNHEARD = (KmeError, OSError, TimeoutError, EOFError)


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """How long relays may take, and how many may be under way.

    Args:
        timeout_s: A relay that is not done after this has failed.
        grace_s: With enough shares of k of n at hand, the target waits this long for the others.
        open_max: Relays that any one other KME may have under way here.
        open_bytes_max: Bytes of shares that these may come to.
        orphan_s: A relayed block that the other end does not hold after this is erased.
    """

    timeout_s: float = 15.0
    grace_s: float = 1.0
    open_max: int = 64
    open_bytes_max: int = 64 << 20
    orphan_s: float = 120.0


class RelayFailed(KmeError):
    """A block was not relayed. Nothing of it is used; the next one is drawn anew.

    Args:
        reason: One stable word for programs.
        hop: Between which neighbours it failed, where that is known.
    """

    def __init__(self, message: str, reason: str, hop: tuple[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.hop = hop


class ShareLost(KmeError):
    """A share did not get to the next KME.

    Args:
        hops: What is signed of its way: the last receiver may have seen it.
        hop: Between whom it was lost.
    """

    def __init__(self, message: str, hops: tuple[RelayHop, ...], hop: tuple[str, str], reason: str) -> None:
        super().__init__(message[:REASON_CHARACTERS_MAX])
        self.hops = hops
        self.hop = hop
        self.reason = reason


@dataclass(frozen=True)
class Calls:
    """A KME as its relays see it."""

    kme: Kme
    notary: Notary
    reach: Reach
    settings: RelaySettings

    @property
    def name(self) -> str:
        return self.kme.name

    async def ask(self, peer: str, operation: str, **fields: Any) -> dict[str, Any]:
        """Call another KME; ask again, with the same words, when nobody knows whether it heard.

        Raises:
            PeerRefused: It heard, and refused.
            KmeError: It cannot be reached.
        """
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(RETRY_S)
            with contextlib.suppress(*UNHEARD):
                calls = await self.reach(peer)
                if calls is None:
                    continue
                try:
                    return await calls.ask(operation, **fields)
                except PeerRefused as refused:
                    answer = refused
                    break
        else:
            raise KmeError(f"the KME {peer} cannot be reached")
        raise answer

    async def send_share(
        self, header: Header, share: int, before: Sequence[RelayHop], value: bytearray
    ) -> tuple[RelayHop, ...]:
        """Seal a share for the next KME on its path, and hand it over; return the hops that are signed now.

        Raises:
            ShareLost: It did not arrive, or nobody knows.
        """
        hop = (self.name, header.paths[share][len(before) + 1])
        try:
            pad = await self.kme.pad(hop[1], relay_shares.pad_length(header))
            message = await asyncio.to_thread(relay_shares.seal, header, share, before, value, pad, self.notary)
        except Refused as refused:
            raise ShareLost(refused.detail or refused.message, tuple(before), hop, refused.reason) from None
        except NocloneError as error:
            raise ShareLost(error.message, tuple(before), hop, "failed") from None
        failpoints.reach("a share is sealed")
        try:
            await self.ask(hop[1], "relay-share", message=message.to_json())
        except PeerRefused as refused:
            raise ShareLost(refused.message, message.hops, hop, "refused") from None
        except UNHEARD:
            raise ShareLost(f"the KME {hop[1]} did not answer", message.hops, hop, "unreachable") from None
        failpoints.reach("a share is handed over")
        return message.hops

    def check_message(self, peer: str, message: ShareMessage) -> None:
        """Check that a share comes from whom it says, is for us, and is signed all the way.

        Raises:
            NocloneError: It does not.
        """
        if (message.sender, message.receiver) != (peer, self.name):
            raise KmeError("this share is not from you to us")
        self.notary.check_hops(message.header, message.share, message.hops)
