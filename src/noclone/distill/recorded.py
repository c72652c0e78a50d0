"""Distilling a recording: detections that exist already, whoever made them.

In: settings and detections of some blocks.  Out: secret key, each block accepted or aborted by an agreed length.
A fixed-length proof needs a length that was agreed before the block, and a recording has no model of its link to agree
on. So the first part of the first block is a pilot: both parties disclose all of it, and its counts, with their own
uncertainty, agree on the length for the rest (docs/decisions/003). The pilot gives no key.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from noclone.counts import Counts, Moments
from noclone.distill.authentication import AuthenticationPool
from noclone.distill.job import (
    EFFICIENCY,
    BlockAborted,
    BlockJob,
    BlockResult,
    Reconciliation,
    RefillPolicy,
    agreed_tag_bits,
)
from noclone.distill.session import distill_block
from noclone.errors import Aborted
from noclone.proofs.agreement import DEFAULT_SIGMAS, Agreement, agree, refusal_probability
from noclone.proofs.epsilon import Epsilons
from noclone.records import U8, U64, Basis, DecoyBB84, Detections, Settings


@dataclass(frozen=True, slots=True)
class RecordedJob:
    """How a recording is to be distilled.

    Args:
        pilot_share: Share of the first block's slots that is disclosed to agree on a length.
        efficiency: Most that reconciliation may leak, over Shannon's limit; None for what its method is known to need.
    """

    alice: str
    bob: str
    protocol: DecoyBB84
    epsilons: Epsilons
    proof: str
    pilot_share: float = 0.1
    efficiency: float | None = None
    reconciliation: Reconciliation = "cascade"

    def __post_init__(self) -> None:
        if not 0 < self.pilot_share < 1:
            raise ValueError("the pilot's share must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class RecordedOutcome:
    """What one block gave: a result, or the abort that says why not."""

    block: int
    n_slots: int
    agreement: Agreement
    result: BlockResult | None = None
    abort: BlockAborted | None = None


@dataclass(frozen=True, slots=True)
class _Later:
    """Alice's settings from some slot on, counted from 0 again."""

    settings: Settings
    first_slot: int

    def at(self, slots: U64) -> U8:
        return self.settings.at(slots + np.uint64(self.first_slot))


def distill_recording(
    blocks: Iterable[tuple[Settings, Detections]],
    plan: RecordedJob,
    pools: tuple[AuthenticationPool, AuthenticationPool],
    *,
    time_s: float,
) -> Iterator[RecordedOutcome]:
    """Distil each block of a recording, after a pilot that the first block pays for.

    Raises:
        Aborted: The pilot holds too few detections to agree on anything.
    """
    pilot: Counts | None = None
    for settings, detections in blocks:
        if pilot is None:
            pilot, settings, detections = _split(settings, detections, plan)
            if pilot.key_total == 0 or pilot.test_total == 0:
                raise Aborted(
                    "too-few-detections",
                    f"the pilot of {pilot.n_slots} slots holds {pilot.key_total} key and {pilot.test_total} test "
                    "detections: nothing to agree on",
                    hint="give the pilot a larger share, or record longer",
                )
        agreement = _agree(pilot, detections.n_slots, plan)
        job = BlockJob(
            link=detections.link,
            alice=plan.alice,
            bob=plan.bob,
            block=detections.block,
            n_slots=detections.n_slots,
            protocol=plan.protocol,
            clock_hz=detections.clock_hz,
            epsilons=plan.epsilons,
            proof=plan.proof,
            agreement=agreement,
            origin=detections.origin,
            reconciliation=plan.reconciliation,
            detections_max=len(detections.events),
            refill=RefillPolicy(target_bits=0),  # both ends are here: nothing is left to authenticate afterwards
        )
        try:
            both = distill_block(settings, detections, job, *pools, time_s=time_s)
        except BlockAborted as abort:
            yield RecordedOutcome(detections.block, detections.n_slots, agreement, abort=abort)
        else:
            yield RecordedOutcome(detections.block, detections.n_slots, agreement, result=both.alice)


def pilot_counts(settings: Settings, detections: Detections, n_intensities: int) -> Counts:
    """Count everything in detections that both parties have disclosed."""
    codes = settings.at(detections.slots)
    wrong = ((codes & 1) != detections.values).astype(bool)
    bases = (codes >> 1) & 1
    intensity = codes >> 2

    def count(basis: Basis, *, errors: bool) -> tuple[int, ...]:
        chosen = (bases == basis) & (detections.bases == basis) & (wrong if errors else True)
        return tuple(int(n) for n in np.bincount(intensity[chosen], minlength=n_intensities))

    return Counts(
        detections.n_slots,
        n_key=count(Basis.KEY, errors=False),
        n_test=count(Basis.TEST, errors=False),
        m_test=count(Basis.TEST, errors=True),
        m_key=count(Basis.KEY, errors=True),
    )


def _split(settings: Settings, detections: Detections, plan: RecordedJob) -> tuple[Counts, Settings, Detections]:
    """Return the pilot's counts, and the rest of the block as a block of its own."""
    first_slot = min(max(1, math.floor(plan.pilot_share * detections.n_slots)), detections.n_slots - 1)
    first_event = int(np.searchsorted(detections.slots, np.uint64(first_slot)))
    pilot = replace(detections, n_slots=first_slot, events=detections.events[:first_event])
    shift = np.uint64(first_slot) << np.uint64(Detections.SLOT_SHIFT)
    rest = replace(detections, n_slots=detections.n_slots - first_slot, events=detections.events[first_event:] - shift)
    counts = pilot_counts(settings, pilot, len(plan.protocol.intensities))
    return counts, _Later(settings, first_slot), rest


@dataclass(frozen=True, slots=True)
class _Scaled:
    """The pilot's counts, blown up to the size of a block."""

    n_slots: int
    n_key: tuple[float, ...]
    n_test: tuple[float, ...]
    m_test: tuple[float, ...]
    m_key: tuple[float, ...] | None
    moments: Moments | None = None

    @property
    def paired(self) -> None:
        """Recordings are of one sender: nothing is paired."""


def _agree(pilot: Counts, n_slots: int, plan: RecordedJob) -> Agreement:
    """Agree on a length for a block of `n_slots` from the pilot's counts.

    The pilot fluctuates too, and more so the smaller it is: a count n of the block has variance n from the block
    and n * (n_slots / pilot slots) from the scaled pilot, which is added here.
    """
    assert pilot.m_key is not None
    factor = n_slots / pilot.n_slots
    columns: list[Any] = [tuple(factor * n for n in c) for c in (pilot.n_key, pilot.n_test, pilot.m_test, pilot.m_key)]
    agreement = agree(
        _Scaled(n_slots, *columns),
        plan.protocol,
        plan.epsilons,
        plan.proof,
        efficiency=EFFICIENCY[plan.reconciliation] if plan.efficiency is None else plan.efficiency,
        confirmation_bits=agreed_tag_bits(math.ceil(sum(columns[0])), plan.epsilons),
        sigmas=DEFAULT_SIGMAS * math.sqrt(1 + factor),
    )
    # The wider margin pays for the pilot's own bad luck, so a refusal is as likely as with the usual one.
    return replace(agreement, refusal_probability=refusal_probability(DEFAULT_SIGMAS))
