"""The first authentication of a QKD link by signatures, where nobody carried a secret to its two ends.

In: two KMEs that can sign.  Out: an initial secret at both ends, and a record of how it came about, which every block
of the link names from then on. The secret is key that the two KMEs made by KEMs and signed for (`kms.exchange`).
What that means: signatures and KEMs must hold only until the link's first blocks are authenticated; from then on its
own key authenticates the next, and a later break harms nothing (Mosca, Stebila, Ustaoglu, PQCrypto 2013). So the
secret is short. Message: link-bootstrap {link, key_id, number}, Alice to Bob, who has the secret before she has.
An end that has a secret takes no other: bootstrapping a link again needs its operators, who remove the old secret at
both ends, and is counted and said.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noclone.combined import CombinedProvenance, combined_profile
from noclone.errors import KmeError, NocloneError
from noclone.events import EventLog
from noclone.kms.keys import Refused, StoredKey
from noclone.kms.relay_messages import internal
from noclone.kms.relay_store import discard_block
from noclone.kms.service import KmeService
from noclone.network.combining import WITHOUT_QKD, CombinedGoal
from noclone.network.identities import KmeIdentity
from noclone.network.private_files import Writer
from noclone.trust.provenance import PRE_SHARED_KEY, signed_bootstrap

OPERATION = "link-bootstrap"
SECRET_BYTES = 16 * 64 + 64  # sixteen pairs of tag keys, and the pair that names the secret
EXCHANGE_BYTES = 4096
RETRY_S = 1.0
NUMBER_MAX = 1 << 31


@dataclass(frozen=True, slots=True)
class SignedLink:
    """A link whose first authentication is by signatures, as one of its ends sees it."""

    peer: str
    is_alice: bool


class Bootstrap:
    """What one node does for the first authentication of its links.

    Args:
        service: Its KME.
        identity: Where its secrets lie.
        links: Those to be authenticated by signatures, by name.
        goals: Pools of combined key that the node keeps anyhow.
        log: Where to say what happened.
    """

    def __init__(
        self,
        service: KmeService,
        identity: KmeIdentity,
        links: Mapping[str, SignedLink],
        log: EventLog,
        goals: Sequence[CombinedGoal] = (),
    ) -> None:
        self._goals = tuple(goals)
        self._service = service
        self._identity = identity
        self._links = dict(links)
        self._log = log
        self._arrived = {name: asyncio.Event() for name in links}
        self._answers: dict[str, tuple[str, int]] = {}
        service.kme.handlers[OPERATION] = self._on_bootstrap

    async def ready(self, link: str) -> str:
        """Return how a link was bootstrapped, once it is: at once, if its secret is there."""
        about = self._links.get(link)
        if about is not None and not self._identity.has_link_secret(link):
            if about.is_alice:
                await self._begin(link, about.peer)
            else:
                await self._arrived[link].wait()
        return self.label(link)

    def label(self, link: str) -> str:
        """Return what every block of a link says of its bootstrap."""
        path = self._identity.links / f"{link}.bootstrap.json"
        if not path.exists():
            return PRE_SHARED_KEY
        record = json.loads(path.read_text(encoding="ascii"))
        return signed_bootstrap(record["signatures"], record["kems"], record["kdf"], record["number"])

    async def _begin(self, link: str, peer: str) -> None:
        """Agree on a secret with the other end, for as long as it takes."""
        complained = ""
        while True:
            try:
                await self._agree(link, peer)
                return
            except NocloneError as error:
                if error.message != complained:
                    complained = error.message
                    self._log.add("link.down", f"link:{link}", end="alice", message=f"no bootstrap yet: {complained}")
            await asyncio.sleep(RETRY_S)

    async def _agree(self, link: str, peer: str) -> None:
        kme, exchange = self._service.kme, self._service.exchange
        calls = await self._service.reach(peer)
        if calls is None:
            raise KmeError(f"the KME {peer} cannot be reached")
        profile = combined_profile("kem", exchange.suites.preferred, "")
        key: StoredKey | None = None
        with contextlib.suppress(Refused):
            key = await kme.pad(peer, SECRET_BYTES, (profile,))
        if key is None:
            await exchange.exchange(peer, "kem", EXCHANGE_BYTES)
            key = await kme.pad(peer, SECRET_BYTES, (profile,))
        answer = await calls.ask(OPERATION, link=link, key_id=key.key_id, number=self._number(link))
        number = answer.get("number")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < NUMBER_MAX:
            raise KmeError(f"the KME {peer} answered a bootstrap with something else")
        self._keep(link, key, number)

    async def _on_bootstrap(self, peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Take the secret that Alice's KME names; the same words again have the same answer.

        Raises:
            NocloneError, ValueError: It is refused.
        """
        match data:
            case {"link": str(link), "key_id": str(key_id), "number": int(number)} if 0 <= number < NUMBER_MAX:
                about = self._links.get(link)
                if about is None or about.peer != peer or about.is_alice:
                    raise KmeError("this link is not to be bootstrapped by you")
                if self._answers.get(link, ("", 0))[0] == key_id:
                    return {"number": self._answers[link][1]}
                if self._identity.has_link_secret(link):
                    raise KmeError(
                        f"this end of {link} has a secret: to bootstrap it again, its operator removes "
                        f"links/{link}.secret first"
                    )
                store = self._service.kme.store
                (key,) = await store.collect(internal(store.name), internal(peer), [key_id])
                agreed = max(number, self._number(link)) + 1
                self._keep(link, key, agreed)
                self._answers[link] = key_id, agreed
                return {"number": agreed}
        raise ValueError("a bootstrap is told by link, key_id and number")

    def _number(self, link: str) -> int:
        """Return how often this end was bootstrapped by signatures."""
        path = self._identity.links / f"{link}.bootstrap.json"
        return int(json.loads(path.read_text(encoding="ascii"))["number"]) if path.exists() else 0

    def _keep(self, link: str, key: StoredKey, number: int) -> None:
        """Write the record, then the secret, durably; say so."""
        blocks = key.provenance
        if len(key.value) != SECRET_BYTES or not all(isinstance(block, CombinedProvenance) for block in blocks):
            raise KmeError("the secret of a bootstrap is key that was agreed on by KEMs and signed for")
        combined = [block for block in blocks if isinstance(block, CombinedProvenance)]
        record = {
            "number": number,
            "signatures": list(combined[0].signatures),
            "kems": sorted({name for block in combined for name in block.kems}),
            "kdf": combined[0].kdf,
            "time_s": self._service.kme.store.clock.now_s(),
        }
        writer = Writer(self._identity.links, overwrite=True)
        writer.write(f"{link}.bootstrap.json", json.dumps(record).encode())
        writer.write(f"{link}.secret", key.value)
        for block in combined:  # its other half would be key for applications, which did not ask for such
            if not any(goal.profile == WITHOUT_QKD for goal in self._goals if goal.peer == self._links[link].peer):
                discard_block(self._service.kme.store, block.link, block.block)
        self._log.add("link.bootstrapped", f"link:{link}", at=self._identity.name, **record)
        self._arrived[link].set()
