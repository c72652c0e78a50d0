"""What the store and the KMEs say to each other about keys: typed, frozen, and never showing key bytes.

A block of secret key is cut into atoms of equal size. Atom i of a block belongs to direction i % 2 and has position
i // 2 in it: direction 0 serves masters at the KME whose name sorts first, direction 1 masters at the other. So two
masters never choose the same atom, and a KME assigns positions of its own direction in rising order.
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
    """The promise that a key is for these applications and no others. Public; this is what one KME tells another."""

    key_id: str
    request: str
    master: str
    slaves: tuple[str, ...]
    size_bits: int
    spans: tuple[Span, ...]

    @property
    def atoms(self) -> int:
        """How many atoms it takes."""
        return sum(span.count for span in self.spans)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "key_id": self.key_id,
            "request": self.request,
            "master": self.master,
            "slaves": list(self.slaves),
            "size_bits": self.size_bits,
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
                "spans": [*spans],
            } if slaves and spans and all(isinstance(slave, str) for slave in slaves):
                names = (key_id, request, master, *slaves)
                if len(slaves) > SLAVES_MAX or max(map(len, names)) > NAME_CHARACTERS_MAX:
                    raise ValueError("an assignment names too many, or has names that are too long")
                if not 0 < size_bits <= SIZE_BITS_MAX or len(spans) > size_bits // 8:
                    raise ValueError("an assignment's size is out of range, or it has more spans than its size needs")
                rebuilt = cls(key_id, request, master, tuple(slaves), size_bits, tuple(map(Span.from_json, spans)))
                if rebuilt.atoms > size_bits // 8:
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
    """A key that the master's KME has set aside, with its bytes, until the peer holds the same promise."""

    assignment: Assignment
    key: StoredKey


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

    A UUID of version 8 (RFC 9562, section 5.8), for its bits come from a hash of our own choice.
    """
    hashed = _hash_of_block(first.link, first.block, direction).copy()
    hashed.update(encode(first.first))
    number = int.from_bytes(hashed.digest()[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76  # version
    number = number & ~(0x3 << 62) | 0x2 << 62  # variant
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@lru_cache(maxsize=1024)
def _hash_of_block(link: str, block: int, direction: int) -> Any:
    """Return the hash of what all keys of a block and direction have in common."""
    return hashlib.sha256(encode("noclone-key-1", link, block, direction))
