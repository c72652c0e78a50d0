"""What a key stands on, in words: never more than its labels say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.errors import InputError
from noclone.trust.formula import ALWAYS, NEVER, Atom, Formula, all_of, any_of, at_least
from noclone.trust.reading import parse_formula, standing

atoms = st.builds(Atom, st.sampled_from(["link", "node", "site", "alg"]), st.sampled_from(["a-b", "x", "ML-KEM-768"]))
formulas = st.recursive(
    atoms,
    lambda inner: st.lists(inner, min_size=1, max_size=4).flatmap(
        lambda parts: st.integers(1, len(parts)).map(lambda k: at_least(k, parts))
    ),
    max_leaves=12,
)


@given(formulas)
def test_a_formula_is_read_as_it_was_written(formula: Atom | Formula) -> None:
    whole = any_of(formula)
    assert parse_formula(str(whole)) == whole


def test_constants_and_nonsense() -> None:
    assert parse_formula("never") == NEVER
    assert parse_formula("always") == ALWAYS
    for text in ("", "x", "a formula of 90 atoms: see its digest", "at least x of [a:b]", "(" * 40 + "a:b" + ")" * 40):
        with pytest.raises(InputError):
            parse_formula(text)
    with pytest.raises(InputError, match="too long"):
        parse_formula("a:b OR " * 1000)


def label(origin: str, *parts: Atom | Formula, **more: object) -> dict[str, object]:
    return {"noclone_origin": origin, "noclone_leaks": str(any_of(*parts)), **more}


def test_words() -> None:
    site, node, other = Atom("site", "a"), Atom("node", "x"), Atom("node", "y")
    said = standing([label("hardware", site, all_of(node, other))])
    assert said == "one-time pad; could read it: alone, site a; only together, node x with node y"
    assert standing([label("simulated", site)]).startswith("SIMULATED LIGHT, protects nothing")
    assert "protects nothing" in standing([label("recorded", site)])
    assert "protects nothing" in standing([label("hardware", site, noclone_seeded=True)])
    assert "no QKD: computational" in standing([label("computed", site)])
    assert "no QKD: computational" in standing([label("computed", site), label("hardware", node)]), "the worst counts"
    assert "one KME made" in standing([label("local", site)])
    assert "does not say" in standing([label("unknown", site), label("computed", site)])
    two = standing([label("hardware", site), label("simulated", node)])
    assert two.startswith("SIMULATED")
    assert "site a" in two
    assert "node x" in two


def test_a_kme_that_says_nothing_gets_no_claim() -> None:
    assert standing([]) == "the KME does not say what its keys stand on"
    assert standing([{"other": 1}]) == (
        "one-time pad, of keys whose origin the KME does not say; the KME does not say who could read it"
    )
    assert "too long" in standing([{"noclone_leaks": "a formula of 90 atoms: see its digest"}])


def test_long_lists_are_cut_and_counted() -> None:
    said = standing([label("hardware", *(Atom("node", f"n{number}") for number in range(9)))])
    assert said.endswith("node n3 and 5 more")
