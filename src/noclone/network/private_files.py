"""Files that only their owner can read, written whole or not at all: what `pki` makes.

In: names below a folder, bytes.  Out: files with mode 0600 in folders with mode 0700, on the disk before they appear.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from noclone.errors import PkiError


@dataclass(slots=True)
class Writer:
    """Write files whole and private, or not at all; keep what is there."""

    folder: Path
    overwrite: bool
    created: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def missing(self, name: str) -> bool:
        """Say whether a file is to be made."""
        if name in self.created or ((self.folder / name).exists() and not self.overwrite):
            if name not in self.created and name not in self.kept:
                self.kept.append(name)
            return False
        return True

    def write(self, name: str, data: bytes) -> None:
        """Make a file appear under its name when all of it is on the disk."""
        self._write_all([(name, data)])

    def write_pair(self, first: str, data: bytes, second: str, more: bytes) -> None:
        """Make two files appear that belong together, one right after the other when both are on the disk."""
        self._write_all([(first, data), (second, more)])

    def _write_all(self, files: Sequence[tuple[str, bytes]]) -> None:
        ready = []
        for name, data in files:
            path = self.folder / name
            temporary = path.with_name(f".{path.name}.new")
            try:
                make_folders(self.folder, path.parent)
                temporary.unlink(missing_ok=True)
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise PkiError(f"{path} cannot be written ({error.strerror})") from None
            ready.append((temporary, path))
        for temporary, path in ready:
            try:
                temporary.replace(path)
                _sync(path.parent)
            except OSError as error:
                raise PkiError(f"{path} cannot be written ({error.strerror})") from None
        self.created += [name for name, _ in files]


def make_folders(root: Path, folder: Path) -> None:
    """Make a folder and those above it up to `root`, private to their owner."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (*reversed([p for p in folder.parents if root in p.parents]), folder):
            path.mkdir(mode=0o700, exist_ok=True)
        root.chmod(0o700)
    except OSError as error:
        raise PkiError(f"the folder {folder} cannot be made ({error.strerror})") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
