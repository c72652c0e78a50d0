"""The receiver's spool: pads that were fetched and not yet used up, so that a crash loses none of them.

In: keys, fetched by their ids from a KME that hands each out once.  Out: the same, as often as needed until the
plaintext is safely on the disk; then they are erased. Every batch is one file, sealed with AES-256-GCM under a key that
lives beside it (0600): that keeps pads out of backups of single files and out of sight, not from whoever owns the
folder. Space for a batch is set aside before it is fetched, so that a full disk costs no key.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from noclone.apps.own_key import own_key
from noclone.apps.whole_file import disk_error, sync_folder
from noclone.errors import InputError, KmeError, StoreError
from noclone.kms.sealing import Sealer

KEY_FILE = "spool.key"
LOCK_FILE = "spool.lock"
LOCK_WAIT_S = 5.0
HEAD_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class SpooledPad:
    """One key's bytes. Its repr does not show them.

    Args:
        label: What its KME says that it stands on, where it was just fetched; the spool does not keep it.
    """

    key_id: str
    value: bytes = field(repr=False)
    simulated: bool
    label: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class _Batch:
    """One file of the spool: whose keys, the keys as [id, bytes, simulated], and the sealed pads behind its head."""

    path: Path
    head: bytes
    master: str
    entries: tuple[tuple[str, int, bool], ...]


class PadStore(Protocol):
    """Where a receiver's pads are until what they open is safe: a spool, or a pad book."""

    def __enter__(self) -> PadStore: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __contains__(self, key_id: str) -> bool: ...

    def keep(self, expected: Sequence[tuple[str, int]], fetch: Callable[[], Sequence[SpooledPad]]) -> None: ...

    def pads(self, key_ids: Collection[str]) -> dict[str, SpooledPad]: ...

    def erase(self, key_ids: Collection[str]) -> None: ...


class Spool:
    """Fetched pads on disk. Use it as a context manager; one process at a time.

    It sees the pads of one master alone: the KME gave them on that name, and what they open is that application's.
    Whoever else names their ids gets nothing here, and is left to the KME, which refuses.

    Args:
        folder: The application's own; made, and private, if it is missing.
        master: The application that the pads were asked for from.
    """

    def __init__(self, folder: Path, master: str) -> None:
        self.folder = folder
        self.master = master
        self._batches: dict[str, _Batch] = {}
        self._where: dict[str, str] = {}

    def __enter__(self) -> Spool:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_error(self.folder, error) from None
        try:
            self._wait_for_lock()
            self._sealer = Sealer(
                own_key(self.folder / KEY_FILE, needed=any(self.folder.glob("*.pads"))), "noclone-spool"
            )
            for path in sorted(self.folder.iterdir()):
                if path.suffix == ".new":
                    path.unlink()  # set aside by a fetch that never came to be written
                elif path.suffix == ".pads" and (batch := _read_batch(path)).master == self.master:
                    self._remember(batch)
        except OSError as error:
            os.close(self._lock)
            raise disk_error(self.folder, error) from None
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._where

    def keep(self, expected: Sequence[tuple[str, int]], fetch: Callable[[], Sequence[SpooledPad]]) -> None:
        """Fetch keys and keep them, durably, before anything is done with them.

        Args:
            expected: Their ids and sizes in bytes.
            fetch: Gets them from the KME, which will not give them again.

        Raises:
            StoreError: The disk is full. If that shows before `fetch`, as it nearly always does, no key was spent.
            KmeError: The KME refused, or gave keys of other sizes.
        """
        size = sum(len(key_id) + 32 + n_bytes for key_id, n_bytes in expected) + 4096
        try:
            pads = self._store(fetch, size)
        except OSError as error:
            raise disk_error(self.folder, error) from None
        if [(pad.key_id, len(pad.value)) for pad in pads] != list(expected):
            raise KmeError(
                "the KME's keys have other sizes than the sealed container says",
                hint="the container was altered on its way, or the two KMEs differ; the keys are kept",
            )

    def pads(self, key_ids: Collection[str]) -> dict[str, SpooledPad]:
        """Return kept keys by id. All must be there.

        Raises:
            StoreError: The spool was altered, or its key was replaced.
        """
        out: dict[str, SpooledPad] = {}
        for name in {self._where[key_id] for key_id in key_ids}:
            out.update({pad.key_id: pad for pad in self._open(name) if pad.key_id in key_ids})
        return out

    def erase(self, key_ids: Collection[str]) -> None:
        """Forget keys for good, once what they opened is safe. Others that were fetched with them are kept."""
        spent = set(key_ids)
        try:
            for name, batch in list(self._batches.items()):
                if spent.isdisjoint(key_id for key_id, _, _ in batch.entries):
                    continue
                left = [pad for pad in self._open(name) if pad.key_id not in spent]
                if left:
                    self._store(partial(list, left), sum(len(pad.value) for pad in left))
                _overwrite(batch.path)
                del self._batches[name]
                for key_id, _, _ in batch.entries:
                    if self._where.get(key_id) == name:
                        del self._where[key_id]
            sync_folder(self.folder)
        except OSError as error:
            raise disk_error(self.folder, error) from None

    def _store(self, fetch: Callable[[], Sequence[SpooledPad]], size: int) -> Sequence[SpooledPad]:
        name = uuid.uuid4().hex
        temporary = self.folder / f"{name}.new"
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(size))  # not a hole: compressing file systems must set the space aside too
                file.flush()
                os.fsync(descriptor)
                pads = fetch()
                file.seek(0)
                file.write(self._seal(name, pads))
                file.flush()
                os.ftruncate(descriptor, file.tell())
                os.fsync(descriptor)
            path = temporary.with_suffix(".pads")
            temporary.replace(path)
            sync_folder(self.folder)
        finally:
            temporary.unlink(missing_ok=True)
        self._remember(_read_batch(path))
        return pads

    def _remember(self, batch: _Batch) -> None:
        self._batches[batch.path.stem] = batch
        self._where.update(dict.fromkeys((key_id for key_id, _, _ in batch.entries), batch.path.stem))

    def _seal(self, name: str, pads: Sequence[SpooledPad]) -> bytes:
        entries = [[pad.key_id, len(pad.value), pad.simulated] for pad in pads]
        head = json.dumps({"master": self.master, "keys": entries}, separators=(",", ":")).encode()
        sealed = self._sealer.seal(b"".join(pad.value for pad in pads), "spooled pads", name, head.decode())
        return len(head).to_bytes(4, "big") + head + sealed

    def _open(self, name: str) -> list[SpooledPad]:
        batch = self._batches[name]
        with batch.path.open("rb") as file:
            file.seek(4 + len(batch.head))
            data = self._sealer.open(file.read(), "spooled pads", name, batch.head.decode())
        pads, start = [], 0
        for key_id, n_bytes, simulated in batch.entries:
            pads.append(SpooledPad(key_id, data[start : start + n_bytes], simulated))
            start += n_bytes
        return pads

    def _wait_for_lock(self) -> None:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"another process receives with the spool {self.folder}", hint="wait for it to end"
                    ) from None
                time.sleep(0.05)


def spool_for(folder: Path | None, master: str) -> Spool:
    """Return an application's spool for what a master sealed."""
    if folder is None:
        raise InputError("where are fetched pads to be kept?", hint="give a folder for the spool")
    return Spool(folder, master)


def _read_batch(path: Path) -> _Batch:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(4), "big")
            head = file.read(min(length, HEAD_BYTES_MAX))
        data: Any = json.loads(head)
        master = str(data["master"])
        entries = tuple((str(key_id), int(n_bytes), bool(simulated)) for key_id, n_bytes, simulated in data["keys"])
    except (ValueError, TypeError, KeyError):
        raise StoreError(f"the spooled pads {path} are damaged", hint="restore the file, or move it away") from None
    return _Batch(path, head, master, entries)


def _overwrite(path: Path) -> None:
    """Delete a file after writing over it: it holds ciphertext, but its key lies beside it."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
