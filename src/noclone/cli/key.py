"""`noclone key`: fetch keys from a KME as an application does, over ETSI GS QKD 014."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from noclone.cli.application import Application
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
