"""The audit: what is secure, against whom, on which assumptions, of a scenario or of a run.

In: a `Scenario`, perhaps the events of a run.  Out: an `Audit`: the verdict at three levels, threats, criticisms,
demands with their coalitions, availability, exposure to who records now and decrypts later, and whether what the
scenario requires holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from noclone.audit.availability import isolations
from noclone.audit.cover import Cover, cover
from noclone.audit.criticisms import Answer, answers
from noclone.audit.demands import Demand, demands_of, plan_links
from noclone.audit.exposure import Exposure, exposures
from noclone.audit.judging import judge_threats
from noclone.audit.levels import LevelVerdict, judge_levels
from noclone.audit.recommendations import Recommendation, recommend
from noclone.audit.requirements import Outcome, hold
from noclone.audit.scene import Scene
from noclone.audit.threats import STATUSES, Finding
from noclone.audit.verdict import Verdict, gather, judge
from noclone.audit.what_if import Consequence, consequence, names_of, suppose
from noclone.events import Event
from noclone.network.scenario import Scenario
from noclone.trust.formula import minimal_cut_sets

CUT_SETS_LISTED = 10
DEMANDS_LISTED = 200
CUT_SETS_READ = 1000


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything that can be said of a network. `to_json` is what `noclone audit --json` prints."""

    scene: Scene
    levels: tuple[LevelVerdict, ...]
    findings: Sequence[Finding]
    criticisms: Sequence[Answer]
    cover: Cover
    exposure: Sequence[Exposure]
    outcomes: Sequence[Outcome]
    recommendations: Sequence[Recommendation]
    run: Verdict | None = None

    @property
    def failed(self) -> bool:
        """Whether a stated requirement does not hold."""
        return any(not outcome.holds for outcome in self.outcomes)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        return "; ".join(f"{level.level}: {level.answer}" for level in self.levels) + "."

    def what_if(self, texts: Iterable[str]) -> list[Consequence]:
        """Return what would become of every demand.

        Raises:
            InputError: A statement cannot be read, or names what is not there.
        """
        scene = self.scene
        names = names_of(scene.demands, scene.links, [node.name for node in scene.scenario.nodes])
        return [consequence(one, scene.demands, scene.links) for one in suppose(texts, names)]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        scene = self.scene
        return {
            "scenario": scene.scenario.name,
            "sentence": self.sentence,
            "levels": [level.to_json() for level in self.levels],
            "requirements": [outcome.to_json() for outcome in self.outcomes],
            "links": [link.to_json() for link in scene.links.values()],
            "demands": [demand_json(demand) for demand in listed(scene.demands)],
            "demands_in_all": len(scene.demands),
            "availability": [
                {"between": list(demand.saes), **found.to_json()}
                for demand, found in zip(scene.demands, scene.isolations, strict=True)
                if demand.stated or found.losing
            ][:DEMANDS_LISTED],
            "threats": [finding.to_json() for finding in self.findings],
            "criticisms": [answer.to_json() for answer in self.criticisms],
            "cover": self.cover.to_json(),
            "exposure": [one.to_json() for one in self.exposure],
            "recommendations": [one.to_json() for one in self.recommendations],
            "run": None if self.run is None else self.run.to_json(),
        }

    def lines(self) -> list[str]:
        """Return the audit as text."""
        out = [f"AUDIT  {self.scene.scenario.title or self.scene.scenario.name}", f"  {self.sentence}", ""]
        for level in self.levels:
            out += [*level.lines(), ""]
        out += self._requirement_lines()
        out += self._threat_lines()
        out.append("agencies' criticisms of QKD, and this network's answers")
        for answer in self.criticisms:
            out += [f"  {answer.criticism} ({answer.by})", f"    {answer.holds}: {answer.answer}"]
        out += ["", "what each shield covers when the other falls", *(f"  {one}" for one in self.cover.sentences)]
        if self.exposure:
            out += ["", "recorded now, decrypted later"]
            out += [f"  {one.sentence}" for one in self.exposure]
        if self.recommendations:
            out += ["", "what would change the verdict most"]
            out += [f"  {number}. {one.text}" for number, one in enumerate(self.recommendations, 1)]
        if self.run is not None:
            out += ["", *self.run.lines()]
        return out

    def _requirement_lines(self) -> list[str]:
        if not self.outcomes:
            return []
        out = ["requirements of the scenario"]
        out += [f"  {'holds' if one.holds else 'FAILS'}: {one.text}" for one in self.outcomes]
        return [*out, ""]

    def _threat_lines(self) -> list[str]:
        out = ["threats"]
        for finding in sorted(self.findings, key=lambda finding: STATUSES.index(finding.status)):
            where = finding.judgement.where
            shown = f" [{', '.join(where[:3])}{', ...' if len(where) > 3 else ''}]" if where else ""
            out.append(f"  {finding.status:12} {finding.threat.title}: {finding.judgement.why}{shown}")
        return [*out, ""]


def audit(
    scenario: Scenario, events: Iterable[Event] | None = None, on_link: Callable[[], None] = lambda: None
) -> Audit:
    """Audit a scenario, and with events what happened in a run of it.

    Args:
        on_link: Called after each link that was planned: that is nearly all of the work.
    """
    links = plan_links(scenario, on_link)
    demands = demands_of(scenario, links)
    scene = Scene(scenario, links, demands, isolations(links, demands))
    findings = judge_threats(scene)
    happened = None if events is None else list(events)
    levels = judge_levels(scene, findings, None if happened is None else gather(happened))
    return Audit(
        scene,
        levels,
        findings,
        answers(scene),
        cover(demands),
        exposures(demands),
        hold(scenario.audit, scene, levels),
        recommend(scene, findings),
        None if happened is None else judge(happened),
    )


def listed(demands: Sequence[Demand]) -> list[Demand]:
    """Return the demands that a report shows: those with a policy, then as many others as fit."""
    stated = [demand for demand in demands if demand.stated]
    return [*stated, *[demand for demand in demands if not demand.stated][: max(0, DEMANDS_LISTED - len(stated))]]


def demand_json(demand: Demand) -> dict[str, Any]:
    """Return what is known of one demand, its smallest coalitions included."""
    cuts = None if demand.formula is None else minimal_cut_sets(demand.formula, CUT_SETS_READ)
    return {
        "between": list(demand.saes),
        "sites": list(demand.sites),
        "stated": demand.stated,
        "profile": demand.profile,
        "routes": [list(route) for route in demand.routes],
        "problem": demand.problem,
        "claim": demand.claim,
        "secret_years": demand.secret_years,
        "nodes_that_know": list(demand.nodes_alone),
        "nodes_to_collude": demand.nodes_together(),
        "formula": None if demand.formula is None else demand.formula.to_json(),
        "minimal_cut_sets": None
        if cuts is None
        else {
            "order": cuts.order,
            "total": cuts.total,
            "by_order": {str(order): count for order, count in cuts.by_order.items()},
            "listed": [sorted(map(str, cut)) for cut in cuts.sets[:CUT_SETS_LISTED]],
        },
    }
