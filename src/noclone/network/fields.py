"""Kinds of values in a scenario file, with their limits, and what its tables have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="lower-case letters, digits, hyphens")]
SaeId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{1,64}$", description="RFC 3986 unreserved characters")]
Text = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Probability = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A table of the file: unknown fields are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
