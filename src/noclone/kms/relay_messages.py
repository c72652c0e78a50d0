"""What KMEs say to each other when they relay a block of key, and what of it is believed: typed, bounded, frozen.

In: JSON from another KME.  Out: records whose every field has its type and its limits, or ValueError. Nothing is looked
up, kept or computed with before it has passed here. A header is public and the same in all messages of one relay.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
import uuid
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from noclone.crypto.wegman_carter import KEY_BYTES, TAG_BYTES, forgery_bound
from noclone.records import BlockProvenance, Origin
from noclone.relayed import RelayHop, RelayProvenance, relay_profile

SHARES_MAX = 16
HOPS_MAX = 256
BLOCK_BYTES_MAX = 1 << 20
BLOCKS_PER_HOP_MAX = 1024
TEXT_MAX = 256
CERTIFICATE_CHARACTERS_MAX = 16_384
REASON_CHARACTERS_MAX = 200
CONFIRMATION_BYTES = 32  # of every block: 16 that key a polynomial hash, 16 that hide its tag
PAD_BITS_MAX = 8 * (BLOCK_BYTES_MAX + CONFIRMATION_BYTES + KEY_BYTES)
NAME = re.compile(r"[A-Za-z0-9._~-]{1,64}")


def virtual_link(a: str, b: str) -> str:
    """Return the name of what two KMEs share that no fibre joins. '~' is in no link's name of a scenario."""
    return "~".join(sorted((a, b)))


def internal(kme: str) -> str:
    """Return the name under which a KME holds pads of its own. No SAE has it: ':' is in no SAE's id."""
    return f"kme:{kme}"


def canonical(data: Any) -> bytes:
    """Return JSON that is the same for equal values."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class Header:
    """Which block is relayed, from whom to whom, in how many shares and along which paths.

    Args:
        transfer: A UUID that the initiator drew for this relay.
        link: Name of the virtual link.
        block: Number of the block on it.
        threshold: Shares that give the block.
        paths: For each share the KMEs from the initiator to the target. No KME between is on two of them.
        n_bytes: Length of the block, and of each share; its last 32 bytes are burned to confirm it.
        time_s: When the block was drawn.
    """

    transfer: str
    link: str
    block: int
    threshold: int
    paths: tuple[tuple[str, ...], ...]
    n_bytes: int
    time_s: float

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= len(self.paths) <= SHARES_MAX:
            raise ValueError("a relay has 1 to 16 shares, and needs as many as there are or fewer")
        if any(not 2 <= len(path) <= HOPS_MAX + 1 or len(set(path)) != len(path) for path in self.paths):
            raise ValueError("a path is too short, too long, or comes by a KME twice")
        between = [name for path in self.paths for name in path[1:-1]]
        if len({(path[0], path[-1]) for path in self.paths}) != 1 or len(set(between)) != len(between):
            raise ValueError("paths shall have the same ends, and no KME between in common")
        if len(self.paths) > 1 and len(set(self.paths)) != len(self.paths):
            raise ValueError("a path is given twice")
        if self.link != virtual_link(self.initiator, self.target):
            raise ValueError("the virtual link is not that of the two ends")
        if not CONFIRMATION_BYTES < self.n_bytes <= BLOCK_BYTES_MAX + CONFIRMATION_BYTES:
            raise ValueError("a relayed block is too short or too long")
        if not (0 <= self.block < 1 << 62 and 0 <= self.time_s < 1e12):
            raise ValueError("a number is out of range")
        if str(uuid.UUID(self.transfer)) != self.transfer:
            raise ValueError("a transfer is named by a UUID")

    @property
    def initiator(self) -> str:
        return self.paths[0][0]

    @property
    def target(self) -> str:
        return self.paths[0][-1]

    @property
    def profile(self) -> str:
        """What policies will choose the block by."""
        return relay_profile(self.threshold, len(self.paths))

    @property
    def epsilon(self) -> float:
        """What the relay may fail by: a forged one-time tag on any hop, or a confirmation that lies."""
        # A tag covers header and ciphertext; the header is bounded below by its digest and ids, above by a kilobyte.
        hops = sum(len(path) - 1 for path in self.paths)
        confirmation = (self.n_bytes // 16 + 2) * 2.0**-128
        return hops * forgery_bound(self.n_bytes + 1024) + confirmation

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "transfer": self.transfer,
            "link": self.link,
            "block": self.block,
            "threshold": self.threshold,
            "paths": [list(path) for path in self.paths],
            "n_bytes": self.n_bytes,
            "time_s": self.time_s,
        }

    @classmethod
    def from_json(cls, data: Any) -> Header:
        """Check and rebuild what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case {
                "transfer": str(transfer),
                "link": str(link),
                "block": int(block),
                "threshold": int(threshold),
                "paths": [*paths],
                "n_bytes": int(n_bytes),
                "time_s": int(time_s) | float(time_s),
            } if len(paths) <= SHARES_MAX and len(transfer) == 36:
                if any(isinstance(number, bool) for number in (block, threshold, n_bytes, time_s)):
                    raise ValueError("a number is a truth value")
                return cls(transfer, link, block, threshold, tuple(map(_path, paths)), n_bytes, float(time_s))
        raise ValueError("a relay's header lacks a field, or has one of the wrong type")

    def digest(self) -> str:
        """Return the hash of it, in hexadecimal."""
        return hashlib.sha256(b"noclone-relay-header-1" + canonical(self.to_json())).hexdigest()

    def provenance(self, shares: tuple[tuple[RelayHop, ...], ...]) -> RelayProvenance:
        """Return the record of the block, given the hops of its shares."""
        return RelayProvenance(
            self.link,
            self.block,
            self.initiator,
            self.target,
            self.transfer,
            self.threshold,
            shares,
            self.n_bytes,
            self.epsilon,
            self.time_s,
        )


def _path(data: Any) -> tuple[str, ...]:
    match data:
        case [*names] if 2 <= len(names) <= HOPS_MAX + 1 and all(map(is_name, names)):
            return tuple(names)
    raise ValueError("a path is a list of KMEs")


def is_name(value: Any) -> bool:
    """Say whether a value can be a KME's name."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class ShareMessage:
    """One share on one hop, sealed with a one-time pad.

    Args:
        share: Which of the header's paths.
        position: Of the sender on it.
        key_id: Which key of the two neighbours' pool is the pad.
        hops: What the KMEs up to the sender signed, the sender's own hop last.
    """

    header: Header
    share: int
    position: int
    key_id: str
    ciphertext: bytes = field(repr=False)
    tag: bytes
    hops: tuple[RelayHop, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.share < len(self.header.paths):
            raise ValueError("there is no such share")
        path = self.header.paths[self.share]
        if not 0 <= self.position < len(path) - 1 or len(self.hops) != self.position + 1:
            raise ValueError("a share's place on its path does not fit")
        if [(hop.sender, hop.receiver) for hop in self.hops] != list(pairwise(path[: self.position + 2])):
            raise ValueError("the hops of a share are not its path")
        if len(self.ciphertext) != self.header.n_bytes or len(self.tag) != TAG_BYTES or len(self.key_id) != 36:
            raise ValueError("a share, its tag or its pad's name has the wrong length")

    @property
    def sender(self) -> str:
        return self.hops[-1].sender

    @property
    def receiver(self) -> str:
        return self.hops[-1].receiver

    def associated(self) -> bytes:
        """Return what the one-time tag covers beside the ciphertext."""
        return associated(self.header, self.share, self.position, self.key_id)

    def digest(self) -> bytes:
        """Return a hash that tells this message from any other."""
        return hashlib.sha256(canonical(self.to_json())).digest()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values. They hold ciphertext only."""
        return {
            "header": self.header.to_json(),
            "share": self.share,
            "position": self.position,
            "key_id": self.key_id,
            "data": base64.b64encode(self.ciphertext).decode("ascii"),
            "tag": self.tag.hex(),
            "hops": [hop.to_json() for hop in self.hops],
        }

    @classmethod
    def from_json(cls, data: Any) -> ShareMessage:
        """Check and rebuild what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case {
                "header": header,
                "share": int(share),
                "position": int(position),
                "key_id": str(key_id),
                "data": str(text),
                "tag": str(tag),
                "hops": [*hops],
            } if len(text) <= 2 * BLOCK_BYTES_MAX and len(tag) == 2 * TAG_BYTES and len(hops) <= HOPS_MAX:
                if isinstance(share, bool) or isinstance(position, bool):
                    raise ValueError("a number is a truth value")
                try:
                    ciphertext = base64.b64decode(text, validate=True)
                except binascii.Error:
                    raise ValueError("a ciphertext is no base64") from None
                checked = tuple(map(hop_from_json, hops))
                return cls(Header.from_json(header), share, position, key_id, ciphertext, bytes.fromhex(tag), checked)
        raise ValueError("a share lacks a field, or has one of the wrong type")


def associated(header: Header, share: int, position: int, key_id: str) -> bytes:
    """Return what a one-time tag binds a ciphertext to."""
    return canonical(["noclone-relay-share-1", header.digest(), share, position, key_id])


def hop_from_json(data: Any) -> RelayHop:
    """Check and rebuild a hop that another KME sent.

    Raises:
        ValueError: It is something else.
    """
    match data:
        case {
            "sender": str(sender),
            "receiver": str(receiver),
            "blocks": [*blocks],
            "certificate": str(certificate),
            "signature": str(signature),
        } if len(data) == 5 and is_name(sender) and is_name(receiver) and 0 < len(blocks) <= BLOCKS_PER_HOP_MAX:
            if len(certificate) > CERTIFICATE_CHARACTERS_MAX or len(signature) > CERTIFICATE_CHARACTERS_MAX:
                raise ValueError("a certificate or a signature is too long")
            return RelayHop(sender, receiver, tuple(map(block_from_json, blocks)), certificate, signature)
    raise ValueError("a hop lacks a field, or has one of the wrong type")


def block_from_json(data: Any) -> BlockProvenance:
    """Check and rebuild a fibre's block's record that another KME sent.

    Raises:
        ValueError: It is something else.
    """
    match data:
        case {
            "link": str(),
            "alice": str(),
            "bob": str(),
            "block": int(number),
            "protocol": str(),
            "origin": {"kind": "simulated" | "recorded" | "hardware", "seeded": bool(), "detail": str()} as origin,
            "proof": str(),
            "statement": "fixed-length" | "variable-length" | "no-proof",
            "epsilon": int() | float(),
            "cumulative_epsilon": int() | float(),
            "bootstrap": str(),
            "time_s": int() | float(),
        } if len(data) == 12 and len(origin) == 3 and 0 <= number < 1 << 62:
            texts = [value for value in (*data.values(), *origin.values()) if isinstance(value, str)]
            numbers = [value for value in data.values() if isinstance(value, int | float)]
            if any(not text.isprintable() or len(text) > TEXT_MAX for text in texts) or not data["link"]:
                raise ValueError("a block's record has a text that is too long, or cannot be shown")
            if any(isinstance(value, bool) or not math.isfinite(value) or value < 0 for value in numbers):
                raise ValueError("a block's record has a number that is out of range")
            return BlockProvenance(**{**data, "origin": Origin(**origin)})
    raise ValueError("a block's record lacks a field, or has one of the wrong type")
