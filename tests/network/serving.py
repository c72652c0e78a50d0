"""A network served in this process until both ends of its link hold a block."""

from __future__ import annotations

import asyncio
from pathlib import Path

from noclone.events import Event, EventLog
from noclone.link.lights import LinkLight
from noclone.link.tap import Eavesdropper
from noclone.network.node import RunOptions
from noclone.network.scenario import Scenario
from noclone.network.served import ServedNetwork
from noclone.network.setup import create_pki_for


def nobody(_name: str, _strength: float, _light: LinkLight) -> Eavesdropper:
    """Resolve no attack."""
    raise AssertionError("nobody attacks here")


def first_blocks(network: Scenario, folder: Path, *, speed: float) -> list[Event]:
    """Return the events of the first blocks that gave key: two at least, one of either end."""
    log = EventLog()
    create_pki_for(network, folder / "pki")

    async def serve() -> None:
        options = RunOptions(speed=speed)
        served = ServedNetwork(
            network, pki=folder / "pki", data=folder / "data", log=log, options=options, resolve=nobody
        )
        async with served, asyncio.timeout(120):
            while sum(event.kind == "block.distilled" for event in log) < 2:
                await asyncio.sleep(0.05)

    asyncio.run(serve())
    return [event for event in log if event.kind == "block.distilled"]
