"""The promise, between two KMEs: keys are claimed here and held there, before a master has any of them.

In: what one request wants of one pool.  Out: runs of keys that both ends hold for it, durably, or `Refused`. What the
other KME refuses is burned here, and others are claimed in its place; promises of requests that come together go to it
in one message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from noclone.errors import KeysExhausted, KmeError
from noclone.events import EventLog
from noclone.kms.batching import Batcher
from noclone.kms.calls import PeerCalls
from noclone.kms.keys import Assignment, Refused, Reservation
from noclone.kms.limits import BATCH_KEYS_MAX
from noclone.kms.reservations import Refusal
from noclone.kms.store import Store
from noclone.kms.void_pools import void_at

ATTEMPTS_MAX = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """What one request of a master wants of the pool with a peer.

    Args:
        request: Names the request; what is promised to it and not delivered is voided by that name.
        profiles: Of the blocks that keys may be cut from, the first one's first; None: any.
        left_s: No block has less than this of its life left.
        introducing: It is for a conversation in which the two have yet to show that they share QKD key.
    """

    peer: str
    master: str
    slaves: tuple[str, ...]
    number: int
    size_bits: int
    request: str
    profiles: Sequence[str] | None
    left_s: float
    introducing: bool = False


class Promiser:
    """Has one other KME hold promises.

    Args:
        settle_soon: Begins to void what was promised to a request and will not be used.
    """

    def __init__(
        self, store: Store, peer: PeerCalls, events: EventLog, settle_soon: Callable[[str, str], None]
    ) -> None:
        self._store = store
        self._peer = peer
        self._events = events
        self._settle_soon = settle_soon
        self._together: Batcher[Assignment, Mapping[str, Refusal]] = Batcher(
            peer.reserve, BATCH_KEYS_MAX, lambda promise: promise.number
        )

    async def promise(self, wish: Wish) -> list[Reservation]:
        """Claim keys and have the peer hold them; replace those that it refuses.

        Raises:
            KeysExhausted: There are not enough.
            Refused: 503, the peer cannot be asked, or its store is another one.
        """
        peer = wish.peer
        agreed: list[Reservation] = []
        differs = False
        for _ in range(ATTEMPTS_MAX):
            if not (self._peer.connected if wish.introducing else self._peer.ready):
                raise Refused(503, "the other KME cannot be reached", "peer-unreachable", detail=peer)
            try:
                claimed = await self._store.claim(
                    peer,
                    master=wish.master,
                    slaves=wish.slaves,
                    number=wish.number - sum(run.assignment.number for run in agreed),
                    size_bits=wish.size_bits,
                    request=wish.request,
                    profiles=wish.profiles,
                    left_s=wish.left_s,
                )
            except KeysExhausted:
                if agreed:  # the peer holds these for nobody
                    self._settle_soon(peer, wish.request)
                if differs:
                    raise void_at(peer, self._store.name) from None
                raise
            try:
                refused = await self._together.call([reservation.assignment for reservation in claimed])
            except (KmeError, OSError) as error:
                raise Refused(503, "the other KME went away", "peer-unreachable", detail=str(error)) from None
            agreed += [run for run in claimed if run.assignment.key_id not in refused]
            lost = [(r.assignment, refused[r.assignment.key_id]) for r in claimed if r.assignment.key_id in refused]
            if not lost:
                return agreed
            differs |= any(refusal.reason != "malformed" for _, refusal in lost)
            self._events.add(
                "key.refused",
                f"kme:{peer}",
                reasons=sorted({refusal.reason for _, refusal in lost}),
                keys=[promise.key_id for promise, _ in lost],
            )
            await self._store.give_up([promise.key_id for promise, _ in lost], lost)
        raise Refused(503, "the two KMEs do not hold the same keys", "stores-differ", detail=peer)
