"""One of several workers on two stores: asks for keys, promises, delivers and collects, and notes what was seen.

Usage: worker_load.py ALDER BIRCH LOG REQUESTS. What is seen is in LOG before anything else happens; after it says
"ready" it works until its requests are done, keys run out, or somebody kills it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from noclone.errors import KeysExhausted
from noclone.kms.store import Store


def main() -> None:
    alder, birch, path, requests = sys.argv[1:]
    a = Store.open(alder, name="alder", kek=bytes(32))
    b = Store.open(birch, name="birch", kek=bytes(32))
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    with Path(path).open("a") as log:

        def note(who: str, keys: list[object]) -> None:
            for key in keys:
                log.write(json.dumps([who, key.key_id, key.value.hex()]) + "\n")
            log.flush()

        for n in range(int(requests)):
            number = 1 + n % 3
            try:
                claimed = a.claim("birch", master="sae-a", slaves=["sae-b"], number=number, size_bits=256).result()
            except KeysExhausted:
                break
            refused = b.assign("alder", [one.assignment for one in claimed]).result()
            assert refused == {}, refused
            ids = [one.assignment.key_id for one in claimed]
            a.deliver_to_master(ids, "sae-a").result()
            note("master", [key for one in claimed for key in one.keys])
            if n % 2:
                note("slave", b.collect("sae-b", "sae-a", ids).result())
    a.close()
    b.close()


if __name__ == "__main__":
    main()
