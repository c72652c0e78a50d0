"""Pads out of books: filled over a KME, granted by the receiver, cut to size by the sender.

In: two pad books and the conversations between their owners.  Out: at the sender `NewKeys`, at the receiver a
`PadStore`, so that files and messages are sealed and opened with book pads as they are with keys fresh from a KME. A
pad is named by its batch and its place in it: "batch:start+length". What was granted is in the sender's memory only.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from noclone.apps.conversation import Conversation, call
from noclone.apps.pad_book import PadBook
from noclone.apps.sealed import RECORD_BYTES
from noclone.apps.spool import SpooledPad
from noclone.client import Key, KeyContainer, KeySource, Status
from noclone.crypto.one_time_pad import erase, pad_bytes
from noclone.errors import ChannelError, InputError, KeysExhausted, KmeError, StoreError

PAD = re.compile(r"([0-9a-z]{1,64}):([0-9]{1,9})\+([0-9]{1,9})")
FILL, LEASE = "pad-fill", "pad-lease"
RECORD_PAD_BYTES = pad_bytes(RECORD_BYTES)
BATCH_BYTES, BATCH_BYTES_MIN = 12 * RECORD_PAD_BYTES, 1024
CONVERSATION_BYTES = 1024  # of key, with some to spare, for the tags of the conversation
LEASE_BYTES = 16 << 10  # asked for at once, where one message needs less: this much a crash of the sender can cost
LEASE_BATCHES_MAX = 1200
PER_REQUEST = 128  # pads in memory at once, of a record each: 8 MB
KEYS_PER_BATCH_MAX = 1024

Grant = Callable[[Sequence[str]], Sequence[str]]


def fill(
    book: PadBook, client: KeySource, address: tuple[str, int], *, sender: str, to: str, n_bytes: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:  # fmt: skip
    """Fetch pads to seal with for another application, batch by batch; return how many bytes were kept.

    Raises:
        KeysExhausted: The KME has no more key; what was kept stays.
        ChannelError: The other end does not keep its half; that batch is lost.
    """
    done = 0
    while done < n_bytes:
        number, size = batch_shape(client.status(to), n_bytes - done)
        batch_id = uuid.uuid4().hex
        with call(
            client, address, sender=sender, to=to, topic=FILL, number=number, size=8 * size, batch=batch_id
        ) as talk:
            if talk.hear().get("state") != "kept":
                raise ChannelError(f"{to} did not keep its half of a batch of pads")
            value = b"".join(key.value for key in talk.keys)
            book.add(to, "out", batch_id, value, batch_label(talk.keys))
        done += len(value)
        if on_progress is not None:
            on_progress(min(done, n_bytes), n_bytes)
    return done


def batch_shape(status: Status, n_bytes: int) -> tuple[int, int]:
    """Return of how many keys, and of how many bytes each, the next batch is made.

    Whole records of a file, where so much is wanted and the KME has it.

    Args:
        status: What the KME can do.
        n_bytes: How much is wanted still.
    """
    largest, most = status.max_key_size // 8, min(status.max_key_per_request, KEYS_PER_BATCH_MAX)
    if largest < 1 or most < 1:
        raise KmeError("the KME says that it gives no keys at all (max_key_size or max_key_per_request)")
    spare = status.stored_key_count * status.key_size // 8 - CONVERSATION_BYTES
    wanted = max(BATCH_BYTES_MIN, min(n_bytes, spare, BATCH_BYTES, most * largest))
    wanted = wanted // RECORD_PAD_BYTES * RECORD_PAD_BYTES or wanted
    least = -(-wanted // largest)
    number = next((n for n in range(least, most + 1) if wanted % n == 0), min(least, most))
    return number, max(min(-(-wanted // number), largest), -(-status.min_key_size // 8))


def batch_label(keys: Sequence[Key]) -> dict[str, Any]:
    """Return what a batch stands on: what its keys say, if they all say the same; the worst of their origins."""
    label = dict(keys[0].extension)
    if any(key.extension != label for key in keys):
        same = {name: value for name, value in label.items() if all(key.extension.get(name) == value for key in keys)}
        leaks = sorted({str(key.extension.get("noclone_leaks", "")) for key in keys} - {""})
        label = same | ({"noclone_leaks": " OR ".join(f"({one})" for one in leaks)} if leaks else {})
    if any(key.simulated for key in keys):
        label["noclone_origin"] = "simulated"
    return label


def answer(book: PadBook, talk: Conversation) -> str:
    """Answer a call about pads: keep the other half of a batch, or grant batches. Return what was done, in words."""
    if talk.opening.get("topic") == FILL:
        batch_id = talk.opening.get("batch")
        if not isinstance(batch_id, str) or not batch_id.isalnum() or len(batch_id) > 64 or not talk.keys:
            raise ChannelError(f"{talk.peer} called about a batch of pads that is none")
        value = b"".join(key.value for key in talk.keys)
        book.add(talk.peer, "in", batch_id, value, batch_label(talk.keys))
        talk.say(state="kept")
        return f"kept {len(value)} bytes of pad of {talk.peer}"
    wanted = talk.opening.get("batches")
    if not isinstance(wanted, list) or len(wanted) > LEASE_BATCHES_MAX or not all(isinstance(b, str) for b in wanted):
        raise ChannelError(f"{talk.peer} asked for batches that are none")
    granted = book.grant(talk.peer, wanted)
    talk.say(granted=granted)
    return f"granted {len(granted)} batches of pads to {talk.peer}"


def ask_grant(client: KeySource, address: tuple[str, int], *, sender: str, to: str) -> Grant:
    """Return what asks the receiver for batches, in a conversation of its own."""

    def grant(batches: Sequence[str]) -> Sequence[str]:
        with call(client, address, sender=sender, to=to, topic=LEASE, batches=list(batches)) as talk:
            granted = talk.hear().get("granted")
        if not isinstance(granted, list):
            raise ChannelError(f"{to} gave no answer about pads")
        return [batch_id for batch_id in granted if batch_id in batches]

    return grant


@dataclass(slots=True)
class _Open:
    """A granted batch in the sender's memory, and how much of it was used."""

    batch_id: str
    value: bytearray
    label: dict[str, Any]
    used: int = 0

    @property
    def left(self) -> int:
        return len(self.value) - self.used


class PadSender:
    """Book pads as keys to seal with: what `files` and `messages` take for a KME.

    Args:
        grant: Asks the receiver.
        own: Who we are.
    """

    def __init__(self, book: PadBook, grant: Grant, *, own: str, peer: str) -> None:
        self._book, self._grant, self._own, self._peer = book, grant, own, peer
        self._open: list[_Open] = []
        self._process = os.getpid()

    def status(self, slave: str) -> Status:  # noqa: ARG002
        """Say how much pad there is, in bytes."""
        total, least = self._book.stock(self._peer, "out")
        held = [one.left for one in self._open]
        largest = min(RECORD_PAD_BYTES, least or max(held, default=1))
        return Status(
            "pad book", "pad book", self._own, self._peer, 8, total + sum(held), 1 << 50, PER_REQUEST, 8 * largest, 8, 0
        )

    def enc_keys(
        self,
        slave: str,  # noqa: ARG002
        number: int = 1,
        size: int | None = None,
        additional: Sequence[str] = (),  # noqa: ARG002
    ) -> KeyContainer:
        """Cut pads from what was granted; ask for more first if that is too little.

        Raises:
            KeysExhausted: The book has too little, or the receiver grants too little.
        """
        if os.getpid() != self._process:
            raise StoreError("a copy of this process holds the same pads; nothing is sealed", hint="start a new one")
        n_bytes = (size or 8) // 8
        while sum(one.left // n_bytes for one in self._open) < number and self._lease(number * n_bytes):
            pass
        keys: list[Key] = []
        for one in self._open:
            while len(keys) < number and one.left >= n_bytes:
                keys.append(self._cut(one, n_bytes))
        self._open = [one for one in self._open if one.left]
        if len(keys) < number:
            raise KeysExhausted(
                f"the pad book has too little pad for {self._peer}", hint="`noclone pad fill` fetches more"
            )
        return KeyContainer(tuple(keys))

    def close(self) -> None:
        """Forget what was granted and not used; it is lost."""
        for one in self._open:
            erase(one.value)
        self._open = []

    def _lease(self, n_bytes: int) -> bool:
        """Take batches off the book that the receiver grants; return whether there were any to ask for.

        Somewhat more than is needed, for each batch has a rest. What the receiver does not grant goes too: it granted
        it before, to a book that has forgotten it.
        """
        wanted = max(n_bytes + n_bytes // 8, LEASE_BYTES)
        proposed = self._book.propose(self._peer, wanted)[:LEASE_BATCHES_MAX]
        granted = self._grant(proposed) if proposed else ()
        for batch in self._book.take(self._peer, proposed, granted):
            self._open.append(_Open(batch.id, batch.value, batch.label))
        return bool(proposed)

    @staticmethod
    def _cut(one: _Open, n_bytes: int) -> Key:
        start, end = one.used, one.used + n_bytes
        value = bytes(one.value[start:end])
        one.value[start:end] = bytes(n_bytes)
        one.used = end
        return Key(f"{one.batch_id}:{start}+{n_bytes}", value, one.label)


class PadReceiver:
    """Book pads to open with: what `files` and `messages` take for a spool, and for a KME that has nothing to add.

    Args:
        peer: The sender.
    """

    def __init__(self, book: PadBook, *, own: str, peer: str) -> None:
        self._book, self._own, self._peer = book, own, peer
        self._last: tuple[str, bytearray, list[list[int]]] | None = None

    def __enter__(self) -> PadReceiver:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def __contains__(self, key_id: str) -> bool:
        return True  # a pad that is not in the book is nowhere: `pads` says so

    def status(self, slave: str) -> Status:
        """Say how many pads can be asked for at once."""
        total, _ = self._book.stock(self._peer, "in")
        return Status("pad book", "pad book", self._own, slave, 8, total, 1 << 50, PER_REQUEST, 8 * BATCH_BYTES, 8, 0)

    def dec_keys(self, master: str, key_ids: Sequence[str]) -> KeyContainer:  # noqa: ARG002
        """Refuse: what is not in the book is nowhere."""
        raise InputError("these pads are not in the book")

    def keep(self, expected: Sequence[tuple[str, int]], fetch: Callable[[], Sequence[SpooledPad]]) -> None:
        """Do nothing: the book has them."""

    def pads(self, key_ids: Collection[str]) -> dict[str, SpooledPad]:
        """Return pads by name.

        Raises:
            InputError: The book has none of that name, or it was opened before.
        """
        out = {}
        for key_id in sorted(key_ids):
            batch_id, start, n_bytes = _place(key_id)
            value, opened = self._batch(batch_id)
            end = start + n_bytes
            if end > len(value) or any(begin < end and start < stop for begin, stop in opened):
                raise InputError(
                    f"the pad {key_id} was opened before",
                    hint="this was received already; ask for it to be sealed anew",
                )
            label = self._book.label(self._peer, batch_id) or {}
            out[key_id] = SpooledPad(key_id, bytes(value[start:end]), label.get("noclone_origin") == "simulated", label)
        return out

    def erase(self, key_ids: Collection[str]) -> None:
        """Forget pads for good."""
        self._book.erase(self._peer, [_place(key_id) for key_id in key_ids])
        self._drop()

    def _batch(self, batch_id: str) -> tuple[bytearray, list[list[int]]]:
        if self._last is None or self._last[0] != batch_id:
            self._drop()
            self._last = (batch_id, *self._book.read(self._peer, batch_id))
        return self._last[1], self._last[2]

    def _drop(self) -> None:
        if self._last is not None:
            erase(self._last[1])
            self._last = None


def _place(key_id: str) -> tuple[str, int, int]:
    """Return batch, first byte and number of bytes of a pad."""
    found = PAD.fullmatch(key_id)
    if found is None:
        raise InputError(
            f"{key_id!r} is no pad of a book",
            hint="it was sealed with keys fresh from a KME: receive it without --pads",
        )
    return found[1], int(found[2]), int(found[3])
