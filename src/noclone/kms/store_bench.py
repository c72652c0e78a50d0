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


def bench_store(*, keys: int = 10_000_000, seconds: float = 3.0, folder: Path | None = None) -> dict[str, Any]:
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
        return {
            "keys": blocks * KEYS_EACH,
            "deposit_keys_per_s": round((blocks - 2) * KEYS_EACH / filled_s),
            "almost_empty": before,
            "full": after,
            "share": {name: round(after[name] / before[name], 2) for name in before},
            "memory_mib": [memory_before, _memory_mib()],
        }


def _deposit(store: Store, number: int) -> None:
    origin = BlockProvenance(
        "bench", "alder", "birch", number, "b", Origin("simulated"), "none", "fixed-length", 1.0, 1.0, "none", 0.0
    )
    key = SecretKey(words_from_bytes(os.urandom(BLOCK_BYTES)), 8 * BLOCK_BYTES, origin)
    store.deposit(key, "birch").result()
    store.acknowledge("birch", [BlockName("bench", number, KEYS_EACH)]).result()


def _claims(store: Store, seconds: float) -> dict[str, int]:
    """Return keys a second: one at a time, each durable before the next; and 128 at a time."""
    return {f"claims_of_{number}_keys_per_s": _rate(store, number, seconds) for number in (1, 128)}


def _rate(store: Store, number: int, seconds: float) -> int:
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds and count < KEYS_EACH // 4:
        store.claim("birch", master="a", slaves=["b"], number=number, size_bits=8 * KEY_BYTES).result()
        count += number
    return round(count / (time.perf_counter() - started))


def _memory_mib() -> int:
    """Return how much memory this process had at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
