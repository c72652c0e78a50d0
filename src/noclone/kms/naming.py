"""What is bound into a delivered key that a KDF has had part in: its id, who may have it, which KMEs hold it.

In: the bytes that a promise names, the promise, the blocks that they came from.  Out: the key. Both ends do this at the
moment at which they make or take in the promise, from the same words: two KMEs that do not mean the same applications
have different keys. Key of QKD alone, and of the everlasting combiner, passes unchanged: a KDF would end its claim.
What names it is the place of its bytes, of which its id is made.
"""

from __future__ import annotations

from collections.abc import Iterable

from noclone.combined import EVERLASTING, CombinedProvenance
from noclone.crypto.combiners import named
from noclone.kms.keys import Assignment
from noclone.records import Provenance


def needs_naming(profile: str) -> bool:
    """Say whether key of blocks of a profile is bound to its names."""
    return ":" in profile and not profile.startswith(f"{EVERLASTING}:")


def name_key(value: bytes, promise: Assignment, master_kme: str, slave_kme: str, blocks: Iterable[Provenance]) -> bytes:
    """Return the key that a promise is about."""
    combined = [block for block in blocks if isinstance(block, CombinedProvenance) and needs_naming(block.profile)]
    if not combined:
        return value
    return named(
        value,
        {
            "what": "noclone-key-1",
            "key_ID": promise.key_id,
            "size_bits": str(promise.size_bits),
            "master SAE": promise.master,
            "slave SAEs": sorted(promise.slaves),
            "master KME": master_kme,
            "slave KME": slave_kme,
            "suites": [block.suite for block in combined],
            "transcripts": [block.transcript for block in combined],
        },
    )
