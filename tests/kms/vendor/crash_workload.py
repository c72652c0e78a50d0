"""Two KMEs draw from a vendor and serve keys; killed at their n-th failpoint, brought back, and examined.

Usage: crash_workload.py FOLDER [STEP [FIRST]]; forks a child for every STEP-th point, and prints one line of JSON: how
many points there were, and how many bits the pool had after each crash. The vendor's system outlives the crash.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from noclone.errors import NocloneError
from noclone.kms import failpoints

HERE = Path(__file__).parent
for name, path in (("relay_web", HERE.parent / "relay" / "web.py"), ("vendor_market", HERE / "market.py")):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
FINE = 100


def note(folder: Path, who: str, keys: Any) -> None:
    """An application has its keys, and remembers them through any crash."""
    with (folder / "seen.jsonl").open("a") as file:
        for key in keys:
            file.write(json.dumps([who, key.key_id, key.value.hex()]) + "\n")
        file.flush()
        os.fsync(file.fileno())


async def serve(shop: Any, folder: Path, number: int = 2) -> None:
    from noclone.kms.requests import KeyRequest

    a, b = shop.web.kmes["a"], shop.web.kmes["b"]
    got = await a.enc_keys("sae-a", "sae-b", KeyRequest.model_validate({"number": number}))
    note(folder, "sae-a", got.keys)
    same = await b.dec_keys("sae-b", "sae-a", [key.key_id for key in got.keys])
    note(folder, "sae-b", same.keys)


async def work(folder: Path, pki: Path, point: int) -> int:
    shop, count = sys.modules["vendor_market"].Shop(folder, pki), 0

    def reach(_: str) -> None:
        nonlocal count
        count += 1
        if count == point:
            os.kill(os.getpid(), signal.SIGKILL)

    failpoints.reach = reach
    for _ in range(2):
        await shop.alice.draw()
        await serve(shop, folder)
    return 0


async def examine(folder: Path, pki: Path) -> int:
    """Bring both back, check every rule, and return how many whole blocks were left."""
    shop = sys.modules["vendor_market"].Shop(folder, pki)
    web = shop.web
    for node, other in (("a", "b"), ("b", "a")):
        await web.kmes[node].resume(other)
    path = folder / "seen.jsonl"
    seen = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    masters = {key_id: value for who, key_id, value in seen if who == "sae-a"}
    slaves = {key_id: value for who, key_id, value in seen if who == "sae-b"}
    assert all(masters[key_id] == value for key_id, value in slaves.items()), "the ends differ"
    ready = web.ready_bits("a", "b", "link")
    assert abs(ready - web.ready_bits("b", "a", "link")) <= 2 * 256, "the ends do not agree on what is ready"
    old = {value for *_, value in seen}
    await shop.alice.draw()
    while True:  # every key that is left: none came before, both ends have the same
        try:
            await serve(shop, folder, 1)
        except NocloneError:
            break
    after = [json.loads(line) for line in path.read_text().splitlines()][len(seen) :]
    values = [value for who, _, value in after if who == "sae-a"]
    assert len(set(values)) == len(values), "a key came twice"
    assert not set(values) & old, "a key came again"
    assert {v for who, _, v in after if who == "sae-b"} == set(values), "the ends hold different bytes"
    assert len(values) >= 16, "the fresh block does not serve"
    return ready // 8192


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
    web = sys.modules["relay_web"]
    pki = web.make_pki(root / "pki", "abz")
    web.warm_up()
    blocks = []
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
        blocks.append(code - FINE)
        point += step
    print(json.dumps({"points": point - step, "blocks": blocks}))  # noqa: T201


if __name__ == "__main__":
    main()
