"""`noclone attack`: Eve, in a served network, where the scenario is a lab."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from noclone.cli.door import Pki, ask_door
from noclone.cli.terminal import Json, show
from noclone.spelling import choices

if TYPE_CHECKING:
    from noclone.redteam.entry import Entry

attack = App(name="attack", help="Attack a link, node or application of a served network, where it is a lab.")

On = Annotated[str, Parameter(name="--on", help="Which link, node or application.")]


@attack.default
def begin(
    name: str,
    scenario: str,
    /,
    *,
    on: On,
    strength: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))] = 1.0,
    pki: Pki = None,
    as_json: Json = False,
) -> int:
    """Carry out an attack until it is stopped: on light from the next block on, on all else at once.

    What Eve learns is measured, and said in events: `eve.learned` of each block of a link, `eve.got-key` of keys.
    Attacks exist only where the scenario says `lab = true`, never on a link of real devices, and need the operator's
    token.

    Args:
        name: Which attack; `noclone attack list` names them.
        scenario: The scenario that is being served.
        strength: How much of it: share of the pulses, of the power, of the blocks, of the requests.
    """
    from noclone.errors import InputError
    from noclone.redteam.catalogue import CATALOGUE

    known = CATALOGUE.get(name)
    if known is None:
        live = [one.name for one in CATALOGUE.values() if one.live]
        raise InputError(f"there is no attack '{name}'", hint=choices(name, live, "there is for running networks"))
    if not known.live:
        raise InputError(
            f"'{name}' takes a network of its own, and is not carried out on one that is being served",
            hint=f"noclone redteam {name}",
        )
    return _send(scenario, pki, "POST", "/api/attacks", {"name": name, "on": on, "strength": strength}, as_json)


@attack.command(name="list")
def list_attacks(*, as_json: Json = False) -> int:
    """Say which attacks there are for running networks; `noclone redteam` tries these and more."""
    from noclone.redteam.catalogue import CATALOGUE

    live = [one for one in CATALOGUE.values() if one.live]
    lines = [f"{one.name:26} {_on(one):24} {one.does}; caught by {one.caught_by}" for one in live]
    show({"attacks": [one.to_json() for one in live]}, lines, as_json=as_json)
    return 0


def _on(entry: Entry) -> str:
    return {"node": "on a node", "application": "on an application"}.get(
        entry.live, f"on links of {entry.protocol}" if entry.protocol else "on any link"
    )


@attack.command
def stop(scenario: str, /, *, on: On, pki: Pki = None, as_json: Json = False) -> int:
    """Take Eve off a link, a node or an application.

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
    return ask_door(scenario, pki, method, path, body, _eve, as_json=as_json)


def _eve(link: dict[str, Any]) -> str:
    eve = link["attack"]
    return f"{eve['name']}, strength {eve['strength']:g}" if eve else "no attack"
