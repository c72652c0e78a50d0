"""How many keys a second a chain of KMEs relays: over 4 hops, each KME a process, real TLS, durable at every step.

Everything runs on this machine over loopback. A key counts when its block is durable at both ends of the chain. What
the fibres make is put into the stores beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from noclone.bits import words_from_bytes
from noclone.errors import NocloneError
from noclone.events import EventLog
from noclone.kms.bench import make_certificates
from noclone.kms.relay_calls import RelaySettings
from noclone.kms.relay_shares import warm_up
from noclone.kms.service import KmeFiles, KmeService
from noclone.kms.store import Store
from noclone.process import uninterrupted_children
from noclone.records import BlockProvenance, Origin, SecretKey

KEY_BYTES = 32
READY_TIMEOUT_S = 120.0
STOCK_BLOCK_BYTES = 1 << 18


def bench_relay(
    *,
    seconds: float = 3.0,
    hops: int = 4,
    block_bytes: int = 1 << 16,
    at_once: int = 3,
    stock_bytes: int = 12 << 20,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Measure relayed keys of 256 bits.

    Args:
        seconds: How long to measure.
        hops: Length of the chain.
        block_bytes: Key that one relay makes.
        at_once: Relays under way at the same time.
        stock_bytes: Key that each fibre has stored; half of it serves this direction, and must last.
        folder: Where the stores lie; it should be on the disk that is to be measured.
    """
    names = [f"n{i:02}" for i in range(hops + 1)]
    with tempfile.TemporaryDirectory(prefix="noclone-bench-", dir=folder) as temporary:
        place = Path(temporary)
        make_certificates(place, names)
        with _chain(place, names, stock_bytes) as first:
            first.send((seconds, block_bytes, at_once))
            blocks, elapsed_s, failed = first.recv()
    keys = blocks * (block_bytes // KEY_BYTES)
    return {
        "keys_per_s": round(keys / elapsed_s, 1),
        "blocks": blocks,
        "failed": failed,
        "seconds": round(elapsed_s, 2),
        "hops": hops,
        "block_bytes": block_bytes,
        "durable": "SQLite, WAL, synchronous=FULL, at every KME",
    }


@contextmanager
def _chain(place: Path, names: list[str], stock_bytes: int) -> Iterator[Connection]:
    """Run a chain of KMEs; yield the pipe to the first."""
    spawn = multiprocessing.get_context("spawn")
    seeds = {edge: os.urandom(32) for edge in pairwise(names)}  # small, so that no process waits for the one before
    pipes: dict[str, Connection] = {}
    processes = []
    try:
        for name in names:
            pipes[name], theirs = spawn.Pipe()
            own = {edge: seed for edge, seed in seeds.items() if name in edge}
            arguments = (place, name, names, own, stock_bytes, theirs)
            processes.append(spawn.Process(target=_serve, args=arguments, daemon=True))
            with uninterrupted_children():
                processes[-1].start()
            theirs.close()
        ports = {name: pipe.recv() for name, pipe in pipes.items()}
        for pipe in pipes.values():
            pipe.send(ports)
        for pipe in pipes.values():
            pipe.recv()
        yield pipes[names[0]]
    except BaseException:
        for process in processes:
            process.kill()
        raise
    finally:
        for pipe in pipes.values():
            pipe.close()
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.kill()


def _serve(
    place: Path, name: str, names: list[str], own: dict[tuple[str, str], bytes], stock_bytes: int, pipe: Connection
) -> None:
    stocks = {edge: hashlib.shake_256(seed).digest(stock_bytes) for edge, seed in own.items()}
    with suppress(BrokenPipeError, EOFError):  # who started us has left: so do we
        asyncio.run(_serve_async(place, name, names, stocks, pipe))


async def _serve_async(
    place: Path, name: str, names: list[str], own: dict[tuple[str, str], bytes], pipe: Connection
) -> None:
    files = KmeFiles(place / f"{name}.crt", place / f"{name}.key", place / "kme-ca.crt", place / "sae-ca.crt")
    with Store.open(place / f"{name}.db", name=name, kek=os.urandom(32)) as store:
        others = tuple(other for other in names if other != name)
        addresses: dict[str, tuple[str, int]] = {}
        settings = RelaySettings(timeout_s=30.0)
        log = EventLog(keep=1000)
        service = KmeService(store, {}, files, peers=others, addresses=addresses, relay=settings, events=log)
        await service.start()
        try:
            pipe.send(service.kme_port)
            ports = await asyncio.to_thread(pipe.recv)
            service._addresses.update({other: ("127.0.0.1", port) for other, port in ports.items()})
            await asyncio.to_thread(warm_up)
            for (a, b), stock in own.items():
                await _stock(service, a, b, stock)
            pipe.send("ready")
            if name == names[0]:
                seconds, block_bytes, at_once = await asyncio.to_thread(pipe.recv)
                pipe.send(await _load(service, names, seconds, block_bytes, at_once))
            await asyncio.to_thread(_wait_for_the_end, pipe)
        finally:
            await service.stop()


async def _stock(service: KmeService, a: str, b: str, stock: bytes) -> None:
    """Put a fibre's key into our store, and wait until the neighbour has it as well."""
    store = service.kme.store
    peer = b if store.name == a else a
    await service.reach(peer)
    for number, start in enumerate(range(0, len(stock), STOCK_BLOCK_BYTES)):
        origin = BlockProvenance(
            f"{a}-{b}", a, b, number, "bench", Origin("simulated"), "none", "fixed-length", 1.0, 1.0, "none", 0.0
        )
        part = stock[start : start + STOCK_BLOCK_BYTES]
        await service.kme.deposit(SecretKey(words_from_bytes(part), 8 * len(part), origin), peer)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while await store.held(peer):
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.1)
        with contextlib.suppress(NocloneError, OSError):
            await service.kme.resume(peer)


async def _load(
    service: KmeService, names: list[str], seconds: float, block_bytes: int, at_once: int
) -> tuple[int, float, int]:
    """Relay block after block to the end of the chain; return how many were made, how long it took, how many failed."""
    assert service.relay is not None
    made = failed = 0
    await service.relay.relay([names], 1, block_bytes)  # connections are made with the first
    begin = time.perf_counter()

    async def worker() -> None:
        nonlocal made, failed
        assert service.relay is not None
        while time.perf_counter() - begin < seconds:
            try:
                await service.relay.relay([names], 1, block_bytes)
            except Exception:
                failed += 1
                return
            made += 1

    await asyncio.gather(*(worker() for _ in range(at_once)))
    elapsed_s = time.perf_counter() - begin
    return made, elapsed_s, failed


def _wait_for_the_end(pipe: Connection) -> None:
    try:
        pipe.recv()
    except EOFError:
        return
