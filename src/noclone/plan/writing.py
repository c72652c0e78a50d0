"""From a plan to a scenario that `noclone run` accepts, and to a table of what to buy.

In: `Brief`, `Solution`.  Out: TOML text; plain JSON values; lines.
"""

from __future__ import annotations

import json
from typing import Any

from noclone.network.scenario import LINKS_MAX, NODES_MAX
from noclone.network.topology_files import quoted
from noclone.plan.candidates import Candidate, link_section
from noclone.plan.sites import Brief, PlanError
from noclone.plan.solver import Solution

UNMET_FROM = 1e-6


def scenario_of_plan(brief: Brief, solution: Solution) -> str:
    """Return the TOML of the planned network: its nodes, an application at each end of a demand, links, policies.

    Raises:
        PlanError: Nothing is built, or more than a scenario holds.
    """
    names = sorted({end for one in solution.built for end in (one.a, one.b)})
    if not solution.built:
        raise PlanError("nothing can be built for these demands", hint="see why in the plan's own output")
    if len(names) > NODES_MAX or len(solution.built) > LINKS_MAX:
        raise PlanError(f"the plan has {len(names)} nodes and {len(solution.built)} links: more than a scenario holds")
    sites = {site.name: site for site in brief.sites}
    met = [d for d, unmet in zip(brief.demands, solution.unmet, strict=True) if unmet < 1.0 - UNMET_FROM]
    ends = sorted({end for demand in met for end in demand.between})
    parts = [
        f"# Made by `noclone plan` from the brief '{brief.name}': cost {solution.cost:g}, "
        f"at most {solution.gap:.1%} above the cheapest network.\n"
        f'name = "{brief.name}"\ntitle = {quoted(brief.title or brief.name)}\n'
    ]
    for name in names:
        site = sites[name]
        place = ""
        if site.latitude is not None and site.longitude is not None:
            place = f"latitude = {site.latitude:g}\nlongitude = {site.longitude:g}\n"
        parts.append(f'[[node]]\nname = "{name}"\ntitle = {quoted(site.title or name)}\n{place}')
    parts += [f'[[sae]]\nid = "sae-{name}"\nnode = "{name}"\n' for name in ends]
    parts += [_link(one) for one in solution.built]
    for demand in met:
        if demand.disjoint_paths > 1:
            a, b = demand.between
            parts.append(
                f'[[policy]]\nbetween = ["sae-{a}", "sae-{b}"]\ndisjoint_paths = {demand.disjoint_paths}\n'
                "max_nodes_knowing = 0\n"
            )
    return "\n".join(parts)


def _link(one: Candidate) -> str:
    section = link_section("link", one.a, one.b, one.length_km, one.loss_db, one.device)
    attenuation = one.loss_db / one.length_km
    source, receiver = section.source, section.receiver
    name = f"{one.a}-{one.b}"[:32].strip("-")
    return (
        f"[[link]] # {one.device.name}: {one.bps:,.0f} b/s promised\n"
        f'name = "{name}"\nalice = "{one.a}"\nbob = "{one.b}"\n'
        f"source = {{ clock_hz = {source.clock_hz:g}, intensities = {json.dumps(source.intensities)}, "
        f"probabilities = {json.dumps(source.probabilities)}, p_key = {source.p_key:g} }}\n"
        f"fibre = {{ length_km = {one.length_km:.4f}, attenuation_db_per_km = {attenuation:.6g} }}\n"
        f"receiver = {{ p_key = {receiver.p_key:g}, efficiency = {one.device.efficiency:g}, "
        f"dark_count_hz = {one.device.dark_count_hz:g}, dead_time_ns = {one.device.dead_time_ns:g}, "
        f"misalignment = {one.device.misalignment:g} }}\n"
        f"distillation = {{ block_key_bits = {one.device.block_key_bits} }}\n"
    )


def plan_json(brief: Brief, solution: Solution, notes: list[str]) -> dict[str, Any]:
    """Return the plan as plain JSON values."""
    return {
        "name": brief.name,
        "cost": solution.cost,
        "bound": solution.bound,
        "gap": solution.gap,
        "seconds": solution.seconds,
        "variables": solution.variables,
        "links": [
            {
                "between": [one.a, one.b],
                "device": one.device.name,
                "length_km": one.length_km,
                "loss_db": one.loss_db,
                "promised_bps": one.bps,
                "used_bps": used,
                "cost": one.cost,
            }
            for one, used in zip(solution.built, solution.used_bps, strict=True)
        ],
        "relays": list(solution.relays),
        "demands": [
            {
                "between": demand.between,
                "bps": demand.bps,
                "paths": demand.disjoint_paths,
                "unmet_share": unmet,
                "why": why,
            }
            for demand, unmet, why in zip(brief.demands, solution.unmet, whys(brief, solution, notes), strict=True)
        ],
        "left_out": notes,
    }


def whys(brief: Brief, solution: Solution, notes: list[str]) -> list[str]:
    """Say of each demand why it is not met in full, or nothing."""
    out = []
    for demand, unmet in zip(brief.demands, solution.unmet, strict=True):
        if unmet < UNMET_FROM:
            out.append("")
        elif demand.disjoint_paths > 1:
            out.append(f"there are not {demand.disjoint_paths} paths of enough key that share no node")
        elif unmet > 1.0 - UNMET_FROM:
            left = f" ({len(notes)} fibres give no key at all)" if notes else ""
            out.append(f"no chain of links that give key, over sites that may relay, joins the two{left}")
        else:
            out.append("the best devices on every fibre give no more")
    return out


def plan_lines(brief: Brief, solution: Solution, notes: list[str]) -> list[str]:
    """Return the plan as text."""
    out = [
        f"PLAN  {brief.title or brief.name}: {len(solution.built)} links, {len(solution.relays)} relaying nodes, "
        f"cost {solution.cost:,.0f}",
        f"  no network costs less than {solution.bound:,.0f}: this one is at most {solution.gap:.1%} above the cheapest"
        f" ({solution.variables:,} variables, {solution.seconds:.1f} s)",
        "",
        f"  {'link':34} {'device':16} {'km':>7} {'dB':>6} {'promised b/s':>13} {'used':>7} {'cost':>8}",
    ]
    for one, used in sorted(
        zip(solution.built, solution.used_bps, strict=True), key=lambda pair: (pair[0].a, pair[0].b)
    ):
        name = f"{one.a} - {one.b}"
        out.append(
            f"  {name:34} {one.device.name:16} {one.length_km:7.1f} {one.loss_db:6.1f} {one.bps:13,.0f} "
            f"{used / one.bps:7.1%} {one.cost:8,.0f}"
        )
    if solution.relays:
        out += ["", f"  trusted to relay: {', '.join(solution.relays)}"]
    out.append("")
    for demand, unmet, why in zip(brief.demands, solution.unmet, whys(brief, solution, notes), strict=True):
        if why:
            out.append(f"  {' and '.join(demand.between)}: {unmet:.1%} of {demand.bps:,.0f} b/s is NOT met: {why}")
    met = sum(unmet < UNMET_FROM for unmet in solution.unmet)
    out.append(f"  {met} of {len(brief.demands)} demands are met in full")
    return out
