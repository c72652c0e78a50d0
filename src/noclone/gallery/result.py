"""A published result beside ours: rows of numbers, each with the range that its grade declares for ours.

In: what a module of this package computes.  Out: `Result` and `Row`, which the board, its tests and the studies read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Grade = Literal["exact", "values", "bound", "structural", "outcome only"]
GRADES: tuple[Grade, ...] = get_args(Grade)
MEANING: dict[Grade, str] = {
    "exact": "the same quantity, to rounding (10⁻⁹), by the paper's formula or an independent calculation",
    "values": "published figures, met to their last digit, their error bar or a stated tolerance",
    "bound": "not the same quantity: ours must lie on the stated side of the published figure",
    "structural": "no figure: the behaviour that the source claims",
    "outcome only": "the source does not tell what its outcome depends on; ours, from assumed devices, is of its order",
}
Read = Literal["read", "secondary", "recalled"]
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """One number.

    Args:
        published: None where the source claims a behaviour and prints no number.
        low, high: Where ours must lie; else something has changed. Of a declared miss, this is where the miss lies.
        miss: Ours is known not to agree, and nobody may close the gap, or widen it, without saying so.
    """

    what: str
    ours: float
    published: float | None
    low: float
    high: float
    unit: str = ""
    miss: bool = False

    def __post_init__(self) -> None:
        assert self.low <= self.high

    @property
    def holds(self) -> bool:
        """Whether ours lies where it is declared to lie."""
        return self.low <= self.ours <= self.high  # False for a NaN


def same(what: str, ours: float, published: float, unit: str = "") -> Row:
    """Return a row that must agree to rounding."""
    slack = ROUNDING * max(abs(published), 1e-300)
    return Row(what, ours, published, published - slack, published + slack, unit)


def near(what: str, ours: float, published: float, tolerance: float, unit: str = "") -> Row:
    """Return a row that must agree within an absolute tolerance: half the last digit, or an error bar."""
    return Row(what, ours, published, published - tolerance, published + tolerance, unit)


def share(what: str, ours: float, published: float, tolerance: float, unit: str = "") -> Row:
    """Return a row that must agree within a relative tolerance."""
    return near(what, ours, published, tolerance * abs(published), unit)


def above(what: str, ours: float, published: float, most: float = math.inf, unit: str = "") -> Row:
    """Return a row where ours bounds the published number from above, by no more than a factor `most`."""
    return Row(what, ours, published, published, published * most, unit)


def below(what: str, ours: float, published: float, least: float = 0.0, unit: str = "") -> Row:
    """Return a row where ours bounds the published number from below, and reaches at least a share `least` of it."""
    return Row(what, ours, published, published * least, published, unit)


def order(what: str, ours: float, published: float, factor: float, unit: str = "") -> Row:
    """Return a row that must agree within a factor."""
    return Row(what, ours, published, published / factor, published * factor, unit)


def claim(what: str, ours: float, low: float, high: float = math.inf, unit: str = "") -> Row:
    """Return a row whose range the source claims in words."""
    return Row(what, ours, None, low, high, unit)


def missed(what: str, ours: float, published: float, low: float, high: float, unit: str = "") -> Row:
    """Return a declared miss: the published number lies outside the range that ours is held in."""
    assert not low <= published <= high, "this is no miss"
    return Row(what, ours, published, low, high, unit, miss=True)


@dataclass(frozen=True, slots=True)
class Result:
    """One published result.

    Args:
        name: What `noclone validate NAME` and the study's file are called.
        source: The publication.
        read: Whether its figures were read there, in another public source that quotes them, or recalled.
        where: In which text they were read.
        grade: What agreement means here.
        fitted: How many numbers were chosen to meet the publication's data.
        remark: What is fitted, assumed or missing, in a sentence or two.
        rows: Computes the rows.
        slow: It simulates, and may compile for a while first.
    """

    name: str
    title: str
    source: str
    read: Read
    where: str
    grade: Grade
    fitted: int
    remark: str
    rows: Callable[[], tuple[Row, ...]]
    slow: bool = False
