"""What if: a node is compromised, an algorithm broken, a link cut. Which keys leak, and who is cut off?

In: statements such as "node:b compromised", "alg:ML-KEM-768 broken" or "link:a-b cut", and the demands.  Out: what
becomes of each demand. Answered from the formulas and the graph alone, so at once; the red team answers the same by
attacking.

    node:NAME compromised        it tells all that it handles, as a node between and as a site
    KIND:NAME compromised        the atom of that name betrays: site, link, fibre, bootstrap, seed, recording
    alg:NAME broken              today: sessions that it authenticates fall as well
    alg:NAME broken later        by somebody who recorded everything: sessions that are over stay safe
    node:NAME down, link:NAME cut   it is gone; nothing leaks
    repeater:NAME down              so are all links that get their pairs over it; compromised, it learns nothing
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noclone.audit.availability import still_served
from noclone.audit.demands import Demand, PlannedLink, Routes
from noclone.crypto.combiners import KDF_NAME
from noclone.crypto.kems import SUITES
from noclone.errors import InputError
from noclone.spelling import choices
from noclone.trust.formula import Atom
from noclone.trust.provenance import SESSION

STATEMENT = re.compile(r"([a-z][a-z0-9-]*):(\S+) (compromised|broken|broken later|down|cut|known)")
GONE = ("down", "cut")
BETRAYALS = ("compromised", "broken", "broken later", "known")
ALGORITHMS = frozenset(
    {kem.name for kems in SUITES.values() for kem in kems} | {KDF_NAME, "ECDSA-P256", "Ed25519", "ML-DSA-65"}
)
HINT = 'write "node:b compromised", "alg:ML-KEM-768 broken", "link:a-b cut"; * stands for each one in turn'


@dataclass(frozen=True, slots=True)
class Supposition:
    """What is supposed.

    Args:
        atoms: What betrays.
        gone: Nodes, links and repeaters that are not there.
    """

    text: str
    atoms: frozenset[Atom] = frozenset()
    gone: frozenset[Atom] = frozenset()

    def __add__(self, other: Supposition) -> Supposition:
        return Supposition(f"{self.text}, {other.text}", self.atoms | other.atoms, self.gone | other.gone)


@dataclass(frozen=True, slots=True)
class Consequence:
    """What becomes of the demands, by their places in the list."""

    supposition: Supposition
    leaking: tuple[Demand, ...]
    isolated: tuple[Demand, ...]
    demands: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "if": self.supposition.text,
            "demands": self.demands,
            "leaking": [list(demand.saes) for demand in self.leaking],
            "without_key": [list(demand.saes) for demand in self.isolated],
        }

    def lines(self, listed: int = 10) -> list[str]:
        """Return it as text."""
        out = [f"if {self.supposition.text}:"]
        of = f"of {self.demands} {'pair' if self.demands == 1 else 'pairs'} of applications"
        for what, found in (("leak", self.leaking), ("get no key", self.isolated)):
            verb = f"{of}, the keys of {len(found)} {what}"
            if what == "get no key":
                verb = f"{of}, {len(found)} get no key"
            out.append(f"  {verb}" + (":" if found else ""))
            out += [f"    {demand.name}" for demand in found[:listed]]
            if len(found) > listed:
                out.append(f"    ... and {len(found) - listed} more")
        return out


def suppose(texts: Iterable[str], names: Mapping[str, Sequence[str]]) -> list[Supposition]:
    """Read what is supposed; several statements hold together, and a * makes one supposition of each name.

    Args:
        texts: Each may hold several statements, with commas between.
        names: What there is, by kind: "node", "link", ...

    Raises:
        InputError: A statement cannot be read, or names what is not there.
    """
    together = [Supposition("")]
    for text in texts:
        for statement in filter(None, (part.strip() for part in text.split(","))):
            options = _read(statement, names)
            together = [option if not one.text else one + option for one in together for option in options]
    if together == [Supposition("")]:
        raise InputError("what if what?", hint=HINT)
    return together


def _read(statement: str, names: Mapping[str, Sequence[str]]) -> list[Supposition]:
    found = STATEMENT.fullmatch(statement)
    if found is None:
        raise InputError(f"'{statement}' cannot be supposed", hint=HINT)
    kind, name, what = found.groups()
    known = names.get(kind)
    if known is not None and name != "*" and name not in known:
        raise InputError(f"'{statement}': there is no {kind} '{name}'", hint=choices(name, known))
    if known is None:
        raise InputError(
            f"'{statement}': nothing of the kind '{kind}' is known here", hint=choices(kind, names, "kinds")
        )
    if what in GONE and kind not in ("node", "link", "repeater"):
        raise InputError(f"'{statement}': only a node, a link or a repeater can be {what}", hint=HINT)
    wanted = list(known or ()) if name == "*" else [name]
    return [_one(kind, each, what) for each in wanted]


def _one(kind: str, name: str, what: str) -> Supposition:
    text = f"{kind}:{name} {what}"
    if what in GONE:
        return Supposition(text, gone=frozenset({Atom(kind, name)}))
    if kind == "node":
        return Supposition(text, frozenset({Atom("node", name), Atom("site", name)}))
    if kind == "alg" and what != "broken later":
        return Supposition(text, frozenset({Atom("alg", name), Atom("alg", name + SESSION)}))
    return Supposition(text, frozenset({Atom(kind, name)}))


def consequence(supposition: Supposition, demands: Sequence[Demand], links: Mapping[str, PlannedLink]) -> Consequence:
    """Return what becomes of every demand."""
    leaking = tuple(demand for demand in demands if supposition.atoms and demand.leaks(supposition.atoms))
    isolated: tuple[Demand, ...] = ()
    if supposition.gone:
        routes = Routes(links, supposition.gone)
        isolated = tuple(
            demand for demand in demands if not demand.problem and not still_served(demand, supposition.gone, routes)
        )
    return Consequence(supposition, leaking, isolated, len(demands))


def names_of(demands: Iterable[Demand], links: Mapping[str, PlannedLink], nodes: Iterable[str]) -> dict[str, list[str]]:
    """Return what can be supposed of, by kind."""
    atoms = {atom for demand in demands for atom in demand.atoms}
    stations = {station for link in links.values() for station in link.repeaters}
    out: dict[str, set[str]] = {"node": set(nodes), "site": set(nodes), "link": set(links), "alg": set(ALGORITHMS)}
    if stations:
        out["repeater"] = stations
    for atom in atoms:
        out.setdefault(atom.kind, set()).add(atom.name.removesuffix(SESSION))
    return {kind: sorted(found) for kind, found in out.items()}
