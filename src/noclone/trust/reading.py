"""What a delivered key stands on, in a sentence: read from the labels that came with it (`kms.labels`).

In: the extension fields of a key container.  Out: words for people who will not read a formula, and never more than the
labels say: a KME that says nothing gets no claim made for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noclone.errors import InputError
from noclone.trust.formula import Atom, Formula, all_of, any_of, at_least, minimal_cut_sets

TEXT_MAX = 4096
DEPTH_MAX = 16
LISTED = 4
PLAIN = {
    "link": "the devices of {name}",
    "bootstrap": "who knew the first secret of {name}",
    "fibre": "who runs the simulated light of {name}",
    "coherent": "who attacks many symbols of {name} together",
    "seed": "who has the seed of {name}",
    "recording": "who has the recording of {name}",
    "site": "site {name}",
    "node": "node {name}",
    "alg": "who breaks {name}",
}


def parse_formula(text: str) -> Formula:
    """Read what `str` of a formula gave: "link:a-b OR (node:x AND node:y)".

    Raises:
        InputError: It is none, or too long.
    """
    if len(text) > TEXT_MAX:
        raise InputError("this trust formula is too long to be read")
    return any_of(_part(text.strip(), DEPTH_MAX))


def standing(labels: Sequence[Mapping[str, Any]], use: str = "one-time pad") -> str:
    """Say in one sentence what keys stand on: which claim they have, and who could read what they protect.

    Args:
        labels: The extension of each key, each once.
        use: What the keys are used for.
    """
    if not labels:
        return "the KME does not say what its keys stand on"
    origins = {str(label.get("noclone_origin", "unknown")) for label in labels}
    if "simulated" in origins:
        claim = f"SIMULATED LIGHT, protects nothing; in the model: {use}"
    elif "recorded" in origins:
        claim = "past data, protects nothing"
    elif any(label.get("noclone_seeded") for label in labels):
        claim = "seeded, protects nothing"
    elif origins == {"hardware"}:
        claim = use
    elif origins <= {"hardware", "computed"}:
        claim = f"{use}, of keys that KEMs made (no QKD: computational)"
    elif origins == {"local"}:
        claim = f"{use}, of keys that one KME made for its own applications (no QKD)"
    else:
        claim = f"{use}, of keys whose origin the KME does not say"
    formulas = {str(label["noclone_leaks"]) for label in labels if label.get("noclone_leaks")}
    if not formulas:
        return f"{claim}; the KME does not say who could read it"
    try:
        cuts = minimal_cut_sets(any_of(*(parse_formula(text) for text in formulas)), 1000)
    except InputError:
        return f"{claim}; who could read it is too long to say here: see `noclone key explain`"
    alone = [_plain(next(iter(cut))) for cut in cuts.sets if len(cut) == 1]
    together = [" with ".join(map(_plain, sorted(cut))) for cut in cuts.sets if len(cut) > 1]
    said = _listed("alone", alone) + _listed("only together", together)
    if not cuts.complete:
        said.append(f"{cuts.total - len(cuts.sets):,} larger coalitions")
    return f"{claim}; could read it: {'; '.join(said) or 'nobody that the formula knows'}"


def _listed(how: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return [f"{how}, {', '.join(sorted(names)[:LISTED])}{more}"]


def _plain(atom: Atom) -> str:
    return PLAIN.get(atom.kind, "{kind} {name}").format(kind=atom.kind, name=atom.name)


def _part(text: str, depth: int) -> Atom | Formula:
    if depth == 0:
        raise InputError("this trust formula is too deep to be read")
    if text == "never":
        return any_of()
    if text == "always":
        return at_least(0, ())
    for word, join in ((" OR ", any_of), (" AND ", all_of)):
        parts = _split(text, word)
        if len(parts) > 1:
            return join(*(_part(part, depth - 1) for part in parts))
    if text.startswith("(") and text.endswith(")"):
        return _part(text[1:-1], depth - 1)
    if text.startswith("at least ") and text.endswith("]"):
        number, _, rest = text.removeprefix("at least ").partition(" of [")
        if not number.isdigit():
            raise InputError("this is no trust formula")
        return at_least(int(number), [_part(part, depth - 1) for part in _split(rest[:-1], ", ")])
    return Atom.parse(text)


def _split(text: str, word: str) -> list[str]:
    """Split at a word, but not within brackets."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(text):
        depth += (text[at] in "([") - (text[at] in ")]")
        if depth == 0 and text.startswith(word, at):
            parts.append(text[start:at].strip())
            at += len(word)
            start = at
        else:
            at += 1
    return [*parts, text[start:].strip()]
