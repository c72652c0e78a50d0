"""Two KMEs that combine key, killed at the n-th failpoint; then brought back and examined. Run by test_exchange_crash.

Usage: crash_exchange.py FOLDER PKI: forks a child for every point that the workload has, and prints one line of JSON:
how many points there were, and how many blocks both ends could still use after each. Both KMEs live in one process, so
a death leaves of either what it had made durable; every order of the two ends' commits is among the points.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from noclone.bits import words_from_bytes
from noclone.clock import ManualClock
from noclone.errors import NocloneError
from noclone.kms import failpoints, files
from noclone.kms.calls import PeerRefused
from noclone.kms.exchange import Exchange
from noclone.kms.keys import Refused
from noclone.kms.kme import Kme
from noclone.kms.policies import Policies, Policy
from noclone.kms.relay_calls import Calls, RelaySettings
from noclone.kms.requests import KeyRequest
from noclone.kms.store import Store
from noclone.network.identities import load_kme
from noclone.records import BlockProvenance, Origin, SecretKey

_spec = importlib.util.spec_from_file_location("kms_crash_workload", Path(__file__).with_name("crash_workload.py"))
assert _spec is not None
assert _spec.loader is not None
workload = sys.modules["kms_crash_workload"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(workload)

FINE = workload.FINE
SAES = {"sae-a": "alder", "sae-b": "birch"}
LINK_BYTES, BLOCK_BYTES = 1024, 128
PROFILES = {"catkdf": "catkdf:*:link", "kem": "kem:*"}


class Wire(workload.Straight):  # type: ignore[misc, name-defined]
    """Calls the other KME in the same process, its exchange included."""

    async def ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        try:
            answer = await self.other.handlers[operation](self.own, json.loads(json.dumps(fields)))
        except NocloneError as error:
            raise PeerRefused(error.message) from None
        found: dict[str, Any] = json.loads(json.dumps(answer))
        return found


def open_kmes(folder: Path, pki: Path, clock: ManualClock) -> tuple[list[Kme], list[Exchange]]:
    kmes = [
        Kme(Store.open(folder / f"{name}.db", name=name, kek=bytes([i] * 32), clock=clock), SAES)
        for i, name in enumerate(("alder", "birch"))
    ]
    exchanges = []
    for kme, other in (kmes, reversed(kmes)):
        wire = Wire(kme.name, other)
        kme.add_peer(wire)

        async def reach(_: str, wire: Wire = wire) -> Any:
            return wire

        found = files.notaries(kme.name, load_kme(pki, kme.name).files())
        calls = Calls(kme, next(iter(found.values())), reach, RelaySettings())
        exchanges.append(Exchange(calls, files.signers(found, None), kme.policies.suites))
    return kmes, exchanges


async def deposit(kmes: list[Kme]) -> None:
    value = random.Random(1).randbytes(LINK_BYTES)
    origin = BlockProvenance(
        "l", "alder", "birch", 0, "p", Origin("simulated"), "x", "fixed-length", 0.0, 0.0, "b", 0.0
    )
    key = SecretKey(words_from_bytes(value), 8 * LINK_BYTES, origin)
    await kmes[0].deposit(key, "birch")
    await kmes[1].deposit(key, "alder")


async def fetch(kmes: list[Kme], profile: str, folder: Path | None = None) -> list[bytes]:
    """Have both applications get two keys of a profile, and remember what each has."""
    kmes[0].policies = Policies([Policy(("sae-a", "sae-b"), profile, require="post-quantum")], kmes[0].policies.suites)
    if profile == "link":
        kmes[0].policies = Policies([], kmes[0].policies.suites)
    one = await kmes[0].enc_keys("sae-a", "sae-b", KeyRequest.model_validate({"number": 2}))
    if folder is not None:
        workload.note(folder, "sae-a", one)
    two = await kmes[1].dec_keys("sae-b", "sae-a", [key.key_id for key in one.keys])
    if folder is not None:
        workload.note(folder, "sae-b", two)
    assert [key.value for key in one.keys] == [key.value for key in two.keys], "the ends differ"
    return [key.value for key in one.keys]


async def work(folder: Path, pki: Path, point: int) -> None:
    kmes, exchanges = open_kmes(folder, pki, ManualClock())
    await deposit(kmes)
    failpoints._crash_at = point
    take = kmes[0].pad

    async def noted(*arguments: Any, **options: Any) -> Any:
        key = await take(*arguments, **options)
        with (folder / "spent").open("a") as file:  # what the exchange is about to be made of
            file.write(key.value.hex() + "\n")
        return key

    kmes[0].pad = noted  # type: ignore[method-assign]
    await exchanges[0].exchange("birch", "catkdf", BLOCK_BYTES, "link")
    await fetch(kmes, PROFILES["catkdf"], folder)
    for kme in kmes:
        kme.store.close()


async def examine(folder: Path, pki: Path) -> int:
    """Bring the KMEs back, check every rule, and return how many combined blocks both ends can use."""
    clock = ManualClock()
    clock.advance(10.0)
    kmes, exchanges = open_kmes(folder, pki, clock)
    for kme, peer in ((kmes[0], "birch"), (kmes[1], "alder")):
        await kme.resume(peer)
    clock.advance(RelaySettings().orphan_s + 1)
    for exchange in exchanges:
        await exchange.sweep()
    usable = 0
    names = {mode: f"{mode}:mlkem768-x25519" + (":link" if mode == "catkdf" else "") for mode in PROFILES}
    for profile in names.values():
        here = await kmes[0].store.pool("birch", (profile,))
        there = await kmes[1].store.pool("alder", (profile,))
        assert (here.held_bits, there.held_bits) == (0, 0), "half a block was kept"
        assert here.ready_in_bits == there.ready_out_bits, "the ends hold different blocks"
        usable += bool(there.ready_out_bits)
    path = folder / "seen.jsonl"
    seen = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    masters = {key_id: value for who, key_id, value in seen if who == "sae-a"}
    assert all(masters[key_id] == value for _, key_id, value in seen), "the ends differ"
    before = {bytes.fromhex(value) for value in masters.values()}
    spent = folder / "spent"
    before |= {bytes.fromhex(line)[:32] for line in spent.read_text().split()} if spent.exists() else set()
    await deposit(kmes)
    fresh = await fetch(kmes, "link")
    for mode, profile in PROFILES.items():  # whatever happened, the next exchange works, and gives other key
        await exchanges[0].exchange("birch", mode, BLOCK_BYTES, "link" if mode == "catkdf" else "")  # type: ignore[arg-type]
        fresh += await fetch(kmes, profile)
    assert len(set(fresh)) == len(fresh)
    assert not before & set(fresh), "key was given out twice"
    for key_id in masters:
        for _ in range(2):  # at most once, and never what a crash had burned as another value
            try:
                got = await kmes[1].dec_keys("sae-b", "sae-a", [key_id])
            except Refused:
                continue
            assert got.keys[0].value.hex() == masters[key_id]
            assert not any(who == "sae-b" and known == key_id for who, known, _ in seen), "delivered twice"
    for exchange, kme in zip(exchanges, kmes, strict=True):
        await exchange.close()
        await kme.close()
        kme.store.close()
    return usable


def main() -> None:
    root, pki = Path(sys.argv[1]), Path(sys.argv[2])
    point, usable = 0, []
    while True:
        point += 1
        folder = root / str(point)
        folder.mkdir()

        async def crash(point: int = point, folder: Path = folder) -> None:
            await work(folder, pki, point)

        code, ended_by = workload.in_child(crash)
        if ended_by == 0:
            assert code == FINE, "the workload failed"
            break
        assert ended_by == signal.SIGKILL
        code, ended_by = workload.in_child(lambda folder=folder: examine(folder, pki))
        assert (ended_by, code >= FINE) == (0, True), f"the examination after point {point} failed"
        usable.append(code - FINE)
    print(json.dumps({"points": point - 1, "usable": usable}))  # noqa: T201


if __name__ == "__main__":
    os.environ.pop("NOCLONE_CRASH_AT", None)
    main()
