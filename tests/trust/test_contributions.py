from __future__ import annotations

from dataclasses import replace

import pytest

from noclone.combined import (
    CombinedProvenance,
    combined_profile,
    fibre_blocks,
    generic_profile,
    inner_profile,
    provenance_from_json,
    qkd_blocks,
    suite_of,
)
from noclone.errors import InputError
from noclone.kms.suites import Suites
from noclone.records import BlockProvenance, Origin
from noclone.trust.contributions import contributions, suppose
from noclone.trust.explanation import explanation, lines
from noclone.trust.formula import ALWAYS, Atom, all_of, any_of, at_least
from noclone.trust.provenance import claim, formula_of_key

FIBRE = BlockProvenance(
    "a-b", "a", "b", 7, "decoy-bb84", Origin("hardware"), "lim2014", "fixed-length", 1e-10, 1e-9, "pre-shared-key", 5.0
)
HYBRID = CombinedProvenance(
    "a+b", 3, "a", "b", "x", "catkdf", "mlkem768-x25519", ("X25519", "ML-KEM-768"), ("ECDSA-P256", "ML-DSA-65"),
    "HKDF-SHA384", "00" * 48, (FIBRE,), 64, 1e-12, 6.0,
)  # fmt: skip
BARE = replace(HYBRID, mode="kem", parts=())


def test_a_record_survives_json_and_gives_its_parts_back() -> None:
    for record in (HYBRID, BARE, replace(HYBRID, mode="everlasting")):
        assert provenance_from_json(record.to_json()) == record
    assert fibre_blocks([HYBRID, FIBRE, BARE]) == qkd_blocks([HYBRID, FIBRE, BARE]) == (FIBRE,)
    assert (HYBRID.origin.kind, BARE.origin.kind) == ("hardware", "computed")
    assert HYBRID.epsilon == pytest.approx(1e-10 + 1e-12)
    assert HYBRID.cumulative_epsilon == pytest.approx(1e-9 + 1e-12)


def test_a_record_is_of_one_kind_of_qkd_key_or_of_none() -> None:
    with pytest.raises(AssertionError):
        replace(HYBRID, parts=())
    with pytest.raises(AssertionError):
        replace(BARE, parts=(FIBRE,))
    for missing in ({"kems": ()}, {"signatures": ()}):
        with pytest.raises(AssertionError):
            replace(HYBRID, **missing)


def test_profiles_name_combiner_suite_and_qkd() -> None:
    assert HYBRID.profile == "catkdf:mlkem768-x25519:link"
    assert BARE.profile == "kem:mlkem768-x25519"
    assert generic_profile(HYBRID.profile) == "catkdf:*:link"
    assert (generic_profile("paths-2"), suite_of("paths-2"), inner_profile("paths-2")) == ("paths-2", None, "paths-2")
    assert inner_profile(BARE.profile) == ""
    assert combined_profile("kem", "*", "") == "kem:*"


def test_supposing_is_what_leaks_then() -> None:
    a, b, c = (Atom("node", name) for name in "abc")
    formula = any_of(all_of(a, b), at_least(2, [a, b, c]))
    assert suppose(formula, {a}).leaks({b})
    assert not suppose(formula, {a}).leaks(set())
    assert suppose(formula, {a, b}) == ALWAYS
    assert suppose(formula, set()) == formula


@pytest.mark.parametrize(
    ("record", "qkd", "algorithms", "quantum"),
    [(HYBRID, True, True, True), (BARE, True, False, True), (FIBRE, False, True, True)],
)
def test_what_each_half_adds(record: object, qkd: bool, algorithms: bool, quantum: bool) -> None:
    told = contributions(formula_of_key([record], master_site="a", slave_site="b"))  # type: ignore[list-item]
    assert told["without_qkd"]["secret"] == qkd
    assert told["without_post_quantum"]["secret"] == algorithms
    assert told["with_a_quantum_computer"]["secret"] == quantum


def test_it_is_said_in_words() -> None:
    told = explanation([HYBRID], master_site="a", slave_site="b")
    text = "\n".join(lines(told))
    assert "agreed on by X25519 and ML-KEM-768, authenticated by ECDSA-P256 and ML-DSA-65" in text
    assert "if all of QKD fell" in text
    assert told["blocks"][0]["parts"][0]["link"] == "a-b"


def test_the_weakest_part_speaks_for_the_whole_claim() -> None:
    assert claim([BARE]).startswith("computational")
    assert claim([FIBRE, HYBRID]).startswith("information-theoretic; and in part: computational (HKDF-SHA384)")
    seeded = replace(HYBRID, mode="everlasting", parts=(replace(FIBRE, origin=Origin("simulated", seeded=True)),))
    assert claim([seeded]).startswith("no secret: seeded randomness")


def test_suites_in_force_are_never_none_and_never_both() -> None:
    suites = Suites(["mlkem1024-x25519", "mlkem768-x25519"])
    seen: list[int] = []
    suites.listen(lambda: seen.append(1))
    for accepted, deprecated in (([], []), (["rot13"], []), (["mlkem768-x25519"], ["mlkem768-x25519"])):
        with pytest.raises(InputError):
            suites.change(accepted, deprecated)
    assert (suites.preferred, seen) == ("mlkem1024-x25519", [])
    assert suites.profiles("catkdf:*:link") == ("catkdf:mlkem1024-x25519:link", "catkdf:mlkem768-x25519:link")
    suites.change(["mlkem1024-x25519"], ["mlkem768-x25519"])
    assert seen == [1]
    assert not suites.allows(HYBRID.profile)
    assert suites.allows("paths-2")
    assert not suites.fits("kem:mlkem1024-x25519", "catkdf:*:link")
    assert suites.fits("kem:mlkem1024-x25519", "kem:*")
