"""Recordings: a disclosed pilot agrees on the length for the rest, and earns nothing itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from noclone.counts import Counts
from noclone.distill import recorded
from noclone.distill.authentication import AuthenticationPool
from noclone.distill.job import BlockJob
from noclone.distill.recorded import RecordedJob, RecordedOutcome, distill_recording, pilot_counts
from noclone.errors import Aborted
from noclone.proofs.agreement import DEFAULT_SIGMAS
from noclone.proofs.epsilon import Epsilons
from noclone.records import DecoyBB84, Detections, Origin

PROTOCOL = DecoyBB84((0.5, 0.15), (0.6, 0.4), 0.7, 0.7)
GAINS = (0.2, 0.07)  # per slot, of the two intensities: so bright that few slots make a block
N_SLOTS = 3_000_000


class Table:
    """Alice's settings, all of them in an array."""

    def __init__(self, codes: np.ndarray[Any, Any]) -> None:
        self.codes = codes

    def at(self, slots: Any) -> Any:
        return self.codes[slots.astype(np.int64)]


def block(number: int, *, qber: float = 0.01, n_slots: int = N_SLOTS) -> tuple[Table, Detections]:
    """Draw a block slot by slot, with NumPy alone."""
    random = np.random.default_rng(number)
    bit = random.integers(0, 2, n_slots, dtype=np.uint8)
    basis = (random.random(n_slots) >= PROTOCOL.p_key_alice).astype(np.uint8)
    intensity = (random.random(n_slots) >= PROTOCOL.probabilities[0]).astype(np.uint8)
    clicked = np.flatnonzero(random.random(n_slots) < np.array(GAINS)[intensity])
    measured = (random.random(len(clicked)) >= PROTOCOL.p_key_bob).astype(np.uint8)
    wrong = random.random(len(clicked)) < np.where(measured == basis[clicked], qber, 0.5)
    value = bit[clicked] ^ wrong.astype(np.uint8)
    events = (
        (clicked.astype(np.uint64) << np.uint64(16))
        | value.astype(np.uint64)
        | (measured.astype(np.uint64) << np.uint64(1))
    )
    detections = Detections("a-b", number, n_slots, 1e9, events, Origin("recorded"))
    return Table(bit | (basis << 1) | (intensity << 2)), detections


def distil(blocks: Any, **more: Any) -> list[RecordedOutcome]:
    plan = RecordedJob("a", "b", PROTOCOL, Epsilons(1e-9, 1e-12), "wiesemann2024", **more)
    secret = bytes(range(256)) * 4
    pools = AuthenticationPool.from_secret("alice", secret), AuthenticationPool.from_secret("bob", secret)
    return list(distill_recording(blocks, plan, pools, time_s=0.0))


def test_a_recording_gives_key_of_the_agreed_length() -> None:
    outcomes = distil([block(0), block(1)])
    assert [outcome.block for outcome in outcomes] == [0, 1]
    for outcome in outcomes:
        assert outcome.result is not None
        assert outcome.result.key.n_bits == outcome.agreement.length_bits > 0, "nothing goes back into a pool"
        assert outcome.result.key.provenance.origin.kind == "recorded"
    assert outcomes[0].n_slots == N_SLOTS - N_SLOTS // 10
    assert outcomes[1].n_slots == N_SLOTS


def test_a_recording_may_be_reconciled_by_codes() -> None:
    """One message instead of hundreds; the length leaves room for what that costs."""
    (outcome,), (by_cascade,) = (distil([block(0)], reconciliation=method) for method in ("ldpc", "cascade"))
    assert outcome.result is not None
    assert by_cascade.result is not None
    assert outcome.agreement.leak_bits_max > 1.1 * by_cascade.agreement.leak_bits_max
    assert 0 < outcome.result.key.n_bits < by_cascade.result.key.n_bits
    assert outcome.result.statistics.rounds < by_cascade.result.statistics.rounds / 3


def test_the_pilot_earns_nothing() -> None:
    (first, *_) = distil([block(0)], pilot_share=0.5)
    assert first.result is not None
    counts = first.result.statistics.counts
    assert counts is not None
    settings, detections = block(0)
    rest = replace(detections, events=detections.events[detections.slots >= N_SLOTS // 2])
    expected = pilot_counts(settings, rest, 2)
    assert (counts.n_key, counts.n_test, counts.m_test) == (expected.n_key, expected.n_test, expected.m_test)


def test_a_pilot_counts_what_a_loop_counts() -> None:
    settings, detections = block(3, n_slots=20_000)
    n_key, n_test, m_key, m_test = ([0, 0] for _ in range(4))
    for slot, value, basis in zip(detections.slots, detections.values, detections.bases, strict=True):
        code = int(settings.codes[int(slot)])
        if (code >> 1) & 1 == basis:
            rows = (n_key, m_key) if basis == 0 else (n_test, m_test)
            rows[0][code >> 2] += 1
            rows[1][code >> 2] += (code & 1) != value
    found = pilot_counts(settings, detections, 2)
    assert found == Counts(20_000, tuple(n_key), tuple(n_test), tuple(m_test), tuple(m_key))


def test_a_small_pilot_is_trusted_less() -> None:
    """The pilot fluctuates too: scaled up tenfold, its variance counts ten times, and the agreement allows for it."""
    (small,) = distil([block(0)], pilot_share=0.02)
    (large,) = distil([block(0)], pilot_share=0.3)
    per_slot = [o.agreement.length_bits / o.n_slots for o in (small, large)]
    assert per_slot[0] < per_slot[1]
    assert small.agreement.sigmas == pytest.approx(DEFAULT_SIGMAS * (1 + 0.98 / 0.02) ** 0.5)


def test_a_block_that_is_worse_than_its_pilot_is_refused() -> None:
    outcomes = distil([block(0), block(1, qber=0.08)])
    assert outcomes[0].result is not None
    assert outcomes[1].abort is not None
    assert outcomes[1].abort.verdict == "qber-too-high"


def test_an_empty_pilot_is_said() -> None:
    settings, detections = block(0)
    late = replace(detections, events=detections.events[detections.slots > N_SLOTS // 2])
    with pytest.raises(Aborted, match="nothing to agree on") as caught:
        distil([(settings, late)])
    assert caught.value.reason == "too-few-detections"


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_an_impossible_pilot_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        distil([block(0)], pilot_share=share)


def test_alice_expects_no_more_detections_than_the_recording_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = recorded.distill_block

    def spy(settings: Any, detections: Detections, job: BlockJob, *pools: Any, **more: Any) -> Any:
        seen.append((job.detections_max, len(detections.events)))
        return real(settings, detections, job, *pools, **more)

    monkeypatch.setattr(recorded, "distill_block", spy)
    distil([block(0)])
    ((most, events),) = seen
    assert most == events > 0
