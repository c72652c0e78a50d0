"""Files that a command is asked to write: refused before its work is done, not after."""

from __future__ import annotations

import os
from pathlib import Path

from noclone.errors import InputError


def may_write(path: Path | None, *, overwrite: bool = True) -> None:
    """Check that a file can be written, if one is asked for at all.

    Raises:
        InputError: It is a folder, its folder is missing or closed to us, or it exists and must stay.
    """
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir():
        raise InputError(f"{path}: is a folder", hint="name a file")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already", hint="choose another name, or add --overwrite")
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder", hint="make it, or name another")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"{path}: may not be written", hint="name another place, or ask for permission")
