"""`noclone serve`, `node` and `fibre`: a scenario live, in one process or in several.

Events go to stdout as JSON lines with `--json`, else in words to stderr. Ctrl-C or SIGTERM finish what is under way and
leave with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from noclone.cli.setup import default_pki
from noclone.cli.terminal import JsonLines, announce_compilation, grouped, say

if TYPE_CHECKING:
    from noclone.events import Event, EventLog
    from noclone.network.metrics import Metrics
    from noclone.network.node import RunOptions
    from noclone.network.operations import Watched
    from noclone.network.scenario import Scenario

ONE_END_WILL_DO = ("block.distilled", "block.aborted", "vendor.drawn")
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
    as_json: JsonLines = False,
) -> int:
    """Run a scenario live: the light of each link, every node with its KME on ETSI GS QKD 014, the operator's door.

    Ctrl-C stops it; stored keys stay for the next time.

    Args:
        scenario: A scenario file, or the name of a shipped one.
    """
    from noclone.network.served import ServedNetwork
    from noclone.redteam.attacks import resolve

    network, log, options = _prepare(scenario, seed, speed, as_json)
    certificates = _pki_folder(scenario, pki)

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
        )
        async with _monitored(metrics, served.nodes, monitoring), served:
            if not as_json:
                _introduce(network, scenario, certificates)
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
    from noclone.watch.monitors import LinkMonitor

    network, log, options = _prepare(scenario, seed, 1.0, as_json, both_ends=True)
    network.node(name)
    own = [plan_link(link) for link in network.links if name in (link.alice, link.bob)]
    LinkMonitor(log, {plan.link.name: plan.expected for plan in own})

    async def run() -> None:
        place, metrics = data or _default_data(scenario), _metrics(network, log)
        running = Node(
            network, name, pki=_pki_folder(scenario, pki), data=place, log=log, options=options, metrics=metrics
        )
        async with _monitored(metrics, {name: running}, monitoring):
            try:
                await running.start()
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
    certificates = _pki_folder(scenario, pki)

    async def run() -> None:
        light = await start_light(network, link, certificates, log, options, resolve)
        control = None
        try:
            door = Control(network.name, network.lab, {link: light}, log)
            control = await open_control(door, load_operator_token(certificates), *network.control_address())
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
    announce_compilation()
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


def _default_data(scenario: str) -> Path:
    return Path(f"{Path(scenario).stem}.data")


def _pki_folder(scenario: str, given: Path | None) -> Path:
    from noclone.errors import PkiError

    folder = given or default_pki(scenario)
    if not folder.is_dir():
        raise PkiError(
            f"{folder}: there are no certificates yet", hint=f"make them: noclone pki {scenario} -o {folder}"
        )
    return folder


def _introduce(network: Scenario, scenario: str, certificates: Path) -> None:
    if len(network.saes) >= 2:
        first, second = network.saes[0].id, network.saes[1].id
        say(f"try: noclone key get --scenario {scenario} --pki {certificates} --as {first} --to {second}")
    say(f"{'simulated light: keys are for testing. ' if network.links else ''}Ctrl-C stops.")


def _print_json(event: Event) -> None:
    sys.stdout.write(event.to_json() + "\n")
    sys.stdout.flush()


def _print_words(event: Event, *, both_ends: bool) -> None:
    line = describe(event, both_ends=both_ends)
    if line:
        say(line)


def describe(event: Event, *, both_ends: bool = False) -> str:
    """Say an event in words, or nothing where it is no news for people.

    Args:
        both_ends: Say also what Bob's end reports; where both run here, Alice's is enough.
    """
    data: dict[str, Any] = event.data
    if data.get("end") == "bob" and event.kind in ONE_END_WILL_DO and not both_ends:
        return ""
    match event.kind:
        case "block.distilled":
            what = f"block {data['block']}: {grouped(data['secret_bits'])} secret bits, error rate {data['qber']:.2%}"
        case "block.aborted":
            what = f"block {data['block']}: NO KEY ({data['reason']}): {data['message']}"
        case "node.started":
            what = f"ETSI GS QKD 014 at {data['etsi014']}"
        case "fibre.started":
            what = "its light is on"
        case "kme.connected":
            what = f"reaches the KME of {data['peer']}"
        case "kme.disconnected":
            what = f"has lost the KME of {data['peer']}"
        case "attack.started":
            what = f"Eve: {data['name']}, strength {data['strength']:g}"
        case "attack.stopped":
            what = f"Eve has left ({data['name']})"
        case "link.down":
            what = f"{data['end']}: {data['message']}; trying again"
        case "vendor.drawn":
            what = f"block {data['block']}: {grouped(data['bits'])} bits drawn from the vendor ({data['origin']})"
        case "border.opened":
            what = f"ETSI GS QKD 020 at {data['etsi020']}"
        case "border.failed" | "border.lost":
            what = f"{data['keys']} keys did not cross: {data['reason']}"
        case "vendor.lost":
            what = f"{data['end']}: {data['keys']} keys of the vendor's were lost: {data['reason']}"
        case "link.up":
            what = f"{data['end']}: works again"
        case "key.delivered":
            what = f"key {data['key_id']} ({data['bits']} bits)"
        case "kme.refused" | "tls.refused":
            what = f"refused: {data['reason']}"
        case "key.refused":
            what = f"the peer refused {len(data['keys'])} keys: {', '.join(data['reasons'])}"
        case "alarm.raised":
            what = f"ALARM {data.get('monitor', '')}: {data.get('message', '')}"
        case _:
            return ""
    return f"{event.subject}  {what}"


def _until_stopped(work: Coroutine[Any, Any, None]) -> int:
    """Run until it ends, or until Ctrl-C or SIGTERM; then let it clean up."""

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

    asyncio.run(main())
    return 0
