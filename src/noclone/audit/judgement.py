"""What stands against a threat: one of five words, and why.

In: what a judge of the catalogue found.  Out: `Judgement`. The words are explained in `threats`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["countered", "watched", "assumed", "open", "not-modelled"]
Level = Literal["in transit", "end to end", "across the network"]
STATUSES: tuple[Status, ...] = ("open", "not-modelled", "assumed", "watched", "countered")  # worst first


@dataclass(frozen=True, slots=True)
class Judgement:
    """What stands against a threat.

    Args:
        why: A sentence.
        where: Names of links, nodes or pairs that it is said of; empty: all.
        remedy: What would make it better, or empty.
    """

    status: Status
    why: str
    where: tuple[str, ...] = ()
    remedy: str = ""
