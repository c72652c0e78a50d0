"""`noclone plan`: which links, which devices, which trusted nodes, at what cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from noclone.cli.terminal import Json, progress, say, show


def plan(
    sites: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    time_limit: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=86_400))] = 50.0,
    gap: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))] = 0.01,
    bps: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 1000.0,
    pairs: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=2000))] = 10,
    scale: Annotated[
        list[float] | None, Parameter(help="Plan again with all demands times this; once for each.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Plan the cheapest network that meets demands for key: links, devices, nodes that have to be trusted.

    Exits with 1 where a demand is not met in full.

    Args:
        sites: A brief in TOML (sites, fibres, demands, devices), or a GraphML map whose edges are fibres.
        output: The scenario to write; `noclone run`, `serve` and `audit` take it.
        time_limit: Seconds that the solver may take; it then tells how far from the optimum it may be.
        gap: It stops when it is proven to be this near to the optimum, relatively.
        bps: Of a map: secret bits a second that each pair asks for.
        pairs: Of a map: how many pairs of far sites ask for key.
    """
    from noclone.plan.candidates import candidates_of
    from noclone.plan.sites import brief_of_map, load_brief
    from noclone.plan.solver import solve
    from noclone.plan.sweep import sweep, sweep_lines
    from noclone.plan.writing import plan_json, plan_lines, scenario_of_plan

    brief = load_brief(sites) if sites.suffix != ".graphml" else brief_of_map(sites, bps=bps, pairs=pairs)
    with progress() as bar:
        task = bar.add_task(f"{brief.name}: what each device gives on each fibre", total=None)
        candidates, notes = candidates_of(brief, lambda done, total: bar.update(task, completed=done, total=total))
        if scale:
            bar.update(task, description=f"{brief.name}: planning {len(scale)} times", completed=0, total=len(scale))
            swept = sweep(brief, scale, time_limit_s=time_limit, gap=gap, on_plan=lambda: bar.advance(task))
            show([one.to_json() for one in swept], sweep_lines(swept), as_json=as_json)
            return 0 if all(one.met == one.demands for one in swept) else 1
        bar.update(task, description=f"{brief.name}: solving, {time_limit:g} s at most", total=None)
        solution = solve(brief, candidates, time_limit_s=time_limit, gap=gap)
    if output is not None:
        output.write_text(scenario_of_plan(brief, solution), encoding="utf-8")
    show(plan_json(brief, solution, notes), plan_lines(brief, solution, notes), as_json=as_json)
    if output is not None and not as_json:
        say(f"written to {output}: try `noclone audit {output}`, `noclone run {output}`")
    return 0 if all(unmet < 1e-6 for unmet in solution.unmet) else 1
