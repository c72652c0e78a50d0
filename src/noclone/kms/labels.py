"""Labels: what a key container says about what its keys stand on, under names with our prefix, `noclone_`.

In: the provenance of the blocks that a key was cut from.  Out: JSON values for `key_extension`. The weakest block
speaks for the whole key: one simulated or seeded part makes all of it so.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from noclone.combined import CombinedProvenance, fibre_blocks, qkd_blocks, unbordered
from noclone.records import Provenance
from noclone.relayed import WEAKEST_FIRST, BorderProvenance, RelayProvenance
from noclone.trust.provenance import formula_of_key

LEAKS_CHARACTERS_MAX = 2048  # a longer formula is said by its digest, and shown by `noclone key explain`


@dataclass(frozen=True, slots=True)
class Label:
    """What a key's `key_extension` says.

    Args:
        text: As JSON.
        origin: Where the light came from, at worst.
    """

    text: str
    origin: str


@lru_cache(maxsize=4096)
def _label(blocks: tuple[Provenance, ...], sites: tuple[str, str]) -> Label:
    formula = formula_of_key(blocks, master_site=sites[0], slave_site=sites[1])
    fibres = fibre_blocks(blocks)
    borders = [block for block in blocks if isinstance(block, BorderProvenance)]
    relayed = [block for block in qkd_blocks(blocks) if isinstance(block, RelayProvenance)]
    combined = [block for block in unbordered(blocks) if isinstance(block, CombinedProvenance)]
    kinds = {block.origin.kind for block in blocks}
    text = json.dumps([block.to_json() for block in blocks], sort_keys=True, separators=(",", ":"))
    leaks = str(formula)
    if len(leaks) > LEAKS_CHARACTERS_MAX:
        leaks = f"a formula of {len(formula.atoms())} atoms: see its digest"
    labels = {
        "noclone_origin": next(kind for kind in WEAKEST_FIRST if kind in kinds),
        "noclone_seeded": any(block.origin.seeded for block in blocks),
        "noclone_links": sorted({block.link for block in fibres}),
        "noclone_epsilon": math.fsum(block.epsilon for block in blocks),
        "noclone_cumulative_epsilon": max(block.cumulative_epsilon for block in blocks),
        "noclone_proofs": sorted({f"{block.proof} ({block.statement})" for block in fibres}),
        "noclone_bootstrap": sorted({block.bootstrap for block in fibres}),
        "noclone_leaks": leaks,
        "noclone_formula_sha256": formula.sha256(),
        "noclone_provenance_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    if relayed:
        labels["noclone_relayed"] = sorted({block.profile for block in relayed})
        labels["noclone_nodes"] = sorted({node for block in relayed for node in block.nodes})
    if borders:
        labels["noclone_domains"] = sorted({block.domain for block in borders})
    if combined:
        labels["noclone_combined"] = sorted({block.profile for block in combined})
        labels["noclone_kems"] = sorted({name for block in combined for name in block.kems})
        labels["noclone_signatures"] = sorted({name for block in combined for name in block.signatures})
    return Label(json.dumps(labels), str(labels["noclone_origin"]))


def label(blocks: Sequence[Provenance], sites: tuple[str, str]) -> Label:
    """Return the label of a key that two sites hold. The formula says when it leaks: see `trust`."""
    return _label(tuple(blocks), sites)
