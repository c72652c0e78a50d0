"""How much key a served link makes whose public channel has a round trip: two nodes and the light, a process each.

    python study/served_link.py [SECONDS [ROUND_TRIP_MS ...]]        (10 seconds; 0, 1 and 10 ms)

Two links: one of 10 km at 1 GHz, blocks of 2^20 sifted bits, and the first one of the shipped `metro`. Their light is
made as fast as this machine can. What one end says on the public channel reaches the other half a round trip later; who
delays it sits in a process of its own. Counted at Alice's end, once eight blocks have given key. Every process shares
what cores there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from noclone.events import Event, EventLog
from noclone.network.node import Node, RunOptions
from noclone.network.scenario import Scenario, load_scenario
from noclone.network.served import start_light
from noclone.network.setup import create_pki_for
from noclone.process import prepare_to_compute
from noclone.redteam.attacks import resolve

ROUND_TRIPS_MS = (0.0, 1.0, 10.0)
SECONDS = 10.0
WARM_BLOCKS = 8
PATIENCE_S = 180.0
READ_BYTES = 1 << 18

SHORT = """
name = "short"
[[node]]
name = "alder"
[[node]]
name = "birch"
[[link]]
name = "alder-birch"
alice = "alder"
bob = "birch"
[link.source]
clock_hz = 1e9
intensities = [0.5, 0.15]
probabilities = [0.7, 0.3]
p_key = 0.8
[link.fibre]
length_km = 10
[link.receiver]
p_key = 0.8
efficiency = 0.8
dark_count_hz = 100
dead_time_ns = 30
misalignment = 0.01
[link.distillation]
block_key_bits = 1_048_576
"""


def scenario_of(name: str, folder: Path) -> Scenario:
    """Return a scenario of one link."""
    path = folder / "short.toml"
    path.write_text(SHORT)
    whole = load_scenario(path if name == "short" else name)
    link = whole.links[0]
    nodes = [node for node in whole.nodes if node.name in (link.alice, link.bob)]
    base_port = random.randrange(11_000, 22_000, 250)
    kept = {"links": [link], "nodes": nodes, "saes": [], "virtual_links": [], "base_port": base_port}
    return whole.model_copy(update={name: value for name, value in kept.items() if hasattr(whole, name)})


async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass on what one end says, so much later; what is behind it does not wait for it."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(READ_BYTES):
        loop.call_later(delay_s, writer.write, data) if delay_s else writer.write(data)
        if not delay_s:
            await writer.drain()
    loop.call_later(delay_s, writer.close)


async def lay(alice: tuple[str, int], delay_s: float, parent: Connection) -> None:
    """Stand between Bob and Alice."""

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            to_alice = await asyncio.open_connection(*alice)
            ways = late(reader, to_alice[1], delay_s), late(to_alice[0], writer, delay_s)
            await asyncio.gather(*ways, return_exceptions=True)
        writer.close()

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    parent.send(server.sockets[0].getsockname()[:2])
    await asyncio.Event().wait()


async def shine(scenario: Scenario, pki: Path) -> None:
    """Be the light."""
    await start_light(scenario, scenario.links[0].name, pki, EventLog(), RunOptions(speed=math.inf), resolve)
    await asyncio.Event().wait()


async def stand(scenario: Scenario, name: str, folder: Path, channel: Any, to: Connection | None) -> None:
    """Be a node."""
    log = EventLog()

    def tell(event: Event) -> None:
        if to is not None and event.kind in ("block.distilled", "block.aborted", "link.down"):
            to.send((time.monotonic(), event.kind, event.data.get("secret_bits", 0), event.data.get("n_key", 0)))

    log.listen(tell)
    channels = {} if channel is None else {scenario.links[0].name: channel}
    place = {"pki": folder / "pki", "data": folder / name}
    node = Node(scenario, name, **place, log=log, options=RunOptions(speed=math.inf), channels=channels)
    await node.start()
    await node.wait()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run in a process of its own."""
    prepare_to_compute()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work)


def light_process(scenario: Scenario, pki: Path) -> None:
    run(shine(scenario, pki))


def wire_process(scenario: Scenario, delay_s: float, parent: Connection) -> None:
    run(lay(scenario.channel_address(scenario.links[0].name), delay_s, parent))


def node_process(scenario: Scenario, name: str, folder: Path, channel: Any, to: Connection | None) -> None:
    run(stand(scenario, name, folder, channel, to))


def measure(name: str, round_trip_ms: float, seconds: float) -> dict[str, Any]:
    """Serve a link for a while, and return how much key it made."""
    context = multiprocessing.get_context("spawn")
    (mine, wires), (alices, to_alice) = context.Pipe(), context.Pipe()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scenario = scenario_of(name, folder)
        create_pki_for(scenario, folder / "pki")
        link = scenario.links[0]
        processes = [
            context.Process(target=light_process, args=(scenario, folder / "pki")),
            context.Process(target=wire_process, args=(scenario, round_trip_ms / 2e3, wires)),
            context.Process(target=node_process, args=(scenario, link.alice, folder, None, to_alice)),
        ]
        try:
            for process in processes:
                process.start()
            bob = (scenario, link.bob, folder, mine.recv(), None)
            processes.append(context.Process(target=node_process, args=bob))
            processes[-1].start()
            found = count(alices, seconds)
        finally:
            for process in processes:
                process.terminate()
                process.join()
    return {"link": name, "round_trip_ms": round_trip_ms, **found}


def count(alice: Connection, seconds: float) -> dict[str, float]:
    """Count blocks from one that gave key to another, `seconds` later or more."""
    times, secret, sifted, other = [], 0, 0, 0
    until = time.monotonic() + PATIENCE_S
    while len(times) <= WARM_BLOCKS or times[-1] < times[WARM_BLOCKS] + seconds:
        if not alice.poll(max(0.0, until - time.monotonic())):
            sys.exit(f"{len(times)} blocks gave key within {PATIENCE_S:g} s, and {other} things went wrong")
        now, kind, bits, n_key = alice.recv()
        if kind != "block.distilled":
            other += 1
            continue
        times.append(now)
        if len(times) > WARM_BLOCKS + 1:
            secret, sifted = secret + bits, sifted + n_key
    lasted = times[-1] - times[WARM_BLOCKS]
    blocks = len(times) - WARM_BLOCKS - 1
    return {
        "blocks_per_min": round(60 * blocks / lasted, 1),
        "sifted_mbps": round(sifted / lasted / 1e6, 3),
        "secret_mbps": round(secret / lasted / 1e6, 3),
        "blocks": blocks,
        "went_wrong": other,
    }


def main() -> None:
    """Measure both links at each round trip, and print a line for each."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    for round_trip_ms in map(float, sys.argv[2:] or ROUND_TRIPS_MS):
        for name in ("short", "metro"):
            print(json.dumps(measure(name, round_trip_ms, seconds)), flush=True)


if __name__ == "__main__":
    main()
