"""Messages under a one-time pad: short texts in the same sealed container as files.

In: a text.  Out: a container of one record, whose length tells only a bucket (64 bytes, 128, ... 64 KiB); and back.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noclone.apps.pads import KnownKeys, NewKeys, PadCollection, PadSupply
from noclone.apps.sealed import (
    BUCKET_MAX,
    CONTAINER_ID_BYTES,
    LENGTH_BYTES,
    Header,
    bucket,
    check_addressee,
    open_record,
    read_header,
    read_sealed,
    record_head,
    records,
    seal_record,
    true_length,
)
from noclone.apps.spool import PadStore, spool_for
from noclone.errors import InputError

TEXT_BYTES_MAX = BUCKET_MAX - LENGTH_BYTES


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """Who sealed it, what it says, and what its key stands on.

    The text is the sender's: it may hold any character, also some that a terminal obeys.

    Args:
        simulated: Whether any key comes from simulated light.
        labels: What the KME says of its keys, each thing once; see `Key.extension`.
    """

    sender: str
    text: str
    simulated: bool
    labels: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """A container, and what its keys stand on."""

    container: bytes
    labels: tuple[dict[str, Any], ...] = ()


def send_message(client: NewKeys, text: str, *, sender: str, to: str) -> bytes:
    """Seal a text as `seal_message` does; return the container. To repeat it, send the same bytes."""
    return seal_message(client, text, sender=sender, to=to).container


def seal_message(client: NewKeys, text: str, *, sender: str, to: str) -> SealedMessage:
    """Seal a text for another application, with fresh key.

    Raises:
        InputError: The text is too long, or no text.
        KeysExhausted: There is too little key.
        KmeError: The KME cannot be reached, or refuses.
    """
    data = text_bytes(text)
    stream = len(data).to_bytes(LENGTH_BYTES, "big") + data
    header = Header("message", os.urandom(CONTAINER_ID_BYTES), sender, to, bucket(len(stream)))
    head = header.encode()
    supply = PadSupply(client, sender=sender, recipient=to)
    ((keys, pad),) = supply.pads(header)
    front = record_head(0, keys, final=True)
    sealed = head + seal_record(head, front, pad, stream.ljust(header.stream_bytes, b"\0"))
    return SealedMessage(sealed, tuple(supply.labels.values()))


def text_bytes(text: str) -> bytes:
    """Return a text as bytes.

    Raises:
        InputError: It is too long for a message, or no text.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("the message holds bytes that are no text", hint="send it as a file") from None
    if len(data) > TEXT_BYTES_MAX:
        raise InputError(
            f"a message has at most {TEXT_BYTES_MAX} bytes, this one {len(data)}", hint="send it as a file"
        )
    return data


def receive_message(
    client: KnownKeys,
    container: bytes,
    *,
    receiver: str,
    spool_folder: Path | None = None,
    store: PadStore | None = None,
) -> ReceivedMessage:
    """Open a sealed text. After a crash, call it again: fetched key is kept in the spool until this returns.

    Args:
        receiver: The application that we are.
        spool_folder: Its own folder for fetched key.
        store: Where the pads are instead, such as a pad book.

    Raises:
        InputError: The container is truncated, malformed or for somebody else.
        AuthenticationError: It was altered or forged.
        KmeError: The KME cannot be reached, or does not hand out the keys.
        StoreError: The disk is full; fetched key is kept.
    """
    stream = io.BytesIO(container)
    header, head = read_header(stream)
    check_addressee(header, "message", receiver)
    if header.n_records != 1:
        raise InputError("the sealed container is malformed: a message has one record")
    (record,) = records(stream, header, len(head), len(container))
    with store or spool_for(spool_folder, header.sender) as spool:
        collection = PadCollection(client, header, spool)
        ((record, pad),) = collection.pads([record])
        content = open_record(head, record, pad, read_sealed(stream, record))
        length = true_length(header, content, bucket)
        try:
            text = content[LENGTH_BYTES : LENGTH_BYTES + length].decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"what {header.sender} sealed as a message is no text") from None
        spool.erase(collection.key_ids)
    return ReceivedMessage(header.sender, text, collection.simulated, tuple(collection.labels.values()))
