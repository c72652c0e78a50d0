"""The verdict at three levels: in transit, end to end, across the network; each yes, conditional or no.

In: a `Scene`, its findings, perhaps what a run showed.  Out: a `LevelVerdict` for each level, with its conditions and
the reasons, each of which says where its evidence stands. Simulated light never earns a plain yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from noclone.audit.demands import PlannedLink
from noclone.audit.scene import Scene
from noclone.audit.threats import Finding, Level
from noclone.audit.trusted_devices import spared_nodes, trusts
from noclone.audit.verdict import ATTACKED, NO_KEY, LinkEvidence

Answer = Literal["yes", "conditional", "no"]
ORDER: tuple[Answer, ...] = ("no", "conditional", "yes")
MODEL_ONLY = "model only: the light is simulated"
LISTED = 5


@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence, and where its evidence stands in the audit: "links", "demands", "threats", "availability", "run"."""

    text: str
    evidence: str


@dataclass(frozen=True, slots=True)
class LevelVerdict:
    """What can be said at one level.

    Args:
        conditions: What must hold; empty only where the answer is no condition's matter.
    """

    level: Level
    answer: Answer
    question: str
    conditions: tuple[str, ...]
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "level": self.level,
            "answer": self.answer,
            "question": self.question,
            "conditions": list(self.conditions),
            "reasons": [{"text": reason.text, "evidence": reason.evidence} for reason in self.reasons],
        }

    def lines(self) -> list[str]:
        """Return it as text."""
        out = [f"{self.level.upper()}: {self.answer}.  {self.question}"]
        out += [f"    if {condition}" for condition in self.conditions]
        out += [f"  - {reason.text}" for reason in self.reasons]
        return out


def judge_levels(
    scene: Scene, findings: Sequence[Finding], evidence: Mapping[str, LinkEvidence] | None = None
) -> tuple[LevelVerdict, LevelVerdict, LevelVerdict]:
    """Return the verdicts of the three levels."""
    return _in_transit(scene, findings, evidence or {}), _end_to_end(scene, findings), _across(scene)


def _conditions(scene: Scene, findings: Sequence[Finding], level: Level) -> list[str]:
    """What is assumed at a level, as conditions."""
    simulated = (
        [MODEL_ONLY]
        if any(link.block and link.block.origin.kind == "simulated" for link in scene.links.values())
        else []
    )
    assumed = [
        f"{finding.judgement.why} ({finding.threat.name})"
        for finding in findings
        if finding.threat.level == level
        and finding.status in ("assumed", "not-modelled")
        and finding.threat.name != "simulated-light"
    ]
    return simulated + assumed


def _on_word(link: PlannedLink) -> str:
    assert link.block is not None
    stated = f"who states {link.block.epsilon:.2g} for a key" if link.block.epsilon < 1 else "who states no epsilon"
    return f"{link.section.name} gives key on the word of its vendor ({link.vendor}), {stated}."


def _in_transit(scene: Scene, findings: Sequence[Finding], evidence: Mapping[str, LinkEvidence]) -> LevelVerdict:
    reasons: list[Reason] = []
    bad = False
    for name, link in scene.links.items():
        if link.block is None:
            reasons.append(Reason(f"{name} gives no key: {link.problem}.", "links"))
    for name, seen in evidence.items():
        if seen.code in (ATTACKED, NO_KEY):
            bad = True
            since = ", ".join(dict.fromkeys(seen.refused_since))
            reasons.append(Reason(f"{name} gives no key now: its newest blocks were refused ({since}).", "run"))
    if any(block.origin.seeded for seen in evidence.values() for block in seen.made):
        reasons.append(Reason("The keys of this run itself are no secret: its seed is written down.", "run"))
    giving = [link for link in scene.links.values() if link.vendor is None]
    blocks = [link.block for link in giving if link.block is not None]
    reasons += [Reason(_on_word(link), "links") for link in scene.links.values() if link.vendor is not None]
    computed = sorted({name for demand in scene.demands for name in demand.algorithms if "@" not in name})
    if not scene.links and computed:
        text = f"There is no quantum link: keys stand on algorithms alone ({', '.join(computed)})."
        reasons.append(Reason(text, "demands"))
    elif not blocks and not scene.vendors:
        bad = True
        reasons.append(Reason("No link gives key.", "links"))
    elif blocks:
        worst = max(link.epsilon_per_year for link in giving)
        proofs = ", ".join(sorted({block.proof for block in blocks}))
        reasons.append(
            Reason(
                f"{len(blocks)} of {len(giving)} links give key by a finite-key proof ({proofs}); a block fails "
                f"with a probability of {max(block.epsilon for block in blocks):.2g} at most, a year of a link with "
                f"{worst:.2g} at most.",
                "links",
            )
        )
    reasons += [Reason(text, "links") for text in trusts(scene.sections)]
    opened = [finding for finding in findings if finding.threat.level == "in transit" and finding.status == "open"]
    for finding in opened:
        bad = True
        reasons.append(Reason(f"{finding.threat.title}: {finding.judgement.why}.", "threats"))
    answer: Answer = "no" if bad else "conditional"
    conditions = _conditions(scene, findings, "in transit")
    if not scene.links:
        conditions.append(f"nobody who records them breaks {', '.join(computed)}, today or later")
    return LevelVerdict(
        "in transit",
        answer,
        "Are keys secret from whoever holds the fibres and the public channels, with any computer?",
        () if bad else tuple(conditions),
        tuple(reasons),
    )


def _end_to_end(scene: Scene, findings: Sequence[Finding]) -> LevelVerdict:
    question = "Are keys secret from everybody but the two sites that hold them?"
    if not scene.demands:
        reason = Reason("No two applications are at different nodes: nobody asks for keys.", "demands")
        return LevelVerdict("end to end", "no", question, (), (reason,))
    reasons = []
    alone = [(demand, nodes) for demand in scene.demands if (nodes := demand.nodes_alone)]
    stated = [demand for demand, _ in alone if demand.stated]
    for demand, nodes in alone[:LISTED]:
        who = f"each of {', '.join(nodes)}" if len(nodes) > 1 else nodes[0]
        reasons.append(Reason(f"{demand.name}: {who} knows their keys.", "demands"))
    if len(alone) > LISTED:
        reasons.append(Reason(f"So it is with {pairs(len(alone) - LISTED)} more.", "demands"))
    together = [(count, demand) for demand in scene.demands if (count := demand.nodes_together() or 0) > 1]
    if together:
        count, demand = min(together, key=lambda pair: pair[0])
        reasons.append(
            Reason(
                f"For {pairs(len(together))}, {count} nodes between must collude at least, as for {demand.name}.",
                "demands",
            )
        )
    direct = [demand for demand in scene.demands if demand.formula is not None and demand.nodes_together() is None]
    if direct:
        reasons.append(Reason(f"For {pairs(len(direct))} no node is between.", "demands"))
    reasons += [Reason(text, "links") for text in spared_nodes(scene.sections)]
    conditions = _conditions(scene, findings, "end to end")
    if together:
        conditions.append(f"fewer than {min(together, key=lambda pair: pair[0])[0]} nodes between collude")
    lasting = sorted({name for demand in scene.demands for name in demand.algorithms if "@" not in name})
    if lasting:
        conditions.append(f"nobody ever breaks what keys rest on alone, of {', '.join(lasting)}")
    bad = bool(stated) or (bool(alone) and not any(demand.stated for demand in scene.demands))
    return LevelVerdict(
        "end to end", "no" if bad else "conditional", question, () if bad else tuple(conditions), tuple(reasons)
    )


def _across(scene: Scene) -> LevelVerdict:
    question = "Does every pair of applications get key, and does no single loss or betrayal end that?"
    reasons = []
    without = [demand for demand in scene.demands if demand.problem]
    for demand in without[:LISTED]:
        reasons.append(Reason(f"{demand.name} get no key: {demand.problem}.", "demands"))
    if len(without) > LISTED:
        reasons.append(Reason(f"So it is with {pairs(len(without) - LISTED)} more.", "demands"))
    cuts: dict[str, int] = {}
    for found in scene.isolations:
        for name in found.losing:
            cuts[name] = cuts.get(name, 0) + 1
    for name, count in sorted(cuts.items(), key=lambda item: (-item[1], item[0]))[:LISTED]:
        reasons.append(Reason(f"Losing {name} leaves {pairs(count)} without key.", "availability"))
    if len(cuts) > LISTED:
        reasons.append(Reason(f"{len(cuts) - LISTED} other single losses do so for as many or fewer.", "availability"))
    if not cuts and scene.demands and not without:
        reasons.append(Reason("No single node or link can be lost that leaves a pair without key.", "availability"))
    bad = bool(without) or bool(cuts) or not scene.demands
    model = (MODEL_ONLY,) if len(scene.links) > len(scene.vendors) else ()
    conditions = () if bad else (*model, "no two things that a pair needs are lost at once")
    return LevelVerdict("across the network", "no" if bad else "conditional", question, conditions, tuple(reasons))


def pairs(count: int) -> str:
    """Count pairs of applications, in words."""
    return "1 pair" if count == 1 else f"{count} pairs"
