"""Count Cascade's frame errors, and those that confirmation does not see, over many frames.

A block of 2^22 bits (64 frames of 2^16) is reconciled and confirmed at a time, by the product's own code, with the hash
that a block of a link is confirmed with. Keys, errors, Cascade's seed and the hash key come from generators that the
operating system seeded anew for each block. Counts are added to cascade_million.json and shown in cascade_million.md,
beside this script, every few blocks: it can be stopped at any time and goes on where it was.

    python study/cascade_million.py FRAMES [MINUTES]

It works on two cores. FRAMES is the total to reach, over all error rates together (0 writes the record anew);
MINUTES ends a run earlier.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from noclone.bits import count_ones
from noclone.crypto.polynomial_hash import digest
from noclone.distill.cascade import SEED_BYTES, plan
from noclone.distill.cascade_bench import Case, bad_frames, interval_95, reconcile

QBERS = (0.01, 0.02, 0.03, 0.05, 0.08)
BLOCK_BITS = 1 << 22
WORKERS = 2
TAG_BITS = 64
HASH_KEY_BYTES = 16
HERE = Path(__file__).parent
COUNTS, RECORD = HERE / "cascade_million.json", HERE / "cascade_million.md"


def block(qber: float) -> dict[str, float]:
    """Reconcile and confirm one block, and count."""
    case = Case(np.random.default_rng(), BLOCK_BITS, qber)
    case.params = plan(BLOCK_BITS, qber, secrets.token_bytes(SEED_BYTES))
    alice, bob = case.parties()
    reconcile(alice, bob)
    wrong, frames = bad_frames(bob.words ^ case.alice, case.params)
    key = secrets.token_bytes(HASH_KEY_BYTES)
    equal = digest(bob.words, BLOCK_BITS, key, TAG_BITS) == digest(case.alice, BLOCK_BITS, key, TAG_BITS)
    return {
        "frames": frames,
        "blocks": 1,
        "frame_errors": wrong,
        "bits_wrong": count_ones(bob.words ^ case.alice),
        "blocks_refused": int(not equal),
        "undetected": wrong if equal else 0,
        "leak_bits": alice.leak_bits,
        "ideal_bits": case.ideal_bits,
    }


def load() -> dict[str, Any]:
    """Return the counts so far."""
    if COUNTS.exists():
        found: dict[str, Any] = json.loads(COUNTS.read_text())
        if (
            "counts" not in found
        ):  # once a frame was counted for each word with a wrong bit; a wrong frame has two at least
            found["counts"] = "frames"
            for sums in found["per_qber"].values():
                if sums:
                    sums["frame_errors"] = min(sums["frame_errors"], sums["bits_wrong"] // 2)
        return found
    return {"counts": "frames", "runs": [], "per_qber": {str(qber): {} for qber in QBERS}}


def row(name: str, sums: dict[str, float]) -> str:
    """Return one line of the table."""
    frames, errors, undetected = (int(sums[x]) for x in ("frames", "frame_errors", "undetected"))
    lower, upper = interval_95(errors, frames)
    at_most, f = interval_95(undetected, frames)[1], sums["leak_bits"] / sums["ideal_bits"]
    return (
        f"| {name} | {frames:,} | {errors} | {errors / frames:.2e} | {lower:.1e} to {upper:.1e} "
        f"| {int(sums['bits_wrong'])} | {undetected} | {at_most:.1e} | {f:.4f} |"
    )


def save(state: dict[str, Any]) -> None:
    """Write counts and record."""
    COUNTS.write_text(json.dumps(state, indent=1) + "\n")
    counted = {name: sums for name, sums in state["per_qber"].items() if sums}
    total: dict[str, float] = {}
    for sums in counted.values():
        for name, value in sums.items():
            total[name] = total.get(name, 0) + value
    lines = [
        "# Cascade's frame errors, counted",
        "",
        "Written by `cascade_million.py`, which says how. Frames of 2^16 bits; intervals: 95 %, Clopper and Pearson.",
        "A block that holds a wrong frame is refused by its confirmation hash of 64 bits; undetected is a wrong frame",
        "in a block that was not refused.",
        "",
        "| QBER | frames | wrong | rate | interval | bits wrong | undetected | at most | f |",
        "|---|---|---|---|---|---|---|---|---|",
        *(row(name, sums) for name, sums in counted.items()),
        row("all", total),
        "",
        *(f"- {run}" for run in state["runs"]),
    ]
    RECORD.write_text("\n".join(lines) + "\n")


def machine() -> str:
    """Return what the processor calls itself."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return f"{names[0].partition(':')[2].strip() if names else platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    """Run until the total or the time is reached."""
    if len(sys.argv) not in (2, 3):
        raise SystemExit(f"usage: python {sys.argv[0]} FRAMES [MINUTES]")
    state, wanted = load(), int(sys.argv[1])
    end = time.monotonic() + 60 * float(sys.argv[2]) if len(sys.argv) == 3 else float("inf")
    started = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    command = f"`python study/cascade_million.py {' '.join(sys.argv[1:])}`"
    done = 0
    if any(state["per_qber"].values()):
        save(state)
    state["runs"].append("")
    with ProcessPoolExecutor(WORKERS) as pool:
        while time.monotonic() < end and sum(x.get("frames", 0) for x in state["per_qber"].values()) < wanted:
            names = [name for name in state["per_qber"] for _ in range(2 * WORKERS)]
            for name, counts in zip(names, pool.map(block, map(float, names)), strict=True):
                sums = state["per_qber"][name]
                for key, value in counts.items():
                    sums[key] = sums.get(key, 0) + value
                done += int(counts["frames"])
            state["runs"][-1] = (
                f"{started}: {command}, {done:,} frames, {machine()}, Python {platform.python_version()}"
            )
            save(state)


if __name__ == "__main__":
    main()
