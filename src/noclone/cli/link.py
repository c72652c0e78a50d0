"""`noclone link`: the operator stops and starts links of a served network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyclopts import App

from noclone.cli.door import Pki, ask_door
from noclone.cli.terminal import Json

link = App(name="link", help="Stop a link of a served network, start it again, or see who does what.")


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
    return ask_door(scenario, pki, method, path, body, _running, as_json=as_json)


def _running(link: dict[str, Any]) -> str:
    eve = f", Eve: {link['attack']['name']}" if link["attack"] else ""
    return f"{'stopped' if link['stopped'] else 'running'}{eve}"
