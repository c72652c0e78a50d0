"""The plan as one HTML file: a map, tables of what to build, of demands and of what was left out.

In: a `Plan`.  Out: HTML text that stands alone.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise

from noclone.page.document import document, figure, listing, section, table
from noclone.page.drawing import Line, Spot, draw
from noclone.plan.rates import STATEMENTS
from noclone.plan.spans import fibres_of
from noclone.plan.table import Plan, what

NOTES_SHOWN = 200
LEGEND = (
    "Solid: a link to build that noclone can run. Dashed and dotted: planning only, or a vendor's. Faint: a fibre that "
    "is not used. Square: a node that has to be trusted with keys of others. Diamond: a satellite."
)
NOT_CONSIDERED = (
    "Entanglement from orbit; repeaters on other ways than the three shortest between the ends of each demand.",
    "Several systems side by side between the same two sites; classical traffic in the same fibre.",
    "Whether a satellite can serve all of its stations in one pass, and how its key varies with weather and season: "
    "its links are averages over days.",
    "Storage, availability and repair: a link is planned as if it always worked.",
)


def render(plan: Plan) -> str:
    """Return the whole page."""
    title = plan.brief.title or plan.brief.name
    badge = f"{plan.solution.met} of {len(plan.brief.demands)} demands met in full"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="what">{escape(plan.headline)}; {escape(plan.proof)}.</p>',
        f'<p class="badge">{escape(badge)}</p>',
        figure(_map(plan), LEGEND),
        section("links", "What to build", _links(plan)),
        section("nodes", "Who has to be trusted", _relays(plan)),
        section("demands", "Demands", _demands(plan)),
        section("caveats", "Before believing it", listing(plan.caveats)) if plan.caveats else "",
        section("left-out", "Where no device gives key", _notes(plan)) if plan.notes else "",
        section("not-considered", "What was not considered", listing(NOT_CONSIDERED)),
    ]
    return document(
        f"Plan: {title}", parts, "Expected by models and formulas; no light was simulated, nothing measured."
    )


def _map(plan: Plan) -> str:
    relays = set(plan.solution.relays)
    used = {end for one in plan.solution.built for end in (one.a, one.b)}
    spots = [
        Spot(
            site.name,
            site.title or site.name,
            site.latitude,
            site.longitude,
            marked=site.name in relays,
            note="has to be trusted" if site.name in relays else "",
        )
        for site in plan.brief.sites
    ]
    spots += [
        Spot(one.name, one.title or one.name, marked=True, aloft=True, note="has to be trusted")
        for one in plan.brief.satellites
        if one.name in used
    ]
    lines = [
        Line(fibre.a, fibre.b, "spare", f"{fibre.a} - {fibre.b}: {fibre.length_km:.0f} km, {fibre.loss_db:.1f} dB")
        for fibre in fibres_of(plan.brief)
    ]
    known = {spot.name for spot in spots}
    for one, taken in plan.links:
        note = f"{one.a} - {one.b}: {what(one)}, {one.bps:,.0f} b/s, {taken / one.bps:.0%} used"
        way = [one.a, *(name for name in one.middle.split(", ") if name in known), one.b]
        lines += [Line(a, b, "link" if one.runs else "planned", note) for a, b in pairwise(way)]
    return draw(spots, lines, f"The plan: {len(spots)} sites, {len(plan.links)} links")


def _links(plan: Plan) -> str:
    rows = [
        (
            f"{one.a} - {one.b}",
            what(one),
            f"{one.length_km:,.1f}" if one.length_km else "",
            f"{one.loss_db:.1f}" if one.loss_db else "",
            f"{one.bps:,.0f}",
            f"{used / one.bps:.1%}",
            f"{one.cost:,.0f}",
            "yes" if one.runs else "no",
            STATEMENTS[one.protocol],
        )
        for one, used in plan.links
    ]
    head = ("link", "device", "km", "dB", "secret b/s", "used", "cost", "noclone runs it", "the rate is of")
    return table(head, rows)


def _relays(plan: Plan) -> str:
    if not plan.solution.relays:
        return "<p>Nobody: no key is relayed.</p>"
    costs = plan.brief.node_costs()
    return table(("node", "cost"), ((name, f"{costs[name]:,.0f}") for name in plan.solution.relays))


def _demands(plan: Plan) -> str:
    rows = []
    for demand, unmet, why in plan.demands:
        asked = [f"{demand.disjoint_paths} disjoint paths"] if demand.disjoint_paths > 1 else []
        asked += [f"at most {demand.max_relays} relays"] if demand.max_relays is not None else []
        asked += [f"not over {', '.join(demand.avoid)}"] if demand.avoid else []
        met = "in full" if not why else f"{1 - unmet:.1%}"
        rows.append((" and ".join(demand.between), f"{demand.rate_bps:,.0f}", "; ".join(asked), met, why))
    return table(("between", "secret b/s", "policy", "met", "why not"), rows)


def _notes(plan: Plan) -> str:
    more = f"<p>and {len(plan.notes) - NOTES_SHOWN} more</p>" if len(plan.notes) > NOTES_SHOWN else ""
    return listing(plan.notes[:NOTES_SHOWN]) + more
