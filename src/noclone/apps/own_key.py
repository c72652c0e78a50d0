"""The key of an application's own folder: what it keeps there is sealed under a key that lies beside it.

In: a path.  Out: the key, made at first use. That keeps pads out of backups of single files and out of sight, not from
whoever owns the folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from noclone.apps.whole_file import sync_folder
from noclone.errors import StoreError
from noclone.kms.sealing import KEK_BYTES, load_kek


def own_key(path: Path, *, needed: bool) -> bytes:
    """Read a folder's key, or make it, durably, for its owner's eyes only.

    Args:
        needed: Something was sealed with it already, so a new one would not do.

    Raises:
        StoreError: It is lost, or others can read it.
    """
    if not path.exists():
        if needed:
            raise StoreError(f"{path.parent} has pads, but lost their key", hint=f"bring {path} back")
        temporary = path.with_suffix(f".{os.getpid()}.new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(os.urandom(KEK_BYTES).hex() + "\n")
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(temporary, path)  # whoever comes first: the other takes that one
        except FileExistsError:
            pass
        except OSError:
            temporary.replace(path)
        temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    return load_kek(path)
