"""How fast a full store gives out keys, beside one that is almost empty: claims alone, without network or peer."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from noclone.bits import words_from_bytes
from noclone.kms.pools import BlockName
from noclone.kms.store import Store, StoreSettings
from noclone.records import BlockProvenance, Origin, SecretKey

KEY_BYTES = 32
BLOCK_BYTES = 1 << 20
KEYS_EACH = BLOCK_BYTES // KEY_BYTES
CLAIMS = (1, 128)


def bench_store(*, keys: int = 500_000, seconds: float = 2.0, folder: Path | None = None) -> dict[str, Any]:
    """Fill a store and measure claims of one key, one after another, and of 128 keys, before and after.

    Args:
        keys: How many 256-bit keys it has in the end; half of them are for masters here.
        seconds: How long to measure each.
        folder: Where it lies; it should be on the disk that is to be measured.
    """
    with (
        tempfile.TemporaryDirectory(prefix="noclone-bench-", dir=folder) as temporary,
        Store.open(
            Path(temporary) / "store.db",
            name="alder",
            kek=os.urandom(32),
            settings=StoreSettings(capacity_bits=1 << 40),
        ) as store,
    ):
        for number in range(2):
            _deposit(store, number)
        before = _claims(store, seconds)
        memory_before = _memory_mib()
        started, blocks = time.perf_counter(), max(3, -(-keys // KEYS_EACH))
        for number in range(2, blocks):
            _deposit(store, number)
        filled_s = time.perf_counter() - started
        after = _claims(store, seconds)
        rows = [
            {
                "keys_a_claim": number,
                "almost_empty_keys_per_s": before[number],
                "full_keys_per_s": after[number],
                "share": round(after[number] / before[number], 2),
            }
            for number in CLAIMS
        ]
        return {
            "keys": blocks * KEYS_EACH,
            "deposit_keys_per_s": round((blocks - 2) * KEYS_EACH / filled_s),
            "per_claim": rows,
            "memory_mib_before": memory_before,
            "memory_mib_after": _memory_mib(),
        }


def _deposit(store: Store, number: int) -> None:
    origin = BlockProvenance(
        "bench", "alder", "birch", number, "b", Origin("simulated"), "none", "fixed-length", 1.0, 1.0, "none", 0.0
    )
    key = SecretKey(words_from_bytes(os.urandom(BLOCK_BYTES)), 8 * BLOCK_BYTES, origin)
    store.deposit(key, "birch").result()
    store.acknowledge("birch", [BlockName("bench", number, KEYS_EACH)]).result()


def _claims(store: Store, seconds: float) -> dict[int, int]:
    """Return keys a second, by how many a claim takes; each claim durable before the next one."""
    return {number: _rate(store, number, seconds) for number in CLAIMS}


def _rate(store: Store, number: int, seconds: float) -> int:
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds and count < KEYS_EACH // (4 if number == 1 else 2):
        store.claim("birch", master="a", slaves=["b"], number=number, size_bits=8 * KEY_BYTES).result()
        count += number
    return round(count / (time.perf_counter() - started))


def _memory_mib() -> int:
    """Return how much memory this process had at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
