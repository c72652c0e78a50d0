"""`noclone link`: the operator stops and starts links of a served network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from noclone.cli.setup import default_pki
from noclone.cli.terminal import Json, show

link = App(name="link", help="Stop a link of a served network, start it again, or see who does what.")

Pki = Annotated[Path | None, Parameter(help="Folder with the operator's token; `<scenario>.pki` if none is given.")]


@link.command
def stop(name: str, scenario: str, /, *, pki: Pki = None, as_json: Json = False) -> int:
    """Make no more blocks of a link, after the one under way. What is stored can be used all the same.

    Args:
        name: Which link.
        scenario: The scenario that is being served.
    """
    return _send(scenario, pki, "POST", f"/api/links/{name}", {"running": False}, as_json)


@link.command
def start(name: str, scenario: str, /, *, pki: Pki = None, as_json: Json = False) -> int:
    """Let a link go on that the operator, or an alarm, has stopped.

    Args:
        name: Which link.
        scenario: The scenario that is being served.
    """
    return _send(scenario, pki, "POST", f"/api/links/{name}", {"running": True}, as_json)


@link.command
def status(scenario: str, /, *, pki: Pki = None, as_json: Json = False) -> int:
    """Say which links are stopped, and which are attacked.

    Args:
        scenario: The scenario that is being served.
    """
    return _send(scenario, pki, "GET", "/api/state", None, as_json)


def _send(
    scenario: str, pki: Path | None, method: str, path: str, body: dict[str, object] | None, as_json: bool
) -> int:
    from noclone.network.operator import ask
    from noclone.network.scenario import load_scenario

    network = load_scenario(scenario)
    state = ask(network, pki or default_pki(scenario), method, path, body)
    lines = []
    for name, now in state["links"].items():
        eve = f", Eve: {now['attack']['name']}" if now["attack"] else ""
        lines.append(f"{name}: {'stopped' if now['stopped'] else 'running'}{eve}")
    show(state, lines, as_json=as_json)
    return 0
