"""Files that appear whole or not at all.

In: bytes, piece by piece.  Out: a file under its final name, durably; until then only a hidden one beside it, which
goes away if anything goes wrong. Only the owner may read what was written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from noclone.errors import InputError, StoreError

NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}


@contextlib.contextmanager
def whole_file(path: Path, *, overwrite: bool = False, n_bytes: int = 0) -> Iterator[BinaryIO]:
    """Write a file that appears under its name, durably, when the block ends well.

    Args:
        overwrite: Replace what is there; otherwise it is never touched, also if it appears meanwhile.
        n_bytes: Space to set aside first, so that a full disk is noticed before anything is spent.

    Raises:
        InputError: The file is there already, or its folder is not.
        StoreError: The disk is full or otherwise refuses.
    """
    check_free(path, overwrite=overwrite)
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            if n_bytes:
                _set_aside(file.fileno(), n_bytes)
            yield file
            file.flush()
            os.ftruncate(file.fileno(), file.tell())
            os.fsync(file.fileno())
        give_name(temporary, path, overwrite=overwrite)
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_free(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a path that cannot be written, or that must not be.

    Raises:
        InputError: It is a folder, is there already, or has no folder to be in.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder", hint="give the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist")
    if not overwrite and os.path.lexists(path):
        raise _exists(path)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(path: Path, error: OSError) -> StoreError:
    """Say why the disk refused."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = "make room on the disk, then do the same again" if full else "check the folder's owner and permissions"
    return StoreError(f"{path} cannot be written ({error.strerror or error})", hint=hint)


def _set_aside(descriptor: int, n_bytes: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, n_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot promise space
            raise


def give_name(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give a file its final name; unless that may be replaced, never touch what is there."""
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # unlike a rename it never replaces what is there
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        check_free(path)  # a file system without links: the best that it allows
        temporary.replace(path)


def _exists(path: Path) -> InputError:
    return InputError(f"{path} exists already", hint="give another name, or allow it to be replaced (--overwrite)")
