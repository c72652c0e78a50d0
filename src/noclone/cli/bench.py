"""`noclone bench`: measure this machine, stage by stage, beside what others reach.

A stage is a function of the package that it measures; it returns plain data. This module runs them in turn, and hands
what came out to JSON or to the table. Ctrl-C ends the run and shows what was measured until then.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from noclone.cli.compiling import BLOCKS, prepare
from noclone.cli.terminal import INTERRUPTED, Json, say

Stage = Literal[
    "link",
    "protocols",
    "repeaters",
    "satellites",
    "planner",
    "sifting",
    "reconciliation",
    "ldpc",
    "amplification",
    "authentication",
    "chain",
    "in_flight",
    "gpu",
    "live",
    "kme",
    "store",
    "relay",
    "post_quantum",
    "pads",
    "cold_start",
    "planner_large",
]
SCHEMA = 2
ALIASES = {"rounds": "round_trips", "frame_error_rate_95": "frame_error_rate_ci95"}


@dataclass(frozen=True, slots=True)
class Measurement:
    """How a stage is measured.

    Args:
        function: `module:function`, imported when its turn comes.
        threads: On how many threads it runs, where its result does not say.
        quick: Arguments that make it short.
        by_name_only: Whether it takes long, and is left out where no stage is named.
    """

    function: str
    threads: int = 1
    quick: Mapping[str, Any] = field(default_factory=dict)
    by_name_only: bool = False

    def run(self, *, quick: bool) -> dict[str, Any]:
        """Measure now."""
        module, _, name = self.function.partition(":")
        result: dict[str, Any] = getattr(importlib.import_module(module), name)(**(self.quick if quick else {}))
        return {"threads": self.threads} | result


STAGES = {
    "link": Measurement(
        "noclone.link.bench:bench_link", quick={"losses_db": (10, 30), "lengths_km": (25,), "seconds": 0.3}
    ),
    "protocols": Measurement(
        "noclone.link.protocols_bench:bench_protocols", threads=2, quick={"losses_db": (20,), "seconds": 0.3}
    ),
    "repeaters": Measurement("noclone.repeater.bench:bench_repeaters", quick={"seconds": 0.3, "repeats": 1}),
    "satellites": Measurement("noclone.network.satellite_bench:bench_satellites", quick={"hours": 12.0}),
    "planner": Measurement("noclone.plan.bench:bench_planner", quick={"sites": 30, "demands": 5, "gap": 0.05}),
    "sifting": Measurement("noclone.distill.sifting_bench:bench_sifting", quick={"mean_gaps": (100,), "repeats": 2}),
    "reconciliation": Measurement(
        "noclone.distill.bench:bench_reconciliation",
        quick={"qbers": (0.02, 0.05), "repeats": 1, "flights": ((0.001, 8, 16),)},
    ),
    "ldpc": Measurement("noclone.distill.ldpc_bench:bench_ldpc", quick={"qbers": (0.02,), "repeats": 1}),
    "amplification": Measurement("noclone.distill.bench:bench_amplification", quick={"sizes": (10**6, 1 << 22)}),
    "authentication": Measurement("noclone.distill.bench:bench_authentication"),
    "chain": Measurement("noclone.distill.chain_bench:bench_chain", quick={"n_detections": 1_000_000, "qber": 0.01}),
    "in_flight": Measurement(
        "noclone.distill.flight_bench:bench_in_flight",
        threads=2,
        quick={"n_detections": 1_000_000, "qber": 0.01, "flights": ((0.0, 1, 4), (0.001, 8, 16))},
        by_name_only=True,
    ),
    "gpu": Measurement(
        "noclone.cli.bench_gpu:bench_gpu",
        quick={"sizes": (1 << 22, 1 << 27), "frames": (64,), "lengths_km": (25,), "seconds": 0.3},
    ),
    "live": Measurement(
        "noclone.network.live_bench:bench_live", threads=2, quick={"block_key_bits": 1 << 20, "blocks": 2}
    ),
    "kme": Measurement("noclone.kms.bench:bench_kme", threads=3, quick={"seconds": 0.5}),
    "store": Measurement("noclone.kms.store_bench:bench_store", quick={"keys": 100_000, "seconds": 0.3}),
    "relay": Measurement("noclone.kms.relay_bench:bench_relay", threads=6, quick={"seconds": 1.0}),
    "post_quantum": Measurement("noclone.network.pqc_bench:bench_post_quantum", threads=2, quick={"seconds": 0.8}),
    "pads": Measurement(
        "noclone.apps.bench:bench_pads",
        quick={"n_messages": 2_000, "n_reservations": 100, "file_mb": 32, "repeats": 2},
    ),
    "cold_start": Measurement("noclone.cli.bench_cold_start:bench_cold_start", quick={"runs": 2, "stages": ("light",)}),
    "planner_large": Measurement("noclone.plan.bench:bench_planner_large", by_name_only=True),
}


def bench(
    *stages: Stage,
    compare: Annotated[bool, Parameter(negative=())] = False,
    quick: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> int:
    """Measure this machine, stage by stage, beside what others reach. Nothing else should be running.

    Seeds are fixed, so a run can be repeated; rates are the best of several runs. docs/performance.md explains each
    figure.

    Args:
        stages: Which; all of them but planner_large and in_flight where none is given.
        compare: Run other people's programs on the same work, after each stage; `./dev bench --compare` installs them.
        quick: Fewer points and shorter runs: a look, not a measurement.
    """
    from noclone import gpu
    from noclone.cli.bench_machine import describe, measure_limits

    prepare(*BLOCKS)
    measured: dict[str, Any] = {"schema": SCHEMA, "machine": describe()}
    interrupted = False
    try:
        measured["limits"] = measure_limits()
        chosen = [name for name, stage in STAGES.items() if name in stages or not (stages or stage.by_name_only)]
        with gpu.using("cpu"):  # the stage `gpu` measures the card, the others never do
            _measure(measured, chosen, compare=compare, quick=quick)
    except KeyboardInterrupt:
        interrupted = measured["interrupted"] = True
        say("interrupted; this was measured:")
    if as_json:
        sys.stdout.write(json.dumps(with_aliases(measured), indent=2) + "\n")
    else:
        from noclone.cli.bench_table import print_report

        print_report(measured)
    sys.stdout.flush()
    return INTERRUPTED if interrupted else 0


def _measure(measured: dict[str, Any], names: list[str], *, compare: bool, quick: bool) -> None:
    """Fill in one stage after the other, so that an interrupt loses only the one under way."""
    from noclone.cli import bench_compare

    if compare:
        measured["compare"] = []
    for name in names:
        say(f"measuring {name} ...")
        measured[name] = STAGES[name].run(quick=quick)
        if compare:
            for record in bench_compare.compare(name, measured[name], say):
                measured["compare"].append(record)


def with_aliases(value: Any) -> Any:
    """Return the data as JSON promises it.

    Old names stand beside promised ones, one thread's figures are also the stage's own, and what is no number is null.
    """
    if isinstance(value, dict):
        named = {key: with_aliases(inner) for key, inner in value.items()}
        first = named.get("threads_1")
        promised = {ALIASES[key]: inner for key, inner in named.items() if key in ALIASES}
        return promised | (first if isinstance(first, dict) else {}) | named
    if isinstance(value, list | tuple):
        return [with_aliases(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
