"""Published results that a file states, to stand beside ours. Nothing of them enters a simulation.

In: tables [[published]] of the file; what we found, by name.  Out: rows of data, and lines for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

NonNegative = Annotated[float, Field(ge=0)]

WORDS = {
    "key_bps": "b/s of key",
    "key_bits": "bits of key in the best block",
    "secret_bits": "bits of key in the best pass",
    "sifted_bits": "sifted bits in it, both bases together",
    "sifted_bps": "sifted b/s, both bases together",
    "error_rate": "of the test bits wrong",
    "rate_hz": "pairs a second",
    "fidelity": "mean fidelity",
    "clocked_rate_hz": "pairs a second, on demand",
    "clocked_fidelity": "mean fidelity, on demand",
    "clocked_success": "share of ticks that have a pair",
}


class Published(BaseModel):
    """A published number; the kinds of file say which of `WORDS` it may be."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    what: str
    value: NonNegative
    plus_minus: NonNegative | None = None
    at_least: bool = False
    source: str = Field(description="the publication, and whether it was read there")


def beside(published: Iterable[Published], ours: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the published numbers with ours, None where we have none."""
    return [{**one.model_dump(), "ours": ours.get(one.what)} for one in published]


def lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return such rows for people, with the link's name where one has it."""
    out = []
    for row in rows:
        what, error = row["what"], row["plus_minus"]
        of = f"{row['link']}: " if "link" in row else ""
        ours = "no" if row["ours"] is None else _shown(what, row["ours"])
        theirs = f"{'above ' if row['at_least'] else ''}{_shown(what, row['value'])}"
        within = "" if error is None else f" ± {_shown(what, error)}"
        out.append(f"  {of}{ours} {WORDS[what]}; published {theirs}{within}: {row['source']}")
    return out


def _shown(what: str, number: float) -> str:
    if what == "error_rate":
        return f"{number:.2%}"
    return f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}") if number >= 1000 else f"{number:.4g}"
