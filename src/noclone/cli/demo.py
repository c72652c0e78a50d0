"""`noclone demo`: a whole quantum-safe link in a minute, over the same sockets and code as a served network."""

from __future__ import annotations

import asyncio
import hashlib
import math
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from noclone.cli.compiling import BLOCKS, prepare
from noclone.cli.terminal import Json, grouped, show, si, stderr, stdout

if TYPE_CHECKING:
    from noclone.audit.verdict import Verdict
    from noclone.events import Event, EventLog
    from noclone.network.scenario import Scenario
    from noclone.network.served import ServedNetwork

PATIENCE_S = 120.0
BLOCKS_BEFORE_EVE = 2


def demo(
    *,
    file: Annotated[
        Path | None, Parameter(help="A file of yours to send; by default a part of noclone itself.")
    ] = None,
    seed: Annotated[int | None, Parameter(help="Make the light repeatable; the keys are then no secret.")] = None,
    as_json: Json = False,
) -> int:
    """See all of it in a minute: light, keys, a protected file, Eve, and a verdict.

    Everything runs on this machine, in a folder that is deleted at the end: two key-management entities on loopback,
    the light between them, two parties on a TCP channel. Only the light is simulated.
    """
    import noclone.records
    from noclone.errors import InputError
    from noclone.events import EventLog

    source = file or Path(noclone.records.__file__)
    if not source.is_file():
        raise InputError(f"{source}: there is no such file")
    prepare(*BLOCKS)
    started = time.monotonic()
    log = EventLog()
    tell = (stderr if as_json else stdout).print  # with its markup: these lines are our own
    with tempfile.TemporaryDirectory(prefix="noclone-demo-") as folder:
        story = _Story(Path(folder), source, seed, log, tell)
        verdict = asyncio.run(story.play())
    seconds = time.monotonic() - started
    data = {**story.facts, "verdict": verdict.to_json(), "seconds": seconds}
    lines = ["", *verdict.lines(), "", f"That took {seconds:.0f} s. Next: noclone pki metro && noclone serve metro"]
    show(data, lines, as_json=as_json)
    return 0


@dataclass(slots=True)
class _Story:
    """The demo, scene by scene."""

    folder: Path
    source: Path
    seed: int | None
    log: EventLog
    tell: Callable[[str], None]
    facts: dict[str, Any] = field(default_factory=dict)

    async def play(self) -> Verdict:
        from noclone import rng
        from noclone.audit.verdict import judge
        from noclone.network.node import RunOptions
        from noclone.network.scenario import load_scenario
        from noclone.network.served import ServedNetwork
        from noclone.network.setup import create_pki_for
        from noclone.redteam.attacks import resolve

        metro = load_scenario("metro")
        scenario = metro.model_copy(update={"base_port": _free_ports(metro)})
        pki = self.folder / "pki"
        create_pki_for(scenario, pki)
        options = RunOptions(seed=None if self.seed is None else rng.seed_from_int(self.seed), speed=math.inf)
        served = ServedNetwork(
            scenario, pki=pki, data=self.folder / "data", log=self.log, options=options, resolve=resolve
        )
        self._introduce(scenario)
        async with served:
            await self._light_to_key(served)
            await self._file_across(scenario)
            await self._eve(scenario)
            return judge(self.log)

    def _introduce(self, scenario: Scenario) -> None:
        link = scenario.links[0]
        devices = link.devices()
        fibre, intensities = devices.fibre, devices.protocol.intensities
        self.tell(f"[bold]1  Light[/]  {scenario.title}: {fibre.length_km:g} km of fibre, {fibre.loss_db:.1f} dB")
        self.tell(
            f"   {link.alice} sends {si(devices.clock_hz, 'pulses/s')} of {intensities[0]:g} photons, "
            f"and decoys of {intensities[1]:g}; {link.bob} counts what arrives."
        )
        self.tell("   [dim]SIMULATED light: published devices, no physical secrecy[/]")

    async def _light_to_key(self, served: ServedNetwork) -> None:
        event = await self._next("block.distilled")
        data = event.data
        self.tell(
            "\n[bold]2  Key[/]  Alice and Bob talk over TCP; every message is authenticated before key is released"
        )
        self.tell(
            f"   {grouped(data['detections'])} detections, error rate {data['qber']:.2%}, {data['rounds']} rounds"
        )
        for term in data["length_terms"]:
            self.tell(f"   {grouped(term['bits']):>12}  {term['name']}")
        self.tell(
            f"   {grouped(data['secret_bits']):>12}  [bold]secret bits[/], but for a probability of "
            f"{data['epsilon']:.1g} ({data['proof']}, {data['statement']})"
        )
        for _ in range(BLOCKS_BEFORE_EVE - 1):
            await self._next("block.distilled", after=event.number)
        await self._usable(served)
        self.facts["block"] = {
            k: data[k] for k in ("detections", "qber", "secret_bits", "epsilon", "proof", "statement")
        }

    async def _usable(self, served: ServedNetwork) -> None:
        """Wait until both KMEs know that the other holds a block."""
        node = next(iter(served.nodes.values()))
        sender, receiver = (sae.id for sae in served.scenario.saes[:2])
        async with asyncio.timeout(PATIENCE_S):
            while not (await node.service.kme.status(sender, receiver))["stored_key_count"]:
                await asyncio.sleep(0.05)

    async def _file_across(self, scenario: Scenario) -> None:
        from noclone.apps.files import receive_file, send_file

        sender, receiver = scenario.saes[0], scenario.saes[1]
        size = self.source.stat().st_size
        self.tell("\n[bold]3  Delivery[/]  two KMEs serve keys over ETSI GS QKD 014, with mutual TLS")
        self.tell(f"   {sender.id} at {sender.node} sends {self.source.name} ({grouped(size)} bytes) to {receiver.id}")
        sealed, out = self.folder / "sealed.otp", self.folder / "received"

        def send() -> Any:
            with self._client(scenario, sender.id) as client:
                return send_file(client, self.source, sender=sender.id, to=receiver.id, out=sealed)

        def receive() -> Any:
            with self._client(scenario, receiver.id) as client:
                spool = self.folder / "spool"
                spool.mkdir(mode=0o700)
                return receive_file(client, sealed, receiver=receiver.id, out=out, spool_folder=spool)

        sent = await asyncio.to_thread(send)
        wire_bytes = sealed.stat().st_size
        self.tell(f"   one-time pad of {grouped(sent.pad_bits)} fresh bits, {grouped(wire_bytes)} bytes on the wire")
        received = await asyncio.to_thread(receive)
        digest = hashlib.sha256(self.source.read_bytes()).hexdigest()
        same = received.sha256 == digest == hashlib.sha256(out.read_bytes()).hexdigest()
        self.tell(f"   received: sha256 {received.sha256[:16]}..., {'identical' if same else '[red]DIFFERENT[/]'}")
        self.facts["file"] = {"name": self.source.name, "bytes": size, "pad_bits": sent.pad_bits, "identical": same}

    def _client(self, scenario: Scenario, sae: str) -> Any:
        from noclone.client import Etsi014Client
        from noclone.network.identities import load_sae

        identity = load_sae(self.folder / "pki", sae)
        host, port = scenario.etsi014_address(scenario.sae(sae).node)
        return Etsi014Client(
            f"https://{host}:{port}", certificate=identity.certificate, key=identity.key, ca=identity.kme_ca
        )

    async def _eve(self, scenario: Scenario) -> None:
        from noclone.network.operator import ask

        link = scenario.links[0].name
        pki = self.folder / "pki"
        self.tell("\n[bold]4  Eve[/]  taps the fibre: she measures every pulse and sends on what she read")
        attack = {"name": "intercept-resend", "on": link, "strength": 1.0}
        since = self.log.since()[-1].number
        await asyncio.to_thread(ask, scenario, pki, "POST", "/api/attacks", attack)
        refused = await self._next("block.aborted", after=since)
        self.tell(
            f"   error rate {refused.data['qber']:.1%}: {refused.data['reason']}. [bold red]The key is refused[/]"
        )
        self.tell(f"   block {refused.data['block']}: {refused.data['message']}")
        verdict_then = self._verdict_now()
        self.tell(f"   the audit says: [bold]{verdict_then.code}[/]. {verdict_then.sentence}")
        await asyncio.to_thread(ask, scenario, pki, "DELETE", f"/api/attacks/{link}")
        self.tell("   Eve leaves ...")
        again = await self._next("block.distilled", after=refused.number)
        self.tell(f"   error rate {again.data['qber']:.2%}: keys flow again")
        self.facts["eve"] = {
            "qber": refused.data["qber"],
            "reason": refused.data["reason"],
            "verdict": verdict_then.code,
            "recovered_qber": again.data["qber"],
        }

    def _verdict_now(self) -> Verdict:
        from noclone.audit.verdict import judge

        return judge(self.log)

    async def _next(self, kind: str, *, after: int = 0) -> Event:
        """Wait for the next event of a kind, as Alice's end reports it."""
        from noclone.errors import NocloneError

        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for event in self.log.since(after):
                if event.kind == kind and event.data.get("end") == "alice":
                    return event
            await asyncio.sleep(0.02)
        problems = [e.data.get("message", "") for e in self.log if e.kind in ("link.down", "block.aborted")]
        raise NocloneError(f"no {kind} within {PATIENCE_S:g} s. {problems[-1] if problems else ''}")


def _free_ports(scenario: Scenario) -> int:
    """Return a base port from which all ports of the scenario are free."""
    from noclone.errors import NocloneError

    for base in range(scenario.base_port, 60_000, 500):
        moved = scenario.model_copy(update={"base_port": base})
        wanted = [moved.control_address()]
        for node in moved.nodes:
            wanted += [moved.etsi014_address(node.name), moved.kme_address(node.name)]
        for link in moved.links:
            wanted += [moved.light_address(link.name), moved.channel_address(link.name)]
        if all(_free(address) for address in wanted):
            return base
    raise NocloneError("no free ports were found on this machine")


def _free(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True
