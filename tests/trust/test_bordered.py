"""Keys over a border whose way through our own domain is of any kind: record, formula, claim, label."""

from __future__ import annotations

import json

import pytest

from noclone.combined import CombinedProvenance, fibre_blocks, provenance_from_json
from noclone.kms.labels import label
from noclone.kms.policies import Policy
from noclone.kms.suites import Suites
from noclone.records import BlockProvenance, Origin, Provenance
from noclone.relayed import BorderProvenance, far_end
from noclone.trust.explanation import explanation, lines
from noclone.trust.provenance import claim

LINK = BlockProvenance(
    "a-g", "a", "g", 1, "decoy-bb84", Origin("hardware"), "lim-2014", "fixed-length", 1e-9, 1e-9, "pre-shared-key", 1.0
)
WORD = "on the word of another operator's domain (south): "


def combined(mode: str, *parts: BlockProvenance) -> CombinedProvenance:
    kems, signatures = ("ML-KEM-768", "X25519"), ("ECDSA-P256", "ML-DSA-65")
    return CombinedProvenance(
        "a+g", 1, "a", "g", "x", mode, "mlkem768-x25519", kems, signatures, "HKDF-SHA384", "t", parts, 64, 0.0, 1.0
    )


def bordered(*own: Provenance) -> BorderProvenance:
    return BorderProvenance("a+g+south", 1, "a", "g", "south", "s", own, 0.0, 1.0)


@pytest.mark.parametrize(
    ("own", "claimed", "origin"),
    [
        ((), "information-theoretic", "unknown"),
        ((LINK,), "information-theoretic", "unknown"),
        ((combined("catkdf", LINK),), "computational (HKDF-SHA384)", "unknown"),
        ((combined("kem"),), "computational: it takes ML-KEM-768 and X25519", "unknown"),
    ],
)
def test_a_border_tells_what_its_own_part_stands_on(own: tuple[Provenance, ...], claimed: str, origin: str) -> None:
    block = bordered(*own)
    assert provenance_from_json(json.loads(json.dumps(block.to_json()))) == block
    assert claim([block]).startswith(WORD + claimed)
    assert block.origin.kind == origin
    assert set(fibre_blocks([block])) == ({LINK} if own and "a-g" in str(own[0]) else set())
    marks = json.loads(label([block], ("a", far_end("south"))).text)
    assert marks["noclone_domains"] == ["south"]
    assert ("noclone_kems" in marks) == bool(own and isinstance(own[0], CombinedProvenance))
    assert lines(explanation([block], master_site="a", slave_site=far_end("south")))


@pytest.mark.parametrize("require", ["information-theoretic", "hybrid", "post-quantum"])
def test_no_policy_is_met_by_key_that_another_domain_has(require: str) -> None:
    for own in ((LINK,), (combined("catkdf", LINK),), (combined("kem"),)):
        policy = Policy(("x", "y"), "border", require=require)  # type: ignore[arg-type]
        assert policy.violation([bordered(*own)], ("a", far_end("south")), 1.0, Suites()) is not None
