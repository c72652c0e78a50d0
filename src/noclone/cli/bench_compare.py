"""`noclone bench --compare`: other people's programs on the work that a stage of ours has just done.

In: what a stage measured.  Out: one plain record for each run of a peer: theirs, ours, and ours / theirs, or why it did
not run. Each peer is a script of its own under `peers`, run by an interpreter that has it.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import noclone
from noclone.extras import how_to_install

SCRIPTS = Path(__file__).parent / "peers"
TIME_LIMIT_S = 60.0
LARGEST_FFT_BITS = 1 << 22
MARGIN = 1.06  # from an error rate to the threshold of the code that a peer decodes it with, so that few frames fail
# One core each, as the figures of ours that they stand beside.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Job:
    """Work for a peer, and the figure that we reached on the same.

    Args:
        table: The table of the stage's result that it belongs to, as `per_qber`, and `case` the row.
        ours: Our figure per core, in the unit of the peer's.
    """

    table: str
    case: float
    argument: Mapping[str, Any]
    ours: float


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer beside a stage.

    Args:
        figure: The key of the script's answer that is compared.
        what: What it does, and in what it differs from ours.
    """

    stage: str
    package: str
    script: str
    figure: str
    unit: str
    what: str
    jobs: Callable[[Mapping[str, Any]], Iterator[Job]]


def _rows(result: Mapping[str, Any], table: str) -> list[Mapping[str, Any]]:
    rows = result.get(table, [])
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _cascade_jobs(result: Mapping[str, Any]) -> Iterator[Job]:
    for row in _rows(result, "per_qber"):
        argument = {"qber": row["qber"], "block_bits": result.get("block_bits", 1 << 22)}
        yield Job("per_qber", row["qber"], argument, row["mbps_per_core"])


def _hash_jobs(result: Mapping[str, Any]) -> Iterator[Job]:
    for row in _rows(result, "per_size"):
        n = int(row["block_bits"])
        if n <= LARGEST_FFT_BITS:
            argument = {"block_bits": n, "output_bits": int(result.get("share", 0.5) * n)}
            yield Job("per_size", n, argument, row["mbps_per_core"])


def _decoder_jobs(result: Mapping[str, Any]) -> Iterator[Job]:
    with tempfile.TemporaryDirectory(prefix="noclone-bench-") as folder:
        for row in _rows(result, "per_qber"):
            argument = {"qber": row["qber"]} | our_checks(row["qber"], Path(folder))
            yield Job("per_qber", row["qber"], argument, row["mbps_per_core"])


def our_checks(qber: float, folder: Path) -> dict[str, str]:
    """Write the parity checks of our own code for an error rate, so that a peer can decode the same; empty if none."""
    try:
        codes = importlib.import_module("noclone.distill.ldpc_codes").codes()
    except ModuleNotFoundError:
        return {}
    fit = [code for code in codes if code.threshold >= MARGIN * qber]
    if not fit:
        return {}
    import numpy as np

    code = min(fit, key=lambda code: float(code.threshold))
    within = np.arange(code.circulant)
    row = code.row[:, None] * code.circulant + within
    column = code.column[:, None] * code.circulant + (within + code.shift[:, None]) % code.circulant
    path = folder / f"{code.rows}x{code.circulant}.npz"
    np.savez(path, row=row.ravel(), column=column.ravel())
    return {"checks": str(path)}


def _light(result: Mapping[str, Any], argument: Mapping[str, Any]) -> Iterator[Job]:
    """Yield the bench's link at 10 dB, or at the loss that was measured nearest to it."""
    by_loss = result.get("by_loss_db")
    if isinstance(by_loss, dict) and by_loss:
        name = min(by_loss, key=lambda loss: abs(float(loss) - 10))
        ours = by_loss[name]["pulses_per_s"] / by_loss[name].get("threads", result.get("threads", 1))
        yield Job("by_loss_db", float(name), {"loss_db": float(name), **argument}, ours)


def _count_jobs(result: Mapping[str, Any]) -> Iterator[Job]:
    source = {"intensities": [0.5, 0.1, 0.002], "probabilities": [0.8, 0.15, 0.05]}
    return _light(result, {"pulses": 10_000_000, "clock_hz": result.get("clock_hz", 1e9), **source})


def _photon_jobs(result: Mapping[str, Any]) -> Iterator[Job]:
    # The mean of the bench's intensities: SeQUeNCe knows no decoys.
    return _light(result, {"pulses": 80_000, "clock_hz": 80e6, "photons_per_pulse": 0.4151})


def _chain_jobs(result: Mapping[str, Any]) -> Iterator[Job]:
    for row in _rows(result, "per_nodes"):
        # So much of the network's time as takes it some seconds.
        seconds = 1.0 if row["nodes"] <= 9 else 0.5
        argument = {"nodes": row["nodes"], "length_km": result.get("link_km", 20.0)}
        argument |= {"emission": result.get("emission", 0.5), "seconds": seconds}
        yield Job("per_nodes", row["nodes"], argument, row["pairs_per_s"])


PEERS = (
    Peer(
        "repeaters", "sequence", "chain_sequence.py", "pairs_per_s", "pairs/s",
        "the same fibres, memories and swaps; every message an event, reservations, two rounds to a link", _chain_jobs,
    ),
    Peer(
        "link", "sequence", "photons_sequence.py", "pulses_per_s", "pulses/s",
        "BB84 over the same loss at 80 MHz, one intensity, sifted; every photon an event", _photon_jobs,
    ),
    Peer(
        "link", "qkd", "counts_qkd.py", "pulses_per_s", "pulses/s",
        "the same source and loss; counts only, no bits, no times, no dead time, no afterpulses", _count_jobs,
    ),
    Peer(
        "reconciliation", "qkd", "cascade_qkd.py", "mbps", "Mb/s",
        "Cascade on as many bits, in frames of 2^14; simulates the leak, hands out no key", _cascade_jobs,
    ),
    Peer(
        "ldpc", "ldpc", "decode_ldpc.py", "mbps", "Mb/s",
        "decodes syndromes at the same error rate, 60 iterations of product-sum; f and frames lost are its own",
        _decoder_jobs,
    ),
    Peer(
        "amplification", "scipy", "hash_scipy.py", "mbps", "Mb/s",
        "binary Toeplitz hash by real FFT, same block, same output, seed in hand", _hash_jobs,
    ),
)  # fmt: skip


def interpreter() -> Path:
    """Return the Python that has the peers: NOCLONE_PEERS, else what `./dev peers` made, else our own."""
    named = os.environ.get("NOCLONE_PEERS")
    if named:
        return Path(named)
    made = Path(noclone.__file__).parents[2] / ".venv-peers" / "bin" / "python"
    return made if made.exists() else Path(sys.executable)


def compare(stage: str, result: Mapping[str, Any], tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Run the peers of a stage, one after the other, and yield what came of each run."""
    for peer in PEERS:
        if peer.stage != stage:
            continue
        for job in peer.jobs(result):
            tell(f"  {peer.package} on the same work ({job.table} {job.case:g}) ...")
            record = {"stage": stage, "table": job.table, "case": job.case, "peer": peer.package, "unit": peer.unit}
            try:
                theirs = run_peer(peer.script, job.argument)
            except PeerDidNotRun as why:
                yield {**record, "not_run": str(why)}
                if why.hopeless:
                    break
                continue
            record |= {"what": peer.what, "threads": 1, "theirs": theirs[peer.figure], "ours": job.ours}
            yield {**record, "ratio": job.ours / theirs[peer.figure], "details": theirs}


class PeerDidNotRun(Exception):
    """Why there is no figure; hopeless where the next job would fare no better."""

    def __init__(self, why: str, *, hopeless: bool = False) -> None:
        super().__init__(why)
        self.hopeless = hopeless


def run_peer(script: str, argument: Mapping[str, Any], *, limit_s: float = TIME_LIMIT_S) -> dict[str, Any]:
    """Run a peer's script on a job and return its answer."""
    python = interpreter()
    command = [str(python), str(SCRIPTS / script), json.dumps(dict(argument))]
    environment = {**os.environ, **ONE_THREAD, "MPLBACKEND": "agg"}
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit_s)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise PeerDidNotRun(f"took longer than {limit_s:g} s") from None
    except OSError as error:
        raise PeerDidNotRun(f"{python}: {error.strerror or error}", hopeless=True) from None
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if "ModuleNotFoundError" in last:
        missing = last.partition(": ")[2]
        hint = f"{how_to_install('peers')}; or NOCLONE_PEERS=a Python that has it"
        raise PeerDidNotRun(f"not installed: {missing} ({hint})", hopeless=True)
    if done.returncode != 0:
        raise PeerDidNotRun(f"failed: {last}")
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        answer = None
    if not isinstance(answer, dict):
        raise PeerDidNotRun("failed: its answer is not JSON")
    return answer
