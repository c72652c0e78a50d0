"""`noclone audit` and `noclone report`: what is secure, against whom, on which assumptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from noclone.cli.output import may_write
from noclone.cli.terminal import Json, parts, say, show

if TYPE_CHECKING:
    from noclone.audit.audit import Audit

WhatIf = Annotated[
    list[str] | None,
    Parameter(name="--what-if", help='Such as "node:b compromised", "alg:ML-KEM-768 broken", "link:a-b cut".'),
]


def audit(target: str, /, *, what_if: WhatIf = None, as_json: Json = False) -> int:
    """Say what is secure, against whom, on which assumptions; exit with 1 where a requirement of the scenario fails.

    Args:
        target: A scenario file, the name of a shipped scenario, or the folder of a run.
    """
    found = load(target, as_json=as_json)
    if what_if:
        consequences = found.what_if(what_if)
        lines = [line for one in consequences for line in one.lines()]
        show([one.to_json() for one in consequences], lines, as_json=as_json)
        return 0
    show(found.to_json(), found.lines(), as_json=as_json)
    return 1 if found.failed else 0


def report(
    target: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    matrix: Path | None = None,
    as_json: Json = False,
) -> int:
    """Write the audit as one HTML file that needs nothing else: map, verdict, proofs, coalitions, what to change.

    Exits with 1 where a requirement of the scenario fails; the file is written all the same.

    Args:
        target: A scenario file, the name of a shipped scenario, or the folder of a run.
        output: The file to write; `<scenario>-report.html` where none is given.
        matrix: What `noclone redteam --all -o` wrote, to be shown in the report.
    """
    from noclone.audit.report import render

    may_write(output)
    tried = _read_matrix(matrix) if matrix else None
    found = load(target, as_json=as_json)
    path = output or Path(f"{found.scene.scenario.name}-report.html")
    path.write_text(render(found, tried), encoding="utf-8")
    show({**found.to_json(), "report": str(path)}, [found.sentence], as_json=as_json)
    if not as_json:
        say(f"written to {path}")
    return 1 if found.failed else 0


def _read_matrix(path: Path) -> dict[str, Any]:
    from noclone.errors import InputError

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
        raise InputError(problem, hint="make one: noclone redteam --all -o matrix.json") from None
    except ValueError as error:
        raise InputError(f"{path}: this is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: this is no attack matrix", hint="make one: noclone redteam --all -o matrix.json")
    return found


def load(target: str, *, as_json: bool) -> Audit:
    """Audit a scenario, or a run by its folder, and show how far it is.

    Raises:
        InputError: The target is neither.
        ScenarioError: The scenario cannot be read.
    """
    from noclone.audit.audit import audit as audit_scenario
    from noclone.network.folder import read_run
    from noclone.network.scenario import load_scenario

    run = read_run(Path(target)) if Path(target).is_dir() else None
    scenario = run.scenario if run else load_scenario(target)
    with parts(f"auditing {scenario.name}: what each link gives", len(scenario.links), as_json=as_json) as link_done:
        return audit_scenario(scenario, run.events if run else None, link_done)
