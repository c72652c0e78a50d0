"""Trust formulas: who must fail, alone or together, before a key leaks.

In: atoms such as `link:a-b` (its devices betray it) or `site:a`, joined by OR, AND and thresholds.  Out: whether a
given coalition learns the key, and the minimal cut sets: the coalitions that do, and of which nobody can be spared.

The formulas are monotone: more betrayal never hides a key. Every formula is "at least k of these parts"; OR is k = 1,
AND is k = all. Build them with `any_of`, `all_of` and `at_least` only: these flatten, drop repetitions and what another
part makes idle, and sort, so that the order of writing shows neither in the text nor in the JSON and its hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from noclone.errors import InputError
from noclone.trust.families import Families

CUT_SETS_MAX = 100_000
DEPTH_MAX = 64  # of formulas that are read from outside
_KIND = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True, order=True)
class Atom:
    """One thing that can betray a key, written "kind:name"."""

    kind: str
    name: str

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(self.kind) or not self.name or not self.name.isprintable():
            raise InputError(
                f"{f'{self.kind}:{self.name}'!r} is no atom of a trust formula",
                hint='write "kind:name", the kind in lower-case letters, such as link:a-b',
            )

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Atom:
        """Read what `str` gave."""
        kind, _, name = text.partition(":")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class Formula:
    """At least `k` of the parts; see `any_of`, `all_of` and `at_least`, which build it in canonical form."""

    k: int
    parts: tuple[Atom | Formula, ...]

    def __post_init__(self) -> None:
        assert 1 <= self.k <= len(self.parts) or (not self.parts and self.k in (0, 1))

    def leaks(self, compromised: Collection[Atom]) -> bool:
        """Tell whether those who control all of these atoms know the key."""
        known = frozenset(compromised)

        def falls(formula: Formula) -> bool:
            fallen = (part in known if isinstance(part, Atom) else falls(part) for part in formula.parts)
            return any(fallen) if formula.k == 1 else sum(fallen) >= formula.k

        return falls(self)

    def atoms(self) -> frozenset[Atom]:
        """Return every atom that occurs."""
        found: set[Atom] = set()
        inner: list[Formula] = [self]
        while inner:
            for part in inner.pop().parts:
                if isinstance(part, Atom):
                    found.add(part)
                else:
                    inner.append(part)
        return frozenset(found)

    def to_json(self) -> Any:
        """Return plain JSON values: "kind:name", {"any": [...]}, {"all": [...]} or {"at_least": k, "of": [...]}."""
        parts = [str(part) if isinstance(part, Atom) else part.to_json() for part in self.parts]
        if len(parts) == 1:
            return parts[0]
        if self.k == 1:
            return {"any": parts}
        return {"all": parts} if self.k == len(parts) else {"at_least": self.k, "of": parts}

    @classmethod
    def from_json(cls, data: Any) -> Formula:
        """Rebuild what `to_json` gave; anything else is refused."""
        return any_of(_part_from_json(data, DEPTH_MAX))

    def sha256(self) -> str:
        """Return the hash of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(_canonical(self).encode()).hexdigest()

    def __str__(self) -> str:
        if not self.parts:
            return "never" if self.k else "always"
        if 1 < self.k < len(self.parts):
            return f"at least {self.k} of [{', '.join(map(str, self.parts))}]"
        return (" OR " if self.k == 1 else " AND ").join(
            f"({part})" if _is_any(part) or _is_all(part) else str(part) for part in self.parts
        )


NEVER = Formula(1, ())
ALWAYS = Formula(0, ())


def any_of(*parts: Atom | Formula) -> Formula:
    """Leaks when any part does; never, if there are none."""
    return at_least(1, parts)


def all_of(*parts: Atom | Formula) -> Formula:
    """Leaks only when all parts do; always, if there are none."""
    return at_least(len(parts), parts)


def at_least(k: int, parts: Iterable[Atom | Formula]) -> Formula:
    """Leaks when k parts or more do, such as the shares of a threshold scheme."""
    kept: list[Atom | Formula] = []
    for part in parts:
        if part == ALWAYS:
            k -= 1
        elif part != NEVER:
            kept.append(part.parts[0] if isinstance(part, Formula) and len(part.parts) == 1 else part)
    if k <= 0:
        return ALWAYS
    if k > len(kept):
        return NEVER
    if len(kept) == 1 and isinstance(kept[0], Formula):
        return kept[0]  # in canonical form already
    if k == 1:
        kept = _simplified(kept, _is_any, _is_all)
    elif k == len(kept):
        kept = _simplified(kept, _is_all, _is_any)
        k = len(kept)
    if len(kept) == 1 and isinstance(kept[0], Formula):
        return kept[0]
    return Formula(k, tuple(sorted(kept, key=_canonical)))


@dataclass(frozen=True, slots=True)
class CutSets:
    """The minimal coalitions that learn a key.

    Args:
        order: Size of the smallest; None when no coalition learns the key.
        total: How many there are, exactly, however few are listed.
        by_order: How many there are of each size, smallest first.
        sets: The coalitions, smallest first; whole orders only, as long as they fit under the limit.
    """

    order: int | None
    total: int
    by_order: dict[int, int]
    sets: tuple[frozenset[Atom], ...]

    @property
    def complete(self) -> bool:
        """Whether all of them are listed."""
        return len(self.sets) == self.total


def minimal_cut_sets(formula: Formula, limit: int = CUT_SETS_MAX) -> CutSets:
    """Return the minimal cut sets: all are counted, and at most `limit` are listed."""
    families, root, atoms = _diagram(formula)
    counts = families.counts(root)
    by_order = dict(sorted(counts[root].items()))
    sets: list[frozenset[Atom]] = []
    for size, count in by_order.items():
        if len(sets) + count > limit:
            break
        found = (frozenset(atoms[variable] for variable in chosen) for chosen in families.sets(root, size, counts))
        sets += sorted(found, key=sorted)
    return CutSets(next(iter(by_order), None), sum(by_order.values()), by_order, tuple(sets))


@dataclass(frozen=True, slots=True)
class Coalition:
    """Who would have to be corrupted, and what that costs by the weights that were given."""

    atoms: frozenset[Atom]
    cost: float


def cheapest_coalition(formula: Formula, weight: Callable[[Atom], float]) -> Coalition | None:
    """Return the coalition of least weight that learns a key; None when no coalition does.

    Exact: the least weight over all minimal cut sets, however many, in one pass over their decision diagram.

    Args:
        formula: When the key leaks.
        weight: What it takes to corrupt an atom, above 0.
    """
    families, root, atoms = _diagram(formula)
    weights = [weight(atom) for atom in atoms]
    if any(not each > 0 for each in weights):
        raise InputError("the weight of every atom must be above 0")
    found = families.cheapest(root, weights)
    return None if found is None else Coalition(frozenset(atoms[variable] for variable in found[1]), found[0])


def _diagram(formula: Formula) -> tuple[Families, int, list[Atom]]:
    """Return the minimal cut sets as a family, with the atoms that its variables stand for."""
    atoms = list(dict.fromkeys(_atoms(formula)))  # neighbours in the formula stay neighbours in the diagram
    variables = {atom: variable for variable, atom in enumerate(atoms)}
    families = Families()

    def family_of(part: Atom | Formula) -> int:
        if isinstance(part, Atom):
            return families.single(variables[part])
        return families.at_least(part.k, [family_of(inner) for inner in part.parts])

    return families, family_of(formula), atoms


def _atoms(part: Atom | Formula) -> Iterator[Atom]:
    if isinstance(part, Atom):
        yield part
    else:
        for inner in part.parts:
            yield from _atoms(inner)


def _canonical(part: Atom | Formula) -> str:
    if isinstance(part, Atom):
        return _canonical_atom(part)
    return json.dumps(part.to_json(), sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=4096)
def _canonical_atom(atom: Atom) -> str:
    return json.dumps(str(atom))


def _is_any(part: Atom | Formula) -> bool:
    return isinstance(part, Formula) and part.k == 1


def _is_all(part: Atom | Formula) -> bool:
    return isinstance(part, Formula) and part.k == len(part.parts)


def _simplified(
    parts: Iterable[Atom | Formula],
    same: Callable[[Atom | Formula], bool],
    dual: Callable[[Atom | Formula], bool],
) -> list[Atom | Formula]:
    """Flatten and absorb: in an OR (same), the AND (dual) `a AND b` is idle beside `a`; and the other way round."""
    flat: dict[Atom | Formula, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.parts if isinstance(part, Formula) and same(part) else (part,)))
    return [p for p in flat if not (isinstance(p, Formula) and dual(p) and any(inner in flat for inner in p.parts))]


def _part_from_json(data: Any, depth: int) -> Atom | Formula:
    if isinstance(data, str):
        return Atom.parse(data)
    match data:
        case {"any": [*parts]} if len(data) == 1:
            k = 1
        case {"all": [*parts]} if len(data) == 1:
            k = len(parts)
        case {"at_least": int(k), "of": [*parts]} if len(data) == 2 and not isinstance(k, bool):
            pass
        case _:
            raise InputError(
                "this is no trust formula",
                hint='it is "kind:name", {"any": [...]}, {"all": [...]} or {"at_least": k, "of": [...]}',
            )
    if depth == 0:
        raise InputError(f"this trust formula is more than {DEPTH_MAX} levels deep")
    return at_least(k, [_part_from_json(part, depth - 1) for part in parts])
