"""Names that people choose from a list: what a misspelt one was probably meant to be, said alike everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN_MAX = 50
NAME_MAX = 64  # longer ones are no slip of the fingers, and to compare them takes long


def near(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, whatever its case, or None where none is near."""
    by_lower = {one.lower(): one for one in known}
    if len(name) > NAME_MAX or name in by_lower.values():
        return None
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what to add to a sentence that refuses a name: `; did you mean 'metro'?`, or nothing."""
    meant = near(name, known)
    return f"; did you mean '{meant}'?" if meant else ""


def choices(name: str, known: Iterable[str], words: str = "there is") -> str:
    """Return a hint for a name that is none of those known: what was probably meant, then all of them."""
    names = list(known)
    meant = near(name, names)
    shown = ", ".join(names[:SHOWN_MAX]) + (", ..." if len(names) > SHOWN_MAX else "")
    return (f"did you mean '{meant}'? " if meant else "") + f"{words}: {shown or 'none'}"
