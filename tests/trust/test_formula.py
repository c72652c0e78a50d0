"""Formulas against brute force over all coalitions."""

import json
import math
import random
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.errors import InputError
from noclone.trust.formula import ALWAYS, NEVER, Atom, Formula, all_of, any_of, at_least, minimal_cut_sets

A, B, C, D = (Atom("node", letter) for letter in "abcd")


def coalitions(atoms):
    return [frozenset(c) for c in chain.from_iterable(combinations(atoms, n) for n in range(len(atoms) + 1))]


def brute_force(falls, atoms):
    """Return every coalition that leaks and of which nobody can be spared."""
    leaking = {coalition for coalition in coalitions(atoms) if falls(coalition)}
    return {one for one in leaking if not any(one - {member} in leaking for member in one)}


@given(data=st.data())
def test_leaks_and_cut_sets_agree_with_brute_force(data, atoms, descriptions, build, falls):
    description = data.draw(descriptions)
    formula = build(description)
    for coalition in coalitions(atoms):
        assert formula.leaks(coalition) == falls(description, coalition)
    expected = brute_force(lambda coalition: falls(description, coalition), atoms)
    cuts = minimal_cut_sets(formula)
    assert set(cuts.sets) == expected
    assert cuts.complete
    assert cuts.total == len(cuts.sets) == len(expected)
    assert cuts.order == min(map(len, expected), default=None)
    assert [len(one) for one in cuts.sets] == sorted(map(len, expected))


@given(data=st.data())
def test_json_brings_back_the_same_formula_and_hash(data, descriptions, build):
    formula = build(data.draw(descriptions))
    again = Formula.from_json(json.loads(json.dumps(formula.to_json())))
    assert again == formula
    assert again.sha256() == formula.sha256()
    assert str(again) == str(formula)


@given(data=st.data())
def test_the_order_of_writing_does_not_show(data, descriptions, build):
    parts = data.draw(st.lists(descriptions, max_size=5))
    k = data.draw(st.integers(0, 5))
    shuffled = data.draw(st.permutations(parts))
    one, other = at_least(k, map(build, parts)), at_least(k, map(build, shuffled))
    assert one == other
    assert one.sha256() == other.sha256()


@given(data=st.data())
def test_no_part_of_a_formula_is_a_constant_or_alone(data, descriptions, build):
    def check(formula):
        assert len(formula.parts) > 1
        for part in formula.parts:
            if isinstance(part, Formula):
                check(part)
                assert formula.k != 1 or part.k != 1, "an OR in an OR"

    formula = build(data.draw(descriptions))
    if formula not in (ALWAYS, NEVER) and not (len(formula.parts) == 1 and isinstance(formula.parts[0], Atom)):
        check(formula)


def test_simplification():
    assert any_of(A, any_of(B, A)) == any_of(B, A)
    assert any_of(A, all_of(A, B)) == any_of(A)
    assert all_of(A, any_of(A, B)) == all_of(A)
    assert all_of(A, NEVER) == any_of() == NEVER
    assert any_of(A, ALWAYS) == all_of() == ALWAYS
    assert at_least(2, [A, B, ALWAYS]) == any_of(A, B)
    assert at_least(3, [A, B]) == NEVER
    assert at_least(2, [A, A, B]).leaks({A}), "two shares at one node fall together"
    assert any_of(A, B).atoms() == {A, B}


def test_text_for_people():
    formula = any_of(A, all_of(B, any_of(C, D)), at_least(2, [B, C, D]))
    assert str(formula) == "node:a OR (node:b AND (node:c OR node:d)) OR at least 2 of [node:b, node:c, node:d]"
    assert (str(NEVER), str(ALWAYS), str(any_of(A))) == ("never", "always", "node:a")


def test_the_hash_is_of_the_canonical_json():
    # printf '{"any":["link:a-b","site:a"]}' | sha256sum
    expected = "e3bab49b7246b2e200cb802004838f0a033b9fd7eb735901eb256ca2b6bb66de"
    assert any_of(Atom("site", "a"), Atom("link", "a-b")).sha256() == expected


def test_constants_have_cut_sets_too():
    assert (minimal_cut_sets(NEVER).order, minimal_cut_sets(NEVER).total) == (None, 0)
    assert minimal_cut_sets(ALWAYS).sets == (frozenset(),)


@pytest.mark.parametrize(("routes", "hops"), [(3, 10), (8, 200)])
def test_disjoint_routes_have_as_many_cut_sets_as_choices(routes, hops):
    names = [[Atom("node", f"{route}-{hop}") for hop in range(hops)] for route in range(routes)]
    formula = any_of(Atom("site", "a"), all_of(*(any_of(*route) for route in names)))
    cuts = minimal_cut_sets(formula)
    assert cuts.by_order == {1: 1, routes: hops**routes}
    assert cuts.order == 1
    assert cuts.complete is (hops**routes < 100_000)
    assert len(cuts.sets) == (1 + hops**routes if cuts.complete else 1)


def test_thresholds_are_counted_exactly():
    formula = at_least(5, [any_of(*(Atom("node", f"{i}-{j}") for j in range(20))) for i in range(9)])
    cuts = minimal_cut_sets(formula)
    assert cuts.total == math.comb(9, 5) * 20**5
    assert cuts.sets == ()


def test_the_limit_cuts_between_orders():
    formula = any_of(A, all_of(any_of(B, C), D))
    assert minimal_cut_sets(formula, limit=3).sets == ({A}, {B, D}, {C, D})
    short = minimal_cut_sets(formula, limit=2)
    assert (short.sets, short.total, short.complete) == (({A},), 3, False)
    assert minimal_cut_sets(formula, limit=0).sets == ()


def test_cut_sets_of_large_random_formulas_are_minimal():
    """Too many atoms for brute force: each listed set leaks, and no longer does without any one of its members."""
    drawn = random.Random(20)
    atoms = [Atom("node", str(number)) for number in range(24)]
    for _ in range(20):
        formula = any_of(*(all_of(*(any_of(*drawn.sample(atoms, 3)) for _ in range(4))) for _ in range(3)))
        cuts = minimal_cut_sets(formula)
        assert cuts.complete
        assert cuts.total > 10
        for one in cuts.sets:
            assert formula.leaks(one)
            assert not any(formula.leaks(one - {member}) for member in one)


@pytest.mark.parametrize("text", ["", "node", "node:", ":a", "Node:a", "node a:b", "node:a\nb", "node:\x1b[31m"])
def test_what_is_no_atom_is_refused(text):
    with pytest.raises(InputError):
        Atom.parse(text)


def test_atoms_are_read_as_they_are_written():
    for atom in (Atom("alg", "ML-DSA-65@session"), Atom("site", "Zürich: Hardturm"), Atom("link", "a-b")):
        assert Atom.parse(str(atom)) == atom


@pytest.mark.parametrize(
    "data",
    [
        None,
        1,
        True,
        [],
        {},
        {"any": "node:a"},
        {"any": [], "all": []},
        {"of": ["node:a"]},
        {"at_least": 1},
        {"at_least": True, "of": ["node:a"]},
        {"at_least": 1.0, "of": ["node:a"]},
        {"any": [3]},
        {"none": []},
    ],
)
def test_what_is_no_formula_is_refused(data):
    with pytest.raises(InputError):
        Formula.from_json(data)


def test_a_formula_nested_without_end_is_refused():
    data = "node:a"
    for _ in range(500):
        data = {"any": [data]}
    with pytest.raises(InputError, match="levels deep"):
        Formula.from_json(data)
