"""`noclone key`: fetch keys from a KME as an application does, over ETSI GS QKD 014."""

from __future__ import annotations

import base64
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from noclone.cli.application import Application
from noclone.cli.setup import pki_folder
from noclone.cli.terminal import Json, grouped, show

if TYPE_CHECKING:
    from noclone.client import KeyContainer

key = App(name="key", help="Fetch keys from a KME, as an application does.")

To = Annotated[str, Parameter(name="--to", help="The other application.")]
Reveal = Annotated[bool, Parameter(negative=(), help="Print the keys themselves.")]


@key.command
def status(*, to: To, who: Application | None = None, as_json: Json = False) -> int:
    """Say what keys can be had to share with another application."""
    with (who or Application()).client() as client:
        found = client.status(to)
    lines = [
        f"{found.master} at {found.source_kme} with {found.slave} at {found.target_kme}",
        f"  {grouped(found.stored_key_count)} keys of {found.key_size} bits stored, {grouped(found.max_key_count)} fit",
        f"  a request: up to {found.max_key_per_request} keys of {found.min_key_size} to {found.max_key_size} bits",
    ]
    show(asdict(found), lines, as_json=as_json)
    return 0


@key.command
def get(
    *,
    to: To,
    number: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 1,
    size: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    reveal: Reveal = False,
    who: Application | None = None,
    as_json: Json = False,
) -> int:
    """Get new keys, as their master. Tell their ids to the other application.

    Args:
        number: How many.
        size: Bits of each, a multiple of 8.
    """
    with (who or Application()).client() as client:
        container = client.enc_keys(to, number, size)
    return _show(container, reveal=reveal, as_json=as_json)


@key.command(name="get-with-ids")
def get_with_ids(
    *key_ids: str,
    from_: Annotated[str, Parameter(name="--from", help="The application that got them first.")],
    reveal: Reveal = False,
    who: Application | None = None,
    as_json: Json = False,
) -> int:
    """Get the keys whose ids another application told you. Each can be had once.

    Args:
        key_ids: Their ids.
    """
    from noclone.errors import InputError

    if not key_ids:
        raise InputError("which keys?", hint="give their ids, as `noclone key get` printed them")
    with (who or Application()).client() as client:
        container = client.dec_keys(from_, key_ids)
    return _show(container, reveal=reveal, as_json=as_json)


@key.command(name="explain")
def explain_key(
    key_id: str,
    /,
    scenario: str,
    *,
    pki: Annotated[Path | None, Parameter(help="Folder that `noclone pki` made.")] = None,
    data: Annotated[Path | None, Parameter(help="Folder of the key stores, where nobody serves the scenario.")] = None,
    listed: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=10_000))] = 20,
    weight: Annotated[list[str] | None, Parameter(help="Such as node=3; once for each kind of atom.")] = None,
    as_json: Json = False,
) -> int:
    """Say what a key stands on: who could read it, alone or together, and how it came about. Not the key.

    Asks the operator's door of a served scenario; where nobody serves it, looks into the key stores themselves.

    Args:
        key_id: The id that applications got.
        scenario: A scenario file, or the name of a shipped one.
        listed: How many coalitions to list, the smallest first.
    """
    from noclone.combined import provenance_from_json
    from noclone.network.key_lookup import look_up
    from noclone.network.scenario import load_scenario
    from noclone.trust.explanation import explanation, lines

    found = look_up(
        load_scenario(scenario), key_id, pki_folder(scenario, pki), data or Path(f"{Path(scenario).stem}.data")
    )
    told = explanation(
        [provenance_from_json(block) for block in found["blocks"]],
        master_site=found["sites"][0],
        slave_site=found["sites"][1],
        listed=listed,
        weights=_weights(weight or []),
    )
    record = {name: value for name, value in found.items() if name != "blocks"}
    head = [f"{found['key_ID']}: {found['bits']} bits for {found['master']}, {found['state']} at {found['kme']}"]
    signed = [f"signatures of {block}: {what}" for block, what in found.get("signatures", {}).items()]
    show({**record, **told, "provenance": found["blocks"]}, [*head, *lines(told), *signed], as_json=as_json)
    return 0


def _weights(given: list[str]) -> dict[str, float]:
    from noclone.errors import InputError

    out = {}
    for text in given:
        kind, _, number = text.partition("=")
        try:
            out[kind] = float(number)
        except ValueError:
            raise InputError(f"'{text}' is no weight", hint="write a kind and a number, such as node=3") from None
    return out


def _show(container: KeyContainer, *, reveal: bool, as_json: bool) -> int:
    keys: list[dict[str, Any]] = []
    lines = []
    for entry in container.keys:
        data: dict[str, Any] = {"key_ID": entry.key_id, "bits": 8 * len(entry.value), "extension": entry.extension}
        text = base64.b64encode(entry.value).decode() if reveal else ""
        keys.append(data | ({"key": text} if reveal else {}))
        origin = entry.extension.get("noclone_origin")
        label = f"  ({origin})" if origin else ""
        lines.append(f"{entry.key_id}  {8 * len(entry.value)} bits{label}" + (f"  {text}" if reveal else ""))
    if not reveal:
        lines.append("the keys themselves are not shown; --reveal prints them")
    show({"keys": keys}, lines, as_json=as_json)
    return 0
