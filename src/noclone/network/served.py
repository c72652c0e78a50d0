"""A whole scenario in one process: the light of each link, every node, the operator's door. `noclone serve`.

The same parts as on many hosts, over the same sockets; only the events are shared.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from noclone.errors import NocloneError
from noclone.events import EventLog
from noclone.io import tls
from noclone.kms.hello import CALL_TIMEOUT_S
from noclone.kms.key_records import find_among
from noclone.network.blocks import AttackResolver, plan_link
from noclone.network.control import Control, open_control
from noclone.network.ends import block_room
from noclone.network.identities import LightIdentity, load_light, load_operator_token
from noclone.network.light_server import LightServer
from noclone.network.live_attacks import Ground, LiveAttack, LiveAttacks
from noclone.network.metrics import Metrics
from noclone.network.node import Node, RunOptions
from noclone.network.plain_http import PlainServer
from noclone.network.scenario import Scenario
from noclone.network.steering import Steering
from noclone.network.watching import Watching
from noclone.network.wire import Wire

FILES, FILES_PER_NODE, FILES_PER_LINK = 256, 10, 12  # measured with 200 nodes and 374 links: 5,300
LINKS_AT_ONCE = 32
BEGIN_PAUSE_S = 0.05
LINKS_PER_SECOND = 20  # one process with more links than it does in five seconds is given longer to answer itself


def allow_files(nodes: int, links: int) -> None:
    """Let this process open as many files as a network takes: stores, doors, and both ends of every conversation.

    Raises:
        NocloneError: The system does not let it.
    """
    needed = FILES + FILES_PER_NODE * nodes + FILES_PER_LINK * links
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise NocloneError(
            f"{nodes} nodes and {links} links in one process take {needed} open files, and this system allows {hard}",
            hint="raise the limit (ulimit -Hn), or run nodes on several hosts with `noclone node`",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def light_server_context(identity: LightIdentity) -> SSL.Context:
    """Return TLS settings with which the light lets its two ends in."""
    return tls.server_context(identity.certificate, identity.key, identity.kme_ca)


async def start_light(
    scenario: Scenario, link: str, pki: Path, log: EventLog, options: RunOptions, resolve: AttackResolver
) -> LightServer:
    """Serve the light of one link."""
    light = LightServer(
        plan_link(scenario.link(link)),
        log,
        seed=options.seed,
        speed=options.speed,
        resolve=resolve if scenario.lab else None,
    )
    host, port = scenario.light_address(link)
    await light.start(light_server_context(load_light(pki, link)), host, port)
    log.add("fibre.started", f"link:{link}")
    return light


class ServedNetwork:
    """Everything that a scenario describes, running.

    Args:
        pki: Folder that `noclone pki` made.
        data: Folder of the key stores.
        resolve: Turns attacks into eavesdroppers; used only where the scenario is a lab.
        live: Attacks on nodes and applications, by name; used only there too.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        pki: Path,
        data: Path,
        log: EventLog,
        options: RunOptions,
        resolve: AttackResolver,
        metrics: Metrics | None = None,
        live: Mapping[str, LiveAttack] | None = None,
    ) -> None:
        self._metrics = metrics
        self.scenario = scenario
        self.log = log
        self.lights: dict[str, LightServer] = {}
        self.nodes: dict[str, Node] = {}
        self._pki = pki
        self._data = data
        if options.patience_s is None and len(scenario.links) > LINKS_AT_ONCE:
            options = replace(options, patience_s=max(CALL_TIMEOUT_S, len(scenario.links) / LINKS_PER_SECOND))
        self._options = options
        self._resolve = resolve
        self._live = LiveAttacks(live or {}, Ground(scenario, pki, self.nodes, log))
        self.control: Control | None = None
        self.watching: Watching | None = None
        self._door: PlainServer | None = None
        self._room = block_room()
        self._wires: dict[str, Wire] = {}
        self.steering = Steering(scenario, self.nodes, log, pki)

    async def __aenter__(self) -> ServedNetwork:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start(self) -> None:
        scenario = self.scenario
        allow_files(len(scenario.nodes), len(scenario.links))
        for link in scenario.links:
            self.lights[link.name] = await start_light(
                scenario, link.name, self._pki, self.log, self._options, self._resolve
            )
        plans = [light.plan for light in self.lights.values()]
        self.watching = Watching(self.log, plans, scenario.responses, self.steering.hold)
        channels = await self._lay_wires() if scenario.lab else {}
        for section in scenario.nodes:
            node = Node(
                scenario,
                section.name,
                pki=self._pki,
                data=self._data,
                log=self.log,
                options=self._options,
                metrics=self._metrics,
                vet=self.watching.vet,
                channels=channels,
                room=self._room,
            )
            self.nodes[section.name] = node
            await node.open()
        await self._begin()
        self.control = Control(scenario.name, scenario.lab, self.lights, self.log, self._find_key, self._wires)
        self.control.live = self._live
        self.control.steering = self.steering
        self._door = await open_control(self.control, load_operator_token(self._pki), *scenario.control_address())

    async def _begin(self) -> None:
        """Begin to make key, now that all doors are open: of many links one after another, or none gets through."""
        pause_s = BEGIN_PAUSE_S if len(self.scenario.links) > LINKS_AT_ONCE else 0.0
        for node in self.nodes.values():
            node.call_neighbours()
            await asyncio.sleep(pause_s)
        for link in self.scenario.links:
            for name in (link.alice, link.bob):
                self.nodes[name].begin_link(link.name)
            await asyncio.sleep(pause_s)
        for node in self.nodes.values():
            node.begin()
            await asyncio.sleep(pause_s)

    async def _lay_wires(self) -> dict[str, tuple[str, int]]:
        """Let the public channels of a lab pass through Eve's hands; return where Bob's ends call."""
        for link, light in self.lights.items():
            self._wires[link] = Wire(self.scenario.channel_address(link), light.carriage)
        return {link: await wire.start() for link, wire in self._wires.items()}

    async def _find_key(self, key_id: str) -> dict[str, Any] | None:
        services = {name: node.service for name, node in self.nodes.items()}
        stores = {name: (service.kme.store, service.notary) for name, service in services.items()}
        return await find_among(stores, key_id)

    @property
    def speed(self) -> float:
        """How much faster than the real links it runs."""
        return self._options.speed

    async def wait(self) -> None:
        """Wait for ever, or until a part fails for good."""
        await asyncio.gather(*(node.wait() for node in self.nodes.values()))

    async def stop(self) -> None:
        """Stop everything, in order: nobody's KME goes while another still answers an application."""
        self.steering.close()
        if self._door is not None:
            await self._door.stop()
        await self._live.close()
        await _all(node.drain() for node in self.nodes.values())
        await _all(node.stop() for node in self.nodes.values())
        await _all(wire.stop() for wire in self._wires.values())
        await _all(light.stop() for light in self.lights.values())


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Wait for all of it, side by side; then raise what one of them raised."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
