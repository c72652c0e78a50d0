"""Families of sets against plain Python sets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.errors import InputError
from noclone.trust import families as families_module
from noclone.trust.families import NONE, UNIT, Families, _without

FAMILIES = st.frozensets(st.frozensets(st.integers(0, 5), max_size=4), max_size=7)


def minimal(sets):
    return {one for one in sets if not any(other < one for other in sets)}


def diagram_of(families, sets):
    number = NONE
    for members in sets:
        chain = UNIT
        for variable in members:
            chain = families.product(chain, families.single(variable))
        number = families.union(number, chain)
    return number


def sets_of(families, number):
    counts = families.counts(number)
    listed = [members for size in counts[number] for members in families.sets(number, size, counts)]
    assert len(listed) == len(set(listed)) == sum(counts[number].values())
    return set(listed)


@given(FAMILIES)
def test_a_family_keeps_its_minimal_sets(sets):
    families = Families()
    assert sets_of(families, diagram_of(families, sets)) == minimal(sets)


@given(FAMILIES, FAMILIES)
def test_union_product_and_without_against_plain_sets(one, other):
    families = Families()
    f, g = diagram_of(families, one), diagram_of(families, other)
    assert sets_of(families, families.union(f, g)) == minimal(one | other)
    assert sets_of(families, families.product(f, g)) == minimal({a | b for a in one for b in other})
    without = families._run(_without, f, g)
    assert sets_of(families, without) == {a for a in minimal(one) if not any(b <= a for b in other)}


@given(FAMILIES, FAMILIES)
def test_equal_families_are_the_same_node(one, other):
    families = Families()
    same = minimal(one) == minimal(other)
    assert (diagram_of(families, one) == diagram_of(families, other)) is same


def test_a_diagram_that_explodes_is_refused_and_not_computed_forever(monkeypatch):
    monkeypatch.setattr(families_module, "STEPS_MAX", 100)
    families = Families()
    with pytest.raises(InputError, match="more than 100 steps"):
        families.at_least(30, [families.single(variable) for variable in range(60)])
