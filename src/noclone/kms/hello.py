"""How two KMEs greet each other: what each says first, which must fit what the other says."""

from __future__ import annotations

from typing import Any

from noclone.kms.kme import Kme

VERSION = 2
CALL_TIMEOUT_S = 5.0


def hello(kme: Kme, peer: str) -> dict[str, Any]:
    """Return what a KME says to another first."""
    return {
        "op": "hello",
        "version": VERSION,
        "from": kme.name,
        "to": peer,
        "unit_bits": kme.store.settings.unit_bits,
    }
