"""The file of a key-encryption key (KEK), and the one beside it while the KEK is being rotated.

In: the path of the KEK.  Out: the KEKs that a store may need. A rotation writes `PATH.next` first, then seals the store
anew, then lets the new KEK take the old one's place: at every moment the one that the store needs is in one of the two.
"""

from __future__ import annotations

import os
from pathlib import Path

from noclone.errors import StoreError
from noclone.kms import failpoints
from noclone.kms.sealing import KEK_BYTES, load_kek


class KekFile:
    """A KEK on disk. Call it for the KEKs that may fit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next = path.with_name(path.name + ".next")

    def __call__(self) -> tuple[bytes, ...]:
        """Return the KEK, and the next one if a rotation is under way.

        Raises:
            StoreError: There is none, or others can read it.
        """
        if not self.next.exists():
            return (load_kek(self.path),)
        following = load_kek(self.next)
        try:
            return load_kek(self.path), following
        except StoreError:  # it was being overwritten
            return (following,)

    def prepare(self) -> bytes:
        """Return the next KEK, made and durable, or the one that an earlier rotation left behind."""
        if not self.next.exists():
            value = os.urandom(KEK_BYTES)
            _write(self.next.with_name(self.next.name + ".new"), value)
            failpoints.reach("before the next KEK is in place")
            self.next.with_name(self.next.name + ".new").replace(self.next)
            _sync_folder(self.next)
            failpoints.reach("after the next KEK is in place")
        return load_kek(self.next)

    def settle(self, used: bytes) -> None:
        """Let the next KEK take the old one's place, if it is the one that the store uses now.

        The old one is overwritten where it lies; a disk may keep older blocks all the same.
        """
        if not self.next.exists() or load_kek(self.next) != used:
            return
        _write(self.path, used)
        failpoints.reach("before the next KEK's file is gone")
        self.next.unlink()
        _sync_folder(self.path)


def _write(path: Path, value: bytes) -> None:
    """Write a KEK in place, for its owner's eyes alone, and durably."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(value.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            file.truncate()
    except OSError as error:
        raise StoreError(f"the key-encryption key {path} cannot be written ({error.strerror})") from None


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
