"""Files and texts under AES-256-GCM with delivered keys: for when there is too little key for a one-time pad.

In: a file or a text of the sender.  Out: a container that takes 256 bits of key for each 64 MiB or minute; and back,
identical or not at all. Its secrecy is computational, and that is said wherever it goes: it rests on AES-256 and
HKDF-SHA384, today and for as long as somebody keeps what he recorded. Each key is bound to the container, to its place
in it, and to the two applications.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from noclone.apps.files import Progress, contents, open_regular
from noclone.apps.messages import SealedMessage, text_bytes
from noclone.apps.pads import KnownKeys, NewKeys
from noclone.apps.sealed import (
    KINDS,
    LENGTH_BYTES,
    RECORD_BYTES,
    bucket,
    exactly,
    malformed,
    name_bytes,
    padded_length,
)
from noclone.apps.spool import PadStore, SpooledPad, spool_for
from noclone.apps.whole_file import check_free, whole_file
from noclone.errors import AuthenticationError, InputError, KmeError
from noclone.process import held_interrupts

MAGIC = b"NCHYBRID"
VERSION = 1
KEY_BYTES, TAG_BYTES, NONCE_BYTES = 32, 16, 12
REKEY_BYTES, REKEY_S = 64 << 20, 60.0
FINAL, NEW_KEY = 1, 2
FIXED = struct.Struct(">8sBB16sQBB")
PADDED = {"file": padded_length, "message": bucket}  # how much of the length shows
SECRECY = "computational: it rests on AES-256-GCM and HKDF-SHA384, not on a one-time pad"


@dataclass(frozen=True, slots=True)
class HybridFile:
    """What `send_hybrid` made: the container, the file's length, the key it took, and what its secrecy rests on."""

    path: Path
    bytes: int
    key_bits: int
    key_ids: int
    simulated: bool
    secrecy: str = SECRECY


@dataclass(frozen=True, slots=True)
class ReceivedHybridFile:
    """What `receive_hybrid` opened: who sealed it, its length, its SHA-256, and what its secrecy rests on."""

    sender: str
    bytes: int
    sha256: str
    simulated: bool
    secrecy: str = SECRECY


@dataclass(frozen=True, slots=True)
class HybridText:
    """What `open_text` opened: who sealed it, what it says, what its key stands on, and what its secrecy rests on."""

    sender: str
    text: str
    simulated: bool
    labels: tuple[dict[str, Any], ...] = ()
    secrecy: str = SECRECY


@dataclass(frozen=True, slots=True)
class _Head:
    kind: str
    sender: str
    recipient: str
    stream_bytes: int
    encoded: bytes
    record_bytes: int = RECORD_BYTES

    @property
    def n_records(self) -> int:
        return -(-self.stream_bytes // RECORD_BYTES)

    def size_of(self, index: int) -> int:
        return min(RECORD_BYTES, self.stream_bytes - index * RECORD_BYTES)


def send_hybrid(
    client: NewKeys,
    path: Path,
    *,
    sender: str,
    to: str,
    out: Path,
    on_progress: Progress | None = None,
    overwrite: bool = False,
    rekey_bytes: int = REKEY_BYTES,
    rekey_s: float = REKEY_S,
    now_s: Callable[[], float] = time.monotonic,
) -> HybridFile:
    """Seal a file for another application under delivered keys.

    Args:
        rekey_bytes: A key protects at most so much (at least a record of 64 KiB),
        rekey_s: and is used for at most so long.
        The others are those of `files.send_file`, and so are the errors.
    """
    check_free(out, overwrite=overwrite)
    keys = _NewKeys(client, sender, to, rekey_bytes, rekey_s, now_s)
    with open_regular(path) as (file, size):
        head = _new_head("file", sender, to, padded_length(LENGTH_BYTES + size))
        with whole_file(out, overwrite=overwrite, n_bytes=head.stream_bytes) as sealed:
            sealed.write(head.encoded)
            for index, content in enumerate(contents(path, file, size, head)):
                sealed.write(keys.seal(head, index, content))
                if on_progress is not None:
                    on_progress(min(size, (index + 1) * RECORD_BYTES), size)
    return HybridFile(out, size, 8 * KEY_BYTES * keys.taken, keys.taken, keys.simulated)


def seal_text(client: NewKeys, text: str, *, sender: str, to: str) -> SealedMessage:
    """Seal a text for another application under a delivered key of its own; its length tells only a bucket.

    Raises:
        InputError: It is too long, or no text.
        KmeError: The KME cannot be reached, or refuses.
    """
    data = text_bytes(text)
    stream = len(data).to_bytes(LENGTH_BYTES, "big") + data
    head = _new_head("message", sender, to, bucket(len(stream)))
    keys = _NewKeys(client, sender, to, REKEY_BYTES, REKEY_S, time.monotonic)
    container = head.encoded + keys.seal(head, 0, stream.ljust(head.stream_bytes, b"\0"))
    return SealedMessage(container, tuple(keys.labels))


def open_text(client: KnownKeys, container: bytes, *, receiver: str, spool_folder: Path) -> HybridText:
    """Open what `seal_text` made.

    Raises:
        InputError: It is truncated, malformed or for somebody else.
        AuthenticationError: It was altered or forged.
        KmeError: The KME cannot be reached, or does not hand out the key.
    """
    stream = io.BytesIO(container)
    head = _read_head(stream, len(container), "message", receiver)
    if head.n_records != 1:
        raise malformed("a message has one record")
    with spool_for(spool_folder, head.sender) as spool:
        keys = _Keys(client, head, spool)
        (content,) = _opened(stream, head, keys)
        length = _true_length(content, head)
        try:
            text = content[LENGTH_BYTES : LENGTH_BYTES + length].decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"what {head.sender} sealed as a message is no text") from None
        spool.erase(keys.ids)
    return HybridText(head.sender, text, keys.simulated, tuple(keys.labels))


def receive_hybrid(
    client: KnownKeys,
    sealed: Path,
    *,
    receiver: str,
    out: Path,
    spool_folder: Path,
    on_progress: Progress | None = None,
    overwrite: bool = False,
) -> ReceivedHybridFile:
    """Open a container that `send_hybrid` made. After a crash, call it again: fetched keys are kept until then.

    Raises:
        InputError: It is truncated, malformed or for somebody else; or `out` is taken.
        AuthenticationError: It was altered or forged.
        KmeError: The KME cannot be reached, or does not hand out the keys.
        StoreError: The disk is full; fetched keys are kept.
    """
    check_free(out, overwrite=overwrite)
    with open_regular(sealed) as (file, size):
        head = _read_head(file, size, "file", receiver)
        with spool_for(spool_folder, head.sender) as spool:
            keys = _Keys(client, head, spool)
            with whole_file(out, overwrite=overwrite, n_bytes=head.stream_bytes) as plain:
                digest, length, done = hashlib.sha256(), 0, 0
                for index, content in enumerate(_opened(file, head, keys)):
                    view = memoryview(content)
                    if index == 0:
                        length = _true_length(content, head)
                        view = view[LENGTH_BYTES:]
                    view = view[: length - done]
                    plain.write(view)
                    digest.update(view)
                    done += len(view)
                    if on_progress is not None:
                        on_progress(done, length)
                if file.read(1):
                    raise malformed("something follows its last record")
            spool.erase(keys.ids)
    return ReceivedHybridFile(head.sender, length, digest.hexdigest(), keys.simulated)


def is_hybrid(path: Path) -> bool:
    """Tell whether a file begins as a container of this kind."""
    try:
        with path.open("rb") as file:
            return is_hybrid_text(file.read(len(MAGIC)))
    except OSError:
        return False


def is_hybrid_text(container: bytes) -> bool:
    """Tell whether a container is of this kind."""
    return container.startswith(MAGIC)


class _NewKeys:
    """Seal records, each under the key of its turn: a key protects so many bytes, for so long, and no more."""

    def __init__(
        self, client: NewKeys, sender: str, to: str, rekey_bytes: int, rekey_s: float, now_s: Callable[[], float]
    ) -> None:
        master = client.status(to).master
        if master != sender:
            raise InputError(f"the KME knows us as {master}, not as {sender}", hint="check --as, or the certificate")
        self._client, self._to = client, to
        self._rekey_bytes, self._rekey_s, self._now_s = rekey_bytes, rekey_s, now_s
        self._cipher: AESGCM | None = None
        self._used, self._since_s = 0, 0.0
        self.taken, self.simulated = 0, False
        self.labels: list[dict[str, Any]] = []

    def seal(self, head: _Head, index: int, content: bytes) -> bytes:
        """Return a record, with the name of its key in front where it is the first under that key."""
        flags = FINAL if index == head.n_records - 1 else 0
        front = bytes([flags])
        if (
            self._cipher is None
            or self._used + len(content) > self._rekey_bytes
            or self._now_s() - self._since_s > self._rekey_s
        ):
            (key,) = self._client.enc_keys(self._to, 1, 8 * KEY_BYTES).keys
            self._cipher = _cipher(key.value, key.key_id, head, index)
            name = name_bytes(key.key_id)
            front = bytes([flags | NEW_KEY, len(name)]) + name
            self._used, self._since_s = 0, self._now_s()
            self.taken += 1
            self.simulated |= key.simulated
            _note(self.labels, key.extension)
        self._used += len(content)
        return front + self._cipher.encrypt(_nonce(index), content, head.encoded + front)


class _Keys:
    """The keys of a container, fetched as they come, and kept until all of it is safe."""

    def __init__(self, client: KnownKeys, head: _Head, spool: PadStore) -> None:
        self._client, self._head, self._spool = client, head, spool
        self.ids: set[str] = set()
        self.simulated = False
        self.labels: list[dict[str, Any]] = []

    def get(self, key_id: str) -> bytes:
        if key_id not in self._spool:
            with held_interrupts():
                self._spool.keep([(key_id, KEY_BYTES)], lambda: self._fetch(key_id))
        pad = self._spool.pads({key_id})[key_id]
        self.ids.add(key_id)
        self.simulated |= pad.simulated
        if len(pad.value) != KEY_BYTES:
            raise KmeError(f"the key {key_id} has {8 * len(pad.value)} bits instead of {8 * KEY_BYTES}")
        return pad.value

    def _fetch(self, key_id: str) -> list[SpooledPad]:
        container = self._client.dec_keys(self._head.sender, [key_id])
        for key in container.keys:
            _note(self.labels, key.extension)
        return [SpooledPad(key.key_id, key.value, key.simulated) for key in container.keys]


def _note(labels: list[dict[str, Any]], label: dict[str, Any]) -> None:
    """Keep what a KME says of a key, each thing once."""
    if label and label not in labels:
        labels.append(label)


def _opened(file: BinaryIO, head: _Head, keys: _Keys) -> Iterator[bytes]:
    cipher: AESGCM | None = None
    for index in range(head.n_records):
        front = exactly(file, 1)
        if front[0] & ~(FINAL | NEW_KEY) or (front[0] & FINAL) != (index == head.n_records - 1):
            raise malformed(f"record {index} stands in the wrong place")
        if front[0] & NEW_KEY:
            length = exactly(file, 1)
            name = exactly(file, length[0])
            front += length + name
            key_id = name.decode("ascii", "replace")
            if name_bytes(key_id) != name or key_id in keys.ids:
                raise malformed(f"record {index} names no key, or one twice")
            cipher = _cipher(keys.get(key_id), key_id, head, index)
        if cipher is None:
            raise malformed("its first record names no key")
        ciphertext = exactly(file, head.size_of(index) + TAG_BYTES)
        try:
            yield cipher.decrypt(_nonce(index), ciphertext, head.encoded + front)
        except InvalidTag:
            raise AuthenticationError(
                f"record {index} is not what the sender sealed: it was altered on its way, or forged",
                hint="nothing was written; ask for the same sealed file again, its keys are kept",
            ) from None


def _true_length(content: bytes, head: _Head) -> int:
    length = int.from_bytes(content[:LENGTH_BYTES], "big")
    if PADDED[head.kind](LENGTH_BYTES + length) != head.stream_bytes:
        raise malformed("its length and its padding differ")
    return length


def _cipher(value: bytes, key_id: str, head: _Head, index: int) -> AESGCM:
    """Derive a key for this container, from this record on."""
    info = b"noclone hybrid 1" + index.to_bytes(8, "big") + name_bytes(key_id) + b"\0" + head.encoded
    return AESGCM(HKDF(SHA384(), KEY_BYTES, salt=None, info=info).derive(value))


def _nonce(index: int) -> bytes:
    return index.to_bytes(NONCE_BYTES, "big")


def _new_head(kind: str, sender: str, recipient: str, stream_bytes: int) -> _Head:
    return _encoded(kind, os.urandom(16), sender, recipient, stream_bytes)


def _encoded(kind: str, container_id: bytes, sender: str, recipient: str, stream_bytes: int) -> _Head:
    names = name_bytes(sender), name_bytes(recipient)
    fixed = FIXED.pack(MAGIC, VERSION, KINDS[kind], container_id, stream_bytes, len(names[0]), len(names[1]))
    return _Head(kind, sender, recipient, stream_bytes, fixed + b"".join(names))


def _read_head(file: BinaryIO, size: int, kind: str, receiver: str) -> _Head:
    magic, version, number, container_id, stream_bytes, *lengths = FIXED.unpack(exactly(file, FIXED.size))
    if magic != MAGIC or version != VERSION:
        raise InputError("this is no sealed container of a kind that we know")
    if number != KINDS[kind]:
        raise InputError(f"this container holds no {kind}", hint="`noclone file` is for files, `message` for messages")
    names = [exactly(file, length).decode("ascii", "replace") for length in lengths]
    if not LENGTH_BYTES <= stream_bytes <= size:
        raise InputError("the sealed container is truncated", hint="ask for the same sealed file again")
    if names[1] != receiver:
        raise InputError(f"this container is for {names[1]}, not for {receiver}")
    return _encoded(kind, container_id, names[0], names[1], stream_bytes)
