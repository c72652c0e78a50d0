"""What a sweep varies: names of parameters of a brief, and their values.

In: `NAME=first:last:count` or `NAME=value,value`.  Out: `Variation`s, and a checked `Brief` for each combination.
`demands` scales all demands; any other name is a number of the brief: `attenuation_db_per_km`, `costs.node`,
`device.avalanche.efficiency`, `site.bern.cost`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from noclone.io.toml import validate
from noclone.plan.devices import CATALOGUE
from noclone.plan.sites import Brief, PlanError
from noclone.spelling import choices

POINTS_MAX = 1000
FORM = "write NAME=first:last:count, such as demands=0.5:4:8, or NAME=1,2,5"


@dataclass(frozen=True, slots=True)
class Variation:
    """A parameter and the values that it takes."""

    name: str
    values: tuple[float, ...]


def read_variation(text: str) -> Variation:
    """Read one `NAME=...`.

    Raises:
        PlanError: It is none.
    """
    name, equals, told = (part.strip() for part in text.partition("="))
    if not equals or not name:
        raise PlanError(f"--sweep {text}: this names no parameter and no values", hint=FORM)
    try:
        values = _stretch(*told.split(":")) if ":" in told else tuple(float(value) for value in told.split(","))
    except (TypeError, ValueError):
        raise PlanError(f"--sweep {text}: '{told}' are no values", hint=f"{FORM}; at most {POINTS_MAX}") from None
    if not all(map(math.isfinite, values)):
        raise PlanError(f"--sweep {text}: values are finite numbers", hint=FORM)
    return Variation(name, values)


def _stretch(first: str, last: str, count: str) -> tuple[float, ...]:
    low, high, n = float(first), float(last), int(count)
    if not 1 <= n <= POINTS_MAX:
        raise ValueError
    return tuple(low + (high - low) * i / (n - 1) for i in range(n)) if n > 1 else (low,)


def points(brief: Brief, variations: Sequence[Variation]) -> Iterator[tuple[dict[str, float], Brief]]:
    """Yield every combination of values with the brief that it makes.

    Raises:
        PlanError: A parameter is unknown, a value impossible, or there are too many combinations.
    """
    count = math.prod(len(one.values) for one in variations)
    if count > POINTS_MAX:
        raise PlanError(
            f"a sweep of {count} plans is too much: {POINTS_MAX} at most", hint="fewer values, or parameters"
        )
    names = [one.name for one in variations]
    if len(set(names)) < len(names):
        raise PlanError("a sweep names a parameter twice", hint="give all of its values at once")
    for values in itertools.product(*(one.values for one in variations)):
        chosen = dict(zip(names, values, strict=True))
        yield chosen, varied(brief, chosen)


def varied(brief: Brief, chosen: dict[str, float]) -> Brief:
    """Return a brief with parameters set.

    Raises:
        PlanError: A parameter is unknown, or its value impossible.
    """
    data = brief.model_dump(by_alias=True, mode="json")
    data["device"] = data["device"] or [device.model_dump(mode="json") for device in CATALOGUE]
    for name, value in chosen.items():
        if name == "demands":
            if value <= 0:
                raise PlanError(f"demands times {value:g} are none", hint="factors are above 0")
            data["demand"] = [demand.times(value).model_dump(mode="json") for demand in brief.demands]
        else:
            _set(data, name, value)
    what = ", ".join(f"{name} = {value:g}" for name, value in chosen.items())
    return validate(data, Brief, PlanError, name=f"{brief.name} with {what}")


def _set(data: dict[str, Any], name: str, value: float) -> None:
    """Set a number deep in the brief: keys of tables, and names of a list's entries."""
    here = data
    *tables, field = name.split(".")
    for part in tables:
        inside = _inside(here)
        if part not in inside:
            raise _no_such(name, part, inside, "tables there")
        here = inside[part]
    numbers = _numbers(here)
    if field not in numbers:
        inside = _inside(here)
        if field in inside:
            known = [f"{name}.{key}" for key in _numbers(inside[field]) or _inside(inside[field])]
            hint = choices("", known, "in it") if known else "nothing in it can be varied by name"
            raise PlanError(f"--sweep {name}: this is a table, not a number", hint=hint)
        if not numbers:
            raise _no_such(name, field, inside, "tables there")
        raise _no_such(name, field, numbers if tables else ["demands", *numbers], "numbers there")
    here[field] = int(value) if isinstance(here[field], int) and value == int(value) else value


def _numbers(table: dict[str, Any]) -> list[str]:
    return [key for key, old in table.items() if not isinstance(old, bool | str | list | dict)]


def _inside(table: dict[str, Any]) -> dict[str, Any]:
    return {key: found for key, old in table.items() if (found := _tables(old)) is not None}


def _tables(value: Any) -> dict[str, Any] | None:
    """Return a table, or a list's tables by name; None where it is neither."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {entry["name"]: entry for entry in value if entry.get("name")}
    return value if isinstance(value, dict) else None


def _no_such(name: str, part: str, known: Iterable[str], words: str) -> PlanError:
    return PlanError(f"--sweep {name}: the brief has no such number", hint=choices(part, known, words))
