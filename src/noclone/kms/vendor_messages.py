"""What the two ends of a vendor's link say to each other: which of the vendor's keys make the next block.

In: JSON from another KME.  Out: records whose every field has its type and its limits, or ValueError. No key byte is in
any of it. `confirmation` is how the two ends compare what they drew: a polynomial hash over GF(2^128) whose key, and
what hides its value, are the last 32 bytes that were drawn, which are burned. It covers the offer as well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from noclone.kms import relay_shares
from noclone.kms.relay_messages import BLOCK_BYTES_MAX, CONFIRMATION_BYTES, block_from_json, canonical
from noclone.records import VENDOR_PROTOCOL, BlockProvenance, Origin

KEYS_MAX = 1024  # of the vendor's, in one block
KEY_ID_CHARACTERS_MAX = 64
TAG_HEX = 32
PROOF = "the vendor's word"
BOOTSTRAP = "vendor"
UNKNOWN = 1.0


@dataclass(frozen=True, slots=True)
class VendorLink:
    """Two KMEs, and the vendor's system from which both get the same keys.

    Args:
        name: Of the link.
        alice: The KME that asks the vendor for new keys.
        bob: The KME that asks for the same keys by their ids.
        vendor: Whose system it is, for people.
        alice_sae: As what alice's KME is known to the vendor's system.
        bob_sae: As what bob's KME is.
        epsilon: How probably a key of the vendor's is not what it should be, as stated by whoever answers for it; None:
            nobody states it.
        block_bytes: Key that one draw brings, about.
        key_size_bits: Of the vendor's keys; 0: the vendor's default.
        stock_bits: No key is drawn while the pool holds this much.
    """

    name: str
    alice: str
    bob: str
    vendor: str
    alice_sae: str
    bob_sae: str
    epsilon: float | None = None
    block_bytes: int = 16_384
    key_size_bits: int = 0
    stock_bits: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Offer:
    """Which of a vendor's keys alice drew, in this order, for which block.

    Args:
        record: Of the block: what both ends will say of it.
        n_bytes: Of all keys together.
        tag: Alice's, of what she drew; bob's must be the same.
    """

    record: BlockProvenance
    key_ids: tuple[str, ...]
    n_bytes: int
    tag: bytes

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "record": self.record.to_json(),
            "key_ids": list(self.key_ids),
            "n_bytes": self.n_bytes,
            "tag": self.tag.hex(),
        }

    @classmethod
    def from_json(cls, data: Any) -> Offer:
        """Check and rebuild what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case {"record": record, "key_ids": [*ids], "n_bytes": int(n_bytes), "tag": str(tag)}:
                if not 1 <= len(ids) <= KEYS_MAX or not all(map(is_key_id, ids)) or len(set(ids)) != len(ids):
                    raise ValueError("an offer names 1 to 1024 keys by their ids, none twice")
                if isinstance(n_bytes, bool) or not CONFIRMATION_BYTES < n_bytes <= BLOCK_BYTES_MAX:
                    raise ValueError("an offer has too few bytes, or too many")
                if len(tag) != TAG_HEX:
                    raise ValueError("an offer's tag has the wrong length")
                return cls(block_from_json(record), tuple(ids), n_bytes, bytes.fromhex(tag))
        raise ValueError("an offer lacks a field, or has one of the wrong type")


def is_key_id(value: Any) -> bool:
    """Say whether a value can be the id of a vendor's key: a UUID by the standard, but not all keep to it."""
    return isinstance(value, str) and 0 < len(value) <= KEY_ID_CHARACTERS_MAX and value.isprintable()


def record_of(
    link: VendorLink, block: int, origin: Origin, key_ids: tuple[str, ...], earlier_epsilon: float, time_s: float
) -> BlockProvenance:
    """Return the record of a block: which keys it is made of, and what is stated of them.

    Args:
        origin: What the vendor's own words about its keys allow to say.
        earlier_epsilon: Of all blocks before.
    """
    hashed = hashlib.sha256(canonical(list(key_ids))).hexdigest()[:32]
    kind = Origin(origin.kind, origin.seeded, f"{link.vendor}; {len(key_ids)} keys, ids {hashed}")
    epsilon = epsilon_of(link, len(key_ids))
    return BlockProvenance(
        link.name,
        link.alice,
        link.bob,
        block,
        VENDOR_PROTOCOL,
        kind,
        PROOF,
        "no-proof",
        epsilon,
        min(UNKNOWN, earlier_epsilon + epsilon),
        BOOTSTRAP,
        time_s,
    )


def epsilon_of(link: VendorLink, n_keys: int) -> float:
    """Return a block's failure probability: the stated ones of its keys, and that of comparing them; 1 if unknown."""
    if link.epsilon is None:
        return UNKNOWN
    return min(UNKNOWN, n_keys * link.epsilon + (BLOCK_BYTES_MAX // 16 + KEYS_MAX * 8) * 2.0**-128)


def confirmation(drawn: bytearray, record: BlockProvenance, key_ids: tuple[str, ...]) -> bytes:
    """Return the tag by which the two ends compare what they drew; it says nothing about the part that is kept."""
    header = canonical(["noclone-vendor-draw-1", record.to_json(), list(key_ids)])
    covered = drawn[:-CONFIRMATION_BYTES] + header + len(header).to_bytes(8, "big")
    return relay_shares.confirmation(covered + drawn[-CONFIRMATION_BYTES:])
