"""The attack matrix: every attack of the catalogue, undefended and defended, on one sheet.

In: names of attacks, a seed.  Out: `Row`s, as plain values for `--json` and the report, or as a table for people.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noclone import __version__, rng
from noclone.errors import InputError
from noclone.redteam.catalogue import CATALOGUE
from noclone.redteam.entry import Entry
from noclone.redteam.rows import Row
from noclone.spelling import choices


@dataclass(frozen=True, slots=True)
class Tried:
    """One attack, tried without its countermeasure and with it.

    Args:
        rows: Without first; one alone where there is nothing to take away.
        wall_s: How long both took.
    """

    entry: Entry
    rows: tuple[Row, ...]
    wall_s: float

    @property
    def as_expected(self) -> bool:
        """Whether the attack works on what it should, and fails on what stands against it."""
        worked = [row.outcome in ("broken", "no service") for row in self.rows if not row.defended]
        held = [row.outcome not in ("broken",) for row in self.rows if row.defended]
        return all(worked) and all(held)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **self.entry.to_json(),
            "rows": [row.to_json() for row in self.rows],
            "as_expected": self.as_expected,
            "wall_s": self.wall_s,
        }


def try_attack(entry: Entry, seed: bytes, strength: float = 1.0) -> Tried:
    """Try one attack both ways."""
    started = time.monotonic()
    rows = [entry.trial(rng.derive(seed, entry.name), defended, strength) for defended in (False, True)]
    return Tried(entry, tuple(row for row in rows if row is not None), time.monotonic() - started)


def select(names: Sequence[str] = ()) -> tuple[Entry, ...]:
    """Return the attacks of these names, or all.

    Raises:
        InputError: There is no attack of a name.
    """
    for name in names:
        if name not in CATALOGUE:
            raise InputError(f"there is no attack '{name}'", hint=choices(name, CATALOGUE))
    return tuple(CATALOGUE[name] for name in names or CATALOGUE)


def to_json(tried: Sequence[Tried], seed: int | None = None) -> dict[str, Any]:
    """Return the matrix as plain JSON values; `noclone report` can show it."""
    return {"version": __version__, "seed": seed, "attacks": [one.to_json() for one in tried]}


def lines(tried: Sequence[Tried]) -> list[str]:
    """Return the matrix as text: one line for each trial."""
    out = [f"{'attack':37}{'Eve, bit/bit':>12}{'key bits':>10}{'exposed':>10}{'QBER':>8}{'seen after':>12}  outcome"]
    layer = ""
    for one in tried:
        if one.entry.layer != layer:
            layer = one.entry.layer
            out += ["", layer]
        out += [_line(row, "" if number else one.entry.name) for number, row in enumerate(one.rows)]
    return out


def _line(row: Row, name: str) -> str:
    seen = "never" if row.detected_after is None else f"{row.detected_after} {_singular(row)}"
    qber = "" if row.qber is None else f"{row.qber:.2%}"
    who = "defended" if row.defended else "undefended"
    why = f": {', '.join(row.noticed_by[:3])}" if row.noticed_by else ""
    numbers = f"{row.eve_bits:12.3f}{row.key_bits:10}{row.exposed_bits:10.0f}{qber:>8}{seen:>12}"
    return f"{name:26} {who:10}{numbers}  {row.outcome}{why}"


def _singular(row: Row) -> str:
    return row.unit if row.detected_after != 1 else row.unit.removesuffix("s")
