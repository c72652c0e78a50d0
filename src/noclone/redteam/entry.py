"""One attack of the catalogue, as data: what it does, what should catch it, where it is published, how it is tried.

In: what an attack's module knows.  Out: `Entry`. A trial returns a `rows.Row`, or None where there is nothing
undefended to try. The audit names its threats alike; `threat` says which of them an attack bears on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from noclone.redteam.rows import Row

Layer = Literal["light", "public channel", "nodes and people", "cryptography", "availability"]
Live = Literal["", "link", "node", "application"]
Trial = Callable[[bytes, bool, float], Row | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One attack.

    Args:
        does: What Eve does.
        hopes: What she hopes for.
        caught_by: What should catch her, or take away what she learned.
        source: Where it is published.
        threat: Name of the audit's threat; empty where it speaks of that in its formulas alone.
        live: What `noclone attack` can carry it out on in a running network; empty: it needs a network of its own.
        protocol: Of the links that it is for; empty: any.
    """

    name: str
    layer: Layer
    does: str
    hopes: str
    caught_by: str
    source: str
    threat: str
    trial: Trial = field(repr=False)
    live: Live = ""
    protocol: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        names = ("name", "layer", "does", "hopes", "caught_by", "source", "threat", "live", "protocol")
        return {name: getattr(self, name) for name in names}
