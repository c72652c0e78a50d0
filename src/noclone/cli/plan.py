"""`noclone plan`: which links, which devices, which trusted nodes, at what cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from noclone.cli.output import may_write
from noclone.cli.terminal import Json, progress, say, show

if TYPE_CHECKING:
    from noclone.plan.sites import Brief
    from noclone.plan.table import Plan


def plan(
    sites: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    report: Path | None = None,
    time_limit: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=86_400))] = 50.0,
    gap: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))] = 0.01,
    only_what_runs: Annotated[bool, Parameter(negative=())] = False,
    bps: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 1000.0,
    pairs: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=2000))] = 10,
    route_factor: Annotated[float, Parameter(validator=validators.Number(gte=1, lte=5))] = 1.0,
    sweep: Annotated[list[str] | None, Parameter(negative=())] = None,
    cluster: str | None = None,
    as_json: Json = False,
) -> int:
    """Plan the cheapest network that meets demands for key: links, devices, nodes that have to be trusted.

    Exits with 1 where a demand is not met in full.

    Args:
        sites: A brief in TOML (sites, fibres, demands, devices), or a GraphML map whose edges are fibres.
        output: The scenario to write; `noclone run`, `serve` and `audit` take it.
        report: The HTML file to write: map, tables, reasons.
        time_limit: Seconds that the solver may take; it then tells how far from the optimum it may be.
        gap: It stops when it is proven to be this near to the optimum, relatively.
        only_what_runs: Consider only what `noclone run` can run, and leave the planning-only candidates out.
        bps: Of a map: secret bits a second that each pair asks for.
        pairs: Of a map: how many pairs of far sites ask for key.
        route_factor: Of a map: how much longer cables are than great circles.
        sweep: What changes if: NAME=first:last:count or NAME=1,2,5, such as demands=0.5:4:8,
            attenuation_db_per_km=0.16,0.2 or device.avalanche.cost=50:100:3. Several are combined.
        cluster: Address of a Dask scheduler on whose workers a sweep runs; this machine's cores where none is given.
    """
    from noclone.errors import InputError
    from noclone.plan.sites import brief_of_map, load_brief

    may_write(output)
    may_write(report)
    is_map = sites.suffix == ".graphml"
    brief = brief_of_map(sites, bps=bps, pairs=pairs, route_factor=route_factor) if is_map else load_brief(sites)
    if sweep:
        if output is not None or report is not None:
            raise InputError("a sweep writes no scenario and no report", hint="leave --output and --report out")
        return _sweep(brief, sweep, cluster, time_limit, gap, only_what_runs=only_what_runs, as_json=as_json)
    if cluster is not None:
        raise InputError("--cluster is for sweeps: one plan is solved here", hint="add --sweep NAME=first:last:count")
    made = _solved(brief, time_limit, gap, only_what_runs=only_what_runs)
    _write(made, output, report, as_json=as_json)
    return 0 if made.complete else 1


def _solved(brief: Brief, time_limit: float, gap: float, *, only_what_runs: bool) -> Plan:
    from noclone.plan.candidates import candidates_of
    from noclone.plan.reasons import reasons
    from noclone.plan.solver import solve
    from noclone.plan.table import Plan

    with progress() as bar:
        task = bar.add_task(f"{brief.name}: what each device gives where", total=None)
        candidates, notes = candidates_of(
            brief,
            lambda done, total: bar.update(task, completed=done, total=total),
            only_what_runs=only_what_runs,
        )
        bar.update(task, total=None)
        solution = solve(
            brief,
            candidates,
            time_limit_s=time_limit,
            gap=gap,
            on_step=lambda what: bar.update(task, description=f"{brief.name}, {time_limit:g} s at most: {what}"),
        )
    return Plan(brief, solution, reasons(brief, candidates, solution), notes)


def _write(made: Plan, output: Path | None, report: Path | None, *, as_json: bool) -> None:
    from noclone.plan.report import render
    from noclone.plan.table import plan_json, plan_lines
    from noclone.plan.writing import scenario_of_plan

    show(plan_json(made), plan_lines(made), as_json=as_json)
    if report is not None:
        report.write_text(render(made), encoding="utf-8")
        say(f"report written to {report}")
    if output is not None:
        output.write_text(scenario_of_plan(made.brief, made.solution), encoding="utf-8")
        runs = any(one.runs for one in made.solution.built)
        how = f"try `noclone audit {output}`, `noclone run {output}`"
        say(
            f"scenario written to {output}: {how if runs else 'none of its links can be run yet, all are vendor_links'}"
        )


def _sweep(
    brief: Brief,
    told: list[str],
    cluster: str | None,
    time_limit: float,
    gap: float,
    *,
    only_what_runs: bool,
    as_json: bool,
) -> int:
    from noclone.plan.sweep import Task, sweep, sweep_lines
    from noclone.plan.variations import points, read_variation

    tasks = [
        Task(varied.model_dump_json(by_alias=True), values, time_limit, gap, only_what_runs)
        for values, varied in points(brief, [read_variation(one) for one in told])
    ]
    with progress() as bar:
        where = cluster or "this machine's cores"
        task = bar.add_task(f"{brief.name}: {len(tasks)} plans on {where}", total=len(tasks))
        found = sweep(tasks, cluster=cluster, on_plan=lambda: bar.advance(task))
    show([one.to_json() for one in found], sweep_lines(found), as_json=as_json)
    return 0 if all(one.met == one.demands for one in found) else 1
