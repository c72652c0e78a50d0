"""The bytes of a relay: drawing a block, sealing a share for one hop, opening it, and confirming the block.

No network, no clock, no store: bytes and records in, bytes and records out. On each hop a share crosses under a
one-time pad with a one-time tag (`crypto.one_time_pad`), cut from the key that a fibre made between the two neighbours.

Confirmation. Of every block the last 32 bytes are burned: k (16) keys a polynomial hash over GF(2^128) of all before,
s (16) hides its value: tag = hash_k(m) + s. Somebody who does not know the block, but added differences to shares that
passed through his hands, gets (m', k', s') = (m + a, k + b, s + c) accepted only if hash_k(m) + hash_(k+b)(m + a) = c:
for b = 0 a polynomial in k of degree n + 1 at most that is not constant if a is not zero, where n counts blocks of 128
bits; for b other than 0 an equation in the uniform m that 2^-128 of them solve. So with probability (n + 1) / 2^128 at
most. Who knows the whole block (all shares) can make both ends agree on two different ones: he knows the key anyway.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping, Sequence

from noclone.bits import words_from_bytes
from noclone.crypto.one_time_pad import OneTimePad, pad_bytes
from noclone.crypto.polynomial_hash import KEY_BYTES, digest
from noclone.crypto.secret_sharing import join, split
from noclone.errors import AuthenticationError, KmeError
from noclone.kms.keys import StoredKey
from noclone.kms.relay_messages import CONFIRMATION_BYTES, Header, ShareMessage, associated
from noclone.kms.relay_statements import Notary
from noclone.records import BlockProvenance, SecretKey
from noclone.relayed import RelayHop, RelayProvenance
from noclone.trust.provenance import formula_of_block


def pad_length(header: Header) -> int:
    """Return how many bytes of a neighbour's key one hop of one share takes."""
    return pad_bytes(header.n_bytes)


def draw(header: Header) -> tuple[bytearray, list[bytearray]]:
    """Return a fresh block and its shares, from the system's randomness."""
    block = bytearray(os.urandom(header.n_bytes))
    return block, [bytearray(share) for share in split(block, header.threshold, len(header.paths))]


def join_shares(header: Header, shares: Mapping[int, bytearray]) -> bytearray:
    """Return the block that enough shares give."""
    return join(shares, header.threshold, len(header.paths))


def confirmation(block: bytearray) -> bytes:
    """Return the tag by which the two ends compare a block; it says nothing about the part that is kept."""
    kept, key, hiding = block[:-CONFIRMATION_BYTES], block[-CONFIRMATION_BYTES:-KEY_BYTES], block[-KEY_BYTES:]
    value = digest(bytes(kept), 8 * len(kept), bytes(key), 128)
    return bytes(a ^ b for a, b in zip(value, hiding, strict=True))


def warm_up() -> None:
    """Load, or compile, the hash that confirmation takes, so that the first relay need not wait for it."""
    confirmation(bytearray(64))


def confirms(block: bytearray, tag: bytes) -> bool:
    """Say, in constant time, whether the other end's tag fits our block."""
    return hmac.compare_digest(confirmation(block), tag)


def secret_of(block: bytearray, provenance: RelayProvenance) -> SecretKey:
    """Return what is kept of a confirmed block."""
    kept = bytes(block[:-CONFIRMATION_BYTES])
    return SecretKey(words_from_bytes(kept), 8 * len(kept), provenance)


def fibres_of(pad: StoredKey) -> tuple[BlockProvenance, ...]:
    """Return the fibre's blocks that a pad was cut from.

    Raises:
        KmeError: It was cut from something else.
    """
    blocks = tuple(block for block in pad.provenance if isinstance(block, BlockProvenance))
    if not blocks or len(blocks) != len(pad.provenance):
        raise KmeError("a pad for a relay shall be cut from a fibre's own key")
    return blocks


def seal(
    header: Header, share: int, before: Sequence[RelayHop], value: bytearray, pad: StoredKey, notary: Notary
) -> ShareMessage:
    """Seal a share for the next KME on its path, and sign what that adds."""
    position = len(before)
    receiver = header.paths[share][position + 1]
    hop = notary.add_hop(header, share, before, receiver, fibres_of(pad))
    bound = associated(header, share, position, pad.key_id)
    ciphertext, tag = OneTimePad(pad.value).seal(bound, value)
    return ShareMessage(header, share, position, pad.key_id, ciphertext, tag, (*before, hop))


def unseal(message: ShareMessage, pad: StoredKey) -> bytearray:
    """Open a share, once its sender's words about the pad agree with our own record of it.

    Raises:
        AuthenticationError: They do not, or it is not what our neighbour sealed.
        KmeError: The pad is of the wrong kind or size.
    """
    ours, theirs = fibres_of(pad), message.hops[-1].blocks
    if len(pad.value) != pad_length(message.header):
        raise KmeError("a pad for a relay has the wrong size")
    if _summary(ours) != _summary(theirs):
        raise AuthenticationError(f"the KME {message.sender} does not say what its pad was cut from")
    return OneTimePad(pad.value).open(message.associated(), message.ciphertext, message.tag)


def _summary(blocks: Sequence[BlockProvenance]) -> set[tuple[str, int, str]]:
    """Return what two ends of a fibre must say alike of blocks: which they are, and when they leak."""
    return {(block.link, block.block, formula_of_block(block).sha256()) for block in blocks}
