"""`noclone attack`: Eve, on a link of a served network, where the scenario is a lab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from noclone.cli.setup import default_pki
from noclone.cli.terminal import Json, show

attack = App(name="attack", help="Attack a link of a served network, where the scenario is a lab.")

Pki = Annotated[Path | None, Parameter(help="Folder with the operator's token; `<scenario>.pki` if none is given.")]
On = Annotated[str, Parameter(name="--on", help="Which link.")]


@attack.command(name="intercept-resend")
def intercept_resend(
    scenario: str,
    /,
    *,
    on: On,
    strength: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))] = 1.0,
    pki: Pki = None,
    as_json: Json = False,
) -> int:
    """Eve measures a share of the pulses and sends what she read.

    She hopes for half a bit of each sifted bit that she touched. What should catch her is the error rate, which rises
    by a quarter of her share.

    Args:
        scenario: The scenario that is being served.
        strength: Share of the pulses.
    """
    return _send(
        scenario, pki, "POST", "/api/attacks", {"name": "intercept-resend", "on": on, "strength": strength}, as_json
    )


@attack.command
def stop(scenario: str, /, *, on: On, pki: Pki = None, as_json: Json = False) -> int:
    """Take Eve off a link.

    Args:
        scenario: The scenario that is being served.
    """
    return _send(scenario, pki, "DELETE", f"/api/attacks/{on}", None, as_json)


@attack.command
def status(scenario: str, /, *, pki: Pki = None, as_json: Json = False) -> int:
    """Say who attacks what.

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
    for link, now in state["links"].items():
        eve = now["attack"]
        lines.append(f"{link}: " + (f"{eve['name']}, strength {eve['strength']:g}" if eve else "no attack"))
    show(state, lines, as_json=as_json)
    return 0
