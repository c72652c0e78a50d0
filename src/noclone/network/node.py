"""One node of a network: its KME, with both doors open, and its ends of links, making key.

In: the scenario, the node's certificates and secrets, a folder for its data.  Out: a node to start and stop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from noclone import __version__
from noclone.clock import Clock, SystemClock
from noclone.distill.authentication import AuthenticationPool, Role
from noclone.errors import InputError, PkiError, StoreError
from noclone.events import EventLog
from noclone.io import tls
from noclone.kms.kekfile import KekFile
from noclone.kms.service import KmeService
from noclone.kms.store import Store, StoreSettings
from noclone.network.alice_end import AliceEnd
from noclone.network.blocks import plan_link
from noclone.network.bob_end import BobEnd
from noclone.network.bootstrap import Bootstrap, SignedLink
from noclone.network.border_ends import BorderEnds
from noclone.network.ends import Addresses, Deposit, EndServices, Vet, WantsKey, block_room
from noclone.network.identities import KmeIdentity, load_kme
from noclone.network.identity_watch import IdentityWatch
from noclone.network.link_sections import LinkSection
from noclone.network.metrics import Metrics
from noclone.network.relaying import Meter, Relaying, policies_of, relay_settings
from noclone.network.revocation_news import OPERATION as REVOCATIONS
from noclone.network.revocation_news import RevocationNews
from noclone.network.roots import pin
from noclone.network.scenario import Scenario
from noclone.network.suites_file import follow, suites_path
from noclone.network.vendor_ends import VendorEnds, vendor_links_of
from noclone.network.vendor_sections import VendorLinkSection
from noclone.records import Origin, SecretKey
from noclone.trust.provenance import PRE_SHARED_KEY


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a served network runs.

    Args:
        seed: Makes light and settings repeatable. Its keys are no secret, so it takes this explicit word to use one.
        speed: How much faster than the real links; infinity: as fast as this machine can.
        patience_s: How long another KME may take to answer, where one process does the work of many; None: as usual.
    """

    seed: bytes | None = None
    speed: float = 1.0
    patience_s: float | None = None

    def __post_init__(self) -> None:
        if not self.speed > 0:
            raise InputError(f"the speed must be above 0, not {self.speed}")

    @property
    def origin(self) -> Origin:
        """What the keys of this network are made of."""
        return Origin("simulated", self.seed is not None, f"noclone {__version__}")


class Node:
    """One site of a scenario, serving.

    Args:
        pki: Folder that `noclone pki` made, or the node's part of it.
        data: Folder of the node's key store.
        metrics: Where its numbers go, if somebody watches them.
        room: How many blocks are made at a time, for nodes of one process to share.
        vet: Monitors that may refuse a finished block.
        channels: Where Bob's ends call, by link, if not where the scenario says: a lab's wire.
    """

    def __init__(
        self,
        scenario: Scenario,
        name: str,
        *,
        pki: Path,
        data: Path,
        log: EventLog,
        options: RunOptions,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        room: asyncio.Semaphore | None = None,
        vet: Vet | None = None,
        channels: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        self.name = name
        self._vet = vet
        self._channels = dict(channels or {})
        self.ends: dict[str, AliceEnd | BobEnd] = {}
        self._held: frozenset[str] = frozenset()
        self._avoided: frozenset[str] = frozenset()
        self._scenario = scenario
        self._log = log
        self._data = data
        self._identity = self._checked(load_kme(pki, name))
        self._options = options
        self._clock = clock or SystemClock()
        self._metrics = metrics
        self._room = room or block_room()
        self._state = "it has not started yet"
        self._store = self._open_store(data)
        self._service = self._make_service()
        self._meters = {peer: Meter(self._clock) for peer in self._neighbours()}
        self._borders = BorderEnds(scenario, name, self._service, pki)
        self._vendors = VendorEnds(
            scenario,
            name,
            self._service.kme,
            self._identity.certificate.parent,
            {peer: meter.add for peer, meter in self._meters.items()},
        )
        self._relaying = Relaying(scenario, name, self._service, self._meters)
        signed = {
            link.name: SignedLink(_peer(link, name), link.alice == name)
            for link in self._links()
            if link.bootstrap == "signatures"
        }
        self._bootstrap = Bootstrap(self._service, self._identity, signed, log, self._relaying.combined.goals)
        self._watch = IdentityWatch(self._identity, lambda: self._checked(load_kme(pki, name)), self._renew, log)
        peers = self._service.kme.peers
        self._revocations = RevocationNews(self._identity.certificate.parent, name, peers.values, log)
        self._service.kme.handlers[REVOCATIONS] = self._revocations.on_ask
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def relaying(self) -> Relaying:
        """What it does for keys between any two nodes."""
        return self._relaying

    @property
    def service(self) -> KmeService:
        """The node's KME."""
        return self._service

    async def start(self) -> None:
        """Open the doors, call the neighbours, begin to make key."""
        await self.open()
        self.call_neighbours()
        for link in self._links():
            self.begin_link(link.name)
        self.begin()

    async def open(self) -> None:
        """Open the doors."""
        scenario, name = self._scenario, self.name
        host, etsi014_port = scenario.etsi014_address(name)
        _, kme_port = scenario.kme_address(name)
        await self._service.start(host=host, etsi014_port=etsi014_port, kme_port=kme_port)
        self._log.add("node.started", f"node:{name}", etsi014=self._service.url)
        for link in self._links():
            if self._identity.has_link_secret(link.name) or link.bootstrap == PRE_SHARED_KEY:
                self.ends[link.name] = self._end(link, _peer(link, name))
        await self._borders.start()

    def call_neighbours(self) -> None:
        """Call the KMEs next to this one, now and whenever the connection is lost."""
        for peer in self._neighbours():
            self._service.connect(peer, self._scenario.kme_address(peer))

    def begin_link(self, link: str) -> None:
        """Begin to make key at one of our ends, once the doors at the other end are open as well."""
        end = self.ends.get(link)
        run = self._run_once_bootstrapped(self._scenario.link(link)) if end is None else end.run()
        self._tasks.append(asyncio.create_task(run))

    def begin(self) -> None:
        """Begin what is no link's: relays, vendors, what changes meanwhile, numbers for who watches."""
        self._relaying.start()
        self._tasks += self._vendors.start()
        suites = self._service.kme.policies.suites
        self._tasks += [
            asyncio.create_task(self._watch.run()),
            asyncio.create_task(self._revocations.run()),
            asyncio.create_task(follow(suites_path(self._data, self.name), suites, self.name, self._log)),
        ]
        if self._metrics is not None:
            self._metrics.watch(self.name, self._service)
        self._state = ""

    def hold(self, links: frozenset[str], *, drained: bool = False, avoided: frozenset[str] = frozenset()) -> None:
        """Make no blocks of some links, after those under way.

        Args:
            drained: Also carry nothing for others.
            avoided: Links that no relay shall use.
        """
        self._held, self._avoided = links, avoided
        for name, end in self.ends.items():
            end.paused = name in links
        self._vendors.hold(links)
        sections: list[LinkSection | VendorLinkSection] = [*self._scenario.links, *self._scenario.vendor_links]
        peers = {_peer(one, self.name) for one in sections if one.name in avoided and self.name in (one.alice, one.bob)}
        self._relaying.hold(drained=drained, avoided=frozenset(peers))

    @property
    def held(self) -> frozenset[str]:
        """Links that make no blocks now."""
        return self._held

    @property
    def avoided(self) -> frozenset[str]:
        """Links that no relay shall use."""
        return self._avoided

    @property
    def making(self) -> set[str]:
        """Links of which a block is under way at this end: from its light at Alice's, once it has come at Bob's."""
        return {name for name, end in self.ends.items() if end.making} | self._vendors.making

    async def rotate_kek(self) -> int:
        """Seal the key store under a new key-encryption key, while it serves; return its generation.

        Raises:
            StoreError: It cannot be written. The old one, or the one beside it, opens the store.
        """
        file = KekFile(self._identity.kek)

        def rotate() -> int:
            value = file.prepare()
            generation = self._store.rotate_kek(value)
            file.settle(value)
            return generation

        return await asyncio.to_thread(rotate)

    async def note(self, what: str, **fields: Any) -> None:
        """Write a line into the audit log of the key store, durably."""
        await asyncio.to_thread(self._store.note, what, **fields)

    async def problem(self) -> str:
        """Say what keeps this node from serving keys; nothing if all is well."""
        if self._state:
            return self._state
        failed = next((task for task in self._tasks if task.done() and not task.cancelled()), None)
        if failed is not None:
            return f"an end of a link failed: {failed.exception()}"
        try:
            await self._store.alive()
        except StoreError as error:
            return error.message
        return ""

    async def wait(self) -> None:
        """Wait until an end of a link fails for good; ends do not fail for what can pass."""
        await asyncio.gather(asyncio.Event().wait(), *self._tasks)  # a node may have no end that makes key by itself

    async def drain(self) -> None:
        """Take no more requests of applications, and finish those under way."""
        self._state = "it is stopping"
        await self._service.drain()

    async def stop(self) -> None:
        """Stop making key, finish what is under way, close the store."""
        self._state = "it is stopping"
        if self._metrics is not None:
            self._metrics.forget(self.name)
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await self._borders.stop()
        await self._vendors.stop()
        await self._relaying.stop()
        try:
            await self._service.stop()
        finally:
            self._store.close()
        self._log.add("node.stopped", f"node:{self.name}")

    def _renew(self, identity: KmeIdentity) -> None:
        """Go on with other certificates and revocation lists."""
        self._service.renew(identity.files())
        self._revocations.reload()

    def _checked(self, identity: KmeIdentity) -> KmeIdentity:
        """Pin the root of trust at first contact; refuse any other from then on."""
        path = self._data / f"{self.name}.root"
        if identity.pq is not None:
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
            if pin(path, identity.pq.root):
                self._log.add("root.pinned", f"node:{self.name}", fingerprint=identity.pq.root)
        elif path.exists():
            raise PkiError(
                f"the post-quantum certificates of {self.name}, whose root is pinned, are gone",
                hint="carry its folder anew; `noclone pki` adds what is missing",
            )
        return identity

    def _links(self) -> list[LinkSection]:
        return [link for link in self._scenario.links if self.name in (link.alice, link.bob)]

    def _neighbours(self) -> list[str]:
        vendors = vendor_links_of(self._scenario, self.name)
        return [*(_peer(link, self.name) for link in self._links()), *(_peer(link, self.name) for link in vendors)]

    def _open_store(self, data: Path) -> Store:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = self._scenario.keys
        return Store.open(
            data / f"{self.name}.db",
            name=self.name,
            kek=KekFile(self._identity.kek),
            settings=StoreSettings(unit_bits=keys.key_size_bits, lifetime_s=3600 * keys.lifetime_hours),
            clock=self._clock,
        )

    def _make_service(self) -> KmeService:
        identity = self._identity
        others = [node.name for node in self._scenario.nodes if node.name != self.name]
        return KmeService(
            self._store,
            {sae.id: sae.node for sae in self._scenario.saes},
            identity.files(),
            peers=tuple(others),
            addresses={name: self._scenario.kme_address(name) for name in others},
            relay=relay_settings(self._scenario),
            policies=policies_of(self._scenario),
            events=self._log,
            timer=self._metrics.timer(self.name) if self._metrics else None,
            doors=self._scenario.pqc.doors(),
            signatures=self._scenario.pqc.signatures,
            patience_s=self._options.patience_s,
            qkd_tls=self._scenario.pqc.kme_tls_qkd,
            sharing=[_peer(link, self.name) for link in self._links()],
        )

    async def _run_once_bootstrapped(self, link: LinkSection) -> None:
        await self._bootstrap.ready(link.name)
        end = self.ends[link.name] = self._end(link, _peer(link, self.name))
        await end.run()

    def _end(self, link: LinkSection, peer: str) -> AliceEnd | BobEnd:
        role: Role = "alice" if link.alice == self.name else "bob"
        channel = self._scenario.channel_address(link.name)
        if role == "bob":
            channel = self._channels.get(link.name, channel)
        addresses = Addresses(self._scenario.light_address(link.name), channel)
        services = EndServices(
            context=light_context(self._identity),
            pool=self._pool(role, link.name),
            deposit=self._depositor(peer),
            wants_key=self._asker(peer),
            log=self._log,
            clock=self._clock,
            origin=self._options.origin,
            seed=self._options.seed,
            vet=self._vet,
            bootstrap=self._bootstrap.label(link.name),
            room=self._room,
        )
        end = (AliceEnd if role == "alice" else BobEnd)(plan_link(link), addresses, services)
        end.paused = link.name in self._held
        return end

    def _pool(self, role: Role, link: str) -> AuthenticationPool:
        """Return this end's authentication pool, as it was left."""
        ledger = self._store.ledger(link, partial(self._identity.wipe_link_secret, link))
        state = ledger.load(self._identity.link_secret(link))
        return AuthenticationPool(
            role,
            state.segments,
            ledger=ledger,
            last_block=state.last_block,
            cumulative_epsilon=state.cumulative_epsilon,
        )

    def _depositor(self, peer: str) -> Deposit:
        async def deposit(secret: SecretKey) -> None:
            await self._service.kme.deposit(secret, peer)
            self._meters[peer].add(secret.n_bits)

        return deposit

    def _asker(self, peer: str) -> WantsKey:
        return lambda coming_bits: asyncio.to_thread(self._store.wants_key, peer, coming_bits=coming_bits)


def light_context(identity: KmeIdentity) -> SSL.Context:
    """Return TLS settings with which a node calls the light of its links."""
    return tls.client_context(identity.certificate, identity.key, identity.kme_ca)


def _peer(link: LinkSection | VendorLinkSection, name: str) -> str:
    return link.bob if link.alice == name else link.alice
