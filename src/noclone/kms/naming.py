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
from noclone.kms.keys import Assignment, values_of
from noclone.records import Provenance


def needs_naming(profile: str) -> bool:
    """Say whether key of blocks of a profile is bound to its names."""
    return ":" in profile and not profile.startswith(f"{EVERLASTING}:")


def name_keys(
    values: bytes, promise: Assignment, master_kme: str, slave_kme: str, blocks: Iterable[Provenance]
) -> bytes:
    """Return the keys that a promise is about, one after another, each bound to its own id."""
    combined = [block for block in blocks if isinstance(block, CombinedProvenance) and needs_naming(block.profile)]
    if not combined:
        return values
    names: dict[str, str | list[str]] = {
        "what": "noclone-key-1",
        "size_bits": str(promise.size_bits),
        "master SAE": promise.master,
        "slave SAEs": sorted(promise.slaves),
        "master KME": master_kme,
        "slave KME": slave_kme,
        "suites": [block.suite for block in combined],
        "transcripts": [block.transcript for block in combined],
    }
    each = zip(promise.key_ids, values_of(values, promise.number), strict=True)
    return b"".join([named(value, {**names, "key_ID": key_id}) for key_id, value in each])
