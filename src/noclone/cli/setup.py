"""`noclone pki`, `suites` and `schema`: what a scenario needs before it runs, and what of it changes while it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from noclone.cli.terminal import Json, show

pki = App(name="pki", help="Make the certificates and secrets that a scenario needs; renew and revoke them.")

Who = Literal["kme", "sae"]
Folder = Annotated[
    Path | None, Parameter(name=("--output", "-o"), help="The folder; `<scenario>.pki` where none is given.")
]


def default_pki(scenario: str) -> Path:
    """Return where a scenario's certificates and secrets lie unless the user says otherwise."""
    return Path(f"{Path(scenario).stem}.pki")


def pki_folder(scenario: str, given: Path | None) -> Path:
    """Return where a scenario's certificates and secrets lie.

    Raises:
        PkiError: There is no such folder; the hint says how it is made.
    """
    from noclone.errors import PkiError

    folder = given or default_pki(scenario)
    if not folder.is_dir():
        hint = f"make them: noclone pki {scenario}" + (f" -o {folder}" if given else "; --pki says where else they lie")
        raise PkiError(f"{folder}: there are no certificates and secrets yet", hint=hint)
    return folder


@pki.default
def make(
    scenario: str,
    /,
    *,
    output: Folder = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> None:
    """Make the certificates and secrets that a scenario needs.

    Everything is drawn from the operating system and readable by you alone. A second call adds what is missing. Carry
    `kmes/NAME` to NAME and `saes/ID` to ID by hand, and keep `authority/` offline.

    Args:
        scenario: A scenario file, or the name of a shipped one.
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


@pki.command
def rotate(
    scenario: str,
    kind: Who,
    name: str,
    /,
    *,
    output: Folder = None,
    revoke_old: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> None:
    """Give a KME or an application new keys and certificates, classical and post-quantum.

    A running node takes its own up within seconds and closes nothing. The old ones hold on until they expire.

    Args:
        scenario: A scenario file, or the name of a shipped one.
        kind: kme or sae.
        name: Which.
        revoke_old: Revoke the old ones at once, as `noclone pki revoke` does.
    """
    from noclone.network.revocation import rotate as renew

    change = renew(output or default_pki(scenario), kind, name, revoke_old=revoke_old)
    lines = [f"{kind} {name} has new keys and certificates; carry {kind}s/{name} to it"]
    if revoke_old:
        lines.append("its old ones are revoked: carry the .crl files to every KME and application")
    show({"written": list(change.written), "revoked": change.revoked}, lines, as_json=as_json)


@pki.command
def revoke(scenario: str, kind: Who, name: str, /, *, output: Folder = None, as_json: Json = False) -> None:
    """Revoke the certificates that a KME or an application has now, and write the revocation lists.

    A running node takes the lists up within seconds, and cuts off who was revoked.

    Args:
        scenario: A scenario file, or the name of a shipped one.
        kind: kme or sae.
        name: Which.
    """
    from noclone.network.revocation import revoke as withdraw

    change = withdraw(output or default_pki(scenario), kind, name)
    lines = [
        f"the certificates of {kind} {name} are revoked",
        "carry the .crl files in kmes/ and saes/ to their owners; nobody hears of it otherwise",
    ]
    show({"written": list(change.written), "revoked": change.revoked}, lines, as_json=as_json)


def suites(
    scenario: str,
    /,
    *,
    accept: Annotated[list[str] | None, Parameter(help="Suites in force, the one to offer first.")] = None,
    deprecate: Annotated[list[str] | None, Parameter(help="Suites that are refused from now on.")] = None,
    node: Annotated[list[str] | None, Parameter(help="Nodes; all of the scenario where none is given.")] = None,
    data: Annotated[
        Path | None, Parameter(help="Folder of the key stores; `<scenario>.data` where none is given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which KEM suites are in force, or put others into force, while the network runs.

    First accept the new one beside the old one, everywhere; then prefer it; then deprecate the old one.

    Args:
        scenario: A scenario file, or the name of a shipped one.
    """
    from noclone.network.scenario import load_scenario
    from noclone.network.suites_file import SuitesWord, read_suites, suites_path, write_suites

    network = load_scenario(scenario)
    folder = data or Path(f"{Path(scenario).stem}.data")
    names = [network.node(name).name for name in node] if node else [each.name for each in network.nodes]
    default, found = SuitesWord(tuple(network.pqc.suites), tuple(network.pqc.deprecated)), {}
    for name in names:
        path = suites_path(folder, name)
        word = read_suites(path) or default
        if accept or deprecate:
            gone = set(deprecate or ())
            kept = tuple(one for one in (accept or word.accepted) if one not in gone)
            refused = dict.fromkeys([*word.deprecated, *(deprecate or ())])
            word = SuitesWord(kept, tuple(one for one in refused if one not in kept))
            write_suites(path, word.accepted, word.deprecated)
        found[name] = {"accepted": list(word.accepted), "deprecated": list(word.deprecated)}
    lines = [
        f"{name}: {', '.join(what['accepted'])}"
        + (f"; refused: {', '.join(what['deprecated'])}" if what["deprecated"] else "")
        for name, what in found.items()
    ]
    show({"nodes": found}, lines, as_json=as_json)


def schema(*, as_json: Json = True) -> None:  # noqa: ARG001 (it is JSON, whether asked for or not)
    """Print the JSON Schema of scenario files.

    Save it beside your scenario and begin the scenario with `#:schema ./scenario.schema.json`: editors then complete
    and check fields.
    """
    from noclone.network.scenario import schema as scenario_schema

    show(scenario_schema(), [], as_json=True)
