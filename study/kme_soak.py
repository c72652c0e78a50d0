"""A soak of two KMEs over loopback: do they keep their memory, their rate, and the same bytes at both ends?

    python study/kme_soak.py [MINUTES [FOLDER]]        (ten minutes by default; the stores go into FOLDER)

Masters at one KME ask for 1, 1, 1 and 16 keys in turn, their slaves collect them at the other, all over mutual TLS, and
new key comes in as it is used up. Every 30 s: requests, keys, memory of both processes, size of their files. It fails
if the ends differ, an id comes twice, or a process is more than a tenth larger at the end than after a fifth of it.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from noclone.async_client import AsyncEtsi014Client
from noclone.kms.bench import make_certificates, two_kmes

NUMBERS = (1, 1, 1, 16)
PAIRS = 4
EVERY_S = 30.0
GROWTH_MAX = 0.1
BLOCK_BYTES = 1 << 18


def memory_mib(pid: int) -> float:
    """Return how much memory a process has now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


class Soak:
    """What was asked for and seen so far."""

    def __init__(self, end: float) -> None:
        self.end = end
        self.requests = 0
        self.ids: set[str] = set()
        self.keys = 0

    async def pair(self, master: AsyncEtsi014Client, slave: AsyncEtsi014Client) -> None:
        """Ask and collect until the end."""
        while time.monotonic() < self.end:
            number = NUMBERS[self.requests % len(NUMBERS)]
            self.requests += 1
            given = (await master.enc_keys("sae-b", number=number)).keys
            got = (await slave.dec_keys("sae-a", [key.key_id for key in given])).keys
            same = [(key.key_id, key.value) for key in given] == [(key.key_id, key.value) for key in got]
            assert same, "the ends differ"
            fresh = {key.key_id for key in given}
            assert len(fresh) == number, "an id came twice in one answer"
            assert not fresh & self.ids, "an id came twice"
            self.ids |= fresh
            self.keys += number


async def soak(place: Path, minutes: float, ports: dict[str, int], pids: dict[str, int]) -> list[dict[str, float]]:
    """Run, print a line now and then, and return these lines."""
    state = Soak(time.monotonic() + 60 * minutes)
    files = {"ca": place / "kme-ca.crt"}
    masters = [
        AsyncEtsi014Client(
            f"https://127.0.0.1:{ports['alder']}", certificate=place / "sae.crt", key=place / "sae.key", **files
        )
        for _ in range(PAIRS)
    ]
    slaves = [
        AsyncEtsi014Client(
            f"https://127.0.0.1:{ports['birch']}", certificate=place / "sae-b.crt", key=place / "sae-b.key", **files
        )
        for _ in range(PAIRS)
    ]
    started, rows = time.monotonic(), []

    async def watch() -> None:
        while True:
            await asyncio.sleep(min(EVERY_S, 6 * minutes))
            row = {"minutes": (time.monotonic() - started) / 60, "requests": state.requests, "keys": state.keys}
            row |= {f"{name}_mib": memory_mib(pid) for name, pid in pids.items()}
            row["files_mib"] = sum(path.stat().st_size for path in place.glob("*.db*")) / 2**20
            rows.append({name: round(value, 2) for name, value in row.items()})
            print(json.dumps(rows[-1]), flush=True)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(state.pair(master, slave) for master, slave in zip(masters, slaves, strict=True)))
    watcher.cancel()
    for client in (*masters, *slaves):
        await client.close()
    return rows


def main() -> int:
    """Run the soak; return 1 if memory grew."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    folder = sys.argv[2] if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory(prefix="noclone-soak-", dir=folder) as name:
        place = Path(name)
        make_certificates(place)
        with two_kmes(place, BLOCK_BYTES, refill=True) as pair:
            rows = asyncio.run(soak(place, minutes, pair.ports, pair.pids))
    early, late = rows[len(rows) // 5], rows[-1]
    growth = {name: round(late[f"{name}_mib"] / early[f"{name}_mib"] - 1, 3) for name in ("alder", "birch")}
    rate = {"requests_per_s": round(late["requests"] / late["minutes"] / 60), "keys": late["keys"]}
    print(json.dumps({"growth": growth, **rate}))
    return int(max(growth.values()) > GROWTH_MAX)


if __name__ == "__main__":
    sys.exit(main())
