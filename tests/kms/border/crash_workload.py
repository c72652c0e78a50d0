"""Keys cross a border both ways; our two KMEs are killed at their n-th failpoint, brought back, and examined.

Usage: crash_workload.py FOLDER [STEP [FIRST]]; forks a child for every STEP-th point. The other operator's KME outlives
the crash: what it was told is in a file. Prints one line of JSON: points, and how many keys our application got.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from sqlalchemy import select

from noclone.errors import NocloneError
from noclone.kms import failpoints
from noclone.kms.border_messages import ACK_PATH, KEYS_PATH, VOID_PATH
from noclone.kms.requests import KeyRequest
from noclone.kms.tables import key

HERE = Path(__file__).parent
for name, path in (("relay_web", HERE.parent / "relay" / "web.py"), ("border_frontier", HERE / "frontier.py")):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
frontier: Any = sys.modules["border_frontier"]
FINE = 100
THEIRS = {f"00000000-0000-4000-8000-00000000000{i}": bytes([i + 1]) * 32 for i in range(3)}


class Peer:
    """The other operator's KME: it relays what it gets, voids what it must, and forgets nothing."""

    def __init__(self, folder: Path, border: Any) -> None:
        self.file, self.border = folder / "peer.json", border
        data = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.keys: dict[str, str] = data.get("keys", {})
        self.void: list[str] = data.get("void", [])
        self.relayed: list[str] = data.get("relayed", [])  # of its own keys, as we told it
        self.tasks: set[asyncio.Task[Any]] = set()
        border.door.post = self.post

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        if path == ACK_PATH:
            for one in body:
                ids = [entry["key_id"] for entry in one["key_id_container"]]
                self.relayed += ids if one["ack_status"] == "relayed" else []
            self.keep()
            return 200, None
        if path == KEYS_PATH:
            for key in body["keys"]:
                assert self.keys.setdefault(key["key_id"], key["value"]) == key["value"], (
                    "another key under the same id"
                )
            self.keep()
            self.tell("relayed", body, [key["key_id"] for key in body["keys"] if key["key_id"] not in self.void])
        if path == VOID_PATH:
            self.void += body["key_ids"]
            self.keep()
            self.tell("voided", body, body["key_ids"])
        return 202, None

    def tell(self, status: str, body: Any, ids: list[str]) -> None:
        told = [
            {
                "key_id_container": [{"key_id": i} for i in ids],
                "ack_status": status,
                "initiator_sae_id": body["initiator_sae_id"],
                "target_sae_ids": body["target_sae_ids"],
            }
        ]
        task = asyncio.create_task(self.border.ask("POST", ACK_PATH, told))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def keep(self) -> None:
        text = json.dumps({"keys": self.keys, "void": self.void, "relayed": self.relayed})
        temporary = self.file.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(self.file)


def note(folder: Path, keys: Any) -> None:
    with (folder / "seen.jsonl").open("a") as file:
        for one in keys:
            file.write(json.dumps([one.key_id, base64.b64encode(one.value).decode()]) + "\n")
        file.flush()
        os.fsync(file.fileno())


def seen(folder: Path) -> dict[str, str]:
    path = folder / "seen.jsonl"
    return dict(json.loads(line) for line in path.read_text().splitlines()) if path.exists() else {}


async def work(folder: Path, pki: Path, point: int) -> int:
    border, count = frontier.Frontier(folder, pki), 0
    peer = Peer(folder, border)
    await border.web.fill(n_bytes=4096)

    def reach(_: str) -> None:
        nonlocal count
        count += 1
        if count == point:
            os.kill(os.getpid(), signal.SIGKILL)

    failpoints.reach = reach
    async with border:
        got = await border.web.kmes["a"].enc_keys("sae-a", "sae-p", KeyRequest.model_validate({"number": 2}))
        note(folder, got.keys)
        assert (await border.pass_on(THEIRS))[0] == 202
        await border.until(lambda: set(THEIRS) <= set(peer.relayed))
        same = await border.web.kmes["a"].dec_keys("sae-a", "sae-p", list(THEIRS)[:1])
        note(folder, same.keys)
    return 0


async def examine(folder: Path, pki: Path) -> int:
    """Bring our KMEs back, check every rule, and return how many keys our application had got."""
    border = frontier.Frontier(folder, pki)
    peer = Peer(folder, border)
    border.web.numbers = {("a", "b"): 5}
    async with border:
        for node, other in (("a", "b"), ("b", "a")):
            await border.web.kmes[node].resume(other)
        await border.web.fill(n_bytes=4096)
        had = seen(folder)
        first = next(iter(THEIRS))
        for key_id, value in had.items():
            if key_id not in THEIRS:
                assert peer.keys[key_id] == value, "the two sides have different keys"
                assert key_id not in peer.void, "a key that was given out was voided"
        async with asyncio.timeout(15):  # what our side does not use is void at theirs
            while not all_void_or_burned(border, peer, had):
                await asyncio.sleep(0.02)
        assert not set(peer.void) & set(had), "a key that was given out was voided"
        assert (await border.pass_on(THEIRS))[0] == 202  # it never heard an answer, and asks again
        await border.until(lambda: set(THEIRS) <= set(peer.relayed))
        a = border.web.kmes["a"]
        for key_id, value in THEIRS.items():
            try:
                got = await a.dec_keys("sae-a", "sae-p", [key_id])
            except NocloneError:
                assert key_id == first, "an acknowledged key was lost"  # given out, or burned on its way
                continue
            assert key_id not in had, "a key came twice"
            assert got.keys[0].value == value, "another key came"
        again = await a.enc_keys("sae-a", "sae-p", KeyRequest.model_validate({"number": 1}))
        assert again.keys[0].key_id not in had, "a key came twice"
        waiting = [row.master for row in rows_of(a) if row.state == "reserved"]
        assert all(master == "kme:b" for master in waiting), "something waits for nobody"  # but a pad, until it expires
    return len([key_id for key_id in had if key_id not in THEIRS])


def rows_of(kme: Any) -> list[Any]:
    return list(kme.store.commits.run(lambda c: list(c.execute(select(key)))))


def all_void_or_burned(border: Any, peer: Peer, had: dict[str, str]) -> bool:
    """Say whether keys that nobody here has are void there, but for those whose answer to their master was lost."""
    rows = {row.key_id: row.state for row in rows_of(border.web.kmes["a"])}
    unused = [key_id for key_id in peer.keys if key_id not in had]
    return all(key_id in peer.void or rows.get(key_id) == "erased" for key_id in unused)


def in_child(run: Any) -> tuple[int, int]:
    """Run in a fork; return exit status and the signal that ended it."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = FINE + asyncio.run(run())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return (os.WEXITSTATUS(status), 0) if os.WIFEXITED(status) else (0, os.WTERMSIG(status))


def main() -> None:
    root = Path(sys.argv[1])
    step, point = (int(text) for text in (*sys.argv[2:], "1", "1")[:2])
    pki = sys.modules["relay_web"].make_pki(root / "pki", "abp")
    got = []
    while True:
        folder = root / str(point)
        folder.mkdir()
        code, ended_by = in_child(lambda folder=folder, point=point: work(folder, pki, point))
        if ended_by == 0:
            assert code == FINE, f"the workload failed ({point})"
            break
        assert ended_by == signal.SIGKILL
        code, ended_by = in_child(lambda folder=folder: examine(folder, pki))
        assert ended_by == 0, f"the examination after {point} crashed"
        assert code >= FINE, f"the examination after {point} failed"
        got.append(code - FINE)
        point += step
    print(json.dumps({"points": point - step, "got": got}))  # noqa: T201


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
