"""`noclone serve`, `node` and `fibre`: a scenario live, in one process or in several.

Events go to stdout as JSON lines with `--json`, else in words to stderr. Ctrl-C or SIGTERM finish what is under way and
leave with 0.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from noclone.cli.setup import default_pki
from noclone.cli.terminal import Json, announce_compilation, grouped, say

if TYPE_CHECKING:
    from noclone.events import Event, EventLog
    from noclone.network.node import RunOptions
    from noclone.network.scenario import Scenario

Pki = Annotated[Path | None, Parameter(help="Folder that `noclone pki` made; `<scenario>.pki` where none is given.")]
Data = Annotated[Path | None, Parameter(help="Folder of the key stores; `<scenario>.data` where none is given.")]
Seed = Annotated[int | None, Parameter(help="Make the light repeatable. Its keys are then no secret, and say so.")]
Speed = Annotated[float, Parameter(help="How much faster than the real links; inf: as fast as this machine can.")]


def serve(
    scenario: str,
    /,
    *,
    pki: Pki = None,
    data: Data = None,
    seed: Seed = None,
    speed: Speed = 1.0,
    as_json: Json = False,
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
        served = ServedNetwork(
            network, pki=certificates, data=data or _default_data(scenario), log=log, options=options, resolve=resolve
        )
        async with served:
            if not as_json:
                _introduce(network, certificates)
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
    as_json: Json = False,
) -> int:
    """Run one node of a scenario: its KME with both doors, and its ends of links.

    The light of each simulated link runs in a process of its own: `noclone fibre LINK SCENARIO`.

    Args:
        name: Which node.
        scenario: A scenario file, or the name of a shipped one; the same for all processes.
    """
    from noclone.network.node import Node

    network, log, options = _prepare(scenario, seed, 1.0, as_json)
    network.node(name)

    async def run() -> None:
        place = data or _default_data(scenario)
        running = Node(network, name, pki=_pki_folder(scenario, pki), data=place, log=log, options=options)
        try:
            await running.start()
            await running.wait()
        finally:
            await running.stop()

    return _until_stopped(run())


def fibre(
    link: str, scenario: str, /, *, pki: Pki = None, seed: Seed = None, speed: Speed = 1.0, as_json: Json = False
) -> int:
    """Run the light of one simulated link, for nodes in other processes; where the scenario is a lab, Eve sits here.

    Args:
        link: Which link.
        scenario: A scenario file, or the name of a shipped one; the same for all processes.
    """
    from noclone.network.control import Control, ControlServer
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
            control = await ControlServer.start(door, load_operator_token(certificates), *network.control_address())
            await asyncio.Event().wait()
        finally:
            if control is not None:
                await control.stop()
            await light.stop()

    return _until_stopped(run())


def _prepare(scenario: str, seed: int | None, speed: float, as_json: bool) -> tuple[Scenario, EventLog, RunOptions]:
    from noclone import rng
    from noclone.events import EventLog
    from noclone.network.node import RunOptions
    from noclone.network.scenario import load_scenario

    network = load_scenario(scenario)
    options = RunOptions(seed=None if seed is None else rng.seed_from_int(seed), speed=speed)
    announce_compilation()
    log = EventLog()
    log.listen(_print_json if as_json else _print_words)
    return network, log, options


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


def _introduce(network: Scenario, certificates: Path) -> None:
    for section in network.nodes:
        host, port = network.etsi014_address(section.name)
        say(f"{section.name}: ETSI GS QKD 014 at https://{host}:{port}")
    if len(network.saes) >= 2:
        first, second = network.saes[0].id, network.saes[1].id
        say(f"try: noclone key get {network.name} --as {first} --to {second} --pki {certificates}")
    say("simulated light: keys are for testing. Ctrl-C stops.")


def _print_json(event: Event) -> None:
    sys.stdout.write(event.to_json() + "\n")
    sys.stdout.flush()


def _print_words(event: Event) -> None:
    line = describe(event)
    if line:
        say(line)


def describe(event: Event) -> str:
    """Say an event in words, or nothing where it is no news for people."""
    data: dict[str, Any] = event.data
    if data.get("end") == "bob" and event.kind != "link.down":
        return ""  # both ends report; one is enough on a screen
    match event.kind:
        case "block.distilled":
            what = f"block {data['block']}: {grouped(data['secret_bits'])} secret bits, error rate {data['qber']:.2%}"
        case "block.aborted":
            what = f"block {data['block']}: NO KEY ({data['reason']}): {data['message']}"
        case "attack.started":
            what = f"Eve: {data['name']}, strength {data['strength']:g}"
        case "attack.stopped":
            what = f"Eve has left ({data['name']})"
        case "link.down":
            what = f"{data['end']}: {data['message']}"
        case "link.up":
            what = "works again"
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
