"""Published results beside ours, as data and for people."""

from __future__ import annotations

from typing import Literal, get_args

import pytest
from pydantic import BaseModel, ValidationError

from noclone.io.published import WORDS, Published, beside, lines
from noclone.network import satellite_file, scenario
from noclone.repeater.tables import PublishedTable


def test_ours_stands_beside_with_its_error_or_as_a_bound() -> None:
    told = [
        Published(what="fidelity", value=0.69, plus_minus=0.07, source="A"),
        Published(what="key_bits", value=300_939, source="B"),
        Published(what="clocked_fidelity", value=0.5, at_least=True, source="C"),
    ]
    rows = beside(told, {"fidelity": 0.70412, "clocked_fidelity": 0.6})
    assert [row["ours"] for row in rows] == [0.70412, None, 0.6]
    space = "\N{NARROW NO-BREAK SPACE}"
    assert lines([rows[0], {**rows[1], "link": "a-b"}, rows[2]]) == [
        "  0.7041 mean fidelity; published 0.69 ± 0.07: A",
        f"  a-b: no bits of key in the best block; published 300{space}939: B",
        "  0.6 mean fidelity, on demand; published above 0.5: C",
    ]


@pytest.mark.parametrize("table", [scenario.PublishedSection, satellite_file.PublishedSection, PublishedTable])
def test_whatever_a_file_may_state_has_words(table: type[BaseModel]) -> None:
    kinds = table.model_fields["what"].annotation
    assert getattr(kinds, "__origin__", None) is Literal
    assert set(get_args(kinds)) <= WORDS.keys()


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        Published(what="fidelity", value=value, source="A")
