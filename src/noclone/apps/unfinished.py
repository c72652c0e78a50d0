"""A sealed file that may be interrupted: what was sealed stays, and is gone on from.

In: the file to be sealed, and where its container shall be.  Out: the container so far, cut to whole records. Nothing
in it is ever sealed again: the records that are missing get fresh key. Until the container is whole it is called
NAME.unfinished, and beside it stands which file, of which size and time of change, it was made from: the rest must
come from the same one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from noclone.apps.sealed import Header, read_header, records
from noclone.apps.whole_file import check_free, disk_error, give_name, sync_folder
from noclone.errors import InputError


@contextlib.contextmanager
def unfinished_file(
    out: Path, source: BinaryIO, header: Header, *, overwrite: bool
) -> Iterator[tuple[BinaryIO, Header, int]]:
    """Give a file to go on writing, the container's header, and how many records it has.

    Raises:
        InputError: What is there was made from another file, or for somebody else.
        StoreError: The disk is full.
    """
    check_free(out, overwrite=overwrite)
    part, note = out.with_name(out.name + ".unfinished"), out.with_name(out.name + ".unfinished.json")
    made_from = _made_from(source, header)
    try:
        first = 0
        if part.exists() and note.exists():
            if json.loads(note.read_text()) != made_from:
                raise InputError(
                    f"{part} was made from another file, or from this one before it changed, or for somebody else",
                    hint="delete it to begin anew; the key that it took is lost",
                )
            header, first = _cut_to_whole_records(part, header)
        else:
            note.write_text(json.dumps(made_from))
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        with part.open("ab") as file:
            yield file, header, first
            file.flush()
            os.fsync(file.fileno())
        give_name(part, out, overwrite=overwrite)
        part.unlink(missing_ok=True)
        note.unlink()
        sync_folder(out.parent)
    except OSError as error:
        raise disk_error(part, error) from None


def _made_from(source: BinaryIO, header: Header) -> dict[str, Any]:
    state = os.fstat(source.fileno())
    return {
        "file": [state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns],
        "sender": header.sender,
        "recipient": header.recipient,
    }


def _cut_to_whole_records(part: Path, header: Header) -> tuple[Header, int]:
    """Cut off a record that was being written; return the header and how many records are left."""
    with part.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        end, number = 0, 0
        with contextlib.suppress(InputError):  # where it ends in the midst of something
            header, head = read_header(file)
            for record in records(file, header, len(head), max(size, header.stream_bytes)):
                after = record.offset + record.sealed_bytes
                if after > size:
                    break
                end, number = after, number + 1
        file.truncate(end)
    return header, number
