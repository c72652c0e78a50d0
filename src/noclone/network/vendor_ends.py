"""A node's ends of links whose key comes from vendors' QKD systems.

In: a scenario, a node's KME and its folder of certificates.  Out: blocks in its store, as long as it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from noclone.async_client import AsyncEtsi014Client
from noclone.kms.kme import Kme
from noclone.kms.vendor_draws import AliceDraws
from noclone.kms.vendor_fetches import BobDraws, VendorHandlers
from noclone.network.scenario import Scenario
from noclone.network.vendor_sections import VendorLinkSection


class VendorEnds:
    """The ends of vendors' links that are at one node. Make it before the node's doors open.

    Args:
        folder: Where relative paths of certificates begin.
        meters: For each neighbour, what hears how many bits came.

    Raises:
        InputError: A certificate, a key or an authority is missing, or cannot be used.
    """

    def __init__(
        self, scenario: Scenario, name: str, kme: Kme, folder: Path, meters: Mapping[str, Callable[[int], None]]
    ) -> None:
        self._handlers = VendorHandlers(kme)
        self._alices: list[AliceDraws] = []
        self._bobs: list[BobDraws] = []
        self._clients: list[AsyncEtsi014Client] = []
        for section in vendor_links_of(scenario, name):
            link = section.link()
            client = (section.at_alice if link.alice == name else section.at_bob).client(folder)
            self._clients.append(client)
            if link.alice == name:
                self._alices.append(AliceDraws(kme, link, client, meters[link.bob]))
            else:
                bob = BobDraws(kme, link, client, meters[link.alice])
                self._bobs.append(bob)
                self._handlers.add(bob)

    def start(self) -> list[asyncio.Task[None]]:
        """Begin to draw; return what runs until it is cancelled."""
        return [asyncio.create_task(alice.run()) for alice in self._alices]

    def hold(self, links: frozenset[str]) -> None:
        """Draw nothing for some links, after the block under way."""
        for alice in self._alices:
            alice.paused = alice.link.name in links

    @property
    def making(self) -> set[str]:
        """Links for which a block is being drawn."""
        return {alice.link.name for alice in self._alices if alice.drawing}

    async def stop(self) -> None:
        """Drop what is under way."""
        for bob in self._bobs:
            await bob.close()
        for client in self._clients:
            await client.close()


def vendor_links_of(scenario: Scenario, name: str) -> list[VendorLinkSection]:
    """Return the vendors' links that end at a node."""
    return [link for link in scenario.vendor_links if name in (link.alice, link.bob)]
