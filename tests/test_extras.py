"""Optional parts of an installation: what is said where one is missing."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from noclone.errors import StoreError
from noclone.extras import how_to_install
from noclone.kms.database import open_engine

ROOT = Path(__file__).parents[1]


def test_a_hint_serves_clones_and_others() -> None:
    assert how_to_install("plan") == "in a clone: ./dev extras; elsewhere: pip install 'noclone[plan]'"
    assert how_to_install("gpu").startswith("in a clone: ./dev extras gpu; ")
    assert how_to_install("peers").startswith("in a clone: ./dev peers; ")


def test_hints_name_extras_that_there_are() -> None:
    there = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"how_to_install\([\"'](\w+)[\"']\)", text)}
    assert named >= {"gpu", "plan", "postgres", "satellite", "peers"}
    assert named <= there.keys()
    assert not [text for text in texts if "pip install 'noclone[" in text and "how_to_install(extra" not in text]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_missing_driver_of_postgresql_is_named(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(StoreError, match=f"driver {driver} is not installed") as refused:
        open_engine(f"postgresql+{driver}://kme@db.example/alder")
    assert "./dev extras" in refused.value.hint
    assert "noclone[postgres]" in refused.value.hint
    assert "postgresql+psycopg://" in refused.value.hint


def test_a_url_that_is_none_is_told_how_one_looks() -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        open_engine("postgresql+carrier-pigeon://kme@db.example/alder")
