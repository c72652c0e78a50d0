"""The small network with its window open, until a module's tests end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import SMALL, free_base_port
from tests.web.showing import Shown, showing


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("shown")
    path = folder / "small.toml"
    path.write_text(SMALL.format(base_port=free_base_port()))
    with showing(path, folder, speed=0.25) as network:  # slow: its pools must not be full before a module's tests end
        yield network
