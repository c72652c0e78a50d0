"""QKD key in the TLS between two KMEs that share it: in the place of certificates, or mixed in above them.

In: a key out of the pool of two KMEs, which each takes out of its store once.  Out: an external preshared key for the
next call (`io.tls_psk`), or keys that seal every frame of this one (`frames`). No library has certificates and an
external key in one handshake, so "mixed" is made above TLS: CatKDF (ETSI TS 103 744) of the QKD key and of TLS's own
exporter (RFC 8446, section 7.5), which differs for each connection. Who reads or forges such a conversation has broken
TLS, and has the key.

A key must first be agreed on. This is done in a conversation that stands on certificates alone, and allows no more than
it takes (`INTRODUCTION`): what a forger could do there burns key, and learns none. Everything else waits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Any, Literal

from noclone.crypto.hybrid_kdf import cat_kdf
from noclone.io.tls_psk import PresharedKey
from noclone.kms.frames import Seal
from noclone.kms.relay_messages import canonical

QkdTls = Literal["none", "mixed", "psk"]
Use = Literal["mix", "call"]
KEY_BYTES, EXPORT_BYTES = 32, 48
EXPORTER = b"EXPORTER-noclone-qkd-1"
STANDING_MAX = 2  # keys for calls to come that one other KME may have here
INTRODUCTION = frozenset({"ping", "blocks", "void", "reserve", "qkd-key"})
ALONE = "this conversation stands on certificates alone; it takes a QKD key first"


def seals(key: bytes, exported: bytes, *, caller: str, answerer: str, key_id: str) -> tuple[Seal, Seal]:
    """Return what seals the caller's frames, and what seals those of who was called."""
    info = canonical({"caller": caller, "answerer": answerer, "key_ID": key_id, "seal": "AES-256-GCM"})
    out = cat_kdf("sha384", [key, exported], label=EXPORTER, info=info, messages=(b"", b""), length=2 * KEY_BYTES)
    return Seal(out[:KEY_BYTES]), Seal(out[KEY_BYTES:])


def introduces(message: dict[str, Any], own_pads: tuple[str, str]) -> bool:
    """Say whether a call may be made where nothing but certificates says who calls.

    Args:
        message: The call.
        own_pads: Master and slave of keys that the two KMEs take for themselves.
    """
    if message.get("op") != "reserve":
        return message.get("op") in INTRODUCTION
    keys = message.get("keys")
    entries = keys if isinstance(keys, list) else []
    return all(
        isinstance(one, dict) and (one.get("master"), one.get("slaves")) == (own_pads[0], [own_pads[1]])
        for one in entries
    )


class Standing:
    """Keys for calls that others will make here: in memory, each for one handshake, a few for each other KME."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, PresharedKey] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: PresharedKey) -> None:
        """Keep a key until its call comes; the oldest of that KME gives way."""
        theirs = [name for name, one in self._keys.items() if one.peer == key.peer]
        for name in theirs[: len(theirs) + 1 - STANDING_MAX]:
            del self._keys[name]
        self._keys[key.name] = key

    def pop(self, name: str) -> PresharedKey | None:
        """Return the key of a name, and forget it."""
        return self._keys.pop(name, None)

    def revoke(self, serial_numbers: Collection[int]) -> None:
        """Forget keys that were agreed on under certificates that are revoked now."""
        for name, key in tuple(self._keys.items()):
            if key.serial_number in serial_numbers:
                del self._keys[name]
