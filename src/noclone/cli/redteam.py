"""`noclone redteam`: try every attack of the catalogue, undefended and defended, and print the matrix."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from noclone.cli.compiling import BLOCKS, prepare
from noclone.cli.output import may_write
from noclone.cli.terminal import Json, parts, say, show


def redteam(
    *names: str,
    all_attacks: Annotated[bool, Parameter(name="--all", negative="", help="Try the whole catalogue.")] = False,
    strength: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))] = 1.0,
    seed: Annotated[int | None, Parameter(validator=validators.Number(gte=0))] = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="Write the matrix as JSON, too.")] = None,
    as_json: Json = False,
) -> int:
    """Try attacks on small networks of their own, made for that and gone afterwards; nothing that runs is touched.

    Eve's bits are measured: what her own record says about the real key better than chance. Without names it lists the
    catalogue. Exits with 1 if an attack succeeds against its countermeasure, or fails without it.

    Args:
        names: Attacks to try.
        strength: How much of each attack, 0 to 1.
        seed: Makes the light repeatable; one is drawn and said where none is given.
    """
    import json

    from noclone import rng
    from noclone.redteam.catalogue import CATALOGUE
    from noclone.redteam.matrix import lines, select, to_json, try_attack

    if not names and not all_attacks:
        listed = [f"{one.name:26} {one.layer:17} {one.does}" for one in CATALOGUE.values()]
        show({"attacks": [one.to_json() for one in CATALOGUE.values()]}, listed, as_json=as_json)
        return 0
    chosen = select(() if all_attacks else names)
    may_write(output)
    if seed is None:
        seed = secrets.randbelow(1 << 53)
    prepare(*BLOCKS)
    tried = []
    with parts(f"red team, seed {seed}", len(chosen), as_json=as_json) as attack_done:
        for entry in chosen:
            tried.append(try_attack(entry, rng.seed_from_int(seed), strength))
            attack_done()
    data = to_json(tried, seed)
    if output is not None:
        output.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    odd = [one.entry.name for one in tried if strength == 1 and not one.as_expected]
    show(data, [*lines(tried), "", f"seed {seed}; {sum(one.wall_s for one in tried):.0f} s"], as_json=as_json)
    if odd:
        say(f"not as it should be: {', '.join(odd)}")
    return 1 if odd else 0
