"""Random formulas, as descriptions that a test can build and also evaluate by itself."""

import pytest
from hypothesis import strategies as st

from noclone.trust.formula import Atom, at_least

ATOMS = tuple(Atom("node", letter) for letter in "abcdefg")


@pytest.fixture(scope="session")
def atoms():
    return ATOMS


def _grow(inner):
    return st.lists(inner, min_size=0, max_size=4).flatmap(
        lambda parts: st.tuples(st.integers(-1, len(parts) + 1), st.just(tuple(parts)))
    )


@pytest.fixture(scope="session")
def descriptions():
    """An atom, or (k, descriptions): the same letters occur again and again, so parts overlap."""
    return st.recursive(st.sampled_from(ATOMS), _grow, max_leaves=14)


@pytest.fixture(scope="session")
def build():
    """Build the formula of a description with the public constructors."""

    def build(description):
        if isinstance(description, Atom):
            return at_least(1, [description])
        k, parts = description
        return at_least(k, [build(part) for part in parts])

    return build


@pytest.fixture(scope="session")
def falls():
    """Evaluate a description straight from its definition: at least k of the parts fall."""

    def falls(description, compromised):
        if isinstance(description, Atom):
            return description in compromised
        k, parts = description
        return sum(falls(part, compromised) for part in parts) >= k

    return falls
