"""Files that come with noclone, by name, beside the user's own, by path."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from noclone.errors import InputError, ScenarioError
from noclone.io.shipped import Shipped

SHIPPED = Shipped("noclone.network", "scenarios", "scenario", ScenarioError)


class Anything(BaseModel, extra="allow"):
    """Whatever a file says."""


def test_a_shipped_file_is_called_by_its_name() -> None:
    assert "metro" in SHIPPED.names()
    assert SHIPPED.load("metro", Anything).model_dump()["name"] == "metro"


def test_a_file_of_the_same_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("metro").write_text('name = "mine"')
    assert SHIPPED.load("metro", Anything).model_dump() == {"name": "mine"}


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("metroo", "'metroo' is neither a file nor a shipped scenario", "did you mean 'metro'? give a path"),
        ("zebra", "'zebra' is neither a file nor a shipped scenario", "give a path that ends in .toml, or one of: "),
        (
            "metro.toml",
            "metro.toml: cannot be read: there is no such file",
            "a shipped scenario is called by its name alone: metro",
        ),
        (
            "metroo.toml",
            "metroo.toml: cannot be read: there is no such file",
            "a shipped scenario is called by its name alone: metro",
        ),
        ("zebra.toml", "zebra.toml: cannot be read: there is no such file", ""),
    ],
)
def test_what_is_not_there_is_said_with_what_is(name: str, message: str, hint: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        SHIPPED.load(name, Anything)
    assert refused.value.message == message
    assert refused.value.hint.startswith(hint)
    assert bool(refused.value.hint) is bool(hint)
    assert isinstance(refused.value, InputError)
