"""`noclone pki` and `noclone schema`: what a scenario needs before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from noclone.cli.terminal import Json, show


def default_pki(scenario: str) -> Path:
    """Return where a scenario's certificates and secrets lie unless the user says otherwise."""
    return Path(f"{Path(scenario).stem}.pki")


def pki(
    scenario: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> None:
    """Make the certificates and secrets that a scenario needs.

    Everything is drawn from the operating system and readable by you alone. A second call adds what is missing. Carry
    `kmes/NAME` to NAME and `saes/ID` to ID by hand, and keep `authority/` offline.

    Args:
        scenario: A scenario file, or the name of a shipped one.
        output: The folder; `<scenario>.pki` where none is given.
        overwrite: Make everything anew: certificates and secrets in use then no longer fit.
    """
    from noclone.network.scenario import load_scenario
    from noclone.network.setup import create_pki_for

    network = load_scenario(scenario)
    report = create_pki_for(network, output or default_pki(scenario), overwrite=overwrite)
    data = {"folder": str(report.folder), "created": list(report.created), "kept": list(report.kept)}
    lines = [f"{report.folder}/: {len(report.created)} files made, {len(report.kept)} kept"]
    for node in network.nodes:
        lines.append(f"  kmes/{node.name}: certificate, key-encryption key, link secrets; carry to {node.name}")
    lines.extend(f"  saes/{sae.id}: certificate; carry to the application" for sae in network.saes)
    lines.extend(f"  lights/{link.name}: certificate; carry to where its light is simulated" for link in network.links)
    lines.append("  operator: the token that opens the operator's door; authority: keep offline")
    show(data, lines, as_json=as_json)


def schema() -> None:
    """Print the JSON Schema of scenario files.

    Save it beside your scenario and begin the scenario with `#:schema ./scenario.schema.json`: editors then complete
    and check fields.
    """
    from noclone.network.scenario import schema as scenario_schema

    show(scenario_schema(), [], as_json=True)
