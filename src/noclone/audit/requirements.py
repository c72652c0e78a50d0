"""What the scenario requires of its own audit, so that a pipeline can stop on it.

In: `[audit]` of the scenario, the verdicts.  Out: an `Outcome` for each requirement; one that fails makes
`noclone audit` exit with 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noclone.audit.levels import ORDER, LevelVerdict
from noclone.audit.scene import Scene
from noclone.audit.what_if import consequence, names_of, suppose
from noclone.network.audit_section import AuditSection
from noclone.trust.formula import Atom
from noclone.trust.provenance import SESSION


@dataclass(frozen=True, slots=True)
class Outcome:
    """A requirement, and whether it holds."""

    text: str
    holds: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"requirement": self.text, "holds": self.holds}


def hold(section: AuditSection, scene: Scene, levels: Sequence[LevelVerdict]) -> list[Outcome]:
    """Hold every stated requirement against the network.

    Raises:
        InputError: A supposition in `survive` cannot be read.
    """
    out = []
    wanted = (section.in_transit, section.end_to_end, section.network)
    for level, answer in zip(levels, wanted, strict=True):
        if answer is not None:
            good = ORDER.index(level.answer) >= ORDER.index(answer)
            out.append(Outcome(f"{level.level} is at least {answer}; it is {level.answer}", good))
    if section.epsilon_per_year_max is not None:
        worst = max((link.epsilon_per_year for link in scene.links.values()), default=0.0)
        text = f"a year of any link fails with at most {section.epsilon_per_year_max:.2g}; the worst has {worst:.2g}"
        out.append(Outcome(text, worst <= section.epsilon_per_year_max))
    stated = [demand for demand in scene.demands if demand.stated] or list(scene.demands)
    if section.nodes_to_collude is not None:
        weak = [d for d in stated if (count := d.nodes_together()) is not None and count < section.nodes_to_collude]
        text = f"at least {section.nodes_to_collude} nodes between must collude to learn a key"
        out.append(Outcome(text + (f"; not so of {weak[0].name}" if weak else ""), not weak))
    for text in section.survive:
        out.append(_survive(text, scene))
    for demand in stated:
        if demand.secret_years is not None:
            broken = [
                a for a in demand.algorithms if not a.endswith(SESSION) and demand.leaks(frozenset({Atom("alg", a)}))
            ]
            told = f"; {broken[0]} alone protects it" if broken else ""
            text = f"{demand.name}: secret for {demand.secret_years:g} years whatever one algorithm becomes{told}"
            out.append(Outcome(text, not broken and demand.formula is not None))
    return out


def _survive(text: str, scene: Scene) -> Outcome:
    """Whether no key leaks, and nobody is cut off, under a supposition; those whose own site it is do not count."""
    names = names_of(scene.demands, scene.links, [node.name for node in scene.scenario.nodes])
    for one in suppose([text], names):
        found = consequence(one, scene.demands, scene.links)
        own = {atom.name for atom in one.atoms | one.gone if atom.kind in ("node", "site")}
        hit = [demand for demand in (*found.leaking, *found.isolated) if not own.intersection(demand.sites)]
        stated = [demand for demand in hit if demand.stated] if any(d.stated for d in scene.demands) else hit
        if stated:
            return Outcome(f"survives {text}; {one.text} hits {stated[0].name}", holds=False)
    return Outcome(f"survives {text}", holds=True)
