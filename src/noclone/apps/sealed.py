"""The sealed container: how a file or a message looks on its way, byte by byte (docs/one-time-pad.md).

In: plaintext in records, and a pad for each.  Out: a header, and records of ciphertext with a tag each; or back.
Nothing in a container is believed before a tag says so. `records` walks over its structure without a key, so that a
truncated or malformed one is refused before a single key is fetched for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from noclone.crypto.one_time_pad import TAG_BYTES, OneTimePad, erase, pad_bytes
from noclone.errors import AuthenticationError, InputError

MAGIC = b"NCSEALED"
VERSION = 1
KINDS = {"file": 1, "message": 2}
MASTER_TO_SLAVE = 1  # the sender is the master of every key: a pad that was fetched by its id never seals anything
CONTAINER_ID_BYTES = 16
RECORD_BYTES = 65_536
LENGTH_BYTES = 8  # the true length, first in the sealed stream
BUCKET_MIN, BUCKET_MAX = 64, 65_536
NAME_CHARS_MAX = 255
KEYS_PER_RECORD_MAX = 65_535
KEY_BYTES_MAX = 1 << 20

FIXED = struct.Struct(">8sBBB16sQIBB")
RECORD = struct.Struct(">QBH")
KEY_REF = struct.Struct(">BI")


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in front of the records, in the clear, under every tag.

    Args:
        kind: "file" or "message".
        container_id: Random; ties the records together.
        sender: Master of the keys.
        recipient: Their slave.
        stream_bytes: Length of the sealed stream: true length, content, zeros.
        record_bytes: How much of the stream a record holds; the last one may hold less.
    """

    kind: str
    container_id: bytes
    sender: str
    recipient: str
    stream_bytes: int
    record_bytes: int = RECORD_BYTES

    def __post_init__(self) -> None:
        assert self.kind in KINDS
        assert len(self.container_id) == CONTAINER_ID_BYTES
        assert self.stream_bytes >= LENGTH_BYTES
        assert 0 < self.record_bytes <= RECORD_BYTES

    @property
    def n_records(self) -> int:
        """How many records follow."""
        return -(-self.stream_bytes // self.record_bytes)

    def size_of(self, index: int) -> int:
        """Return how many bytes of the stream a record holds."""
        return min(self.record_bytes, self.stream_bytes - index * self.record_bytes)

    def encode(self) -> bytes:
        """Return the header's bytes."""
        sender, recipient = _sae_bytes(self.sender), _sae_bytes(self.recipient)
        fixed = FIXED.pack(
            MAGIC,
            VERSION,
            KINDS[self.kind],
            MASTER_TO_SLAVE,
            self.container_id,
            self.stream_bytes,
            self.record_bytes,
            len(sender),
            len(recipient),
        )
        return fixed + sender + recipient


@dataclass(frozen=True, slots=True)
class KeyRef:
    """Which key, and how many bytes of pad it gives."""

    key_id: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a container: where its ciphertext lies and which keys, joined, are its pad."""

    index: int
    keys: tuple[KeyRef, ...]
    head: bytes
    offset: int
    n_bytes: int

    @property
    def sealed_bytes(self) -> int:
        """How many bytes follow the head: ciphertext and tag."""
        return self.n_bytes + TAG_BYTES


def name_bytes(name: str) -> bytes:
    """Return the id of an application or a key as bytes.

    Raises:
        InputError: It is empty, too long, or holds other characters than ASCII's printable ones.
    """
    if not (0 < len(name) <= NAME_CHARS_MAX and name.isascii() and name.isprintable()):
        raise InputError(f"{name[:40]!r} cannot be the id of an application or a key")
    return name.encode("ascii")


_sae_bytes = lru_cache(maxsize=256)(name_bytes)  # applications come again and again; ids of keys do not


def bucket(n_bytes: int) -> int:
    """Return the length at which a message of `n_bytes` travels: a power of two, so that no more than that leaks."""
    return max(BUCKET_MIN, 1 << (n_bytes - 1).bit_length())


def padded_length(n_bytes: int) -> int:
    """Return the length at which a file travels: at most 12 % longer, and only O(log log n) bits of it leak.

    Padmé, Nikitin et al. 2019 (PoPETs 2019/4, "Reducing metadata leakage from encrypted files and communication with
    PURBs"): a floating-point number whose mantissa is no longer than its exponent.
    """
    if n_bytes <= BUCKET_MIN:
        return BUCKET_MIN
    exponent = n_bytes.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (n_bytes + mask) & ~mask


def record_head(index: int, keys: tuple[KeyRef, ...], *, final: bool) -> bytes:
    """Return what stands in front of a record's ciphertext."""
    parts = [RECORD.pack(index, final, len(keys))]
    for key in keys:
        key_id = name_bytes(key.key_id)
        parts += [KEY_REF.pack(len(key_id), key.n_bytes), key_id]
    return b"".join(parts)


def seal_record(header: bytes, head: bytes, pad: bytearray, content: bytes) -> bytes:
    """Return a record: its head, ciphertext and tag, which covers header, head and ciphertext. Erases the pad."""
    one_time = OneTimePad(pad)
    erase(pad)
    ciphertext, tag = one_time.seal(header + head, content)
    return head + ciphertext + tag


def open_record(header: bytes, record: Record, pad: bytearray, sealed: bytes) -> bytearray:
    """Open a record's ciphertext and tag. Erases the pad.

    Raises:
        AuthenticationError: Header, head, ciphertext or tag were altered, or another pad sealed them.
    """
    one_time = OneTimePad(pad)
    erase(pad)
    try:
        return one_time.open(header + record.head, sealed[:-TAG_BYTES], sealed[-TAG_BYTES:])
    except AuthenticationError:
        raise AuthenticationError(
            f"record {record.index} is not what the sender sealed: it was altered on its way, or forged",
            hint="nothing was written; ask for the same sealed file again, its keys are kept",
        ) from None


def check_addressee(header: Header, kind: str, receiver: str) -> None:
    """Refuse a container that is something else or for somebody else, before any key is fetched.

    Raises:
        InputError: It is.
    """
    if header.kind != kind:
        raise InputError(f"this container holds a {header.kind}, not a {kind}", hint=f"use `noclone {header.kind}`")
    if header.recipient != receiver:
        raise InputError(f"this container is for {header.recipient}, not for {receiver}")


def true_length(header: Header, content: bytes | bytearray | memoryview, padded: Callable[[int], int]) -> int:
    """Read the true length, first in the stream, once its record was checked.

    Raises:
        InputError: It does not fit the padding: the sender's software is faulty.
    """
    length = int.from_bytes(content[:LENGTH_BYTES], "big")
    if padded(LENGTH_BYTES + length) != header.stream_bytes:
        raise malformed("its length and its padding differ")
    return length


def read_header(stream: BinaryIO) -> tuple[Header, bytes]:
    """Read a header; return it and its bytes.

    Raises:
        InputError: It is no sealed container, or one of a version that we do not know.
    """
    fixed = stream.read(FIXED.size)
    if fixed[: len(MAGIC)] != MAGIC[: len(fixed)] or not fixed:
        raise InputError("this is no sealed container", hint="give a file that `noclone file send` made")
    if len(fixed) < FIXED.size:
        raise _truncated()
    _, version, kind, direction, container_id, stream_bytes, record_bytes, *lengths = FIXED.unpack(fixed)
    if version != VERSION:
        raise InputError(f"the container has version {version}; we know version {VERSION}")
    names = [_text(exactly(stream, length), "an application") for length in lengths]
    kinds = {number: name for name, number in KINDS.items()}
    if kind not in kinds or direction != MASTER_TO_SLAVE:
        raise malformed("its kind or direction is unknown")
    if stream_bytes < LENGTH_BYTES or not 0 < record_bytes <= RECORD_BYTES:
        raise malformed("its sizes are out of range")
    header = Header(kinds[kind], container_id, names[0], names[1], stream_bytes, record_bytes)
    return header, header.encode()


def records(stream: BinaryIO, header: Header, header_bytes: int, total_bytes: int) -> Iterator[Record]:
    """Walk over all records without opening them. Whoever takes one may move the stream.

    Args:
        header_bytes: Where the first record begins.
        total_bytes: Of the container. A header can claim any length; this bounds it.

    Raises:
        InputError: The container is truncated, too long or malformed, or names a key twice.
    """
    if total_bytes < header.stream_bytes:
        raise _truncated()
    seen: set[str] = set()
    end = header_bytes
    for index in range(header.n_records):
        stream.seek(end)
        record = _read_head(stream, header, index)
        ids = {key.key_id for key in record.keys}
        if len(ids) != len(record.keys) or ids & seen:
            raise malformed("it names a key twice")
        seen |= ids
        end = record.offset + record.n_bytes + TAG_BYTES
        if end > total_bytes:
            raise _truncated()
        yield record
    if end != total_bytes:
        raise malformed("something follows its last record")


def read_sealed(stream: BinaryIO, record: Record) -> bytes:
    """Read a record's ciphertext and tag."""
    stream.seek(record.offset)
    return exactly(stream, record.n_bytes + TAG_BYTES)


def _read_head(stream: BinaryIO, header: Header, index: int) -> Record:
    start = stream.tell()
    number, final, n_keys = RECORD.unpack(exactly(stream, RECORD.size))
    if number != index or final != (index == header.n_records - 1):
        raise malformed(f"record {index} stands in the wrong place")
    keys = []
    for _ in range(n_keys):
        length, n_bytes = KEY_REF.unpack(exactly(stream, KEY_REF.size))
        if not 0 < n_bytes <= KEY_BYTES_MAX:
            raise malformed(f"record {index} names a key of {n_bytes} bytes")
        keys.append(KeyRef(_text(exactly(stream, length), "a key"), n_bytes))
    n_bytes, pad = header.size_of(index), sum(key.n_bytes for key in keys)
    if not pad_bytes(n_bytes) <= pad <= pad_bytes(n_bytes) + KEY_BYTES_MAX:
        raise malformed(f"record {index} has a pad of {pad} bytes for {n_bytes}")
    offset = stream.tell()
    stream.seek(start)
    return Record(index, tuple(keys), stream.read(offset - start), offset, n_bytes)


def exactly(stream: BinaryIO, n_bytes: int) -> bytes:
    """Read so many bytes.

    Raises:
        InputError: There are fewer.
    """
    data = stream.read(n_bytes)
    if len(data) != n_bytes:
        raise _truncated()
    return data


def _text(data: bytes, what: str) -> str:
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not (text and text.isprintable()):
        raise malformed(f"the id of {what} is none")
    return text


def _truncated() -> InputError:
    return InputError("the sealed container is truncated", hint="ask for the same sealed file again, and compare sizes")


def malformed(why: str) -> InputError:
    """Return an error that says what is wrong with a container."""
    return InputError(f"the sealed container is malformed: {why}", hint="ask for the same sealed file again")
