"""A table of counts that a lab wrote down, and the key length that each proof gives for it.

In: a TOML file (docs/proofs.md and examples/counts.toml describe it).  Out: `CountsFile`, then one `KeyLength` a proof.
A misspelt or contradictory field is an error that names file, place and field; nothing is guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from noclone.counts import Counts
from noclone.errors import CountsError, InputError
from noclone.io.toml import load_toml
from noclone.proofs.entropy import error_entropy
from noclone.proofs.epsilon import LEAST, Epsilons
from noclone.proofs.keylength import PROOFS, KeyLength, choose_proof, correctness_bits, secret_length
from noclone.records import DecoyBB84

MAX_COUNT = 1 << 62
SENT_SIGMAS = 5.0  # two bases whose intensity shares differ by more were not sent with the same probabilities
PROBABILITY_SUM = 1e-6  # how far printed probabilities may miss 1

Whole = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
Failure = Annotated[float, Field(ge=LEAST, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BasisCounts(_Strict):
    """What was counted at one intensity in one basis."""

    detections: Whole
    errors: Whole | None = None
    sent: Whole | None = None

    @model_validator(mode="after")
    def _errors_among_detections(self) -> Self:
        if self.errors is not None and self.errors > self.detections:
            raise ValueError(f"{self.errors} errors among {self.detections} detections cannot be")
        if self.sent is not None and self.detections > self.sent:
            raise ValueError(f"{self.detections} detections of {self.sent} pulses sent cannot be")
        return self


class Intensity(_Strict):
    """One mean photon number, how often it was sent, and what came of it."""

    mean_photons: Annotated[float, Field(ge=0, le=100)]
    probability: Annotated[float, Field(gt=0, lt=1)] | None = None
    key: BasisCounts
    test: BasisCounts

    @model_validator(mode="after")
    def _one_way_of_saying_how_often(self) -> Self:
        sent = self.key.sent is not None and self.test.sent is not None
        if (self.key.sent is None) != (self.test.sent is None):
            raise ValueError("give 'sent' in both bases, or in neither and 'probability' instead")
        if sent == (self.probability is not None):
            raise ValueError("give either 'probability', or 'sent' in both bases")
        if self.test.errors is None:
            raise ValueError("'errors' of the test basis is missing: the phase error comes from it")
        return self


class EpsilonTable(_Strict):
    """Failure probabilities."""

    secrecy: Failure
    correctness: Failure


class Reconciliation(_Strict):
    """What reconciliation told the world: measured, or modelled as efficiency * n * h(qber)."""

    leak_bits: Whole | None = None
    efficiency: Annotated[float, Field(ge=1, le=10)] | None = None
    qber: Annotated[float, Field(ge=0, le=0.5)] | None = None
    confirmation_bits: Annotated[int, Field(strict=True, ge=1, le=4096)] | None = None
    two_way: bool = False

    @model_validator(mode="after")
    def _measured_or_modelled(self) -> Self:
        if (self.leak_bits is None) == (self.efficiency is None):
            raise ValueError("give either 'leak_bits', as measured, or 'efficiency' to model it")
        if self.qber is not None and self.leak_bits is not None:
            raise ValueError("'qber' serves to model the leak; with 'leak_bits' leave it out")
        return self


class CountsTable(_Strict):
    """The whole file."""

    title: Annotated[str, Field(max_length=200)] = ""
    epsilons: EpsilonTable
    reconciliation: Reconciliation
    intensity: Annotated[list[Intensity], Field(min_length=2, max_length=4)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        photons = [i.mean_photons for i in self.intensity]
        if photons != sorted(set(photons), reverse=True):
            raise ValueError("intensities must fall: write the brightest first, each once")
        if len({i.probability is None for i in self.intensity}) > 1:
            raise ValueError("give 'probability' for every intensity, or 'sent' for every intensity")
        if self.intensity[0].probability is not None:
            total = sum(i.probability or 0.0 for i in self.intensity)
            if abs(total - 1) > PROBABILITY_SUM:
                raise ValueError(f"the probabilities of the intensities add up to {total:.6g}, not to 1")
        else:
            _check_same_shares(self.intensity)
        if len({i.key.errors is None for i in self.intensity}) > 1:
            raise ValueError("give the key-basis 'errors' for every intensity, or for none")
        if len(self.intensity) == 2 and self.intensity[0].key.errors is None:
            raise ValueError(
                "with one decoy the proofs need the 'errors' of the key basis (known after reconciliation)"
            )
        modelled = self.reconciliation.efficiency is not None and self.reconciliation.qber is None
        if modelled and self.intensity[0].key.errors is None:
            raise ValueError("to model the leak give 'qber' in [reconciliation], or the key-basis 'errors'")
        return self


@dataclass(frozen=True, slots=True)
class CountsFile:
    """A checked table of counts.

    Args:
        name: What the file is called.
        counts: `n_slots` is 0 where the file gives probabilities and no number of pulses.
        leak_bits: As measured, or as modelled.
    """

    name: str
    title: str
    counts: Counts
    protocol: DecoyBB84
    epsilons: Epsilons
    leak_bits: int
    confirmation_bits: int | None
    two_way: bool = False


def load_counts(path: Path) -> CountsFile:
    """Read and check a table of counts.

    Raises:
        CountsError: Naming file, place and field.
    """
    table = load_toml(path, CountsTable, CountsError)
    epsilons = Epsilons(table.epsilons.secrecy, table.epsilons.correctness)
    counts = _counts(table)
    try:
        protocol = _protocol(table)
        correctness_bits(epsilons, table.reconciliation.confirmation_bits)
    except (ValueError, InputError) as problem:
        raise CountsError(f"{path.name}: {problem}", hint=getattr(problem, "hint", "")) from None
    return CountsFile(
        name=path.name,
        title=table.title,
        counts=counts,
        protocol=protocol,
        epsilons=epsilons,
        leak_bits=_leak(table.reconciliation, counts),
        confirmation_bits=table.reconciliation.confirmation_bits,
        two_way=table.reconciliation.two_way,
    )


def report(file: CountsFile) -> list[KeyLength]:
    """Return the key length by every proof that fits the file's intensities, the default proof first.

    Raises:
        CountsError: No proof fits.
    """
    fitting, refusals = [], []
    for name in sorted(PROOFS, key=lambda n: (n != "wiesemann2024", n)):
        try:
            choose_proof(name, file.protocol)
        except InputError as problem:
            refusals.append((len(file.counts.n_key) in PROOFS[name].intensities, problem))
            continue
        fitting.append(
            secret_length(
                file.counts,
                file.protocol,
                file.epsilons,
                leak_bits=file.leak_bits,
                confirmation_bits=file.confirmation_bits,
                proof=name,
                two_way=file.two_way,
            )
        )
    if not fitting:
        closest = max(refusals, key=lambda r: r[0])[1]
        raise CountsError(f"{file.name}: no proof fits: {closest.message}", hint=closest.hint)
    return fitting


def _counts(table: CountsTable) -> Counts:
    rows = table.intensity
    key_errors = tuple(r.key.errors or 0 for r in rows)
    return Counts(
        n_slots=sum((r.key.sent or 0) + (r.test.sent or 0) for r in rows),
        n_key=tuple(r.key.detections for r in rows),
        n_test=tuple(r.test.detections for r in rows),
        m_test=tuple(r.test.errors or 0 for r in rows),
        m_key=None if rows[0].key.errors is None else key_errors,
    )


def _protocol(table: CountsTable) -> DecoyBB84:
    """Return the settings; basis probabilities do not enter a key length, so the observed shares stand for them."""
    rows = table.intensity
    if rows[0].probability is not None:
        weights = [r.probability or 0.0 for r in rows]
    else:
        weights = [float((r.key.sent or 0) + (r.test.sent or 0)) for r in rows]
    total = sum(weights)
    key, test = sum(r.key.detections for r in rows), sum(r.test.detections for r in rows)
    share = min(max((key + 1) / (key + test + 2), 1e-9), 1 - 1e-9)
    return DecoyBB84(tuple(r.mean_photons for r in rows), tuple(w / total for w in weights), share, share)


def _leak(reconciliation: Reconciliation, counts: Counts) -> int:
    if reconciliation.leak_bits is not None:
        return reconciliation.leak_bits
    qber = counts.qber_key if reconciliation.qber is None else reconciliation.qber
    assert qber is not None
    assert reconciliation.efficiency is not None
    return math.ceil(reconciliation.efficiency * counts.key_total * error_entropy(qber))


def _check_same_shares(rows: list[Intensity]) -> None:
    """Refuse tables whose bases were sent with different intensity probabilities: the proofs here have one set."""
    key, test = sum(r.key.sent or 0 for r in rows), sum(r.test.sent or 0 for r in rows)
    if min(key, test) == 0 or any((r.key.sent or 0) + (r.test.sent or 0) == 0 for r in rows):
        raise ValueError("'sent' must be above zero in each basis and at each intensity")
    for row in rows:
        pooled = ((row.key.sent or 0) + (row.test.sent or 0)) / (key + test)
        sigma = math.sqrt(pooled * (1 - pooled) * (1 / key + 1 / test))
        if abs((row.key.sent or 0) / key - (row.test.sent or 0) / test) > SENT_SIGMAS * sigma:
            raise ValueError(
                f"at mean photon number {row.mean_photons} the two bases were sent with different probabilities; "
                "the proofs here need the same in both"
            )
