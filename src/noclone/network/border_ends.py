"""A node's part in sharing keys with applications in other operators' domains, and its door there if it has one.

In: a scenario, a node's KME.  Out: keys in and out, as long as it runs.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from noclone.io import tls
from noclone.io.https import HttpsServer
from noclone.kms.border import Border
from noclone.kms.border_in import Incoming
from noclone.kms.border_out import Domain, Outgoing
from noclone.kms.etsi020 import BorderDoor, application
from noclone.kms.relay_calls import Calls, RelaySettings
from noclone.kms.service import KmeService
from noclone.network.border_sections import BorderSection
from noclone.network.identities import BorderIdentity, load_border
from noclone.network.scenario import Scenario

CONNECTIONS_MAX = 64


class BorderEnds:
    """The borders of a domain, as one node sees them. Make it before the node's doors open.

    Args:
        pki: Folder of certificates: whole, or the node's part.

    Raises:
        NocloneError: A certificate, a key or an authority is missing, or cannot be used.
    """

    def __init__(self, scenario: Scenario, name: str, service: KmeService, pki: Path) -> None:
        kme = service.kme
        calls = Calls(kme, service.notary, service.reach, RelaySettings(timeout_s=scenario.relay.timeout_s))
        domains: dict[str, Domain] = {}
        self._gates: dict[str, tuple[Outgoing, Incoming]] = {}
        self._doors: dict[str, tuple[BorderSection, BorderIdentity, Path]] = {}
        self._servers: list[HttpsServer] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._service = service
        self._host = scenario.node(name).host
        for section in scenario.borders:
            domain = domains[section.domain] = section.described(scenario.node(section.node).host)
            if section.node != name:
                continue
            identity = load_border(pki, name)
            theirs = identity.certificate.parent / section.peer_ca
            door = BorderDoor(domain, tls.client_context(identity.certificate, identity.key, theirs))
            limits = kme.settings.max_keys_per_request, kme.settings.max_key_size_bits
            self._gates[domain.name] = Outgoing(calls, domain, door, *limits), Incoming(calls, domain, door)
            self._doors[domain.name] = section, identity, theirs
        self._domains = domains
        self._border = Border(calls, domains, self._gates) if domains else None

    async def start(self) -> None:
        """Void what was left in doubt, open the doors, begin to carry.

        Raises:
            NocloneError: A port is taken.
        """
        events, name = self._service.kme.events, self._service.kme.name
        for domain, (outgoing, incoming) in self._gates.items():
            await outgoing.recover()
            section, identity, theirs = self._doors[domain]
            server = await HttpsServer.start(
                application(self._domains[domain], outgoing, incoming, events, name),
                tls.server_context(identity.certificate, identity.key, theirs),
                host=self._host,
                port=section.port,
                connections_max=CONNECTIONS_MAX,
                on_refused=self._refused,
            )
            self._servers.append(server)
            self._tasks += [asyncio.create_task(outgoing.run()), asyncio.create_task(incoming.run())]
            events.add("border.opened", f"border:{domain}", at=name, etsi020=server.url)

    async def stop(self) -> None:
        """Close the doors, and give up what is under way: it is voided at the next start."""
        for server in self._servers:
            await server.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for outgoing, _ in self._gates.values():
            await outgoing.close()

    def _refused(self, reason: str, address: str) -> None:
        kme = self._service.kme
        kme.events.add("tls.refused", f"kme:{kme.name}", plane="border", reason=reason, address=address)
