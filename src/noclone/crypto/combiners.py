"""Combiners: one key of a QKD key and of KEM secrets, under names that tell it from every other key.

In: what QKD gave (or nothing), one secret for each KEM of a suite, the public transcript of the exchange.  Out: key.

    everlasting   QKD key XOR stream(KEM secrets): stays information-theoretic, whatever becomes of the algorithms,
                  and stands on the KEMs should QKD fail. The transcript is authenticated with a one-time MAC.
    catkdf        CatKDF of ETSI TS 103 744: secret while QKD or any KEM holds, and HKDF does.
    caskdf        CasKDF of the same standard: the same claim, one secret after another.
    kem           CatKDF of the KEM secrets alone, for networks without a quantum link.

Giacon, Heuer and Poettering (PKC 2018) show that XOR alone does not withstand active attackers: here both ends compare
the transcript before anything is used. Hovelmanns et al. (arXiv:2509.12478) show what goes wrong when the names of QKD
keys are not bound: here the ids of the QKD key, both KMEs, their roles, the suite, every public key and every
ciphertext are in the transcript, and `named` binds a delivered key's id and its applications.
A part that is missing or empty is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from noclone.crypto.hybrid_kdf import Round, cas_kdf, cat_kdf, expand
from noclone.crypto.kems import SECRET_BYTES
from noclone.crypto.wegman_carter import KEY_BYTES, TAG_BYTES, OneTimeKey
from noclone.errors import InputError
from noclone.spelling import choices

Mode = Literal["everlasting", "catkdf", "caskdf", "kem"]
MODES: tuple[Mode, ...] = ("everlasting", "catkdf", "caskdf", "kem")
CHUNK_BYTES = 32  # of QKD key that one use of a KDF takes: as many as come out
HASH: Literal["sha384"] = "sha384"
KDF_NAME = "HKDF-SHA384"
MAC_BYTES = 2 * KEY_BYTES  # of QKD key, for a one-time tag of each side
NAMED_BYTES_MAX = 12_240  # of one use of HKDF


def encode(names: Mapping[str, str | bytes | Sequence[str]]) -> bytes:
    """Return names and values as bytes that no other names and values have.

    Raises:
        InputError: One is empty.
    """
    out = [len(names).to_bytes(4)]
    for name, value in names.items():
        values = (value,) if isinstance(value, str | bytes) else value
        if not name or not values or not all(values):
            raise InputError(f"'{name}' is empty: what names a key cannot be left out")
        out += [_sized(name), len(values).to_bytes(4), *map(_sized, values)]
    return b"".join(out)


def _sized(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return len(data).to_bytes(4) + data


@dataclass(frozen=True, slots=True)
class Transcript:
    """What two KMEs said to each other, word by word: an offer with public keys, an answer with ciphertexts."""

    offer: bytes
    answer: bytes

    def __post_init__(self) -> None:
        if not self.offer or not self.answer:
            raise InputError("an exchange has an offer and an answer")

    @property
    def digests(self) -> tuple[bytes, bytes]:
        """The hash of either message: MA and MB of the standard."""
        return hashlib.sha384(self.offer).digest(), hashlib.sha384(self.answer).digest()

    @property
    def sha384(self) -> str:
        """The hash of both, in hexadecimal."""
        return hashlib.sha384(b"".join(self.digests)).hexdigest()


@dataclass(frozen=True, slots=True)
class Combined:
    """What both ends have in the end.

    Args:
        key: The block.
        initiator_tag: By which the initiator shows that it has the same; `target_tag` is the other end's.
    """

    key: bytearray = field(repr=False)
    initiator_tag: bytes
    target_tag: bytes


def qkd_bytes(mode: Mode, n_bytes: int) -> int:
    """Return how much QKD key a block takes: none, or its own length and the keys of two one-time tags."""
    return 0 if mode == "kem" else n_bytes + MAC_BYTES


def combine(mode: Mode, qkd: bytes | None, secrets: Sequence[bytes], transcript: Transcript, n_bytes: int) -> Combined:
    """Return a block of key, and the tags by which both ends know that they have the same.

    Args:
        mode: Which combiner.
        qkd: `qkd_bytes(mode, n_bytes)` bytes that QKD gave, for `kem` None.
        secrets: One for each KEM of the suite.
        transcript: What was said.
        n_bytes: Length of the block, a multiple of 32.

    Raises:
        InputError: A part is missing, empty, or has a wrong length.
    """
    if mode not in MODES:
        raise InputError(f"there is no combiner '{mode}'", hint=choices(mode, MODES))
    if n_bytes <= 0 or n_bytes % CHUNK_BYTES:
        raise InputError(f"a block has a multiple of {CHUNK_BYTES} bytes, not {n_bytes}")
    if not secrets or any(len(secret) != SECRET_BYTES for secret in secrets):
        raise InputError(f"a KEM's secret has {SECRET_BYTES} bytes; one is missing, or has others")
    if (qkd is None) != (mode == "kem") or (qkd is not None and len(qkd) != qkd_bytes(mode, n_bytes)):
        raise InputError(f"the combiner '{mode}' takes {qkd_bytes(mode, n_bytes)} bytes of QKD key")
    if qkd is not None and not any(qkd):
        raise InputError("a QKD key of zeros only was erased before: it cannot be used")
    key = _block(mode, qkd, list(secrets), transcript, n_bytes)
    first, second = _tags(mode, qkd, list(secrets), transcript, key)
    return Combined(key, first, second)


def _block(mode: Mode, qkd: bytes | None, secrets: list[bytes], transcript: Transcript, n_bytes: int) -> bytearray:
    messages, name = transcript.digests, encode({"what": "noclone-block-1", "mode": mode})
    out = bytearray()
    for start in range(0, n_bytes, CHUNK_BYTES):
        info = name + start.to_bytes(8)
        part = b"" if qkd is None else qkd[start : start + CHUNK_BYTES]
        if mode == "caskdf":
            out += _cascade([part, *secrets], info, messages)
        elif mode == "catkdf":
            out += _concatenate([part, *secrets], info, messages)
        else:
            out += _concatenate(secrets, info, messages)
    if mode == "everlasting":
        assert qkd is not None
        out = bytearray(np.bitwise_xor(np.frombuffer(out, np.uint8), np.frombuffer(qkd[:n_bytes], np.uint8)).tobytes())
    return out


def _concatenate(secrets: list[bytes], info: bytes, messages: tuple[bytes, bytes], length: int = CHUNK_BYTES) -> bytes:
    return cat_kdf(HASH, secrets, label=b"noclone-catkdf-1", info=info, messages=messages, length=length)


def _cascade(secrets: list[bytes], info: bytes, messages: tuple[bytes, bytes]) -> bytes:
    rounds = [Round(secret, b"noclone-caskdf-1", info, messages) for secret in secrets[1:]]
    return cas_kdf(HASH, rounds, first=secrets[0], length=CHUNK_BYTES)


def _tags(
    mode: Mode, qkd: bytes | None, secrets: list[bytes], transcript: Transcript, key: bytearray
) -> tuple[bytes, bytes]:
    """Return both ends' tags over the transcript: a KDF's, and with QKD a one-time tag before it.

    The one-time tag covers the block as well, and tells nothing of it: its second half is a one-time pad of it.
    """
    out = []
    for number, role in enumerate(("initiator", "target")):
        info = encode({"what": "noclone-confirmation-1", "mode": mode, "role": role})
        tag = _concatenate(secrets, info, transcript.digests, TAG_BYTES)
        if qkd is not None:
            start = len(key) + number * KEY_BYTES
            tagger = OneTimeKey(qkd[start : start + KEY_BYTES]).tagger()
            tagger.update(encode({"role": role, "mode": mode, "offer": transcript.offer, "answer": transcript.answer}))
            tagger.update(memoryview(key))
            tag = tagger.tag() + tag
        out.append(tag)
    return out[0], out[1]


def named(value: bytes, names: Mapping[str, str | bytes | Sequence[str]]) -> bytes:
    """Return the key that an application gets: as long as `value`, bound to everything that names it.

    Two ends that do not agree on one of the names have different keys.

    Raises:
        InputError: The value, or a name, is empty.
    """
    info = encode(names)
    return b"".join(
        expand(
            HASH,
            value[start : start + NAMED_BYTES_MAX],
            label=b"noclone-named-1",
            info=start.to_bytes(8) + info,
            length=min(NAMED_BYTES_MAX, len(value) - start),
        )
        for start in range(0, max(1, len(value)), NAMED_BYTES_MAX)
    )
