"""Networks of KMEs for the relay's tests."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("relay_web", Path(__file__).with_name("web.py"))
assert _spec is not None
assert _spec.loader is not None
relay_web = sys.modules["relay_web"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(relay_web)


@pytest.fixture(scope="session")
def relay_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    relay_web.warm_up()
    return relay_web.make_pki(tmp_path_factory.mktemp("relay-pki"), "abcdefgz")


@pytest.fixture
def web(tmp_path: Path, relay_pki: Path) -> Callable[..., Any]:
    """Return what makes a network of edges, such as "ab bc cz"."""

    def make(edges: str, **arguments: Any) -> Any:
        return relay_web.Web(tmp_path, relay_pki, edges.split(), **arguments)

    return make
