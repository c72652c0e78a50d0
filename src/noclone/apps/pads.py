"""Pads from an ETSI GS QKD 014 KME: new ones for a sender, the same ones by their ids for a receiver.

In: which records a container has.  Out: a pad for each record, made of one or more delivered keys.
The sender is always the master and holds its pads in memory only; the receiver is always the slave and only ever opens
with them. So a pad byte could be used twice only if a KME gave it twice, which takes both KMEs to forget
(docs/one-time-pad.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from noclone.apps.sealed import Header, KeyRef, Record
from noclone.apps.spool import PadStore, SpooledPad
from noclone.client import Key, KeyContainer, Refusal, Status
from noclone.crypto.one_time_pad import pad_bytes
from noclone.errors import InputError, KeysExhausted, KmeError
from noclone.process import held_interrupts


class NewKeys(Protocol):
    """What a sender needs of a client of a KME; a pad book is another (`pad_lease`)."""

    def status(self, slave: str) -> Status: ...

    def enc_keys(
        self, slave: str, number: int = 1, size: int | None = None, additional: Sequence[str] = ()
    ) -> KeyContainer: ...


class KnownKeys(Protocol):
    """What a receiver needs of a client of a KME."""

    def status(self, slave: str) -> Status: ...

    def dec_keys(self, master: str, key_ids: Sequence[str]) -> KeyContainer: ...


class PadSupply:
    """New pads for what we send. What is fetched is used at once or lost; nothing is stored.

    Raises:
        InputError: The KME knows us under another name.
        KmeError: It cannot be reached, or refuses.
    """

    def __init__(self, client: NewKeys, *, sender: str, recipient: str) -> None:
        self._client = client
        self._recipient = recipient
        self._status = client.status(recipient)
        if self._status.master != sender:
            raise InputError(
                f"the KME knows us as {self._status.master}, not as {sender}", hint="check --as, or the certificate"
            )
        self._ids: set[str] = set()
        self.labels: dict[str, dict[str, Any]] = {}
        self.simulated = False
        self.pad_bits = 0

    @property
    def n_keys(self) -> int:
        """How many keys were taken."""
        return len(self._ids)

    def pads(self, header: Header, first: int = 0) -> Iterator[tuple[tuple[KeyRef, ...], bytearray]]:
        """Give each record of a container its keys and its pad, in order.

        Args:
            first: The record to begin with; those before it are sealed already.

        Raises:
            KeysExhausted: The KME has too little key; if that shows at the start, none was taken.
        """
        last = header.n_records - 1
        runs = [(self._shape(header.size_of(0)), last - first), (self._shape(header.size_of(last)), 1)]
        self._check_supply(runs)
        for (n_each, size_bits), n_records in runs:
            keys = self._keys(n_each, size_bits, n_records)
            while chunk := tuple(islice(keys, n_each)):
                pad = bytearray().join(key.value for key in chunk)
                yield tuple(KeyRef(key.key_id, len(key.value)) for key in chunk), pad

    def _shape(self, n_bytes: int) -> tuple[int, int]:
        """Return how many keys a record takes, and of how many bits each."""
        limits, need = self._status, pad_bytes(n_bytes)
        largest = limits.max_key_size // 8
        if largest < 1 or limits.max_key_per_request < 1:
            raise KmeError("the KME says that it gives no keys at all (max_key_size or max_key_per_request)")
        n_keys = -(-need // largest)
        size = max(-(-need // n_keys), -(-limits.min_key_size // 8))
        return n_keys, 8 * size

    def _check_supply(self, runs: Sequence[tuple[tuple[int, int], int]]) -> None:
        unit = max(1, self._status.key_size)
        need = sum(n_each * -(-size_bits // unit) * n_records for (n_each, size_bits), n_records in runs)
        if need > self._status.stored_key_count:
            raise KeysExhausted(
                f"this takes {need * unit} bits of key with {self._recipient}; the KME has "
                f"{self._status.stored_key_count * unit}",
                hint="a one-time pad is as long as what it hides; wait until the link has distilled more",
            )

    def _keys(self, n_each: int, size_bits: int, n_records: int) -> Iterator[Key]:
        """Fetch keys as they are taken, as many at once as the KME gives, but whole records where they fit."""
        per_request = self._status.max_key_per_request
        at_once = per_request // n_each * n_each or per_request
        left = n_each * n_records
        while left:
            keys = self._client.enc_keys(self._recipient, min(left, at_once), size_bits).keys
            left -= min(left, at_once)
            for key in keys:
                self._check(key, size_bits)
            yield from keys

    def _check(self, key: Key, size_bits: int) -> None:
        if key.key_id in self._ids:
            raise KmeError("the KME gave the same key twice; nothing is sent", hint="do not trust this KME")
        if 8 * len(key.value) != size_bits:
            raise KmeError(f"the KME gave a key of {8 * len(key.value)} bits instead of {size_bits}")
        self._ids.add(key.key_id)
        self.simulated |= key.simulated
        _note(self.labels, key.extension)
        self.pad_bits += size_bits


class PadCollection:
    """The pads of what we receive: from the spool where they are kept already, or else from the KME and kept."""

    def __init__(self, client: KnownKeys, header: Header, spool: PadStore) -> None:
        self._client = client
        self._master = header.sender
        self._spool = spool
        self._status: Status | None = None
        self._fetched: dict[str, dict[str, Any]] = {}
        self.key_ids: set[str] = set()
        self.labels: dict[str, dict[str, Any]] = {}
        self.simulated = False

    def pads(self, records: Iterable[Record]) -> Iterator[tuple[Record, bytearray]]:
        """Give each record its pad, in order, fetching some records' keys at a time.

        Raises:
            KmeError: The KME does not hand them out.
            StoreError: The disk is full; what was fetched is kept.
        """
        for group in self._groups(records):
            keys = [key for record in group for key in record.keys]
            self._collect([key for key in keys if key.key_id not in self._spool])
            kept = self._spool.pads({key.key_id for key in keys})
            for record in group:
                yield record, self._join(record, kept)

    def _groups(self, records: Iterable[Record]) -> Iterator[list[Record]]:
        group: list[Record] = []
        n_keys = 0
        for record in records:
            if group and n_keys + len(record.keys) > self._per_request():
                yield group
                group, n_keys = [], 0
            group.append(record)
            n_keys += len(record.keys)
        if group:
            yield group

    def _join(self, record: Record, kept: dict[str, SpooledPad]) -> bytearray:
        pads = [kept[key.key_id] for key in record.keys]
        if any(len(pad.value) != key.n_bytes for pad, key in zip(pads, record.keys, strict=True)):
            raise KmeError(
                f"record {record.index} claims other key sizes than the keys have",
                hint="the container was altered on its way; ask for the same sealed file again, the keys are kept",
            )
        self.key_ids.update(key.key_id for key in record.keys)
        self.simulated |= any(pad.simulated for pad in pads)
        for pad in pads:
            _note(self.labels, pad.label or self._fetched.pop(pad.key_id, {}))
        return bytearray().join(pad.value for pad in pads)

    def _collect(self, keys: Sequence[KeyRef]) -> None:
        for start in range(0, len(keys), self._per_request() if keys else 1):
            batch = keys[start : start + self._per_request()]
            with held_interrupts():  # between a KME's answer and the disk it would cost keys
                self._spool.keep([(key.key_id, key.n_bytes) for key in batch], lambda batch=batch: self._fetch(batch))  # type: ignore[misc]

    def _fetch(self, keys: Sequence[KeyRef]) -> list[SpooledPad]:
        try:
            container = self._client.dec_keys(self._master, [key.key_id for key in keys])
        except Refusal as refusal:
            if refusal.status == 503:
                raise
            raise KmeError(
                f"the keys of this container cannot be had: {refusal.message}",
                hint="each key is handed out once: this was received before, or its keys expired, or they are not "
                "for us; ask the sender to seal it anew",
            ) from None
        self._fetched.update((key.key_id, key.extension) for key in container.keys)
        return [SpooledPad(key.key_id, key.value, key.simulated) for key in container.keys]

    def _per_request(self) -> int:
        if self._status is None:
            self._status = self._client.status(self._master)
        return max(1, self._status.max_key_per_request)


def _note(labels: dict[str, dict[str, Any]], extension: dict[str, Any]) -> None:
    """Remember what keys stand on, once for each thing that they can stand on."""
    if extension:
        labels.setdefault(str(extension.get("noclone_leaks", extension.get("noclone_origin", ""))), extension)
