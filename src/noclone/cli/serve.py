"""`noclone serve`, `node` and `fibre`: a scenario live, in one process or in several.

Events go to stdout as JSON lines with `--json`, else in words to stderr. Ctrl-C or SIGTERM finish what is under way and
leave with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from noclone.cli.compiling import BLOCKS, prepare
from noclone.cli.setup import pki_folder
from noclone.cli.terminal import JsonLines, say

if TYPE_CHECKING:
    from noclone.events import Event, EventLog
    from noclone.network.metrics import Metrics
    from noclone.network.node import RunOptions
    from noclone.network.operations import Watched
    from noclone.network.scenario import Scenario
    from noclone.network.served import ServedNetwork

Pki = Annotated[Path | None, Parameter(help="Folder that `noclone pki` made; `<scenario>.pki` where none is given.")]
Data = Annotated[Path | None, Parameter(help="Folder of the key stores; `<scenario>.data` where none is given.")]
Seed = Annotated[int | None, Parameter(help="Make the light repeatable. Its keys are then no secret, and say so.")]
Monitoring = Annotated[
    str,
    Parameter(
        name="--monitoring",
        help="Open /metrics, /healthz and /readyz at HOST:PORT, such as 127.0.0.1:9464; no password.",
    ),
]
Web = Annotated[
    str,
    Parameter(
        name="--web",
        help="Open the window for browsers at HOST:PORT; on this machine where none is given, nowhere with `off`.",
    ),
]
WebNames = Annotated[
    list[str] | None,
    Parameter(name="--web-name", help="A name and port by which browsers reach it, such as a proxy's."),
]
Private = Annotated[bool, Parameter(name="--web-private", negative=(), help="Let nobody look without the token.")]
COLLECT = (50_000, 20, 50)  # of a network of hundreds of nodes a full look takes half a second

Speed = Annotated[float, Parameter(help="How much faster than the real links; inf: as fast as this machine can.")]


def serve(
    scenario: str,
    /,
    *,
    pki: Pki = None,
    data: Data = None,
    seed: Seed = None,
    speed: Speed = 1.0,
    monitoring: Monitoring = "",
    web: Web = "",
    web_name: WebNames = None,
    web_private: Private = False,
    as_json: JsonLines = False,
) -> int:
    """Run a scenario live: the light of each link, every node with its KME on ETSI GS QKD 014, the operator's door.

    A window for browsers opens on this machine: the network, what monitors see, the verdict; whoever enters the
    operator's token can attack it there, where the scenario is a lab.

    Ctrl-C stops it; stored keys stay for the next time.

    Args:
        scenario: A scenario file, or the name of a shipped one.
    """
    from noclone.network.served import ServedNetwork
    from noclone.redteam.attacks import resolve
    from noclone.redteam.live import LIVE_ATTACKS

    network, log, options = _prepare(scenario, seed, speed, as_json)
    certificates = pki_folder(scenario, pki)

    async def run() -> None:
        metrics = _metrics(network, log)
        served = ServedNetwork(
            network,
            pki=certificates,
            data=data or _default_data(scenario),
            log=log,
            options=options,
            resolve=resolve,
            metrics=metrics,
            live=LIVE_ATTACKS,
        )
        async with _monitored(metrics, served.nodes, monitoring), served:
            if not as_json:
                _introduce(network, scenario, certificates)
            async with _window(served, certificates, web, tuple(web_name or ()), public=not web_private):
                _stay()
                await served.wait()

    return _until_stopped(run())


def node(
    name: str,
    scenario: str,
    /,
    *,
    pki: Pki = None,
    data: Data = None,
    seed: Seed = None,
    monitoring: Monitoring = "",
    as_json: JsonLines = False,
) -> int:
    """Run one node of a scenario: its KME with both doors, and its ends of links.

    The light of each simulated link runs in a process of its own: `noclone fibre LINK SCENARIO`.

    Args:
        name: Which node.
        scenario: A scenario file, or the name of a shipped one; the same for all processes.
    """
    from noclone.network.blocks import plan_link
    from noclone.network.node import Node
    from noclone.network.watching import Watching

    network, log, options = _prepare(scenario, seed, 1.0, as_json, both_ends=True)
    network.node(name)
    own = [plan_link(link) for link in network.links if name in (link.alice, link.bob)]

    async def run() -> None:
        place, metrics = data or _default_data(scenario), _metrics(network, log)

        def stop(link: str, avoided: bool) -> None:
            running.hold(running.held | {link}, avoided=running.avoided | ({link} if avoided else set()))

        watching = Watching(log, own, network.responses, stop)
        running = Node(
            network,
            name,
            pki=pki_folder(scenario, pki),
            data=place,
            log=log,
            options=options,
            metrics=metrics,
            vet=watching.vet,
        )
        async with _monitored(metrics, {name: running}, monitoring):
            try:
                await running.start()
                _stay()
                await running.wait()
            finally:
                await running.stop()

    return _until_stopped(run())


def fibre(
    link: str, scenario: str, /, *, pki: Pki = None, seed: Seed = None, speed: Speed = 1.0, as_json: JsonLines = False
) -> int:
    """Run the light of one simulated link, for nodes in other processes; where the scenario is a lab, Eve sits here.

    Args:
        link: Which link.
        scenario: A scenario file, or the name of a shipped one; the same for all processes.
    """
    from noclone.network.control import Control, open_control
    from noclone.network.identities import load_operator_token
    from noclone.network.served import start_light
    from noclone.redteam.attacks import resolve

    network, log, options = _prepare(scenario, seed, speed, as_json)
    network.link(link)
    certificates = pki_folder(scenario, pki)

    async def run() -> None:
        light = await start_light(network, link, certificates, log, options, resolve)
        control = None
        try:
            door = Control(network.name, network.lab, {link: light}, log)
            control = await open_control(door, load_operator_token(certificates), *network.control_address())
            _stay()
            await asyncio.Event().wait()
        finally:
            if control is not None:
                await control.stop()
            await light.stop()

    return _until_stopped(run())


def _prepare(
    scenario: str, seed: int | None, speed: float, as_json: bool, *, both_ends: bool = False
) -> tuple[Scenario, EventLog, RunOptions]:
    from noclone import rng
    from noclone.events import EventLog
    from noclone.network.node import RunOptions
    from noclone.network.scenario import load_scenario

    network = load_scenario(scenario)
    options = RunOptions(seed=None if seed is None else rng.seed_from_int(seed), speed=speed)
    prepare(*BLOCKS)
    log = EventLog()
    log.listen(_print_json if as_json else partial(_print_words, both_ends=both_ends))
    return network, log, options


def _metrics(network: Scenario, log: EventLog) -> Metrics:
    from noclone.network.metrics import Metrics

    return Metrics(log, {sae.id: sae.node for sae in network.saes})


@contextlib.asynccontextmanager
async def _monitored(metrics: Metrics, nodes: Mapping[str, Watched], address: str) -> AsyncIterator[None]:
    """Keep the monitoring's door open, if one is wanted: before the nodes start, and until they have stopped."""
    from noclone.network.operations import open_operations, parse_address

    door = await open_operations(metrics, nodes, parse_address(address)) if address else None
    try:
        yield
    finally:
        if door is not None:
            await door.stop()


@contextlib.asynccontextmanager
async def _window(
    served: ServedNetwork, pki: Path, web: str, names: tuple[str, ...], *, public: bool
) -> AsyncIterator[None]:
    """Keep the window open, if one is wanted."""
    from noclone.network.identities import load_operator_token
    from noclone.network.operations import parse_address

    if web == "off":
        yield
        return
    from noclone.web.opening import open_window

    host, port = parse_address(web) if web else served.scenario.window_address()
    window = await open_window(served, load_operator_token(pki), (host, port), public=public, names=names)
    say(f"look: http://{host}:{port}/")
    try:
        yield
    finally:
        await window.close()


def _default_data(scenario: str) -> Path:
    return Path(f"{Path(scenario).stem}.data")


def _introduce(network: Scenario, scenario: str, certificates: Path) -> None:
    if len(network.saes) >= 2:
        first, second = network.saes[0].id, network.saes[1].id
        say(f"try: noclone key get --scenario {scenario} --pki {certificates} --as {first} --to {second}")
    if network.links:
        what = "simulated light: keys are for testing. "
    elif network.vendor_links:
        what = ""
    else:
        what = "no quantum link: keys stand on algorithms alone. "
    say(f"{what}Ctrl-C stops.")


def _print_json(event: Event) -> None:
    sys.stdout.write(event.to_json() + "\n")
    sys.stdout.flush()


def _print_words(event: Event, *, both_ends: bool) -> None:
    from noclone.network.news import tell

    told = tell(event, both_ends=both_ends)
    if told:
        say(f"{event.subject}  {told}")


def _stay() -> None:
    """Have the collector of garbage leave alone what is here now: it stays, and a look at it costs tens of ms.

    And let threads take turns quickly: the one of all nodes keeps Python's lock most of the time.
    """
    from noclone.process import prepare_to_compute

    prepare_to_compute()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    gc.enable()


def _until_stopped(work: Coroutine[Any, Any, None]) -> int:
    """Run until it ends, or until Ctrl-C or SIGTERM; then let it clean up.

    The collector of garbage rests until `_stay`: what a start makes stays, and each look at it takes longer.
    """

    async def main() -> None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        stopped = False

        def stop() -> None:
            nonlocal stopped
            stopped = True
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            await task
        except asyncio.CancelledError:
            if not stopped:
                raise
            say("stopped")

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
    return 0
