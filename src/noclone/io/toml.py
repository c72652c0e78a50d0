"""Text files that people write: TOML in, a checked pydantic model out, or an error that they can act on.

pydantic alone reports a misspelt field twice ("field required", "extra inputs not permitted"), without naming the file.
Here one line names file, place, field, and what was probably meant.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from noclone.errors import InputError
from noclone.spelling import did_you_mean, near

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)

MAX_FILE_BYTES = 4_000_000
MAX_PROBLEMS = 8


def load_toml(path: Path, model: type[Model], error: type[InputError]) -> Model:
    """Read a TOML file and check it against a model.

    Raises:
        InputError: Of the class `error`: the file cannot be read, is no TOML, or does not fit the model.
    """
    return parse_toml(read_text(path, error), model, error, name=path.name)


def read_text(path: Path, error: type[InputError]) -> str:
    """Read a small UTF-8 file."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise error(f"{path}: larger than {MAX_FILE_BYTES // 1_000_000} MB", hint="is this the right file?")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"{path}: not a text file (byte {problem.start} is not UTF-8)") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from None


def parse_toml(text: str, model: type[Model], error: type[InputError], *, name: str) -> Model:
    """Check TOML text against a model; `name` is what messages call it."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise error(f"{name}: not valid TOML: {problem}") from None
    return validate(data, model, error, name=name)


def validate(data: dict[str, Any], model: type[Model], error: type[InputError], *, name: str) -> Model:
    """Check plain data against a model."""
    try:
        return model.model_validate(data)
    except ValidationError as problem:
        raise error(explain(problem, model, data, name=name)) from None


def explain(problem: ValidationError, model: type[BaseModel], data: dict[str, Any], *, name: str) -> str:
    """Return one line per mistake: `file, place: what is wrong`."""
    details = _without_branches(problem.errors(include_url=False), data)
    misspelt = {_near(d, model) for d in details if d["type"] == "extra_forbidden"}
    lines = []
    for detail in details:
        if detail["type"] == "missing" and (detail["loc"][:-1], detail["loc"][-1]) in misspelt:
            continue  # already said as "did you mean"
        # An entry of a list is a place; a field is what is wrong there.
        entry = bool(detail["loc"]) and isinstance(detail["loc"][-1], int)
        where = (*detail["loc"], "") if entry else detail["loc"]
        lines.append(f"{name}, {_place(where, data)}{_say(detail, model)}")
    if len(lines) > MAX_PROBLEMS:
        lines = [*lines[:MAX_PROBLEMS], f"... and {len(lines) - MAX_PROBLEMS} more"]
    return "\n".join(lines)


def _without_branches(details: list[ErrorDetails], data: Any) -> list[ErrorDetails]:
    """Take the names of types out of places: of one number or a list of them, say what is wrong with the one given."""
    branches = [_branch(detail["loc"], data) for detail in details]
    fitting = {
        detail["loc"][:at]
        for detail, at in zip(details, branches, strict=True)
        if at is not None and not detail["type"].endswith("_type")
    }
    plain = []
    for detail, at in zip(details, branches, strict=True):
        if at is not None:
            place = detail["loc"][:at]
            if detail["type"].endswith("_type") and place in fitting:
                continue
            detail = detail.copy()
            detail["loc"] = place + detail["loc"][at + 1 :]
        plain.append(detail)
    return plain


def _branch(location: tuple[int | str, ...], data: Any) -> int | None:
    """Return where a place names a type of a union instead of a field: no number, text or list has fields."""
    for at, part in enumerate(location):
        if isinstance(part, str) and isinstance(data, str | int | float | list):
            return at
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return None


def _say(detail: ErrorDetails, model: type[BaseModel]) -> str:
    field = detail["loc"][-1] if detail["loc"] else ""
    match detail["type"]:
        case "extra_forbidden":
            meant = _near(detail, model)
            return f"unknown field '{field}'" + (f"; did you mean '{meant[1]}'?" if meant else "")
        case "missing":
            return f"'{field}' is missing"
        case "value_error":
            return str(detail["msg"]).removeprefix("Value error, ")
        case _:
            given = detail.get("input")
            shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
            message = str(detail["msg"])
            named = f"'{field}': " if isinstance(field, str) else ""
            return f"{named}{message[:1].lower()}{message[1:]}{shown}{_meant(detail)}"


def _meant(detail: ErrorDetails) -> str:
    """Say which of the names that may stand there was probably meant; pydantic writes them as `'a', 'b' or 'c'`."""
    allowed, given = detail.get("ctx", {}), detail.get("input")
    name = allowed.get("tag", given)  # of a union of tables, the name that says which
    expected = allowed.get("expected") or allowed.get("expected_tags")
    known = re.findall(r"'([^']*)'", expected) if isinstance(expected, str) else []
    return did_you_mean(name, known) if isinstance(name, str) else ""


def _place(location: tuple[int | str, ...], data: Any) -> str:
    """Say where a mistake is, with names of list entries where they have one: `link 2 (alder-birch), fibre: `."""
    words: list[str] = []
    for part in location[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None
        if isinstance(part, int) and words:
            label = data.get("name") or data.get("id") if isinstance(data, dict) else None
            words[-1] += f" {part + 1}" + (f" ({label})" if isinstance(label, str) else "")
        else:
            words.append(str(part))
    return ", ".join(words) + ": " if words else ""


def _near(detail: ErrorDetails, model: type[BaseModel]) -> tuple[tuple[int | str, ...], str] | None:
    """Find the known field that an unknown one was probably meant to be, with its place."""
    location = detail["loc"]
    meant = near(str(location[-1]), _fields_at(model, location[:-1]))
    return (location[:-1], meant) if meant else None


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int) or current is None:
            continue
        found = current.model_fields.get(part) or next(
            (f for f in current.model_fields.values() if f.alias == part), None
        )
        current = _model_inside(found.annotation) if found else None
    if current is None:
        return []
    return [info.alias or name for name, info in current.model_fields.items()]


def _model_inside(annotation: Any) -> type[BaseModel] | None:
    """Return the model that an annotation such as `list[Link]` or `Fibre | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        inside = _model_inside(argument)
        if inside is not None:
            return inside
    return None
