"""A plan as rows for people and as plain JSON values.

In: `Brief`, `Solution`, what was left out and why.  Out: a `Plan` and its faces; the report draws the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from noclone.plan.candidates import Candidate
from noclone.plan.devices import PLANNING_ONLY
from noclone.plan.narrowing import UNMET_FROM
from noclone.plan.rates import STATEMENTS
from noclone.plan.sites import Brief, DemandSection
from noclone.plan.solver import Solution

NOTES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Plan:
    """A solved brief.

    Args:
        reasons: For each demand why it is not met in full, or nothing.
        notes: What was left out, and why.
    """

    brief: Brief
    solution: Solution
    reasons: list[str]
    notes: list[str]

    @property
    def links(self) -> list[tuple[Candidate, float]]:
        """What is built, with the key that is taken of it, in the order of names."""
        both = zip(self.solution.built, self.solution.used_bps, strict=True)
        return sorted(both, key=lambda pair: (pair[0].a, pair[0].b))

    @property
    def demands(self) -> Iterator[tuple[DemandSection, float, str]]:
        """Every demand with its share unmet and why."""
        return zip(self.brief.demands, self.solution.unmet, self.reasons, strict=True)

    @property
    def complete(self) -> bool:
        """Whether every demand is met in full."""
        return self.solution.met == len(self.brief.demands)

    @property
    def headline(self) -> str:
        """What is built, in a line."""
        found = self.solution
        links, nodes = _count(len(found.built), "link"), _count(len(found.relays), "relaying node")
        return f"{links}, {nodes}, cost {found.cost:,.0f}"

    @property
    def proof(self) -> str:
        """How good it is, in a line."""
        found = self.solution
        gap = "it is the cheapest" if found.gap == 0 else f"this one is at most {found.gap:.1%} above the cheapest"
        return (
            f"no network that meets as much costs less than {found.bound:,.0f}: {gap} "
            f"({found.variables:,} variables, {found.seconds:.1f} s)"
        )

    @property
    def caveats(self) -> list[str]:
        """What a reader has to know before believing it."""
        built, found = self.solution.built, self.solution
        out = []
        only = sorted({f"{one.made_by} ({one.protocol})" for one in built if not one.runs and one.protocol != "vendor"})
        if only:
            out.append(
                f"{PLANNING_ONLY}, by formula, written as vendor links that `noclone run` leaves out: {', '.join(only)}"
            )
        twins = sorted({one.protocol for one in built if one.protocol in ("twin-field", "sns")})
        if twins:
            out.append(f"{', '.join(twins)}: the finite statistics of their proofs are our own and not published")
        if any(one.protocol == "repeater" for one in built):
            out.append("repeaters: where photons are heard half-way between two stations is not asked")
        if any(one.protocol == "satellite" for one in built):
            out.append("satellites: averages over days; `noclone run` gives the key of a pass for the time of a pass")
        if sum(found.unmet) > found.unmet_bound + UNMET_FROM * max(1, len(found.unmet)):
            out.append(
                f"perhaps more could be met: {sum(found.unmet):.2f} demands are unmet in all, and only "
                f"{found.unmet_bound:.2f} is proven; give it more time (--time-limit)"
            )
        return out


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def what(one: Candidate) -> str:
    """Say in a word or three what a link is."""
    if one.protocol in ("satellite", "vendor"):
        return f"{one.made_by} ({one.protocol})"
    return f"{one.made_by} ({one.protocol}{f' over {one.middle}' if one.middle else ''})"


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain JSON values."""
    found = plan.solution
    return {
        "name": plan.brief.name,
        "cost": found.cost,
        "bound": found.bound,
        "gap": found.gap,
        "seconds": found.seconds,
        "variables": found.variables,
        "unmet_bound": found.unmet_bound,
        "links": [_link_json(one, used) for one, used in plan.links],
        "relays": list(found.relays),
        "demands": [
            {
                "between": demand.between,
                "bps": demand.rate_bps,
                "paths": demand.disjoint_paths,
                "max_relays": demand.max_relays,
                "avoid": demand.avoid,
                "unmet_share": unmet,
                "why": why,
            }
            for demand, unmet, why in plan.demands
        ],
        "left_out": plan.notes,
        "caveats": plan.caveats,
    }


def _link_json(one: Candidate, used: float) -> dict[str, Any]:
    return {
        "between": [one.a, one.b],
        "device": one.made_by,
        "protocol": one.protocol,
        "over": one.middle or None,
        "length_km": one.length_km,
        "loss_db": one.loss_db,
        "promised_bps": one.bps,
        "used_bps": used,
        "cost": one.cost,
        "runs": one.runs,
        "statement": STATEMENTS[one.protocol],
    }


def plan_lines(plan: Plan) -> list[str]:
    """Return the plan as text."""
    found = plan.solution
    out = [
        f"PLAN  {plan.brief.title or plan.brief.name}: {plan.headline}",
        f"  {plan.proof}",
        "",
        f"  {'link':34} {'device':30} {'km':>7} {'dB':>6} {'promised b/s':>13} {'used':>7} {'cost':>8}",
    ]
    out += [
        f"  {f'{one.a} - {one.b}':34} {what(one):30} {one.length_km:7.1f} {one.loss_db:6.1f} {one.bps:13,.0f} "
        f"{used / one.bps:7.1%} {one.cost:8,.0f}"
        for one, used in plan.links
    ]
    if found.relays:
        out += ["", f"  trusted to relay: {', '.join(found.relays)}"]
    out.append("")
    for demand, unmet, why in plan.demands:
        if why:
            out.append(f"  {' and '.join(demand.between)}: {unmet:.1%} of {demand.rate_bps:,.0f} b/s is NOT met: {why}")
    out.append(f"  {found.met} of {len(plan.brief.demands)} demands are met in full")
    out += [f"  note: {one}" for one in (*plan.caveats, *plan.notes[:NOTES_SHOWN])]
    if len(plan.notes) > NOTES_SHOWN:
        out.append(f"  and {len(plan.notes) - NOTES_SHOWN} more places without key: --json lists them")
    return out
