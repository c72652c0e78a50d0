"""`noclone import` and `noclone generate`: scenarios of whole networks, from maps or from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from noclone.cli.output import may_write
from noclone.cli.terminal import Json, say, show

if TYPE_CHECKING:
    from noclone.network.topology_files import Topology

Output = Annotated[Path | None, Parameter(name=("--output", "-o"))]
Factor = Annotated[float, Parameter(validator=validators.Number(gte=1, lte=5))]
Loss = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=10))]
Kilometres = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1000))]


def import_map(
    graphml: Path,
    /,
    *,
    output: Output = None,
    route_factor: Factor = 1.0,
    attenuation_db_per_km: Loss = 0.2,
    reach_km: Kilometres = 150.0,
    as_json: Json = False,
) -> None:
    """Turn a GraphML map of a network into a scenario: a QKD link on each of its edges, an application at each node.

    Maps of the Internet Topology Zoo fit as they are. A map knows its sites and not its cables: lengths are great
    circles times the route factor. What cannot be used is named on stderr.

    Args:
        graphml: The map; its nodes need Latitude and Longitude.
        output: The scenario file to write; it goes to stdout where none is given.
        route_factor: How much longer than the great circle the fibre runs.
        attenuation_db_per_km: Of the fibre.
        reach_km: Longer links are left out.
    """
    from noclone.network.topology_files import read_graphml

    may_write(output)
    topology = read_graphml(graphml)
    settings = {"route_factor": route_factor, "attenuation_db_per_km": attenuation_db_per_km, "reach_km": reach_km}
    _write(topology, graphml.name, settings, output, as_json)


def generate(
    nodes: Annotated[int, Parameter(validator=validators.Number(gte=4, lte=400))],
    /,
    *,
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 1,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Make a scenario of randomly placed nodes, each joined to its nearest neighbours, to try things at scale.

    Args:
        nodes: How many.
        seed: The same seed gives the same network.
        output: The scenario file to write; it goes to stdout where none is given.
    """
    from noclone.network.topology_files import random_topology

    may_write(output)
    _write(random_topology(nodes, seed), f"generated: {nodes} nodes, seed {seed}", {}, output, as_json)


def _write(topology: Topology, source: str, settings: dict[str, float], output: Path | None, as_json: bool) -> None:
    from noclone.errors import ScenarioError
    from noclone.io.toml import parse_toml
    from noclone.network.blocks import plan_link
    from noclone.network.scenario import Scenario
    from noclone.network.topology_files import scenario_text

    text, notes = scenario_text(topology, source=source, **settings)
    scenario = parse_toml(text, Scenario, ScenarioError, name=topology.name)
    for link in scenario.links:
        agreement = plan_link(link).agreement
        if not agreement.length_bits:
            notes.append(f"link {link.name}: no key is to be expected of it: {agreement.reason}")
    for note in notes:
        say(f"  {note}")
    if output is not None:
        output.write_text(text, encoding="utf-8")
    data: dict[str, Any] = {
        "name": scenario.name,
        "nodes": len(scenario.nodes),
        "links": len(scenario.links),
        "longest_km": max(link.length_km for link in scenario.links),
        "notes": notes,
        "file": str(output) if output else None,
    }
    summary = f"{data['nodes']} nodes, {data['links']} links, the longest {data['longest_km']:.0f} km"
    if output is not None:
        show(data, [f"{output}: {summary}"], as_json=as_json)
        return
    say(f"  {summary}")
    show({**data, "scenario": text}, [text], as_json=as_json)
