"""Messages under a one-time pad: short texts in the same sealed container as files.

In: a text.  Out: a container of one record, whose length tells only a bucket (64 bytes, 128, ... 64 KiB); and back.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

from noclone.apps.pads import PadCollection, PadSupply
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
from noclone.apps.spool import Spool
from noclone.client import KeySource
from noclone.errors import InputError

TEXT_BYTES_MAX = BUCKET_MAX - LENGTH_BYTES


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """Who sealed it, what it says, and whether its key comes from simulated light.

    The text is the sender's: it may hold any character, also some that a terminal obeys.
    """

    sender: str
    text: str
    simulated: bool


def send_message(client: KeySource, text: str, *, sender: str, to: str) -> bytes:
    """Seal a text for another application, with fresh key; return the container. To repeat it, send the same bytes.

    Raises:
        InputError: The text is too long, or no text.
        KeysExhausted: There is too little key.
        KmeError: The KME cannot be reached, or refuses.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("the message holds bytes that are no text", hint="send it as a file") from None
    if len(data) > TEXT_BYTES_MAX:
        raise InputError(
            f"a message has at most {TEXT_BYTES_MAX} bytes, this one {len(data)}", hint="send it as a file"
        )
    stream = len(data).to_bytes(LENGTH_BYTES, "big") + data
    header = Header("message", os.urandom(CONTAINER_ID_BYTES), sender, to, bucket(len(stream)))
    head = header.encode()
    ((keys, pad),) = PadSupply(client, sender=sender, recipient=to).pads(header)
    front = record_head(0, keys, final=True)
    return head + seal_record(head, front, pad, stream.ljust(header.stream_bytes, b"\0"))


def receive_message(client: KeySource, container: bytes, *, receiver: str, spool_folder: Path) -> ReceivedMessage:
    """Open a sealed text. After a crash, call it again: fetched key is kept in the spool until this returns.

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
    with Spool(spool_folder, header.sender) as spool:
        collection = PadCollection(client, header, spool)
        ((record, pad),) = collection.pads([record])
        content = open_record(head, record, pad, read_sealed(stream, record))
        length = true_length(header, content, bucket)
        try:
            text = content[LENGTH_BYTES : LENGTH_BYTES + length].decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"what {header.sender} sealed as a message is no text") from None
        spool.erase(collection.key_ids)
    return ReceivedMessage(header.sender, text, collection.simulated)
