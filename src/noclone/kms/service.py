"""A KME that runs: its store, its two doors (one for applications, one for other KMEs), its calls to its peers.

In: names, addresses and files.  Out: a service to start and stop. The doors listen on this machine alone unless told
otherwise, and have an authority each: an application's certificate is worth nothing at the KMEs' door.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence

from noclone.errors import NocloneError, PkiError
from noclone.events import EventLog
from noclone.io.https import HttpsServer
from noclone.kms import files as kme_files
from noclone.kms.etsi014 import Timer, application
from noclone.kms.exchange import Exchange
from noclone.kms.files import Doors
from noclone.kms.files import KmeFiles as KmeFiles
from noclone.kms.kme import Kme
from noclone.kms.limits import KmeSettings
from noclone.kms.peer import PeerServer
from noclone.kms.peer_link import PeerLink
from noclone.kms.policies import Policies
from noclone.kms.qkd_tls import QkdTls
from noclone.kms.relay import Relay
from noclone.kms.relay_calls import Calls, RelaySettings
from noclone.kms.store import Store

SWEEP_INTERVAL_S = 30.0
REACH_TIMEOUT_S = 3.0


class KmeService:
    """One KME, serving.

    Args:
        store: Its keys; the service does not close it.
        saes: All applications of the network, each with its KME.
        files: Certificates and authorities.
        peers: The KMEs that may call it: all of the network, for keys are relayed between any two.
        addresses: Where those listen that it calls when there is need; `connect` is for those that it always calls.
        relay: How it relays; None: it does not.
        settings: Limits of what can be asked for.
        policies: What pairs of applications demand of their keys.
        events: Where to say what happened.
        timer: Hears how long each request of an application took.
        doors: Which doors are for post-quantum callers only.
        signatures: What exchanges are signed with; None: with every certificate that there is.
        patience_s: How long another KME may take to answer; None: as usual.
        qkd_tls: What QKD key is taken for in conversations with other KMEs.
        sharing: Those that we share QKD key of a link with; with all others, certificates have to do.
    """

    def __init__(
        self,
        store: Store,
        saes: Mapping[str, str],
        files: KmeFiles,
        *,
        peers: tuple[str, ...] = (),
        addresses: Mapping[str, tuple[str, int]] | None = None,
        relay: RelaySettings | None = None,
        settings: KmeSettings | None = None,
        policies: Policies | None = None,
        events: EventLog | None = None,
        timer: Timer | None = None,
        doors: Doors | None = None,
        signatures: Sequence[str] | None = None,
        patience_s: float | None = None,
        qkd_tls: QkdTls = "none",
        sharing: Collection[str] = (),
    ) -> None:
        self._timer = timer
        self._doors = doors or Doors()
        self._patience_s = patience_s
        self.kme = Kme(store, saes, settings=settings, policies=policies, events=events)
        self._files = files
        self._addresses = dict(addresses or {})
        self._revoked = files.revoked()
        self._notaries = kme_files.notaries(store.name, files)
        self.notary = next(iter(self._notaries.values()))
        self.relay = Relay(self.kme, self.notary, self.reach, relay) if relay else None
        calls = Calls(self.kme, self.notary, self.reach, relay or RelaySettings())
        self.exchange = Exchange(calls, kme_files.signers(self._notaries, signatures), self.kme.policies.suites)
        self._door: HttpsServer | None = None
        self._qkd_tls, self._sharing = qkd_tls, frozenset(sharing)
        self._peer_server = PeerServer(self.kme, peers, qkd_tls, sharing)
        self._links: dict[str, PeerLink] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def start(
        self, *, host: str = "127.0.0.1", etsi014_port: int = 0, kme_port: int = 0, sae_connections_max: int = 256
    ) -> None:
        """Open both doors.

        Raises:
            NocloneError: A port is taken, or certificates cannot be used.
        """
        await self._peer_server.start(kme_files.kme_door(self._files, self._doors), host=host, port=kme_port)
        try:
            self._door = await HttpsServer.start(
                application(self.kme, self._timer),
                kme_files.sae_door(self._files, self._doors),
                host=host,
                port=etsi014_port,
                connections_max=sae_connections_max,
                on_refused=self._refused,
            )
        except BaseException:
            await self._peer_server.stop()
            raise
        self._sweeper = asyncio.create_task(self._sweep())

    def connect(self, peer: str, address: tuple[str, int]) -> None:
        """Call another KME at its KME door, now and whenever the connection is lost."""
        qkd: QkdTls = self._qkd_tls if peer in self._sharing else "none"
        context = kme_files.kme_calls(self._files, self._doors)
        link = PeerLink(self.kme, peer, address, context, qkd, self._patience_s)
        self._links[peer] = link
        self.kme.add_peer(link)
        link.start()

    def renew(self, files: KmeFiles) -> None:
        """Go on with other certificates and revocation lists: nobody who may stay notices, who was revoked is cut off.

        Raises:
            PkiError: They cannot be used. Everything stays as it was.
        """
        found = kme_files.notaries(self.kme.name, files)
        contexts = [make(files, self._doors) for make in (kme_files.kme_door, kme_files.sae_door, kme_files.kme_calls)]
        missing = set(self._notaries) - set(found)
        if missing:
            raise PkiError(f"the certificate for {min(missing)} is gone")
        if not self._revoked <= files.revoked():
            raise PkiError("the new revocation lists leave out who was revoked before")
        self._files, (kme_door, sae_door, calls) = files, contexts
        self._revoked = revoked = files.revoked()
        for algorithm, notary in self._notaries.items():
            notary.adopt(found[algorithm])
        cut = self._peer_server.renew(kme_door, revoked)
        cut += self._door.renew(sae_door, revoked) if self._door is not None else 0
        for link in self._links.values():
            link.renew(calls, revoked)
        self.kme.events.add("identity.renewed", f"kme:{self.kme.name}", revoked=len(revoked), cut_off=cut)

    async def reach(self, peer: str) -> PeerLink | None:
        """Return how to call another KME, and begin to call it if nobody did yet; None if it is out of reach."""
        if peer not in self._links:
            if peer not in self._addresses:
                return None
            self.connect(peer, self._addresses[peer])
        return self._links[peer] if await self.ready(peer, REACH_TIMEOUT_S) else None

    async def connected(self, peer: str, timeout_s: float = 10.0) -> bool:
        """Wait until a peer has greeted us; return whether it has."""
        return await self._until(lambda: self._links[peer].connected, timeout_s)

    async def ready(self, peer: str, timeout_s: float = 10.0) -> bool:
        """Wait until a peer can be called for everything; return whether it can."""
        return await self._until(lambda: self._links[peer].ready, timeout_s)

    @staticmethod
    async def _until(it_is: Callable[[], bool], timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not it_is():
                    await asyncio.sleep(0.01)
        return it_is()

    @property
    def url(self) -> str:
        """Where applications find it."""
        assert self._door is not None
        return self._door.url

    @property
    def kme_port(self) -> int:
        """Where other KMEs find it."""
        return self._peer_server.port

    async def drain(self) -> None:
        """Take no more requests of applications, and finish those under way: other KMEs are still served."""
        door, self._door = self._door, None
        if door is not None:
            await door.stop()

    async def stop(self) -> None:
        """Finish what is under way and close both doors."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await self.drain()
        await self.exchange.close()
        if self.relay is not None:
            await self.relay.close()
        await self.kme.close()
        for link in self._links.values():
            await link.stop()
        await self._peer_server.stop()

    def _refused(self, reason: str, address: str) -> None:
        self.kme.events.add("tls.refused", f"kme:{self.kme.name}", plane="sae", reason=reason, address=address)

    async def _sweep(self) -> None:
        """Erase now and then what has outlived its time, and settle what is in doubt."""
        while True:
            await asyncio.sleep(min(SWEEP_INTERVAL_S, self.kme.store.settings.lifetime_s / 4))
            with contextlib.suppress(NocloneError, OSError):
                swept = await self.kme.store.sweep()
                if swept.blocks or swept.keys:
                    self.kme.events.add("key.expired", f"kme:{self.kme.name}", blocks=swept.blocks, keys=swept.keys)
                await self.exchange.sweep()
                for peer in tuple(self.kme.peers):
                    await self.kme.resume(peer)
