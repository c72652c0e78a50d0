"""A border, and who plays the other side of it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
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


relay_web = sys.modules.get("relay_web") or load("relay_web", HERE.parent / "relay" / "web.py")
frontier = load("border_frontier", HERE / "frontier.py")


@pytest.fixture(scope="session")
def border_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return relay_web.make_pki(tmp_path_factory.mktemp("border-pki"), "abp")


@pytest.fixture
def make(tmp_path: Path, border_pki: Path) -> Callable[[], Any]:
    """Return what opens the border, as it was left."""
    return lambda: frontier.Frontier(tmp_path, border_pki)
