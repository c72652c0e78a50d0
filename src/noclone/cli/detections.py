"""`noclone record`, `distill` and `keylength`: bring your own detections, or only your counts."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import Parameter, validators

from noclone.cli.compiling import prepare
from noclone.cli.output import may_write
from noclone.cli.terminal import Epsilon, Json, grouped, progress, say, show
from noclone.errors import InputError

if TYPE_CHECKING:
    from noclone.distill.recorded import RecordedOutcome
    from noclone.proofs.keylength import KeyLength
    from noclone.records import Detections, Settings


def record(
    scenario: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    link: str | None = None,
    blocks: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=10_000))] = 1,
    seed: Annotated[int | None, Parameter(validator=validators.Number(gte=0))] = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> int:
    """Write simulated detections to an HDF5 recording.

    The file holds both parties' secrets, so only you may read it. `docs/recordings.md` has the layout.

    Args:
        scenario: A scenario file, or the name of a shipped one.
        output: The file to write.
        link: Which link; may be left out where there is only one.
        blocks: How many blocks.
        seed: A number that makes the recording repeatable.
        overwrite: Replace the file if it is there.
    """
    from noclone import rng
    from noclone.io.recording import RecordingHead, write_recording
    from noclone.network.blocks import plan_link
    from noclone.network.scenario import load_scenario
    from noclone.network.simulate import block_of_light, origin_of

    may_write(output, overwrite=overwrite)
    network = load_scenario(scenario)
    if link is None and len(network.light()) > 1:
        raise InputError(
            f"{network.name} has {len(network.links)} links", hint=f"--link {' | '.join(x.name for x in network.links)}"
        )
    plan = plan_link(network.link(link) if link else network.light()[0])
    seeded = seed is not None
    start = rng.seed_from_int(seed) if seed is not None else rng.fresh_seed()
    head = RecordingHead(
        link=plan.link.name,
        alice=plan.link.alice,
        bob=plan.link.bob,
        protocol=plan.devices.source.protocol,
        clock_hz=Fraction(plan.devices.source.clock_hz).limit_denominator(10**6),
        origin=origin_of(seeded),
        devices=f"noclone's simulator, scenario {network.name}",
    )
    prepare("light")
    detected = 0

    def light() -> Iterator[tuple[Settings, Detections]]:
        nonlocal detected
        with progress() as bar:
            for block in bar.track(range(blocks), description=plan.link.name):
                settings, detections = block_of_light(plan, start, block, seeded=seeded)
                detected += len(detections)
                yield cast(Any, settings), detections  # as decoy BB84 has them: `devices` refused the others

    write_recording(output, head, light())
    data = {"file": str(output), "blocks": blocks, "slots": blocks * plan.n_slots, "detections": detected, "seed": seed}
    show(
        data,
        [f"{output}: {blocks} block{'s'[: blocks > 1]}, {grouped(detected)} detections (simulated)"],
        as_json=as_json,
    )
    return 0


def distill(
    recording: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    proof: str | None = None,
    eps_secrecy: Epsilon = 1e-10,
    eps_correctness: Epsilon = 1e-15,
    pilot: Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))] = 0.1,
    reconciliation: Literal["cascade", "ldpc"] = "cascade",
    efficiency: Annotated[float | None, Parameter(validator=validators.Number(gte=1, lte=2))] = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> int:
    """Turn a recording of detections into secret key, wherever it came from.

    The first part of the recording is a pilot: it is disclosed, and its counts agree on the length for the rest, as a
    fixed-length proof asks. Both parties run in this process; in the field they would be two.

    Args:
        recording: An HDF5 file; `docs/recordings.md` has the layout.
        output: Write the key here, for your eyes only (mode 0600). Without it the key is thrown away.
        proof: Which proof; the default fits the number of intensities.
        eps_secrecy: Failure probability of secrecy, for each block.
        eps_correctness: Failure probability of correctness, for each block.
        pilot: Share of the first block that is disclosed.
        reconciliation: How errors are corrected: by Cascade, or by LDPC codes, in one message and at a larger leak.
        efficiency: Most that reconciliation may leak, over Shannon's limit: 1.12 for Cascade, 1.3 for LDPC codes.
        overwrite: Replace the output if it is there.
    """
    from noclone.distill.authentication import AuthenticationPool
    from noclone.distill.recorded import RecordedJob, distill_recording
    from noclone.io.recording import open_recording
    from noclone.proofs.epsilon import Epsilons
    from noclone.proofs.keylength import DEFAULT_PROOF

    may_write(output, overwrite=overwrite)
    prepare("cascade", "chain")
    with open_recording(recording) as opened:
        head = opened.head
        job = RecordedJob(
            head.alice, head.bob, head.protocol, Epsilons(eps_secrecy, eps_correctness), proof or DEFAULT_PROOF,
            pilot_share=pilot, efficiency=efficiency, reconciliation=reconciliation,
        )  # fmt: skip
        secret = secrets.token_bytes(64 * (len(opened) + 1))
        pools = AuthenticationPool.from_secret("alice", secret), AuthenticationPool.from_secret("bob", secret)
        blocks = ((block.settings, block.detections) for block in opened.blocks)
        outcomes = list(distill_recording(blocks, job, pools, time_s=time.time()))
    key = b"".join(outcome.result.key.to_bytes() for outcome in outcomes if outcome.result)
    if output is not None and key:
        _write_private(output, key)
    data = {
        "recording": str(recording),
        "origin": head.origin.kind,
        "seeded": head.origin.seeded,
        "secret_bits": 8 * len(key),
        "output": str(output) if output is not None and key else None,
        "blocks": [_outcome(outcome) for outcome in outcomes],
    }
    lines = [f"{recording}: {head.link}, {_origin(head.origin.kind, seeded=head.origin.seeded)}"]
    for outcome in outcomes:
        lines.extend(_outcome_lines(outcome))
    lines.append(f"{grouped(8 * len(key))} secret bits" + (f" in {output}" if data["output"] else ""))
    show(data, lines, as_json=as_json)
    return 0 if key else 1


def keylength(counts: Path, /, *, as_json: Json = False) -> int:
    """Say how long a key a table of counts allows, by each proof that fits it, or why there is none.

    Args:
        counts: A TOML file; `examples/counts.toml` shows what goes in.
    """
    from noclone.proofs.counts_file import load_counts, report

    table = load_counts(counts)
    lengths = report(table)
    lines: list[str] = []
    for length in lengths:
        lines.extend([*_length_lines(length), ""])
    show({"file": str(counts), "proofs": [asdict(length) for length in lengths]}, lines, as_json=as_json)
    return 0 if any(length.bits for length in lengths) else 1


def _length_lines(length: KeyLength) -> list[str]:
    head = f"{length.proof}: {grouped(length.bits)} secret bits, {length.statement}"
    if not length.bits:
        head = f"{length.proof}: no key: {length.reason}"
    terms = [f"  {grouped(term.bits):>16}  {term.name}" for term in length.terms]
    return [head, *terms, "  assumes", *(f"    - {assumption}" for assumption in length.assumptions)]


def _outcome(outcome: RecordedOutcome) -> dict[str, Any]:
    data: dict[str, Any] = {
        "block": outcome.block,
        "n_slots": outcome.n_slots,
        "agreed_bits": outcome.agreement.length_bits,
        "proof": outcome.agreement.proof,
    }
    if outcome.result is not None:
        statistics = outcome.result.statistics
        data |= {"secret_bits": outcome.result.key.n_bits, "statistics": statistics.to_json()}
    if outcome.abort is not None:
        data |= {"secret_bits": 0, "reason": outcome.abort.verdict, "message": outcome.abort.message}
    return data


def _outcome_lines(outcome: RecordedOutcome) -> list[str]:
    if outcome.abort is not None:
        return [f"  block {outcome.block}: no key ({outcome.abort.verdict}): {outcome.abort.message}"]
    assert outcome.result is not None
    statistics = outcome.result.statistics
    assert statistics.counts is not None
    lines = [
        f"  block {outcome.block}: {grouped(outcome.result.key.n_bits)} secret bits from "
        f"{grouped(statistics.counts.key_total)} sifted, error rate {100 * statistics.counts.qber_test:.2f} %, "
        f"epsilon {statistics.epsilon:.2g}"
    ]
    if statistics.length is not None:
        lines.extend(f"    {line}" for line in _length_lines(statistics.length))
    return lines


def _origin(kind: str, *, seeded: bool) -> str:
    words = {
        "simulated": "SIMULATED light: the epsilon speaks about the model",
        "recorded": "recorded detections: past data",
        "hardware": "live hardware",
    }
    return words[kind] + ("; seeded: the key is no secret" if seeded else "")


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read; it appears under its name when it is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    say(f"key written to {path}, readable by you alone")
