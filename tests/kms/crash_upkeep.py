"""Rotation and restore, killed at the n-th failpoint; then the store is opened as a KME would. Run by test_crash.

Usage: crash_upkeep.py FOLDER; forks a child for every point that the work has, and prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from noclone.bits import words_from_bytes
from noclone.clock import ManualClock
from noclone.errors import KeysExhausted, StoreError
from noclone.kms import failpoints
from noclone.kms.kekfile import KekFile
from noclone.kms.keys import Refused
from noclone.kms.sealing import load_kek
from noclone.kms.store import Store
from noclone.records import BlockProvenance, Origin, SecretKey

FINE = 100
BLOCK = bytes(i * 7 % 256 ^ i // 256 for i in range(640))
OLD = bytes(range(32))


def open_alder(folder: Path) -> Store:
    return Store.open(folder / "alder.db", name="alder", kek=KekFile(folder / "kek"), clock=ManualClock())


def prepare(folder: Path) -> None:
    """Make a store with ready key, a key that waits for its slave, and a key that was delivered and collected."""
    (folder / "kek").write_text(OLD.hex())
    (folder / "kek").chmod(0o600)
    origin = BlockProvenance(
        "l", "alder", "birch", 0, "p", Origin("simulated"), "x", "fixed-length", 0.0, 0.0, "b", 0.0
    )
    key = SecretKey(words_from_bytes(BLOCK), 8 * len(BLOCK), origin)
    with (
        open_alder(folder) as a,
        Store.open(folder / "birch.db", name="birch", kek=bytes(32), clock=ManualClock()) as b,
    ):
        a.deposit(key, "birch").result()
        b.deposit(key, "alder").result()
        a.acknowledge("birch", b.acknowledge("alder", a.held("birch").result()).result()).result()
        claimed = b.claim("alder", master="sae-b", slaves=["sae-a"], number=2, size_bits=256).result()
        a.assign("birch", [one.assignment for one in claimed]).result()
        keys = [key for one in claimed for key in one.keys]
        ids = [key.key_id for key in keys]
        b.deliver_to_master([one.assignment.key_id for one in claimed], "sae-b").result()
        a.collect("sae-a", "sae-b", ids[:1]).result()
        (folder / "ids").write_text(json.dumps([ids, keys[1].value.hex()]))
        a.back_up(folder / "backup")


def rotate(folder: Path) -> None:
    with open_alder(folder) as store:
        file = KekFile(folder / "kek")
        value = file.prepare()
        store.rotate_kek(value)
        file.settle(value)


def examine_rotation(folder: Path) -> None:
    """Exactly one of the two KEKs opens the store, and it has all that it had."""
    path = folder / "kek"
    offered = [load_kek(one) for one in (path, path.with_name("kek.next")) if one.exists()]
    fitting = 0
    for kek in dict.fromkeys([OLD, *offered]):
        try:
            Store.open(folder / "alder.db", name="alder", kek=kek, clock=ManualClock()).close()
        except StoreError as error:
            assert "generation" in error.message  # noqa: PT017
        else:
            fitting += 1
    assert fitting == 1, f"{fitting} KEKs open the store"
    ids, waiting = json.loads((folder / "ids").read_text())
    with open_alder(folder) as a:
        [key] = a.collect("sae-a", "sae-b", ids[1:]).result()
        assert key.value.hex() == waiting
        assert not collects(a, ids[0]), "delivered twice"
        [run] = a.claim("birch", master="sae-a", slaves=["sae-b"], number=10, size_bits=256).result()
        assert len(run.keys) == 10
        assert a.verify_audit().problems == ()
    rotate(folder)  # whatever the crash left behind is in nobody's way
    with open_alder(folder) as a:
        assert a.session.keyring.kek != OLD
        assert not (folder / "kek.next").exists()


def collects(store: Store, key_id: str) -> bool:
    try:
        store.collect("sae-a", "sae-b", [key_id]).result()
    except Refused:
        return False
    return True


def restore(folder: Path) -> None:
    Store.restore(folder / "restored.db", folder / "backup", kek=KekFile(folder / "kek"), clock=ManualClock()).close()


def examine_restore(folder: Path) -> None:
    """There is no store, or one without key: a second call makes the first and is refused for the second."""
    try:
        restore(folder)
    except StoreError as error:
        assert "there is a key store already" in error.message  # noqa: PT017
    ids, _ = json.loads((folder / "ids").read_text())
    kek = KekFile(folder / "kek")
    with Store.open(folder / "restored.db", name="alder", kek=kek, clock=ManualClock()) as store:
        assert not any(collects(store, key_id) for key_id in ids)
        assert store.pool("birch").result().reserved_keys == 0
        try:
            store.claim("birch", master="sae-a", slaves=["sae-b"], number=1, size_bits=8).result()
        except KeysExhausted:
            pass
        else:
            raise AssertionError("a restored store has key")
        assert store.verify_audit().problems == ()


def in_child(run: Callable[[], None]) -> tuple[int, int]:
    """Run in a fork; return exit status and the signal that ended it."""
    child = os.fork()
    if not child:
        code = 1
        try:
            run()
            code = FINE
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return (os.WEXITSTATUS(status), 0) if os.WIFEXITED(status) else (0, os.WTERMSIG(status))


def every_point(root: Path, work: Callable[[Path], None], examine: Callable[[Path], None]) -> int:
    """Kill the work at each of its points; return how many it has."""
    point = 0
    while True:
        point += 1
        folder = root / f"{work.__name__}-{point}"
        folder.mkdir()
        assert in_child(lambda folder=folder: prepare(folder)) == (FINE, 0)

        def crash(point: int = point, folder: Path = folder) -> None:
            failpoints._crash_at = point
            work(folder)

        code, ended_by = in_child(crash)
        if ended_by == 0:
            assert code == FINE, "the work failed"
            assert in_child(lambda folder=folder: examine(folder)) == (FINE, 0)
            return point - 1
        assert ended_by == signal.SIGKILL
        assert in_child(lambda folder=folder: examine(folder)) == (FINE, 0), f"after point {point} of {work.__name__}"


def main() -> None:
    root = Path(sys.argv[1])
    points = {
        "rotate": every_point(root, rotate, examine_rotation),
        "restore": every_point(root, restore, examine_restore),
    }
    print(json.dumps(points))  # noqa: T201


if __name__ == "__main__":
    main()
