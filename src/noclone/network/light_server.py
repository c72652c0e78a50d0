"""The light of one simulated link, as a process of its own: between its two ends, where Eve sits.

In: from Alice's end, over TLS, the seed of each block's settings.  Out: to Bob's end, what his devices would see; to
nobody else anything. Who runs this process knows all keys of the link: it is the atom `fibre:LINK` of their formulas.

    Alice's end                        light                          Bob's end
    {"block": b, "seed": ...}    ->
                                             {"block": b, "n_slots"}   ->
                                             events, events, ..., (empty)   ->
                                 <-  {"block": b, "events": n}
                                 <-  events, ... (hers, where she measures, too)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from OpenSSL import SSL

from noclone import rng
from noclone.distill.job import BLOCK_MAX
from noclone.errors import ChannelError, NocloneError
from noclone.events import EventLog
from noclone.io.tls import TlsServer, TlsTransport, identity
from noclone.link.devices import LinkDevices
from noclone.link.lights import NOTHING_SEEN, alices_record, chunks
from noclone.link.tap import Carriage, Eavesdropper
from noclone.link.telemetry import Tally
from noclone.network.blocks import (
    AttackResolver,
    LinkPlan,
    read_meters,
    record_learned,
    record_light,
    record_telemetry,
)
from noclone.network.frames import receive_frame, receive_json, send_frame, send_json, whole
from noclone.records import U64, Detections, Origin
from noclone.units import fibre_delay_s

NO_LAB = "attacks exist only where the scenario says lab = true"
SEND_TIMEOUT_S = 60.0
EVENTS_PER_FRAME = 1 << 19


@dataclass(frozen=True, slots=True)
class ActiveAttack:
    """What Eve is doing on the link."""

    name: str
    strength: float


class LightServer:
    """Serve one link's light to its two ends.

    Args:
        seed: Makes the physics repeatable; None draws it anew for each block.
        speed: How much faster than the real link; infinity: as fast as this machine can.
        resolve: Turns attacks into eavesdroppers; None where the scenario is no lab.
    """

    def __init__(
        self,
        plan: LinkPlan,
        log: EventLog,
        *,
        seed: bytes | None = None,
        speed: float = 1.0,
        resolve: AttackResolver | None = None,
    ) -> None:
        self.plan = plan
        self.attack: ActiveAttack | None = None
        self._log = log
        self._seed = seed
        self._speed = speed
        self._resolve = resolve
        self._bob: asyncio.StreamWriter | None = None
        self._server: TlsServer | None = None
        self._ends: set[asyncio.Task[None]] = set()

    async def start(self, context: SSL.Context, host: str, port: int) -> None:
        """Listen for the two ends."""
        self._server = await TlsServer.start(context, self._protocol, host=host, port=port, connections_max=8)

    async def stop(self) -> None:
        """Hang up on both ends."""
        for task in tuple(self._ends):
            task.cancel()
        if self._server is not None:
            await self._server.stop()

    def start_attack(self, name: str, strength: float) -> None:
        """Put Eve on the fibre, from the next block on.

        Raises:
            NocloneError: The scenario is no lab, or there is no such attack.
        """
        if self._resolve is None:
            raise NocloneError(NO_LAB, hint="use a scenario that is a lab")
        self._resolve(name, strength, self.plan.light)  # says so now, where there is none
        self.attack = ActiveAttack(name, strength)
        self._log.add("attack.started", f"link:{self.plan.link.name}", name=name, strength=strength)

    def carriage(self) -> Carriage | None:
        """Return what becomes of the messages of a new conversation on this link's public channel."""
        eve = self._eve(self.attack, self.plan)
        return eve.carriage() if eve is not None and eve.carriage is not None else None

    def _eve(self, attack: ActiveAttack | None, plan: LinkPlan) -> Eavesdropper | None:
        """Return who carries out an attack on the light of a plan."""
        if attack is None or self._resolve is None:
            return None
        return self._resolve(attack.name, attack.strength, plan.light)

    def stop_attack(self) -> None:
        """Take Eve off the fibre."""
        if self.attack is not None:
            self._log.add("attack.stopped", f"link:{self.plan.link.name}", name=self.attack.name)
        self.attack = None

    def _protocol(self) -> asyncio.Protocol:
        reader = asyncio.StreamReader()

        def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._meet(reader, writer))
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)

        return asyncio.StreamReaderProtocol(reader, met)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve whoever called, by what the certificate says; ends of other links get nothing."""
        transport = writer.transport
        assert isinstance(transport, TlsTransport)
        name = identity(transport.peer_certificate, "kme")
        try:
            with contextlib.suppress(ChannelError):
                if name == self.plan.link.alice:
                    await self._serve_alice(reader, writer)
                elif name == self.plan.link.bob:
                    self._bob = writer
                    await receive_json(reader, timeout_s=None)  # he has nothing to say; this ends when he leaves
        except Exception as error:  # whatever it is, the next caller is served
            message = f"the light failed in a way that was not foreseen ({type(error).__name__})"
            self._log.add("link.down", f"link:{self.plan.link.name}", end="light", message=message)
        finally:
            if self._bob is writer:
                self._bob = None
            writer.close()

    async def _serve_alice(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            message = await receive_json(reader, timeout_s=None)
            block = whole(message, "block", BLOCK_MAX)
            try:
                alice_seed = bytes.fromhex(message.get("seed", ""))
            except (ValueError, TypeError):
                alice_seed = b""
            if len(alice_seed) != rng.SEED_BYTES:
                raise ChannelError("Alice's end sent no seed")
            if self._bob is None:
                raise ChannelError("Bob's end is not there")
            hers = await self._send_light(block, alice_seed, self._bob)
            await send_json(writer, {"block": block, "events": len(hers)}, timeout_s=SEND_TIMEOUT_S)
            await send_events(writer, hers)

    async def _send_light(self, block: int, alice_seed: bytes, bob: asyncio.StreamWriter) -> U64:
        """Simulate a block and pass it on as it comes, no faster than the real light would; return Alice's events."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        attack, physics_seed, plan = self.attack, self._physics_seed(block), self.plan.of(block)
        eve = self._eve(attack, plan)
        parts = self._chunks(block, alice_seed, physics_seed, eve)
        record_light(self._log, plan, block, *((attack.name, attack.strength) if attack else (None,)))
        header = {"block": block, "n_slots": plan.n_slots}
        await send_json(bob, header, timeout_s=SEND_TIMEOUT_S)
        light = plan.light
        tally = Tally(light.receiver.detectors) if isinstance(light, LinkDevices) else None
        kept: list[U64] = []
        hers = [NOTHING_SEEN]
        while (chunk := await asyncio.to_thread(next, parts, None)) is not None:
            hers.append(chunk[0])
            bobs = chunk[1]
            if tally is not None:
                await asyncio.to_thread(tally.add, bobs)
            if eve is not None:
                kept.append(bobs)
            await send_events(bob, bobs)
        alices = np.concatenate(hers)
        if tally is not None:
            await asyncio.to_thread(self._read_meters, block, physics_seed, tally, eve)
        if eve is not None:
            await asyncio.to_thread(self._tell_learned, block, alice_seed, physics_seed, eve, alices, kept)
        due_s = plan.seconds_per_block / self._speed + fibre_delay_s(self.plan.link.length_km)
        await asyncio.sleep(max(0.0, started + due_s - loop.time()))
        await send_frame(bob, b"", timeout_s=SEND_TIMEOUT_S)
        return alices

    def _read_meters(self, block: int, physics_seed: bytes, tally: Tally, eve: Eavesdropper | None) -> None:
        """Say what the devices read, before either end can finish the block."""
        telemetry = read_meters(self.plan, tally, block, physics_seed, eve)
        record_telemetry(self._log, self.plan.link.name, block, telemetry)

    def _tell_learned(
        self, block: int, alice_seed: bytes, physics_seed: bytes, eve: Eavesdropper, alices: U64, bobs: list[U64]
    ) -> None:
        """Say what Eve has of a block."""
        plan, link = self.plan.of(block), self.plan.link.name
        origin = Origin("simulated", self._seed is not None)
        events = np.concatenate([NOTHING_SEEN, *bobs])
        detections = Detections(link, block, plan.n_slots, plan.light.clock_hz, events, origin)
        settings = alices_record(
            plan.light,
            alice_seed=alice_seed,
            events=alices,
            n_slots=plan.n_slots,
            link=link,
            block=block,
            origin=origin,
        )
        record_learned(self._log, eve, settings, detections, alice_seed=alice_seed, physics_seed=physics_seed)

    def _physics_seed(self, block: int) -> bytes:
        if self._seed is None:
            return os.urandom(rng.SEED_BYTES)
        return rng.derive(self._seed, f"{self.plan.link.name}/block-{block}/physics")

    def _chunks(
        self, block: int, alice_seed: bytes, physics_seed: bytes, eve: Eavesdropper | None
    ) -> Iterator[tuple[U64, U64]]:
        """Yield Alice's events, where she measures, and Bob's."""
        plan = self.plan.of(block)
        found = chunks(
            plan.light if eve is None else eve.devices,
            alice_seed=alice_seed,
            physics_seed=physics_seed,
            n_slots=plan.n_slots,
            link=plan.link.name,
            block=block,
            tap=None if eve is None else eve.tap,
        )
        return (pair for pair in found if len(pair[0]) or len(pair[1]))


async def send_events(writer: asyncio.StreamWriter, events: U64) -> None:
    """Send detections, in as many frames as it takes."""
    for first in range(0, len(events), EVENTS_PER_FRAME):
        data = events[first : first + EVENTS_PER_FRAME].astype("<u8", copy=False).tobytes()
        await send_frame(writer, data, timeout_s=SEND_TIMEOUT_S)


async def receive_events(reader: asyncio.StreamReader, count: int, timeout_s: float) -> U64:
    """Read so many detections.

    Raises:
        ChannelError: More came, or an empty frame where some are due.
    """
    parts, found = [NOTHING_SEEN], 0
    while found < count:
        parts.append(events_from_frame(await receive_frame(reader, timeout_s=timeout_s)))
        found += len(parts[-1])
        if found > count or not len(parts[-1]):
            raise ChannelError(f"the light sends other than the {count} detections that it said")
    return np.concatenate(parts)


def events_from_frame(data: bytes) -> U64:
    """Return the detections that a frame of the light holds.

    Raises:
        ChannelError: It holds something else.
    """
    if len(data) % 8:
        raise ChannelError("the light sent half a detection")
    return np.frombuffer(data, "<u8").astype(np.uint64, copy=False)
