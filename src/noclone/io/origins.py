"""Where the numbers of a file come from: each may be called published, fitted or assumed, and why.

In: a checked model, some of its tables, `origins`: texts by place, as "devices.emission".  Out: the numbers by place,
or what is wrong with the origins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from noclone.spelling import did_you_mean

ORIGINS = ("published", "fitted", "assumed")


def numbers(model: BaseModel, sections: Iterable[str]) -> dict[str, Any]:
    """Return the numbers that a file gives in some of its tables, by place: `link.1.length_km` is the first link's."""
    found: dict[str, Any] = {}

    def walk(place: str, value: Any) -> None:
        if isinstance(value, BaseModel):
            for name in sorted(value.model_fields_set, key=list(type(value).model_fields).index):
                walk(f"{place}.{name}", getattr(value, name))
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            for number, one in enumerate(value, 1):
                walk(f"{place}.{number}", one)
        elif _is_number(value) or (isinstance(value, list) and all(map(_is_number, value))):
            found[place] = value

    for section in sections:
        walk(section, getattr(model, section))
    return found


def check_origins(origins: Mapping[str, str], known: Iterable[str]) -> None:
    """Refuse origins that say neither published, fitted nor assumed, or are of numbers that are not there.

    Raises:
        ValueError: As pydantic's validators do.
    """
    places = set(known)
    for place, origin in origins.items():
        if origin.split(":")[0] not in ORIGINS:
            raise ValueError(f"origins of '{place}': begins with {', '.join(ORIGINS[:-1])} or {ORIGINS[-1]}")
        if place not in places:
            raise ValueError(f"origins: there is no number '{place}'{did_you_mean(place, places)}")


def with_origins(found: Mapping[str, Any], origins: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the numbers with their origins, as data; "given" where a file says nothing of one."""
    return {place: {"value": value, "origin": origins.get(place, "given")} for place, value in found.items()}


def origin_lines(found: Mapping[str, Any], origins: Mapping[str, str], how: str) -> list[str]:
    """Return the numbers with their origins, for people; those without are only counted.

    Args:
        how: What the result is, as "simulated".
    """
    told = [f"  {place} = {value}: {origins[place]}" for place, value in found.items() if place in origins]
    if not told:
        return [f"{how}, with the numbers that were given"]
    rest = len(found) - len(told)
    return [f"{how}; where its numbers come from:", *told, *([f"  {rest} more were given"] if rest else [])]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
