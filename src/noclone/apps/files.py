"""Files under a one-time pad: sealed at one site, opened at the other, identical or not at all.

In: a file of the sender.  Out: a sealed container (`sealed`), which may travel over anything; and from it, at the
receiver, the same file. Both stream: the memory taken is some records and the ids of the keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from noclone.apps.pads import KnownKeys, NewKeys, PadCollection, PadSupply
from noclone.apps.sealed import (
    CONTAINER_ID_BYTES,
    LENGTH_BYTES,
    Header,
    check_addressee,
    open_record,
    padded_length,
    read_header,
    read_sealed,
    record_head,
    records,
    seal_record,
    true_length,
)
from noclone.apps.spool import PadStore, spool_for
from noclone.apps.unfinished import unfinished_file
from noclone.apps.whole_file import check_free, whole_file
from noclone.errors import InputError

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SealedFile:
    """What `send_file` made.

    Args:
        path: The container.
        bytes: Of the file that it hides.
        pad_bits: Key that it took.
        key_ids: How many keys that was.
        simulated: Whether any of them comes from simulated light.
    """

    path: Path
    bytes: int
    pad_bits: int
    key_ids: int
    simulated: bool


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """What `receive_file` opened: who sealed it, its length, its SHA-256 in hexadecimal."""

    sender: str
    bytes: int
    sha256: str
    simulated: bool


def send_file(
    client: NewKeys,
    path: Path,
    *,
    sender: str,
    to: str,
    out: Path,
    on_progress: Progress | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> SealedFile:
    """Seal a file for another application, with fresh key. To send it again, send the same container again.

    Args:
        sender: The application that we are.
        to: The application that may open it.
        out: Where the container appears, when it is whole.
        on_progress: Told how many bytes are done, and of how many.
        overwrite: Replace what is at `out`.
        resume: When this is interrupted, keep what is sealed beside `out`, and go on from there when called again. What
            is sealed stays as it is, and the rest gets fresh key.

    Raises:
        InputError: The file cannot be read, or changed meanwhile; or `out` is taken.
        KeysExhausted: There is too little key.
        KmeError: The KME cannot be reached, or refuses.
        StoreError: The disk is full. Key that was taken is lost, as it must be.
    """
    check_free(out, overwrite=overwrite)
    with open_regular(path) as (file, size):
        stream_bytes = padded_length(LENGTH_BYTES + size)
        header = Header("file", os.urandom(CONTAINER_ID_BYTES), sender, to, stream_bytes)
        with _container(out, file, header, overwrite=overwrite, resume=resume) as (sealed, header, first):
            head = header.encode()
            if not first:
                sealed.write(head)
            supply = PadSupply(client, sender=sender, recipient=to)
            contents_left = contents(path, file, size, header, first)
            for index, ((keys, pad), content) in enumerate(
                zip(supply.pads(header, first), contents_left, strict=True), first
            ):
                front = record_head(index, keys, final=index == header.n_records - 1)
                sealed.write(seal_record(head, front, pad, content))
                if on_progress is not None:
                    on_progress(min(size, (index + 1) * header.record_bytes), size)
    return SealedFile(out, size, supply.pad_bits, supply.n_keys, supply.simulated)


def receive_file(
    client: KnownKeys,
    sealed: Path,
    *,
    receiver: str,
    out: Path,
    spool_folder: Path | None = None,
    store: PadStore | None = None,
    on_progress: Progress | None = None,
    overwrite: bool = False,
) -> ReceivedFile:
    """Open a sealed file. After a crash, call it again: fetched key is kept in the spool until the file is safe.

    Args:
        receiver: The application that we are.
        out: Where the file appears, when every record was checked.
        spool_folder: The application's own folder for fetched key.
        store: Where the pads are instead, such as a pad book.
        on_progress: Told how many bytes of the container's content are done, and of how many.
        overwrite: Replace what is at `out`.

    Raises:
        InputError: The container is truncated, malformed or for somebody else; or `out` is taken.
        AuthenticationError: It was altered or forged.
        KmeError: The KME cannot be reached, or does not hand out the keys.
        StoreError: The disk is full; fetched key is kept.
    """
    check_free(out, overwrite=overwrite)
    with open_regular(sealed) as (file, size):
        header, head = read_header(file)
        check_addressee(header, "file", receiver)
        for _ in records(file, header, len(head), size):
            pass  # the whole structure, before a single key is fetched
        with store or spool_for(spool_folder, header.sender) as spool:
            collection = PadCollection(client, header, spool)
            with whole_file(out, overwrite=overwrite, n_bytes=header.stream_bytes) as plain:
                digest, length, done = hashlib.sha256(), 0, 0
                for record, pad in collection.pads(records(file, header, len(head), size)):
                    content = memoryview(open_record(head, record, pad, read_sealed(file, record)))
                    if record.index == 0:
                        length = true_length(header, content, padded_length)
                        content = content[LENGTH_BYTES:]
                    content = content[: length - done]
                    plain.write(content)
                    digest.update(content)
                    done += len(content)
                    if on_progress is not None:
                        on_progress(done, length)
            spool.erase(collection.key_ids)
    return ReceivedFile(header.sender, length, digest.hexdigest(), collection.simulated)


@contextlib.contextmanager
def _container(
    out: Path, source: BinaryIO, header: Header, *, overwrite: bool, resume: bool
) -> Iterator[tuple[BinaryIO, Header, int]]:
    """Give a container to write to, its header, and how many records it has already."""
    if resume:
        with unfinished_file(out, source, header, overwrite=overwrite) as found:
            yield found
    else:
        with whole_file(out, overwrite=overwrite, n_bytes=len(header.encode()) + header.stream_bytes) as file:
            yield file, header, 0


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file for reading; give it and its size."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    with file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise InputError(f"{path} is no regular file", hint="its length must be known before")
        yield file, state.st_size


class Cut(Protocol):
    """How a stream is cut into records."""

    @property
    def n_records(self) -> int: ...

    @property
    def record_bytes(self) -> int: ...

    def size_of(self, index: int) -> int: ...


def contents(path: Path, file: BinaryIO, size: int, header: Cut, first: int = 0) -> Iterator[bytes]:
    """Cut the stream (true length, content, zeros) into the contents of records, from one on."""
    start = b"" if first else size.to_bytes(LENGTH_BYTES, "big")
    done = min(size, max(0, first * header.record_bytes - LENGTH_BYTES))
    file.seek(done)
    left = size - done
    for index in range(first, header.n_records):
        wanted = min(header.size_of(index) - len(start), left)
        piece = file.read(wanted)
        left -= wanted
        if len(piece) < wanted or (not left and file.read(1)):
            raise InputError(f"{path} changed while it was being read; nothing is sent")
        yield (start + piece).ljust(header.size_of(index), b"\0")
        start = b""
