"""Errors in text files: file, place, field, and what was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from noclone.errors import ScenarioError
from noclone.io.toml import load_toml


class Fibre(BaseModel):
    model_config = ConfigDict(extra="forbid")
    length_km: float = Field(ge=0)


class Link(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    fibre: Fibre


class File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    links: list[Link] = Field(alias="link")


def complaint(tmp_path: Path, text: str | bytes, model: type[BaseModel] = File) -> str:
    path = tmp_path / "metro.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ScenarioError) as caught:
        load_toml(path, model, ScenarioError)
    return caught.value.message


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "good.toml"
    path.write_text('[[link]]\nname = "a-b"\nfibre = { length_km = 3 }\n')
    assert load_toml(path, File, ScenarioError).links[0].fibre.length_km == 3


def test_a_misspelt_field_is_one_line_with_a_suggestion(tmp_path: Path) -> None:
    message = complaint(tmp_path, '[[link]]\nname = "a-b"\nfibre = { lenght_km = 3 }\n')
    assert message == "metro.toml, link 1 (a-b), fibre: unknown field 'lenght_km'; did you mean 'length_km'?"


def test_an_impossible_value_names_its_place(tmp_path: Path) -> None:
    message = complaint(tmp_path, '[[link]]\nname = "a-b"\nfibre = { length_km = -2 }\n')
    assert "metro.toml, link 1 (a-b), fibre: 'length_km'" in message
    assert "greater than or equal to 0" in message
    assert "given: -2" in message


class Receiver(BaseModel):
    efficiency: Annotated[float, Field(ge=0, le=1)] | list[Annotated[float, Field(ge=0, le=1)]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("2", "metro.toml, 'efficiency': input should be less than or equal to 1 (given: 2)"),
        (
            '"x"',
            "metro.toml, 'efficiency': input should be a valid number, unable to parse string as a number (given: 'x')",
        ),
        ("[0.5, 2]", "metro.toml, efficiency 2: input should be less than or equal to 1 (given: 2)"),
    ],
)
def test_one_number_or_a_list_is_one_line_about_what_was_given(tmp_path: Path, given: str, message: str) -> None:
    assert complaint(tmp_path, f"efficiency = {given}\n", Receiver) == message


class Clock(BaseModel):
    kind: Literal["clock"]


class Sand(BaseModel):
    kind: Literal["sand"]


class Timer(BaseModel):
    law: Literal["fixed", "free"] | None = None
    timer: Annotated[Clock | Sand, Field(discriminator="kind")] | None = None


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ('law = "fixd"\n', "(given: 'fixd'); did you mean 'fixed'?"),
        ('law = "zebra"\n', "(given: 'zebra')"),
        ("law = 3\n", "(given: 3)"),
        ('timer = { kind = "clok" }\n', "'clock', 'sand'; did you mean 'clock'?"),
    ],
)
def test_a_misspelt_word_of_a_few_is_guessed(tmp_path: Path, text: str, end: str) -> None:
    message = complaint(tmp_path, text, Timer)
    assert message.endswith(end)
    assert "\n" not in message


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path, '[[link]]\nname = "a-b"\n') == "metro.toml, link 1 (a-b): 'fibre' is missing"


def test_what_is_no_toml_and_what_is_no_text(tmp_path: Path) -> None:
    assert "not valid TOML" in complaint(tmp_path, "[[link")
    assert "not a text file" in complaint(tmp_path, b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_toml(tmp_path / "absent.toml", File, ScenarioError)


def test_many_mistakes_are_cut_short(tmp_path: Path) -> None:
    text = "".join(f'[[link]]\nname = "l{i}"\n' for i in range(30))
    lines = complaint(tmp_path, text).splitlines()
    assert len(lines) == 9
    assert lines[-1] == "... and 22 more"
