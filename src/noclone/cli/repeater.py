"""`noclone repeater`: pairs and key between far ends, over repeaters that nobody has to trust."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from noclone.cli.compiling import prepare
from noclone.cli.terminal import Epsilon, Json, progress, show

if TYPE_CHECKING:
    from rich.progress import Progress

    from noclone.repeater.brief import RepeaterBrief
    from noclone.repeater.result import RepeaterResult
    from noclone.repeater.tuning import Tried

Km = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=100_000))]
Positive = Annotated[float, Parameter(validator=validators.Number(gt=0))]
Share = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))]


def repeater(
    scenario: str | None = None,
    /,
    *,
    pairs: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=100_000_000))] = None,
    length_km: Km = 400.0,
    links: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=1999))] = 8,
    scheme: Literal["one-click", "two-clicks"] = "two-clicks",
    emission: Share = 0.6,
    visibility: Share = 0.98,
    dephasing_s: Positive = 2.0,
    cutoff_s: Positive | None = None,
    swap_success: Share = 1.0,
    swap_quality: Share = 0.99,
    pumps: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=20))] = 0,
    best_cutoff: Annotated[bool, Parameter(negative=())] = False,
    seed: Annotated[int | None, Parameter(validator=validators.Number(gte=0))] = None,
    eps_secrecy: Epsilon = 1e-9,
    as_json: Json = False,
) -> int:
    """Deliver entangled pairs to the ends of a chain of repeaters, and say how much key they are worth.

    Exits with 1 where the block gives no key. The options from --length-km to --pumps describe a chain of equal links,
    where no scenario is given; their values are assumed.

    Args:
        scenario: A file of repeaters, or a shipped one: backbone, boston, delft.
        pairs: How many; as the scenario says, or 10000.
        length_km: From end to end.
        links: Elementary links in a row; one node fewer stands between the ends.
        emission: Probability that a memory's photon enters the fibre.
        visibility: Of two nodes' photons.
        dephasing_s: T2 of the memories.
        cutoff_s: The longest that a half may wait.
        swap_success: Probability that a node's Bell measurement succeeds: 0.5 with linear optics.
        swap_quality: Share of its results that are right.
        best_cutoff: Try cut-offs, and take the one that gives most key.
        pumps: Purifications of each link's pair before it is used.
        seed: A number that makes the run repeatable; one is drawn where none is given.
    """
    from noclone import rng
    from noclone.repeater.brief import load_repeaters

    if scenario is not None:
        brief = load_repeaters(scenario)
    else:
        devices = {"scheme": scheme, "emission": emission, "visibility": visibility}
        rules = {"cutoff_s": cutoff_s, "swap_success": swap_success, "swap_quality": swap_quality, "pumps": pumps}
        brief = _uniform(length_km, links, devices, {"dephasing_s": dephasing_s}, rules)
    drawn = secrets.randbelow(1 << 53) if seed is None else seed
    prepare("repeaters")
    with progress() as bar:
        tried = _tried(brief, rng.seed_from_int(drawn), bar) if best_cutoff else []
        if tried:
            brief = brief.with_cutoff(tried[0].cutoff_s)
        found = _served(brief, pairs or brief.request.pairs, drawn, eps_secrecy, bar)
    data, lines = {**found.to_json(), "seed": drawn}, found.lines()
    if tried:
        data["cutoffs"] = [asdict(one) for one in tried]
        chosen = tried[0].cutoff_s
        lines.insert(2, f"  cut-off {'none' if chosen is None else f'{chosen:.4g} s'}, the best of {len(tried)} tried")
    show(data, lines, as_json=as_json)
    return 0 if found.block.secret_bits else 1


def _tried(brief: RepeaterBrief, seed: bytes, bar: Progress) -> list[Tried]:
    from noclone.repeater.tuning import best_cutoff

    task = bar.add_task(f"{brief.name}: cut-offs", total=None)
    found = best_cutoff(brief.chain(), seed, tell=lambda: bar.advance(task))
    bar.remove_task(task)
    return found


def _served(brief: RepeaterBrief, pairs: int, seed: int, eps_secrecy: float, bar: Progress) -> RepeaterResult:
    from noclone import rng
    from noclone.proofs.epsilon import Epsilons
    from noclone.repeater.result import serve

    task = bar.add_task(f"{brief.name}, seed {seed}", total=pairs)
    epsilons = Epsilons(eps_secrecy, 1e-15)
    return serve(brief, pairs, rng.seed_from_int(seed), epsilons, lambda done: bar.update(task, completed=done))


def _uniform(
    length_km: float,
    links: int,
    devices: Mapping[str, object],
    memory: Mapping[str, object],
    rules: Mapping[str, object],
) -> RepeaterBrief:
    from noclone.io.toml import validate
    from noclone.repeater.brief import RepeaterBrief
    from noclone.repeater.tables import RepeaterError

    data = {
        "name": "chain",
        "title": f"A chain of {links} links",
        "devices": devices,
        "memory": memory,
        "rules": {name: value for name, value in rules.items() if value is not None},
        "link": [{"between": [f"node-{i}", f"node-{i + 1}"], "length_km": length_km / links} for i in range(links)],
        "request": {"between": ["node-0", f"node-{links}"]},
    }
    return validate(data, RepeaterBrief, RepeaterError, name="options")
