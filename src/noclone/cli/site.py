"""`noclone site`: the operator's work at one node of a served network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyclopts import App

from noclone.cli.door import Pki
from noclone.cli.setup import pki_folder
from noclone.cli.terminal import Json, show

site = App(name="site", help="Drain a node of a served network, let it go on, give it another KEK or certificates.")


@site.command
def drain(node: str, scenario: str, /, *, pki: Pki = None, as_json: Json = False) -> int:
    """Have a node make no key and carry none for others, so that it can be taken down. Its stored key is served.

    The event node.drained says that nothing is under way any more.

    Args:
        node: Which node.
        scenario: The scenario that is being served.
    """
    return _do(node, scenario, pki, "drain", f"{node} is being drained; the event node.drained says when", as_json)


@site.command
def resume(node: str, scenario: str, /, *, pki: Pki = None, as_json: Json = False) -> int:
    """Let a drained node go on.

    Args:
        node: Which node.
        scenario: The scenario that is being served.
    """
    return _do(node, scenario, pki, "resume", f"{node} goes on", as_json)


@site.command(name="rotate-kek")
def rotate_kek(node: str, scenario: str, /, *, pki: Pki = None, as_json: Json = False) -> int:
    """Seal a node's key store under a new key-encryption key, while it serves.

    `noclone kms rotate-kek` does the same to the store of a KME that is stopped.

    Args:
        node: Which node.
        scenario: The scenario that is being served.
    """
    return _do(node, scenario, pki, "rotate-kek", f"{node}: sealed under key-encryption key {{generation}}", as_json)


@site.command
def renew(node: str, scenario: str, /, *, pki: Pki = None, as_json: Json = False) -> int:
    """Give a node new keys and certificates for TLS and signatures; it takes them up in seconds, and closes nothing.

    It needs the authorities in the folder of the network that is served, as `noclone pki rotate` does.

    Args:
        node: Which node.
        scenario: The scenario that is being served.
    """
    return _do(node, scenario, pki, "renew", f"{node} has new keys and certificates, and takes them up", as_json)


def _do(node: str, scenario: str, pki: Path | None, deed: str, told: str, as_json: bool) -> int:
    from noclone.network.operator import ask
    from noclone.network.scenario import load_scenario

    path = f"/api/nodes/{load_scenario(scenario).node(node).name}"
    answer: dict[str, Any] = ask(load_scenario(scenario), pki_folder(scenario, pki), "POST", path, {"do": deed})
    show(answer, [told.format(**answer["result"])], as_json=as_json)
    return 0
