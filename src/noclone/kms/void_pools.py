"""Pools that are void: what one end shared before its store was restored from a backup is never used again.

In: a claim that found no key.  Out: the refusal that says why, at either end: the restored one, and the other, whose
promises the restored end refuses until all that both held is burned.
"""

from __future__ import annotations

from noclone.errors import KeysExhausted
from noclone.kms.keys import Refused
from noclone.kms.store import Store

HINT = "it fills again from new key; see the runbook on backup and restore"


async def exhausted(store: Store, peer: str, error: KeysExhausted) -> Refused:
    """Return how a master is told that there is no key, with the reason where it is another than demand."""
    if await store.is_void(peer):
        text = (
            f"this pool is void: the key store of {store.name} was restored from a backup, so that what it shared with "
            f"{peer} before is never used again"
        )
        return Refused(503, text, "pool-void", hint=HINT, detail=error.message)
    return Refused(503, "not enough key is stored", "keys-exhausted", detail=error.message)


def void_at(peer: str, here: str) -> Refused:
    """Return how a master is told that the other end does not hold what is held here."""
    text = (
        f"this pool is void: the key store of {peer} was restored from a backup, or is older than it was, and refuses "
        f"what it shared with {here} before; none of that is used here either"
    )
    return Refused(503, text, "pool-void", hint=HINT, detail=peer)
