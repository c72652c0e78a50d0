"""Measure one-time pads: messages and files sealed and opened with pads at hand, and durable reservations.

Everything real but the KMEs: pads are random bytes in two books on this machine's disk.
"""

from __future__ import annotations

import filecmp
import os
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from noclone.apps.files import receive_file, send_file
from noclone.apps.messages import receive_message, send_message
from noclone.apps.pad_book import PadBook
from noclone.apps.pad_lease import BATCH_BYTES, PadReceiver, PadSender
from noclone.apps.sealed import LENGTH_BYTES, RECORD_BYTES, padded_length
from noclone.apps.spool import SpooledPad
from noclone.client import Key, KeyContainer, Status

A, B = "sae-a", "sae-b"
MB = 1_000_000
CALLERS = 32


def bench_pads(
    *,
    message_bytes: int = 200,
    n_messages: int = 10_000,
    n_reservations: int = 500,
    file_mb: int = 128,
    repeats: int = 5,
) -> dict[str, Any]:
    """Measure, in a temporary folder, and return the best of several runs.

    Args:
        message_bytes: Of each message.
        n_messages: Sealed, then opened, with pads in memory: no disk waits.
        n_reservations: Each one a grant in one book and a removal from the other, both durable before it counts; once
            one at a time, once by as many callers as `CALLERS` at once with one in each lease, once sixteen in a lease.
        file_mb: Size of the file, in megabytes.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with PadBook(folder / "a") as a, PadBook(folder / "b") as b:
            return {
                "message_bytes": message_bytes,
                "messages_per_s": max(_messages(message_bytes, n_messages) for _ in range(repeats)),
                "reservations_per_s": max(_reservations(a, b, n_reservations, 1) for _ in range(repeats)),
                "reservations_by_callers_per_s": max(_by_callers(a, b, n_reservations) for _ in range(repeats)),
                "reservations_by_16_per_s": max(_reservations(a, b, n_reservations, 16) for _ in range(repeats)),
                "file_mb": file_mb,
                **_file(a, b, folder, file_mb * MB),
            }


def _fill(a: PadBook, b: PadBook, number: int, n_bytes: int) -> None:
    for _ in range(number):
        batch_id, value = os.urandom(16).hex(), os.urandom(n_bytes)
        a.add(B, "out", batch_id, value, {})
        b.add(A, "in", batch_id, value, {})


def _reservations(a: PadBook, b: PadBook, number: int, at_once: int) -> float:
    """Return how many batches a second are granted and taken, so many in one lease."""
    _fill(a, b, number, 64)
    proposed = a.propose(B, 64 * number)
    began = time.perf_counter()
    for start in range(0, len(proposed), at_once):
        lease = proposed[start : start + at_once]
        a.take(B, lease, b.grant(A, lease))
    return number / (time.perf_counter() - began)


def _by_callers(a: PadBook, b: PadBook, number: int) -> float:
    """Return how many batches a second are granted and taken by callers at the same time, one in each lease."""
    _fill(a, b, number, 64)
    proposed = a.propose(B, 64 * number)
    with ThreadPoolExecutor(CALLERS) as callers:
        began = time.perf_counter()
        taken = list(callers.map(lambda one: a.take(B, [one], b.grant(A, [one])), proposed))
        seconds = time.perf_counter() - began
    assert all(len(batches) == 1 for batches in taken)
    return number / seconds


class _Memory:
    """Pads in memory, as both ends have them once a lease is taken."""

    def __init__(self, n_bytes: int) -> None:
        self._pad, self._used = os.urandom(n_bytes), 0
        self._given: dict[str, SpooledPad] = {}

    def status(self, slave: str) -> Status:
        left = len(self._pad) - self._used
        return Status("memory", "memory", A, slave, 8, left, left, 128, 1 << 20, 8, 0)

    def enc_keys(
        self,
        slave: str,  # noqa: ARG002
        number: int = 1,
        size: int | None = None,
        additional: Sequence[str] = (),  # noqa: ARG002
    ) -> KeyContainer:
        n_bytes = (size or 8) // 8
        keys = []
        for _ in range(number):
            start, self._used = self._used, self._used + n_bytes
            key = Key(f"x:{start}+{n_bytes}", self._pad[start : self._used])
            self._given[key.key_id] = SpooledPad(key.key_id, key.value, False)
            keys.append(key)
        return KeyContainer(tuple(keys))

    def dec_keys(self, master: str, key_ids: Sequence[str]) -> KeyContainer:
        raise KeyError(master, key_ids)

    def keep(self, expected: Sequence[tuple[str, int]], fetch: Callable[[], Sequence[SpooledPad]]) -> None:
        raise KeyError(expected, fetch)

    def __enter__(self) -> _Memory:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._given

    def pads(self, key_ids: Collection[str]) -> dict[str, SpooledPad]:
        return {key_id: self._given[key_id] for key_id in key_ids}

    def erase(self, key_ids: Collection[str]) -> None:
        for key_id in key_ids:
            del self._given[key_id]


def _messages(n_bytes: int, number: int) -> float:
    """Return how many messages a second are sealed and opened by one thread that does both."""
    pads, text = _Memory(number * (2 * n_bytes + 128)), "x" * n_bytes
    began = time.perf_counter()
    for _ in range(number):
        container = send_message(pads, text, sender=A, to=B)
        receive_message(pads, container, receiver=B, store=pads)
    return number / (time.perf_counter() - began)


def _file(a: PadBook, b: PadBook, folder: Path, n_bytes: int) -> dict[str, float]:
    plain, sealed, out = folder / "plain", folder / "sealed", folder / "out"
    with plain.open("wb") as file:
        for _ in range(0, n_bytes, MB):
            file.write(os.urandom(MB))
    _fill(a, b, padded_length(LENGTH_BYTES + n_bytes) // (12 * RECORD_BYTES) + 2, BATCH_BYTES)
    sender = PadSender(a, lambda ids: b.grant(A, ids), own=A, peer=B)
    began = time.perf_counter()
    send_file(sender, plain, sender=A, to=B, out=sealed)
    between = time.perf_counter()
    receiver = PadReceiver(b, own=B, peer=A)
    receive_file(receiver, sealed, receiver=B, out=out, store=receiver)
    ended = time.perf_counter()
    assert filecmp.cmp(plain, out, shallow=False)
    return {
        "seal_mbyte_per_s": n_bytes / MB / (between - began),
        "open_mbyte_per_s": n_bytes / MB / (ended - between),
    }
