"""From a plan to a scenario that `noclone run` accepts.

In: `Brief`, `Solution`.  Out: TOML text. Vendors' links and those that are planning only are written as
[[vendor_link]]: what is to be bought there hands its keys over by ETSI GS QKD 014, and `noclone serve` draws them once
the doors are filled in. `noclone run` runs the light of all other links.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from noclone.network.scenario import LINKS_MAX, NODES_MAX
from noclone.network.topology_files import quoted, unused
from noclone.plan.candidates import Candidate
from noclone.plan.devices import PLANNING_ONLY
from noclone.plan.links import Tables, link_of
from noclone.plan.narrowing import UNMET_FROM
from noclone.plan.sites import Brief, DemandSection, PlanError
from noclone.plan.solver import Solution


def scenario_of_plan(brief: Brief, solution: Solution) -> str:
    """Return the TOML of the planned network: its nodes, an application at each end of a demand, links, policies.

    Raises:
        PlanError: Nothing is built, or more than a scenario holds.
    """
    names = sorted({end for one in solution.built for end in (one.a, one.b)})
    if not solution.built:
        raise PlanError("nothing can be built for these demands", hint="see why in the plan's own output")
    if len(names) > NODES_MAX or len(solution.built) > LINKS_MAX:
        raise PlanError(
            f"the plan has {len(names)} nodes and {len(solution.built)} links, and a scenario holds {NODES_MAX} and "
            f"{LINKS_MAX}",
            hint="leave --output out: --report and --json take a plan of any size",
        )
    met = [d for d, unmet in zip(brief.demands, solution.unmet, strict=True) if unmet < 1.0 - UNMET_FROM]
    ends = sorted({end for demand in met for end in demand.between})
    taken: set[str] = set()
    links = [_link(one, _name(one, taken)) for one in solution.built]
    parts = [_head(brief, solution), *(_node(brief, name) for name in names)]
    parts += [f'[[sae]]\nid = "sae-{name}"\nnode = "{name}"\n' for name in ends]
    return "\n".join([*parts, *links, *_policies(met, solution.built)])


def _head(brief: Brief, solution: Solution) -> str:
    told = [
        f"# Made by `noclone plan` from the brief '{brief.name}': cost {solution.cost:g}, "
        f"at most {solution.gap:.1%} above the cheapest network."
    ]
    foreign = [one for one in solution.built if not one.runs]
    if foreign:
        told += [
            f"# {len(foreign)} of {len(solution.built)} links are vendor_links with doors to fill in: noclone does not "
            "simulate their light.",
            "# `noclone run` runs the others; `noclone serve` draws from these once their doors are there.",
        ]
    return "\n".join(told) + f'\nname = "{brief.name}"\ntitle = {quoted(brief.title or brief.name)}\n'


def _node(brief: Brief, name: str) -> str:
    titles = {site.name: site.title for site in brief.sites} | {one.name: one.title for one in brief.satellites}
    place = next(
        (
            f"latitude = {site.latitude:g}\nlongitude = {site.longitude:g}\n"
            for site in brief.sites
            if site.name == name and site.latitude is not None and site.longitude is not None
        ),
        "",
    )
    return f'[[node]]\nname = "{name}"\ntitle = {quoted(titles[name] or name)}\n{place}'


def _name(one: Candidate, taken: set[str]) -> str:
    name = unused(f"{one.a}-{one.b}", taken)
    taken.add(name)
    return name


def _link(one: Candidate, name: str) -> str:
    if not one.runs:
        return _foreign(one, name)
    over = f" over {one.middle}" if one.middle else ""
    often = ", an average over days: one pass is one block" if one.protocol == "satellite" else ""
    lines = [f"[[link]] # {one.made_by}: {one.bps:,.3g} b/s promised{over}{often}"]
    lines += [f"{field} = {toml_value(value)}" for field, value in {**_tables(one), "name": name}.items()]
    return "\n".join(lines) + "\n"


def _tables(one: Candidate) -> Tables:
    if one.link is not None:
        return one.link
    assert one.device is not None
    assert one.span is not None
    return link_of("link", (one.a, one.b), one.device, one.span.losses_db, one.span.lengths_km)


def toml_value(value: Any) -> str:
    """Write a value in one line."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{name} = {toml_value(inner)}" for name, inner in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(toml_value, value)) + "]"
        case str():
            return quoted(value)
        case _:
            return json.dumps(value)


def _foreign(one: Candidate, name: str) -> str:
    """Return a link whose key comes from equipment: `.invalid` (RFC 2606) stands where its addresses will."""
    what = "to be had" if one.protocol == "vendor" else f"{one.protocol}, {PLANNING_ONLY}"
    over = f" over a station at {one.middle}" if one.middle else ""
    stated = (
        f"epsilon = {one.epsilon:g}\n"
        if one.epsilon is not None
        else "# epsilon = what the vendor states of each key\n"
    )
    doors = "".join(
        f'[vendor_link.at_{end}]\nurl = "https://{name}-{end}.invalid:8443"\nsae = "kms-{end}"\n'
        'certificate = "vendor.crt"\nkey = "vendor.key"\nca = "vendor-ca.crt"\n'
        for end in ("alice", "bob")
    )
    return (
        f"[[vendor_link]] # {what}: {one.bps:,.0f} b/s planned{over}\n"
        f'name = "{name}"\nalice = "{one.a}"\nbob = "{one.b}"\nvendor = {quoted(one.made_by)}\n{stated}{doors}'
    )


def _policies(demands: Sequence[DemandSection], built: Sequence[Candidate]) -> list[str]:
    """Return the policies; as comments where a vendor's link states no epsilon, since no policy holds over it."""
    unstated = sorted(one.made_by for one in built if not one.runs and one.epsilon is None)
    out = []
    for demand in demands:
        a, b = demand.between
        lines = [f'[[policy]]\nbetween = ["sae-{a}", "sae-{b}"]']
        if demand.disjoint_paths > 1:
            lines.append(f"disjoint_paths = {demand.disjoint_paths}\nmax_nodes_knowing = 0")
        elif demand.max_relays is not None:
            lines.append(f"max_nodes_knowing = {demand.max_relays}")
        else:
            continue
        text = "\n".join(lines)
        if unstated:
            why = f"This policy waits for the epsilon that the maker of {unstated[0]} states: no policy holds without."
            text = "\n".join(f"# {line}" for line in (why, *text.splitlines()))
        out.append(text + "\n")
    avoided = sorted({name for demand in demands for name in demand.avoid})
    if avoided:
        out.append(
            f"# Some demands avoid {', '.join(avoided)}: a scenario cannot say so, its nodes choose their routes.\n"
        )
    return out
