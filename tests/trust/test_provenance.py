"""What a key stands on, from the records of its blocks."""

from dataclasses import replace

import pytest

from noclone.errors import InputError
from noclone.records import BlockProvenance, Origin
from noclone.trust.formula import Atom, any_of, minimal_cut_sets
from noclone.trust.provenance import PRE_SHARED_KEY, claim, explain, formula_of_block, formula_of_key

LIVE = BlockProvenance(
    link="birch-alder",
    alice="birch",
    bob="alder",
    block=7,
    protocol="decoy-bb84",
    origin=Origin("hardware"),
    proof="wiesemann2024",
    statement="fixed-length",
    epsilon=1e-9,
    cumulative_epsilon=8e-9,
    bootstrap=PRE_SHARED_KEY,
    time_s=1.8e9,
)
SIMULATED = replace(LIVE, origin=Origin("simulated"))
SEEDED = replace(LIVE, origin=Origin("simulated", seeded=True))
RECORDED = replace(LIVE, origin=Origin("recorded"))
SIGNED = replace(LIVE, bootstrap="ML-DSA-65@session")
UNDER_TLS = replace(LIVE, bootstrap="TLS_AES_256_GCM_SHA384")
LINK = {Atom("link", "birch-alder"), Atom("bootstrap", "birch-alder")}
SITES = {Atom("site", "birch"), Atom("site", "alder")}


@pytest.mark.parametrize(
    ("block", "more"),
    [
        (LIVE, set()),
        (SIMULATED, {Atom("fibre", "birch-alder")}),
        (SEEDED, {Atom("fibre", "birch-alder"), Atom("seed", "birch-alder")}),
        (RECORDED, {Atom("recording", "birch-alder")}),
        (SIGNED, {Atom("alg", "ML-DSA-65@session")}),
        (UNDER_TLS, {Atom("alg", "TLS_AES_256_GCM_SHA384")}),
    ],
)
def test_in_transit_any_one_of_these_betrays_a_block(block, more):
    assert formula_of_block(block) == any_of(*LINK, *more)
    key = formula_of_key([block], master_site="birch", slave_site="alder")
    assert key == any_of(*LINK, *more, *SITES)
    assert set(minimal_cut_sets(key).sets) == {frozenset({atom}) for atom in LINK | more | SITES}


def test_the_direction_of_the_key_does_not_matter():
    one = formula_of_key([LIVE], master_site="birch", slave_site="alder")
    assert one == formula_of_key([LIVE], master_site="alder", slave_site="birch")


def test_the_weakest_block_speaks_for_the_key():
    key = formula_of_key([LIVE, replace(SEEDED, block=8)], master_site="birch", slave_site="alder")
    assert key.leaks({Atom("seed", "birch-alder")})
    assert not formula_of_block(LIVE).leaks({Atom("seed", "birch-alder")})


def test_an_end_that_is_neither_site_is_a_node_that_knows_the_key():
    onward = replace(LIVE, link="alder-cedar", alice="alder", bob="cedar")
    key = formula_of_key([LIVE, onward], master_site="birch", slave_site="cedar")
    assert key.leaks({Atom("node", "alder")})
    assert Atom("site", "alder") not in key.atoms()
    assert key.leaks({Atom("link", "alder-cedar")})


def test_a_key_without_provenance_gets_neither_formula_nor_claim():
    with pytest.raises(InputError, match="without provenance"):
        formula_of_key([], master_site="birch", slave_site="alder")
    with pytest.raises(InputError, match="without provenance"):
        claim([])


@pytest.mark.parametrize("kind", ["link", "bootstrap", "fibre", "seed", "recording", "site", "node", "alg", "moon"])
def test_every_atom_is_explained_in_one_sentence(kind):
    text = explain(Atom(kind, "birch-{alder}"))
    assert "birch-{alder}" in text
    assert text.endswith(".")
    assert ". " not in text


def test_a_signature_matters_only_while_the_session_lasts():
    assert "a break afterwards harms nothing" in explain(Atom("alg", "ML-DSA-65@session"))
    assert "at any time later" in explain(Atom("alg", "ML-KEM-768"))


def test_only_live_unseeded_blocks_under_pre_shared_keys_claim_it_without_a_word_more():
    assert claim([LIVE]) == "information-theoretic"
    for lesser in (SIMULATED, SEEDED, RECORDED, SIGNED, UNDER_TLS):
        assert not claim([lesser]).startswith("information-theoretic")
        assert claim([LIVE, lesser]) == claim([lesser, LIVE]) == claim([lesser])


def test_what_lessens_a_claim_is_said():
    assert claim([SIMULATED]) == "about the model only, for the light is simulated: information-theoretic"
    assert claim([SEEDED]).startswith("no secret: ")
    assert claim([replace(LIVE, origin=Origin("hardware", seeded=True))]).startswith("no secret: ")
    assert claim([RECORDED]).startswith("no secret: ")
    assert claim([SIGNED]).startswith("computational only until the first session ended (ML-DSA-65), ")
    assert claim([UNDER_TLS]) == "computational (TLS_AES_256_GCM_SHA384)"
    assert claim([SIGNED, UNDER_TLS]) == "computational (TLS_AES_256_GCM_SHA384)"
    assert claim([replace(SIMULATED, bootstrap="ML-DSA-65@session")]).startswith("about the model only, ")
