"""A relay over a chain, with one KME killed at its n-th failpoint; then everything is brought back and examined.

Usage: crash_workload.py FOLDER [STEP [FIRST]]; forks a child for every KME and every STEP-th point that the workload
has for it, and prints one line of JSON: how many points each had, and how many blocks served all the same. Failpoints
are counted for one KME at a time. Each point is tried twice: with `kill -9` of the one process that all KMEs live in,
so that all die; and with this KME alone dead: it stands still for ever at that point, a copy of its files as they are
then is opened as the same KME, and the others, who never stopped, go on with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noclone.errors import NocloneError
from noclone.kms import failpoints
from noclone.kms.relay_calls import RelaySettings
from noclone.kms.requests import KeyRequest

spec = importlib.util.spec_from_file_location("relay_web", Path(__file__).with_name("web.py"))
assert spec is not None
assert spec.loader is not None
relay_web = sys.modules["relay_web"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(relay_web)

FINE = 100
EDGES = ["ab", "bz"]
SETTINGS = RelaySettings(timeout_s=2.0)
VICTIMS = "abz"


def open_web(folder: Path, pki: Path) -> Any:
    return relay_web.Web(folder, pki, EDGES, settings=SETTINGS)


def note(folder: Path, who: str, keys: Any) -> None:
    """An application has its keys, and remembers them through any crash."""
    with (folder / "seen.jsonl").open("a") as file:
        for key in keys:
            file.write(json.dumps([who, key.key_id, key.value.hex()]) + "\n")
        file.flush()
        os.fsync(file.fileno())


async def work(folder: Path, pki: Path, victim: str, point: int) -> None:
    """Relay twice and serve keys between; die when the victim's own thread, or its own code, reaches the point."""
    web = open_web(folder, pki)
    await web.fill(n_bytes=4096)
    die_at(web, victim, point, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    await story(web, folder)
    await web.close()


async def outlive(folder: Path, pki: Path, victim: str, point: int) -> int:
    """Do the same, but let the victim alone stop at the point, and come back from its files; then examine."""
    web = open_web(folder, pki)
    await web.fill(n_bytes=4096)
    loop, died = asyncio.get_running_loop(), asyncio.Event()

    def stand_still(in_store: bool) -> None:
        web.dead.add(victim)
        loop.call_soon_threadsafe(died.set)
        if in_store:
            threading.Event().wait()
        raise asyncio.CancelledError

    old = web.kmes[victim], web.relays[victim]
    die_at(web, victim, point, stand_still)
    task = asyncio.create_task(story(web, folder))
    await asyncio.wait([task, asyncio.create_task(died.wait())], return_when=asyncio.FIRST_COMPLETED)
    if not died.is_set():  # timing moved the last points of the workload: there is nothing to outlive
        await task
        os._exit(FINE)
    for file in folder.glob(f"{victim}.db*"):
        shutil.copy(file, folder / file.name.replace(f"{victim}.db", "again.db"))
    failpoints.reach = lambda _: None
    for pending in (*old[1]._tasks, *old[1]._hops._tasks, *old[0]._tasks):
        pending.cancel()
    web.clock.advance(10.0)
    web.start(victim, "again.db")
    web.dead.discard(victim)
    with contextlib.suppress(asyncio.CancelledError, NocloneError, TimeoutError):
        if victim == "a":  # the application's call was lost with its KME
            task.cancel()
        async with asyncio.timeout(120):
            await task
    await asyncio.sleep(0.1)
    blocks = await check(web, folder)
    os._exit(FINE + blocks)  # what stands still for ever is not waited for


def die_at(web: Any, victim: str, point: int, die: Callable[[bool], None]) -> None:
    """Have the victim die at its n-th failpoint."""
    count = 0
    commits = web.kmes[victim].store.commits._thread.ident

    def reach(name: str) -> None:
        nonlocal count
        in_store = name in ("before the commit", "after the commit")
        if in_store and threading.get_ident() != commits:
            return
        if not in_store and MINE.get(name) != victim and not (name in BETWEEN and victim == "b"):
            return
        count += 1
        if count == point:
            die(in_store)

    failpoints.reach = reach


async def story(web: Any, folder: Path) -> None:
    """Relay there, serve keys, relay back."""
    await web.relays["a"].relay(["abz"], 1, 256)
    await web.settled()
    request = KeyRequest.model_validate({"number": 2})
    got = await web.kmes["a"].enc_keys("sae-a", "sae-z", request)
    note(folder, "sae-a", got.keys)
    same = await web.kmes["z"].dec_keys("sae-z", "sae-a", [key.key_id for key in got.keys])
    note(folder, "sae-z", same.keys)
    await web.relays["z"].relay(["zba"], 1, 256)
    await web.settled()


# Who passes which point of the protocol's own; a share is sealed, handed over and opened by several.
MINE = {"the initiator confirmed": "z", "a relay is confirmed": "a"}
BETWEEN = ("a share is sealed", "a share is handed over", "a share is open")


async def examine(folder: Path, pki: Path) -> int:
    """Bring all KMEs back, check every rule, and return how many relayed blocks both ends can use."""
    web = open_web(folder, pki)
    web.clock.advance(10.0)
    return await check(web, folder)


async def check(web: Any, folder: Path) -> int:
    """Check every rule on a network that is whole again."""
    for node in web.nodes:
        for other in web.nodes:
            if other != node:
                await web.kmes[node].resume(other)
    path = folder / "seen.jsonl"
    seen = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    masters = {key_id: value for who, key_id, value in seen if who == "sae-a"}
    slaves = {key_id: value for who, key_id, value in seen if who == "sae-z"}
    assert all(masters[key_id] == value for key_id, value in slaves.items()), "the ends differ"
    for key_id, value in masters.items():  # what was acknowledged to its master is there for its slave, or was burned
        if key_id in slaves:
            continue
        try:
            got = await web.kmes["z"].dec_keys("sae-z", "sae-a", [key_id])
        except NocloneError:
            continue
        assert got.keys[0].value.hex() == value, "other bytes after a crash"
    ready = web.ready_bits("a", "z", "paths-1")
    burned = web.ready_bits("z", "a", "paths-1") - ready  # two keys that were claimed, and never promised
    assert burned in (0, 512), "the ends do not agree on what is ready"
    for sender, receiver in (("a", "b"), ("b", "z")):
        assert web.kmes[sender].store.undelivered(receiver).result() == [], "a pad's fate was left open"
    # The network still works, with what is left and with fresh key, and no byte comes twice.
    web.numbers = dict.fromkeys(web.edges, 10)
    await web.fill(n_bytes=4096)
    await web.relays["a"].relay(["abz"], 1, 256)
    await web.settled()
    old = {value for *_, value in seen}
    while True:
        try:
            got = await web.kmes["a"].enc_keys("sae-a", "sae-z", KeyRequest.model_validate({"number": 1}))
        except NocloneError:
            break
        same = await web.kmes["z"].dec_keys("sae-z", "sae-a", [key.key_id for key in got.keys])
        assert [key.value for key in got.keys] == [key.value for key in same.keys], "the ends hold different bytes"
        assert got.keys[0].value.hex() not in old, "a key came twice"
        old.add(got.keys[0].value.hex())
    assert len(old) >= len({value for *_, value in seen}) + 4, "the fresh block does not serve"
    held = web.kmes["a"].store.pool("z", ("paths-1",)).result().held_bits
    held += web.kmes["z"].store.pool("a", ("paths-1",)).result().held_bits
    assert held <= 2 * 8 * 256, "more was left behind than one crash can leave"
    web.clock.advance(1000.0)
    for node in "az":
        await web.relays[node].sweep()
        assert web.kmes[node].store.pool("z" if node == "a" else "a", ("paths-1",)).result().held_bits == 0
    return -(-ready // (8 * 256))


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
    step, first = (int(text) for text in (*sys.argv[2:], "1", "1")[:2])
    pki = relay_web.make_pki(root / "pki", VICTIMS)
    relay_web.warm_up()
    report = {}
    for victim in VICTIMS:
        point, ready, alone = first, [], []
        while True:
            folder = root / f"{victim}{point}"
            folder.mkdir()

            async def crash(victim: str = victim, point: int = point, folder: Path = folder) -> None:
                await work(folder, pki, victim, point)

            code, ended_by = in_child(crash)
            if ended_by == 0:
                assert code == FINE, f"the workload failed ({victim} {point})"
                break
            assert ended_by == signal.SIGKILL
            code, ended_by = in_child(lambda folder=folder: examine(folder, pki))
            assert ended_by == 0, f"the examination after {victim} {point} crashed"
            assert code >= FINE, f"the examination after {victim} {point} failed"
            ready.append(code - FINE)
            folder = root / f"{victim}{point}-alone"
            folder.mkdir()
            code, ended_by = in_child(lambda folder=folder, v=victim, p=point: outlive(folder, pki, v, p))
            assert ended_by == 0, f"the others did not outlive {victim} {point}"
            assert code >= FINE, f"the others did not outlive {victim} {point} well"
            alone.append(code - FINE)
            point += step
        report[victim] = {"points": point - 1, "blocks": ready, "alone": alone}
    print(json.dumps(report))  # noqa: T201


if __name__ == "__main__":
    main()
