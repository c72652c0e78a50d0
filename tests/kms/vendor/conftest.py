"""Two KMEs that draw from a vendor's system."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


market = load("vendor_market", HERE / "market.py")
relay_web = sys.modules.get("relay_web") or load("relay_web", HERE.parent / "relay" / "web.py")


@pytest.fixture(scope="session")
def vendor_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    relay_web.warm_up()
    return relay_web.make_pki(tmp_path_factory.mktemp("vendor-pki"), "abz")


@pytest.fixture
def shop(tmp_path: Path, vendor_pki: Path) -> Iterator[Any]:
    """Return the vendor, and what makes both ends of the link."""
    made = market.Shop(tmp_path, vendor_pki)
    yield made
    made.close()
