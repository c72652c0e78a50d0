"""`noclone run`: run a scenario for some blocks and leave a folder that says everything."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from noclone.cli.compiling import BLOCKS, prepare
from noclone.cli.terminal import INTERRUPTED, Json, grouped, parts, say, show, si

if TYPE_CHECKING:
    from noclone.network.scenario import Scenario
    from noclone.network.simulate import RunResult


def run(
    scenario: str,
    /,
    *,
    blocks: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=100_000))] = 5,
    seed: Annotated[int | None, Parameter(validator=validators.Number(gte=0))] = None,
    output: Path = Path("runs"),
    as_json: Json = False,
) -> int:
    """Run every link of a scenario for some blocks: light, distillation, verdict.

    Keys are measured and thrown away: whoever knows the seed can run the light again. Ctrl-C ends it: finished blocks
    are kept and shown, the folder's result says that it was interrupted, and the exit code is 130.

    Args:
        scenario: A scenario file, or the name of a shipped one, such as `metro`.
        blocks: How many blocks each link makes.
        seed: A number that makes the run repeatable; one is drawn and written down where none is given.
        output: Folder in which the run's own folder is made.
    """
    from noclone import rng
    from noclone.audit.verdict import judge
    from noclone.events import EventLog
    from noclone.io.published import lines as published_lines
    from noclone.network.beside import beside
    from noclone.network.folder import RunFolder
    from noclone.network.scenario import load_scenario
    from noclone.network.simulate import run as simulate
    from noclone.redteam.attacks import resolve

    network = load_scenario(scenario)
    if seed is None:
        seed = secrets.randbelow(1 << 53)
    _say_who_gives_none(network, as_json=as_json)
    folder = RunFolder(output, network)
    folder.write_run(seed=seed, blocks=blocks)
    prepare(*BLOCKS)
    log = EventLog(folder.events)
    try:
        with parts(
            f"running {network.name}, seed {seed}", blocks * len(network.light()), as_json=as_json
        ) as block_done:
            result = simulate(
                network,
                log,
                seed=rng.seed_from_int(seed),
                seeded=True,
                blocks=blocks,
                resolve=resolve,
                on_block=lambda _link, _block: block_done(),
            )
        if result.interrupted:
            done = sum(link.blocks for link in result.links)
            say(f"interrupted; {done} of {blocks * len(network.links)} blocks were finished:")
        verdict = judge(log)
    finally:
        log.close()
    data: dict[str, Any] = {**result.to_json(), "seed": seed, "folder": str(folder.path), "verdict": verdict.to_json()}
    lines = _lines(network, seed, result)
    lines += published_lines(data["published"])
    for found in filter(None, (beside(network.link(link.link), link) for link in result.links)):
        lines += ["", *found.lines()]
        data.setdefault("beside", {})[found.link] = found.to_json()
    folder.write_result(data)
    show(data, [*lines, "", *verdict.lines()], as_json=as_json)
    if not as_json:
        say(f"written to {folder.path}/")
    if result.interrupted:
        return INTERRUPTED
    return 0 if any(link.secret_bits for link in result.links) else 1


def _say_who_gives_none(network: Scenario, *, as_json: bool) -> None:
    """Tell of each link that is not expected to give key, before any time goes into its light."""
    from noclone.network.blocks import plan_link

    light = network.light()
    with parts(f"planning {network.name}", len(light), as_json=as_json) as link_done:
        for plan in map(plan_link, light):
            link_done()
            if not plan.agreement.length_bits:
                say(f"{plan.link.name}: no key is to be expected of this link: {plan.agreement.reason}")


def _lines(network: Scenario, seed: int, result: RunResult) -> list[str]:
    """Return what each link gave, for people."""
    lines = [f"{network.title or network.name}, seed {seed}{', interrupted' if result.interrupted else ''}"]
    for link in result.links:
        light_s = grouped(link.light_s) if link.light_s >= 1000 else f"{link.light_s:.3g}"
        lines.append(
            f"  {link.link}: {link.blocks - link.aborted} of {link.blocks} blocks gave key, "
            f"{grouped(link.secret_bits)} secret bits in {light_s} s of light ({si(link.secret_bps, 'b/s')}), "
            f"{link.wall_s:.3g} s here"
        )
        if link.refill_bits:
            lines.append(f"    {grouped(link.refill_bits)} more bits of key refilled the authentication pool")
        lines.extend(f"    {one}" for one in dict.fromkeys(map(str, link.passes)))
        lines.extend(f"    {count} aborted: {reason}" for reason, count in link.reasons.items())
    return lines
