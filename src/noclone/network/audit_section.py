"""The part of a scenario that says what its audit must find: [audit]."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noclone.network.fields import Positive, Section

AtLeast = Literal["conditional", "yes"]


class AuditSection(Section):
    """What `noclone audit` must find, or it exits with 1."""

    in_transit: AtLeast | None = Field(default=None, description="the verdict against whoever holds the fibres")
    end_to_end: AtLeast | None = Field(default=None, description="the verdict against nodes between")
    network: AtLeast | None = Field(default=None, description="the verdict on single losses")
    epsilon_per_year_max: Positive | None = Field(
        default=None, description="failure probabilities of all blocks of a link in a year, added up"
    )
    nodes_to_collude: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="how many nodes between must join before they know a key, at least"
    )
    survive: list[str] = Field(
        default=[],
        max_length=64,
        description='such as "node:* compromised" or "link:* cut": no key leaks, none is cut off',
    )
