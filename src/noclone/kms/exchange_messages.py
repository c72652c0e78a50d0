"""What two KMEs say to each other when they combine key, and what of it is believed: typed, bounded, frozen.

In: JSON from another KME.  Out: records whose every field has its type and its limits, or ValueError. The offer names
everything: both KMEs and their roles, the block, the combiner, the suite, the QKD key by its id and the blocks that it
was cut from, the public keys. The answer names the offer by its hash. Both are signed, and hashed into the key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from noclone.combined import Part, combined_profile
from noclone.crypto.combiners import CHUNK_BYTES, MODES, Mode
from noclone.crypto.kems import SUITES, suite
from noclone.kms.relay_messages import BLOCK_BYTES_MAX, BLOCKS_PER_HOP_MAX, canonical, is_name
from noclone.trust.provenance import formula_of_block

OFFER, ANSWER = b"noclone-exchange-offer-1", b"noclone-exchange-answer-1"
KEY_CHARACTERS_MAX = 800_000  # a public key of Classic McEliece in base64
PROFILE_CHARACTERS_MAX = 64
BlockSummary = tuple[str, int, str]


def combined_link(a: str, b: str) -> str:
    """Return the name of what two KMEs combine. '+' is in no link's name of a scenario, and in no virtual link's."""
    return "+".join(sorted((a, b)))


def summary(parts: Sequence[Part]) -> tuple[BlockSummary, ...]:
    """Return what both ends must say alike of QKD blocks: which they are, and when they leak."""
    return tuple(sorted((part.link, part.block, formula_of_block(part).sha256()) for part in parts))


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer to combine a block.

    Args:
        exchange: A UUID that the initiator drew.
        initiator: Who offers.
        target: To whom.
        block: Number of the block on their combined link.
        mode: Which combiner.
        suite: Which KEMs.
        n_bytes: Length of the block.
        time_s: When it was offered.
        key_id: Of the QKD key, which both collect once; nothing without QKD.
        inner: Profile of the QKD key; nothing without QKD.
        parts: The QKD blocks that it was cut from.
        public: A public key for each KEM.
        signatures: The initiator's, over everything else.
    """

    exchange: str
    initiator: str
    target: str
    block: int
    mode: Mode
    suite: str
    n_bytes: int
    time_s: float
    key_id: str
    inner: str
    parts: tuple[BlockSummary, ...]
    public: tuple[bytes, ...] = field(repr=False)
    signatures: tuple[Any, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not (is_name(self.initiator) and is_name(self.target)) or self.initiator == self.target:
            raise ValueError("an exchange is between two KMEs")
        if self.mode not in MODES or self.suite not in SUITES:
            raise ValueError("an exchange has a combiner and a suite that are known here")
        if not 0 < self.n_bytes <= BLOCK_BYTES_MAX or self.n_bytes % CHUNK_BYTES:
            raise ValueError("a combined block is too short, too long, or of an odd length")
        if not (0 <= self.block < 1 << 62 and 0 <= self.time_s < 1e12):
            raise ValueError("a number is out of range")
        if str(uuid.UUID(self.exchange)) != self.exchange:
            raise ValueError("an exchange is named by a UUID")
        without = self.mode == "kem"
        if {not self.key_id, not self.inner, not self.parts} != {without}:
            raise ValueError("a combiner with QKD names its QKD key, and one without names none")
        if [len(key) for key in self.public] != [kem.public_bytes for kem in suite(self.suite)]:
            raise ValueError("an offer has a public key of the right length for each KEM")

    @property
    def link(self) -> str:
        """Name of the combined link."""
        return combined_link(self.initiator, self.target)

    @property
    def profile(self) -> str:
        """What policies will choose the block by."""
        return combined_profile(self.mode, self.suite, self.inner)

    def unsigned(self) -> dict[str, Any]:
        """Return what is signed, as plain JSON values."""
        return {
            "exchange": self.exchange,
            "initiator": self.initiator,
            "target": self.target,
            "block": self.block,
            "mode": self.mode,
            "suite": self.suite,
            "n_bytes": self.n_bytes,
            "time_s": self.time_s,
            "key_id": self.key_id,
            "inner": self.inner,
            "parts": [list(part) for part in self.parts],
            "public": [_text(key) for key in self.public],
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**self.unsigned(), "signatures": [list(entry) for entry in self.signatures]}

    @classmethod
    def from_json(cls, data: Any) -> Offer:
        """Check and rebuild what `to_json` gave; whether the signatures hold is not looked at.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case {
                "exchange": str(exchange),
                "initiator": str(initiator),
                "target": str(target),
                "block": int(block),
                "mode": str(mode),
                "suite": str(name),
                "n_bytes": int(n_bytes),
                "time_s": int(time_s) | float(time_s),
                "key_id": str(key_id),
                "inner": str(inner),
                "parts": [*parts],
                "public": [*public],
                "signatures": [*signatures],
            } if (
                len(data) == 13 and len(exchange) == 36 and len(key_id) in (0, 36) and len(parts) <= BLOCKS_PER_HOP_MAX
            ):
                if any(isinstance(number, bool) for number in (block, n_bytes, time_s)):
                    raise ValueError("a number is a truth value")
                if len(inner) > PROFILE_CHARACTERS_MAX or ":" in inner:
                    raise ValueError("a QKD key's profile is too long, or none")
                keys = tuple(map(_bytes, public))
                known = tuple(map(_summary, parts))
                return cls(
                    exchange, initiator, target, block, cast(Mode, mode), name, n_bytes, float(time_s), key_id, inner,
                    known, keys, tuple(signatures),
                )  # fmt: skip
        raise ValueError("an offer lacks a field, or has one of the wrong type")

    def statement(self) -> bytes:
        """Return what the initiator signs."""
        return canonical(self.unsigned())

    def words(self) -> bytes:
        """Return the whole offer, as both ends hash it."""
        return canonical(self.to_json())


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an offer.

    Args:
        offer: Hash of the offer's words.
        ciphertexts: One for each KEM.
        signatures: The target's, over these two.
        tag: By which the target shows that it has the key.
    """

    offer: str
    ciphertexts: tuple[bytes, ...] = field(repr=False)
    signatures: tuple[Any, ...] = field(default=(), repr=False)
    tag: bytes = b""

    def statement(self) -> bytes:
        """Return what the target signs."""
        return canonical({"offer": self.offer, "ciphertexts": [_text(one) for one in self.ciphertexts]})

    def words(self) -> bytes:
        """Return the answer without its tag, as both ends hash it."""
        signatures = [list(entry) for entry in self.signatures]
        return canonical([self.offer, [_text(one) for one in self.ciphertexts], signatures])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "offer": self.offer,
            "ciphertexts": [_text(one) for one in self.ciphertexts],
            "signatures": [list(entry) for entry in self.signatures],
            "tag": self.tag.hex(),
        }

    @classmethod
    def from_json(cls, data: Any) -> Answer:
        """Check and rebuild what `to_json` gave; whether the signatures hold is not looked at.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case {
                "offer": str(offer),
                "ciphertexts": [*ciphertexts],
                "signatures": [*signatures],
                "tag": str(tag),
            } if len(offer) == 96 and len(tag) <= 128:
                return cls(offer, tuple(map(_bytes, ciphertexts)), tuple(signatures), bytes.fromhex(tag))
        raise ValueError("an answer lacks a field, or has one of the wrong type")


def digest(offer: Offer) -> str:
    """Return the hash by which an answer names its offer."""
    return hashlib.sha384(OFFER + offer.words()).hexdigest()


def _summary(data: Any) -> BlockSummary:
    match data:
        case [str(link), int(block), str(formula)] if len(link) <= 256 and len(formula) == 64:
            if isinstance(block, bool) or not 0 <= block < 1 << 62:
                raise ValueError("a block's number is out of range")
            return link, block, formula
    raise ValueError("a QKD block is named by its link, its number and the hash of its formula")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(data: Any) -> bytes:
    if not isinstance(data, str) or not 0 < len(data) <= KEY_CHARACTERS_MAX:
        raise ValueError("a key or a ciphertext is missing or too long")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise ValueError("a key or a ciphertext is no base64") from None
