"""The file that describes a network of repeaters and whose pairs are wanted, as TOML; what was published.

In: a file, or the name of a shipped one.  Out: a checked `RepeaterBrief`, which gives the chain between two nodes.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from noclone.io.shipped import Shipped
from noclone.repeater.chain import Chain
from noclone.repeater.clocked import Clocked
from noclone.repeater.tables import Name, RepeaterError, RepeaterTables, Table, Two
from noclone.spelling import did_you_mean

SHIPPED = Shipped("noclone.repeater", "shipped", "file of repeaters", RepeaterError)


class RequestTable(Table):
    """Whose pairs are wanted."""

    between: Two
    pairs: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000


class RepeaterBrief(RepeaterTables):
    """Nodes, links, devices, rules, a request, and where the numbers come from."""

    name: Name
    title: str = ""
    source: str = ""
    request: RequestTable

    def path(self) -> list[str]:
        """Return the nodes from one end of the request to the other, whose links take least time in all."""
        return self.path_between(*self.request.between)

    def chain(self) -> Chain:
        """Return the chain between the ends of the request."""
        return self.chain_between(*self.request.between)

    def clocked(self) -> Clocked | None:
        """Return the link that hands over at stated times, if the file has a clock."""
        return self.clocked_between(*self.request.between)

    def with_cutoff(self, cutoff_s: float | None) -> Self:
        """Return the same with another cut-off, which comes from nowhere but us."""
        rules = self.rules.model_copy(update={"cutoff_s": cutoff_s})
        origins = {place: origin for place, origin in self.origins.items() if place != "rules.cutoff_s"}
        return self.model_copy(update={"rules": rules, "origins": origins})


def shipped_tables(name: str) -> dict[str, Any]:
    """Return the tables of a shipped file as they are written, without the file's own name and request.

    Raises:
        ValueError: As pydantic's validators do: there is no such file.
    """
    names = SHIPPED.names()
    if name not in names:
        meant = did_you_mean(name, names)
        raise ValueError(f"'{name}' is no shipped file of repeaters; there are: {', '.join(names)}{meant}")
    data, tables = tomllib.loads(SHIPPED.text(name)), RepeaterTables.model_fields
    return {key: value for key, value in data.items() if key in tables}


def load_repeaters(path: Path | str) -> RepeaterBrief:
    """Read a file, or a shipped one by its name, such as `boston`.

    Raises:
        RepeaterError: It cannot be read, or does not fit.
    """
    return SHIPPED.load(path, RepeaterBrief)
