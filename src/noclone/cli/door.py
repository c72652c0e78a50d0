"""What commands that ask a served network's operator's door have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from noclone.cli.setup import pki_folder
from noclone.cli.terminal import show

Pki = Annotated[Path | None, Parameter(help="Folder with the operator's token; `<scenario>.pki` if none is given.")]


def ask_door(
    scenario: str,
    pki: Path | None,
    method: str,
    path: str,
    body: dict[str, object] | None,
    say: Callable[[dict[str, Any]], str],
    *,
    as_json: bool,
) -> int:
    """Ask the door, and show the state that it answers with.

    Args:
        say: What is told of a link's state, beside its name.
    """
    from noclone.network.operator import ask
    from noclone.network.scenario import load_scenario

    state = ask(load_scenario(scenario), pki_folder(scenario, pki), method, path, body)
    lines = [f"{name}: {say(now)}" for name, now in state["links"].items()]
    lines += [f"{one['target']} {one['on']}: {one['name']}, strength {one['strength']:g}" for one in state["attacks"]]
    show(state, lines, as_json=as_json)
    return 0
