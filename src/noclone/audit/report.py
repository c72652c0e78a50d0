"""The audit as one HTML file: no script, no request, prints well.

In: an `Audit`.  Out: HTML text. Every reason of the verdict links to the table in which its evidence stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from noclone import __version__
from noclone.audit.audit import Audit, demand_json, listed
from noclone.audit.demands import Demand
from noclone.audit.levels import LevelVerdict
from noclone.audit.map import draw
from noclone.audit.threats import STATUSES
from noclone.errors import InputError

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
    style = (resources.files("noclone.audit") / "report.css").read_text(encoding="utf-8")
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
        f"<footer>noclone {escape(__version__)}. Nothing here has been certified or evaluated by anybody.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Audit: {escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


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
    return f"<figure>{svg}<figcaption>{legend}</figcaption></figure>"


def _requirements(audit: Audit) -> str:
    if not audit.outcomes:
        return ""
    rows = [("holds" if one.holds else "FAILS", one.text) for one in audit.outcomes]
    return _section("requirements", "What the scenario requires", _table(("", "requirement"), rows))


def _recommendations(audit: Audit) -> str:
    if not audit.recommendations:
        return ""
    rows = [
        (one.text, str(one.gain) if one.gain else "cannot be tried here", one.command) for one in audit.recommendations
    ]
    head = ("change", "pairs of applications helped", "shown by")
    return _section("recommendations", "What would change the verdict most", _table(head, rows))


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
    return _section("links", "Links", note + _table(head, rows))


def _demands(audit: Audit) -> str:
    shown = listed(audit.scene.demands)
    note = f"<p>{len(shown)} of {len(audit.scene.demands)} pairs of applications; those with a policy first.</p>"
    head = ("applications", "key", "over", "who knows it alone", "nodes that must collude", "smallest coalitions")
    return _section("demands", "Keys between applications", note + _table(head, map(_demand_row, shown)))


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
            ", ".join(found.links) or "none",
            "any" if found.losses is None else str(found.losses),
        )
        for demand, found in zip(audit.scene.demands, audit.scene.isolations, strict=True)
        if demand.stated or found.nodes or found.links
    ]
    head = ("applications", "nodes whose loss alone cuts them off", "links", "nodes to lose at least")
    if not rows:
        return ""
    more = f"<p>and {len(rows) - 200} more pairs</p>" if len(rows) > 200 else ""
    return _section("availability", "Who is cut off by what", _table(head, rows[:200]) + more)


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
    return _section("threats", "Threats", _table(("status", "threat", "here", "what would help", "source"), rows))


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
    return _section("matrix", "What the red team measured", note + _table(head, rows))


def _criticisms(audit: Audit) -> str:
    rows = [(one.criticism, one.by, one.holds, one.answer) for one in audit.criticisms]
    return _section(
        "criticisms",
        "The agencies' criticisms of QKD, answered",
        _table(("criticism", "by", "holds here", "answer"), rows),
    )


def _cover(audit: Audit) -> str:
    items = "".join(f"<li>{escape(one)}</li>" for one in audit.cover.sentences)
    return _section("cover", "What each shield covers when the other falls", f"<ul>{items}</ul>")


def _exposure(audit: Audit) -> str:
    if not audit.exposure:
        return ""
    items = "".join(f"<li>{escape(one.sentence)}</li>" for one in audit.exposure[:200])
    return _section("exposure", "Recorded now, decrypted later", f"<ul>{items}</ul>")


def _run(audit: Audit) -> str:
    if audit.run is None:
        return ""
    lines = escape("\n".join(audit.run.lines()))
    return _section("run", "What the run showed", f"<pre>{lines}</pre>")


def _section(anchor: str, title: str, body: str) -> str:
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
