"""Optional parts of an installation: how to get one that is missing, said alike everywhere."""

from __future__ import annotations

LARGE = {"gpu": "./dev extras gpu", "peers": "./dev peers"}  # hundreds of MB, installed only for those who ask


def how_to_install(extra: str) -> str:
    """Return a hint: what installs an extra in a clone, and elsewhere."""
    return f"in a clone: {LARGE.get(extra, './dev extras')}; elsewhere: pip install 'noclone[{extra}]'"
