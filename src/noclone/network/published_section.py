"""The part of a scenario that says what was published of the system that it describes: [[published]].

In: tables of the file, and what a run gave.  Out: both beside each other. Nothing of it enters the simulation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from noclone.network.fields import Name, NonNegative, Section

UNITS = {
    "key_bps": "b/s of key",
    "key_bits": "bits of key in the best block",
    "sifted_bits": "sifted bits in it, both bases together",
    "sifted_bps": "sifted b/s, both bases together",
    "error_rate": "of the test bits wrong",
}
What = Literal["key_bps", "key_bits", "sifted_bits", "sifted_bps", "error_rate"]


class PublishedSection(Section):
    """A published number, to stand beside ours."""

    link: Name
    what: What = Field(
        description="key a second of light; key of the best block; sifted bits of that block, both bases together; the "
        "same a second of light; share of wrong test bits"
    )
    value: NonNegative
    source: str = Field(description="the publication, and whether it was read there")


def beside(published: Iterable[PublishedSection], found: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return the published numbers with ours.

    Args:
        found: Of each link that was run, all that may be published.
    """
    return [{**one.model_dump(), "ours": found[one.link][one.what]} for one in published if one.link in found]


def lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the same for people."""
    return [
        f"  {row['link']}: {_shown(row, 'ours')} {UNITS[row['what']]}; "
        f"published {_shown(row, 'value')}: {row['source']}"
        for row in rows
    ]


def _shown(row: Mapping[str, Any], which: str) -> str:
    if row["what"] == "error_rate":
        return f"{row[which]:.2%}"
    return f"{row[which]:,.2f}" if row["value"] < 10 else f"{row[which]:,.0f}"
