"""What the store and the KMEs say to each other about keys: typed, frozen, and never showing key bytes.

A block of secret key is cut into atoms of equal size. Atom i of a block belongs to direction i % 2 and has position
i // 2 in it: direction 0 serves masters at the KME whose name sorts first, direction 1 masters at the other. So two
masters never choose the same atom, and a KME assigns positions of its own direction in rising order.

A promise is of one key, or of a run of keys of one size, cut one after another from one span of one block; its name is
the id of its first key. The ids of a run differ in the position alone, which is their last part.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from noclone.errors import KmeError
from noclone.kms.sealing import encode
from noclone.records import Provenance

# What no promise exceeds, whatever a KME's settings: checked before anything of it is kept or looked up.
SIZE_BITS_MAX = 1 << 24
NAME_CHARACTERS_MAX = 256
RUN_MAX = 1024  # keys of one promise
SLAVES_MAX = 1025  # as many as a request can name: one, and 1024 additional ones


@dataclass(frozen=True, slots=True)
class Span:
    """A run of atoms of one block and direction."""

    link: str
    block: int
    first: int
    count: int

    def to_json(self) -> list[Any]:
        """Return plain JSON values."""
        return [self.link, self.block, self.first, self.count]

    @classmethod
    def from_json(cls, data: Any) -> Span:
        """Check and rebuild what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case [str(link), int(block), int(first), int(count)] if len(link) <= NAME_CHARACTERS_MAX:
                if not (0 <= block < 1 << 62 and 0 <= first < 1 << 40 and 0 < count < 1 << 24):
                    raise ValueError("a span is out of range")
                return cls(link, block, first, count)
        raise ValueError("a span is [link, block, first, count]")


@dataclass(frozen=True, slots=True)
class Assignment:
    """The promise that keys are for these applications and no others. Public; this is what one KME tells another.

    Args:
        key_id: The id of the first key, and the promise's name.
        request: In which request of a master it was made.
        spans: What the keys are cut from; a run of several keys lies in one span.
        number: How many keys.
    """

    key_id: str
    request: str
    master: str
    slaves: tuple[str, ...]
    size_bits: int
    spans: tuple[Span, ...]
    number: int = 1

    @property
    def atoms(self) -> int:
        """How many atoms it takes."""
        return self.spans[0].count if len(self.spans) == 1 else sum(span.count for span in self.spans)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of its keys."""
        return run_of_ids(self.key_id, self.number, self.atoms // self.number)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "key_id": self.key_id,
            "request": self.request,
            "master": self.master,
            "slaves": list(self.slaves),
            "size_bits": self.size_bits,
            "number": self.number,
            "spans": [span.to_json() for span in self.spans],
        }

    @classmethod
    def from_json(cls, data: Any) -> Assignment:
        """Check and rebuild what `to_json` gave. An atom is one byte or more, so the size bounds the spans.

        Raises:
            ValueError: It is something else, or larger than any promise.
        """
        match data:
            case {
                "key_id": str(key_id),
                "request": str(request),
                "master": str(master),
                "slaves": [*slaves],
                "size_bits": int(size_bits),
                "number": int(number),
                "spans": [*spans],
            } if slaves and spans and all(isinstance(slave, str) for slave in slaves):
                names = (key_id, request, master, *slaves)
                if len(slaves) > SLAVES_MAX or max(map(len, names)) > NAME_CHARACTERS_MAX:
                    raise ValueError("an assignment names too many, or has names that are too long")
                if not 0 < size_bits <= SIZE_BITS_MAX or len(spans) > size_bits // 8:
                    raise ValueError("an assignment's size is out of range, or it has more spans than its size needs")
                if not (number == 1 or (1 < number <= RUN_MAX and len(spans) == 1)):
                    raise ValueError("an assignment is of one key, or of a run of keys in one span")
                of = tuple(map(Span.from_json, spans))
                rebuilt = cls(key_id, request, master, tuple(slaves), size_bits, of, number)
                if rebuilt.atoms > number * (size_bits // 8):
                    raise ValueError("an assignment has more atoms than its size needs")
                return rebuilt
        raise ValueError("an assignment lacks a field, or has one of the wrong type")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key on its way to an application."""

    key_id: str
    value: bytes = field(repr=False)
    provenance: tuple[Provenance, ...] = ()


@dataclass(frozen=True, slots=True)
class Reservation:
    """Keys that the master's KME has set aside until the peer holds the same promise.

    Args:
        values: The keys' bytes, one key after another.
        provenance: The blocks that they were cut from.
    """

    assignment: Assignment
    values: bytes = field(repr=False)
    provenance: tuple[Provenance, ...] = ()

    @property
    def keys(self) -> tuple[StoredKey, ...]:
        """The keys one by one."""
        promise, origins = self.assignment, self.provenance
        return tuple(
            StoredKey(key_id, value, origins)
            for key_id, value in zip(promise.key_ids, values_of(self.values, promise.number), strict=True)
        )


def values_of(values: bytes, number: int) -> list[bytes]:
    """Cut the bytes of a run into its keys."""
    size = len(values) // number
    return [values[start : start + size] for start in range(0, len(values), size)]


class Refused(KmeError):
    """A KME says no, in the words of ETSI GS QKD 014.

    Args:
        status: 400, 401 or 503.
        message: The standard's own words where it has some.
        reason: One stable word for programs.
    """

    def __init__(self, status: int, message: str, reason: str, *, hint: str = "", detail: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason
        self.detail = detail


NOT_FOUND = "one or more keys specified are not found on KME"


def direction_of(master_kme: str, slave_kme: str) -> int:
    """Return which half of a pool serves masters at `master_kme`."""
    return 0 if master_kme < slave_kme else 1


def key_id_of(first: Span, direction: int) -> str:
    """Return the id of the key that begins at an atom: both ends derive it, from public numbers alone.

    A UUID of version 8 (RFC 9562, section 5.8): 82 bits of a hash of link, block and direction, then the position. So
    the keys of a block have neighbouring ids, and the store finds a run by any of them.
    """
    return f"{_prefix(first.link, first.block, direction)}{first.first:010x}"


def run_of_ids(first: str, number: int, step: int) -> tuple[str, ...]:
    """Return the ids of a run of keys, each of which begins `step` atoms after the one before."""
    if number == 1:
        return (first,)
    prefix, position = first[:-10], position_of(first)
    return tuple([f"{prefix}{at:010x}" for at in range(position, position + number * step, step)])


def index_in_run(key_id: str, first: str, number: int, step: int) -> int | None:
    """Return which key of a run has this id, counted from 0; None: none of them."""
    if key_id == first:
        return 0
    if number == 1 or not same_block(key_id, first):
        return None
    index, rest = divmod(position_of(key_id) - position_of(first), step)
    return index if rest == 0 and 0 <= index < number else None


def same_block(one: str, other: str) -> bool:
    """Say whether two ids are of keys of the same block and direction."""
    return one[:-10] == other[:-10]


def position_of(key_id: str) -> int:
    """Return at which atom of its block a key begins."""
    return int(key_id[-10:], 16)


@lru_cache(maxsize=1024)
def _prefix(link: str, block: int, direction: int) -> str:
    """Return the part of an id that all keys of a block and direction have in common."""
    number = int.from_bytes(hashlib.sha256(encode("noclone-key-2", link, block, direction)).digest()[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76  # version
    number = number & ~(0x3 << 62) | 0x2 << 62  # variant
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:22]}"
