"""Two KMEs that serve a few requests, killed at the n-th failpoint; then brought back and examined. Run by test_crash.

Usage: crash_workload.py FOLDER [SOCKETS [EVERY]]; it forks a child for every point that the workload has, or for one in
EVERY, and prints one line of JSON with how many there were and what was burned. The stores are in FOLDER, or where a
PostgreSQL server has its SOCKETS, with a schema for each. What applications saw goes to a log in FOLDER, synced before
anything else happens.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noclone.bits import words_from_bytes
from noclone.clock import ManualClock
from noclone.kms import failpoints
from noclone.kms.keys import Assignment, Refused
from noclone.kms.kme import Delivered, Kme
from noclone.kms.pools import BlockName
from noclone.kms.requests import KeyRequest
from noclone.kms.reservations import Refusal
from noclone.kms.store import Store
from noclone.records import BlockProvenance, Origin, SecretKey

SOCKETS = sys.argv[2] if len(sys.argv) > 2 else ""
EVERY = int(sys.argv[3]) if len(sys.argv) > 3 else 1
FINE = 100  # exit status of a child that found nothing wrong, plus what it counted
SAES = {"sae-a": "alder", "sae-b": "birch", "sae-b2": "birch"}
BLOCK = bytes(i * 7 % 256 ^ i // 256 for i in range(1024))


class Straight:
    """Calls the other KME in the same process."""

    connected = ready = True

    def __init__(self, own: str, other: Kme) -> None:
        self.name, self.own, self.other = other.name, own, other

    async def reserve(self, assignments: Sequence[Assignment]) -> dict[str, Refusal]:
        return await self.other.on_reserve(self.own, assignments)

    async def void(self, key_ids: Sequence[str]) -> None:
        await self.other.on_void(self.own, key_ids)

    async def blocks(self, blocks: Sequence[BlockName]) -> list[BlockName]:
        return await self.other.on_blocks(self.own, blocks)


def place(folder: Path, name: str) -> Path | str:
    """Say where a store is; make its schema, where it is on a server."""
    if not SOCKETS:
        return folder / f"{name}.db"
    import psycopg

    schema = f"crash_{folder.parent.name.encode().hex()}_{folder.name}_{name}"
    with psycopg.connect(f"host={SOCKETS} user=noclone dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")  # type: ignore[arg-type]
    return f"postgresql+psycopg://noclone@/postgres?host={SOCKETS}&options=-csearch_path%3D{schema}"


def open_kmes(folder: Path) -> tuple[Kme, Kme]:
    kmes = [
        Kme(Store.open(place(folder, name), name=name, kek=bytes([i] * 32), clock=ManualClock()), SAES)
        for i, name in enumerate(("alder", "birch"))
    ]
    kmes[0].add_peer(Straight("alder", kmes[1]))
    kmes[1].add_peer(Straight("birch", kmes[0]))
    return kmes[0], kmes[1]


def note(folder: Path, who: str, delivered: Delivered) -> None:
    """An application has its keys: they must be nobody else's now, and its partner must be able to get them."""
    with (folder / "seen.jsonl").open("a") as file:
        for key in delivered.keys:
            file.write(json.dumps([who, key.key_id, key.value.hex()]) + "\n")
        file.flush()
        os.fsync(file.fileno())
    failpoints.reach("an application has its key")


async def work(folder: Path) -> None:
    a, b = open_kmes(folder)
    origin = BlockProvenance(
        "l", "alder", "birch", 0, "p", Origin("simulated"), "x", "fixed-length", 0.0, 0.0, "b", 0.0
    )
    key = SecretKey(words_from_bytes(BLOCK), 8 * len(BLOCK), origin)
    await a.deposit(key, "birch")
    await b.deposit(key, "alder")
    one = await a.enc_keys("sae-a", "sae-b", KeyRequest.model_validate({"number": 2, "size": 264}))
    note(folder, "sae-a", one)
    both = KeyRequest.model_validate({"additional_slave_SAE_IDs": ["sae-b2"]})
    two = await a.enc_keys("sae-a", "sae-b", both)
    note(folder, "sae-a", two)
    for who, delivered in (("sae-b", one), ("sae-b2", two), ("sae-b", two)):
        note(folder, who, await b.dec_keys(who, "sae-a", [key.key_id for key in delivered.keys]))
    a.store.close()
    b.store.close()


async def examine(folder: Path) -> int:
    """Bring the KMEs back, check every rule, and return how many copies a crash burned."""
    a, b = open_kmes(folder)
    for kme, peer in ((a, "birch"), (b, "alder")):
        await kme.resume(peer)
    path = folder / "seen.jsonl"
    seen = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    masters = {key_id: value for who, key_id, value in seen if who == "sae-a"}
    slaves = [(who, key_id) for who, key_id, _ in seen if who != "sae-a"]
    assert len(slaves) == len(set(slaves)), "a slave got a key twice"
    assert all(masters[key_id] == value for _, key_id, value in seen), "the ends differ"
    named = {}
    for n, key_id in enumerate(masters):
        named[key_id] = ("sae-b",) if n < 2 else ("sae-b", "sae-b2")
    burned = 0
    for key_id, who in ((key_id, who) for key_id, recipients in named.items() for who in recipients):
        try:
            got = await b.dec_keys(who, "sae-a", [key_id])
        except Refused:
            burned += (who, key_id) not in slaves
        else:
            assert (who, key_id) not in slaves, "delivered twice across a crash"
            assert got.keys[0].value.hex() == masters[key_id], "other bytes after a crash"
    origin = BlockProvenance(
        "l", "alder", "birch", 0, "p", Origin("simulated"), "x", "fixed-length", 0.0, 0.0, "b", 0.0
    )
    key = SecretKey(words_from_bytes(BLOCK), 8 * len(BLOCK), origin)
    await a.deposit(key, "birch")
    await b.deposit(key, "alder")
    fresh = await a.enc_keys("sae-a", "sae-b", KeyRequest.model_validate({"number": 8}))
    old = [bytes.fromhex(value) for value in masters.values()]
    pieces = {value[i : i + 32] for value in old for i in range(0, len(value) - 31, 32)}
    assert not pieces & {key.value for key in fresh.keys}, "a byte was given out twice"
    got = await b.dec_keys("sae-b", "sae-a", [key.key_id for key in fresh.keys])
    assert [key.value for key in got.keys] == [key.value for key in fresh.keys]
    assert a.store.undelivered("birch").result() == []
    # An answer that was durable and never arrived leaves its slaves' copies to wait for their time: one request's.
    assert b.store.pool("alder").result().reserved_keys <= 2
    a.store.close()
    b.store.close()
    return burned


def in_child(run: Any) -> tuple[int, int]:
    """Run in a fork; return exit status and the signal that ended it."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = FINE + (asyncio.run(run()) or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return (os.WEXITSTATUS(status), 0) if os.WIFEXITED(status) else (0, os.WTERMSIG(status))


def main() -> None:
    root = Path(sys.argv[1])
    if "NOCLONE_CRASH_AT" in os.environ:
        asyncio.run(work(root))
        return
    point, tried, burned = 1 - EVERY, 0, []
    while True:
        point, tried = point + EVERY, tried + 1
        folder = root / str(point)
        folder.mkdir()

        async def crash(point: int = point, folder: Path = folder) -> None:
            failpoints._crash_at = point
            await work(folder)

        code, ended_by = in_child(crash)
        if ended_by == 0:
            assert code == FINE, "the workload failed"
            break
        assert ended_by == signal.SIGKILL
        code, ended_by = in_child(lambda folder=folder: examine(folder))
        assert ended_by == 0, f"the examination after point {point} crashed"
        assert code >= FINE, f"the examination after point {point} failed"
        burned.append(code - FINE)
    print(json.dumps({"points": tried - 1, "burned": burned}))  # noqa: T201


if __name__ == "__main__":
    main()
