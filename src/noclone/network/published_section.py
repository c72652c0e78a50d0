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
}


class PublishedSection(Section):
    """A published number, to stand beside ours."""

    link: Name
    what: Literal["key_bps", "key_bits", "sifted_bits"] = Field(
        description="bits a second of light; bits of the best block; sifted bits of that block, both bases together"
    )
    value: NonNegative
    source: str = Field(description="the publication, and whether it was read there")


def beside(published: Iterable[PublishedSection], found: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return the published numbers with ours.

    Args:
        found: Of each link that was run, `key_bps`, `key_bits` and `sifted_bits`.
    """
    return [{**one.model_dump(), "ours": found[one.link][one.what]} for one in published if one.link in found]


def lines(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the same for people."""
    return [
        f"  {row['link']}: {row['ours']:,.0f} {UNITS[row['what']]}; published {row['value']:,.0f}: {row['source']}"
        for row in rows
    ]
