"""Which tables a link of each protocol has in a scenario file: those that it must have, and those that it may.

In: a [[link]] as it is read.  Out: nothing, or an error that names the table as the file does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Those that it must have, those that it may.
TABLES: dict[str, tuple[set[str], set[str]]] = {
    "decoy-bb84": ({"source", "receiver", "fibre"}, set()),
    "bbm92": ({"pairs", "receiver", "fibre"}, {"receiver_alice", "fibre_alice"}),
    "mdi": ({"source", "station", "fibre"}, {"source_bob", "fibre_alice"}),
    "twin-field": ({"source", "station", "fibre"}, {"source_bob", "fibre_alice"}),
    "sns": ({"source", "station", "fibre"}, {"source_bob", "fibre_alice"}),
    "cv": ({"modulation", "coherent", "fibre"}, set()),
}
# Where this table takes the place of a fibre: the protocols that can, and the tables that they then have, as above.
INSTEAD_OF_FIBRE: dict[str, dict[str, tuple[set[str], set[str]]]] = {
    "passes": {
        "decoy-bb84": ({"source", "receiver", "passes"}, set()),
        "bbm92": ({"pairs", "receiver", "passes"}, {"receiver_alice"}),
    },
    "repeater": {"bbm92": ({"repeater"}, set())},
}
IN_WORDS = {"passes": " from a satellite", "repeater": " over repeaters"}
IN_FILES = {"passes": "pass"}  # what a table is called there, where Python has the word for itself
ALL_TABLES = sorted(set(INSTEAD_OF_FIBRE).union(*(needed | possible for needed, possible in TABLES.values())))


def refuse_strangers(link: Any) -> None:
    """Name a table that the protocol does not have, before anything is said about what is in it.

    Args:
        link: The table as it was read, of whatever kind.

    Raises:
        ValueError: It has one.
    """
    protocol = link.get("protocol", "decoy-bb84") if isinstance(link, dict) else None
    if not isinstance(protocol, str) or protocol not in TABLES:
        return
    known = set.union(*TABLES[protocol])
    for kinds in INSTEAD_OF_FIBRE.values():
        known = known.union(*kinds.get(protocol, ()))
    given = {table for table in ALL_TABLES for key in (table, _in_file(table)) if link.get(key) is not None}
    if strange := sorted(given - known):
        raise ValueError(f"link '{link.get('name', '?')}': {protocol} has no [link.{_in_file(strange[0])}]")


def check_tables(name: str, protocol: str, tables: Mapping[str, object]) -> None:
    """Refuse a link that lacks a table, or has one that does not go with the others.

    Args:
        tables: All of `ALL_TABLES`; None where the link does not have one.

    Raises:
        ValueError: It is so.
    """
    given = {table for table, value in tables.items() if value is not None}
    (needed, possible), kind = TABLES[protocol], ""
    for instead in sorted(given & set(INSTEAD_OF_FIBRE)):
        (needed, possible), kind = INSTEAD_OF_FIBRE[instead][protocol], IN_WORDS[instead]
    if missing := sorted(needed - given):
        raise ValueError(f"link '{name}': {protocol}{kind} needs [link.{_in_file(missing[0])}]")
    if strange := sorted(given - needed - possible):
        raise ValueError(f"link '{name}': {protocol}{kind} has no [link.{_in_file(strange[0])}]")


def _in_file(table: str) -> str:
    return IN_FILES.get(table, table)
