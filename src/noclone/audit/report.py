"""The audit as one HTML file: no script, no request, prints well.

In: an `Audit`.  Out: HTML text. Every reason of the verdict links to the table in which its evidence stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from noclone.audit.audit import Audit, demand_json, listed
from noclone.audit.demands import Demand
from noclone.audit.levels import LevelVerdict
from noclone.audit.map import draw
from noclone.audit.threats import STATUSES
from noclone.errors import InputError
from noclone.page.document import document, figure, listing, section, table

MARKS = {"yes": "✓", "conditional": "◐", "no": "✗"}
COALITIONS_LISTED = 5


def render(audit: Audit, matrix: Mapping[str, Any] | None = None) -> str:
    """Return the whole page.

    Args:
        matrix: What `noclone redteam -o` wrote, to be shown beside the threats.
    """
    scene = audit.scene
    title = scene.scenario.title or scene.scenario.name
    weak = frozenset(node for demand in scene.demands for node in demand.nodes_alone)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="what">{escape(scene.scenario.description)}</p>' if scene.scenario.description else "",
        '<p class="badge">SIMULATED light: every probability here speaks about the model, not about a fibre.</p>',
        '<div class="levels">' + "".join(map(_level, audit.levels)) + "</div>",
        _figure(draw(scene.scenario, scene.links, weak), bool(weak)),
        _requirements(audit),
        _recommendations(audit),
        _links(audit),
        _demands(audit),
        _availability(audit),
        _threats(audit),
        _matrix(matrix) if matrix else "",
        _criticisms(audit),
        _cover(audit),
        _exposure(audit),
        _run(audit),
    ]
    closing = "Nothing here has been certified or evaluated by anybody."
    return document(f"Audit: {title}", parts, closing)


def _level(level: LevelVerdict) -> str:
    conditions = "".join(f"<li>{escape(condition)}</li>" for condition in level.conditions)
    reasons = "".join(
        f'<li><a href="#{escape(reason.evidence)}">{escape(reason.text)}</a></li>' for reason in level.reasons
    )
    held = f"<p>on the conditions that</p><ul class='if'>{conditions}</ul>" if conditions else ""
    return (
        f'<section class="level {level.answer}"><h2>{escape(level.level)}: '
        f'<strong>{MARKS[level.answer]} {level.answer}</strong></h2><p class="question">{escape(level.question)}</p>'
        f"<ul>{reasons}</ul>{held}</section>"
    )


def _figure(svg: str, weak: bool) -> str:
    legend = "Dashed: a link that gives no key." + (" Square: a node that knows keys of others." if weak else "")
    return figure(svg, legend)


def _requirements(audit: Audit) -> str:
    if not audit.outcomes:
        return ""
    rows = [("holds" if one.holds else "FAILS", one.text) for one in audit.outcomes]
    return section("requirements", "What the scenario requires", table(("", "requirement"), rows))


def _recommendations(audit: Audit) -> str:
    if not audit.recommendations:
        return ""
    rows = [
        (one.text, str(one.gain) if one.gain else "cannot be tried here", one.command) for one in audit.recommendations
    ]
    head = ("change", "pairs of applications helped", "shown by")
    return section("recommendations", "What would change the verdict most", table(head, rows))


def _links(audit: Audit) -> str:
    rows = []
    for link in audit.scene.links.values():
        block = link.block
        if block is not None and link.vendor is not None:
            rows.append((link.section.name, "", "", "", f"the word of {link.vendor}", f"{block.epsilon:.2g}", ""))
            continue
        told = (
            (
                f"{link.secret_bps:,.0f}",
                f"{link.qber:.2%}",
                block.proof,
                f"{block.epsilon:.2g}",
                f"{link.epsilon_per_year:.2g}",
            )
            if block is not None
            else ("none", f"{link.qber:.2%}", link.problem, "", "")
        )
        rows.append((link.section.name, f"{link.length_km:g}", *told))
    head = ("link", "km", "secret b/s", "error rate expected", "proof", "ε a block", "ε a year")
    note = "<p>By the devices' model. ε: the probability that a promise of secrecy or equality fails.</p>"
    return section("links", "Links", note + table(head, rows))


def _demands(audit: Audit) -> str:
    shown = listed(audit.scene.demands)
    note = f"<p>{len(shown)} of {len(audit.scene.demands)} pairs of applications; those with a policy first.</p>"
    head = ("applications", "key", "over", "who knows it alone", "nodes that must collude", "smallest coalitions")
    return section("demands", "Keys between applications", note + table(head, map(_demand_row, shown)))


def _demand_row(demand: Demand) -> Sequence[str]:
    if demand.formula is None:
        return demand.name, demand.profile, "", "", "", f"no key: {demand.problem}"
    data = demand_json(demand)
    cuts = data["minimal_cut_sets"]
    coalitions = [" + ".join(cut) for cut in cuts["listed"][:COALITIONS_LISTED]]
    more = cuts["total"] - len(coalitions)
    count = demand.nodes_together()
    return (
        demand.name,
        demand.profile,
        "; ".join(" → ".join(route) for route in demand.routes),
        ", ".join(data["nodes_that_know"]) or "no node between",
        "none is between" if count is None else str(count),
        "; ".join(coalitions) + (f"; and {more:,} more" if more else ""),
    )


def _availability(audit: Audit) -> str:
    rows = [
        (
            demand.name,
            ", ".join(found.nodes) or "none",
            ", ".join([*found.links, *(f"repeater {name}" for name in found.repeaters)]) or "none",
            "any" if found.losses is None else str(found.losses),
        )
        for demand, found in zip(audit.scene.demands, audit.scene.isolations, strict=True)
        if demand.stated or found.losing
    ]
    head = ("applications", "nodes whose loss alone cuts them off", "links, repeaters", "nodes to lose at least")
    if not rows:
        return ""
    more = f"<p>and {len(rows) - 200} more pairs</p>" if len(rows) > 200 else ""
    return section("availability", "Who is cut off by what", table(head, rows[:200]) + more)


def _threats(audit: Audit) -> str:
    findings = sorted(audit.findings, key=lambda finding: STATUSES.index(finding.status))
    rows = [
        (
            finding.status,
            finding.threat.title,
            finding.judgement.why + (f" [{', '.join(finding.judgement.where[:6])}]" if finding.judgement.where else ""),
            finding.judgement.remedy,
            finding.threat.source,
        )
        for finding in findings
    ]
    return section("threats", "Threats", table(("status", "threat", "here", "what would help", "source"), rows))


def _matrix(matrix: Mapping[str, Any]) -> str:
    """Return what the red team measured: on links and nodes of its own, not on this network.

    Raises:
        InputError: It is no matrix.
    """
    try:
        rows = [
            (
                one["name"],
                "defended" if row["defended"] else "undefended",
                f"{row['eve_bits']:.3f}",
                f"{row['key_bits']:,}",
                f"{row['exposed_bits']:,.0f}",
                "" if row["qber"] is None else f"{row['qber']:.2%}",
                "never" if row["detected_after"] is None else f"{row['detected_after']} ({row['unit']})",
                row["outcome"] + (f": {', '.join(row['noticed_by'])}" if row["noticed_by"] else ""),
            )
            for one in matrix["attacks"]
            for row in one["rows"]
        ]
        version, seed = matrix["version"], matrix["seed"]
    except (KeyError, TypeError, ValueError):
        raise InputError("this is no attack matrix", hint="make one: noclone redteam --all -o matrix.json") from None
    note = (
        f"<p>Measured by noclone {escape(str(version))}, seed {escape(str(seed))}, on small networks of the red team's "
        "own. Eve's bits are information that her record holds about the real key; exposed bits are those of a key "
        "that came out and is not secret from her.</p>"
    )
    head = ("attack", "", "Eve's bits per bit", "key bits", "exposed", "error rate seen", "seen after", "outcome")
    return section("matrix", "What the red team measured", note + table(head, rows))


def _criticisms(audit: Audit) -> str:
    rows = [(one.criticism, one.by, one.holds, one.answer) for one in audit.criticisms]
    return section(
        "criticisms",
        "The agencies' criticisms of QKD, answered",
        table(("criticism", "by", "holds here", "answer"), rows),
    )


def _cover(audit: Audit) -> str:
    return section("cover", "What each shield covers when the other falls", listing(audit.cover.sentences))


def _exposure(audit: Audit) -> str:
    if not audit.exposure:
        return ""
    told = listing(one.sentence for one in audit.exposure[:200])
    return section("exposure", "Recorded now, decrypted later", told)


def _run(audit: Audit) -> str:
    if audit.run is None:
        return ""
    lines = escape("\n".join(audit.run.lines()))
    return section("run", "What the run showed", f"<pre>{lines}</pre>")
