"""Entangled pairs and MDI-QKD through the same block protocol: equal keys, classes counted alike, lies refused."""

from __future__ import annotations

import numpy as np
import pytest

from noclone import rng
from noclone.distill.chsh import answer, count, read_answer, split_events, tell
from noclone.distill.job import BlockAborted, BlockJob, agreed_tag_bits
from noclone.distill.pair_sifting import pack_levels, split_levels
from noclone.distill.session import distill_block
from noclone.distill.sifting import COUNT
from noclone.errors import Aborted
from noclone.proofs.agreement import agree
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.models import ExpectedTally
from noclone.protocols import DecoyMdi, EntangledPairs, LinkProtocol, Sender
from noclone.records import NOTHING, Detections, Origin

LOOSE = Epsilons(1e-6, 1e-9)
ORIGIN = Origin("simulated", seeded=True)
SENDER = Sender((0.5, 0.1, 0.0), (0.4, 0.35, 0.25), 0.5)
MDI = DecoyMdi(SENDER, SENDER)


class Known:
    """Alice's codes, written down."""

    def __init__(self, codes: np.ndarray) -> None:
        self.codes = codes

    def at(self, slots: np.ndarray) -> np.ndarray:
        return self.codes[slots.astype(np.int64)]


def job(protocol: LinkProtocol, proof: str, n_slots: int, tally: ExpectedTally) -> BlockJob:
    bits = agreed_tag_bits(int(sum(tally.n_key)), LOOSE)
    agreement = agree(tally, protocol, LOOSE, proof, efficiency=1.2, confirmation_bits=bits)
    return BlockJob("l", "a", "b", 0, n_slots, protocol, 1e9, LOOSE, proof, agreement, ORIGIN)


def pairs_block(n: int = 300_000, p_chsh: float = 0.1) -> tuple[Known, Detections, BlockJob]:
    """Return a block of perfect pairs with 1 % of wrong values, of which Alice saw a third."""
    random = rng.stream(rng.seed_from_int(8), "pairs")
    a_basis, b_basis = (random.random(n) > 0.7).astype(np.int64), (random.random(n) > 0.7).astype(np.int64)
    value = random.integers(0, 2, n)
    further, which = random.random(n) < p_chsh, random.integers(0, 2, n)
    agrees = random.random(n) < (1 + np.sqrt(0.5)) / 2
    agrees ^= (a_basis == 1) & (which == 1)
    agrees = np.where(further, agrees, random.random(n) > 0.01)
    codes = np.where(random.random(n) < 1 / 3, value | a_basis << 1, NOTHING).astype(np.uint8)
    b_value = value ^ ~agrees & 1
    low = np.where(further, b_value | which << 1 | Detections.CHSH, b_value | b_basis << 1)
    events = np.arange(n, dtype=np.uint64) << np.uint64(16) | low.astype(np.uint64)
    key, test = (n / 3 * (1 - p_chsh) * share for share in (0.49, 0.09))
    tally = ExpectedTally(n, (key,), (test,), (0.01 * test,), (0.01 * key,))
    protocol = EntangledPairs(0.7, 0.7, p_chsh)
    return Known(codes), Detections("l", 0, n, 1e9, events, ORIGIN), job(protocol, "tomamichel2012", n, tally)


def test_entangled_pairs_give_both_ends_one_key_and_a_chsh_value(make_pools) -> None:
    settings, detections, one = pairs_block()
    both = distill_block(settings, detections, one, *make_pools())
    assert both.alice.key.n_bits == both.bob.key.n_bits > 10_000
    assert np.array_equal(both.alice.key.bits, both.bob.key.bits)
    assert both.alice.key.provenance.protocol == "bbm92"
    chsh = both.alice.statistics.chsh
    assert chsh == both.bob.statistics.chsh
    assert chsh is not None
    assert abs(chsh.value - 2 * np.sqrt(2)) < 6 * chsh.error
    assert "no device independence" in chsh.to_json()["means"]
    seen = sum(chsh.counts) + sum(both.alice.statistics.counts.n_key) + sum(both.alice.statistics.counts.n_test)
    assert seen < 0.4 * len(detections)


def test_without_further_bases_there_is_no_chsh_value(make_pools) -> None:
    settings, detections, one = pairs_block(p_chsh=0.0)
    both = distill_block(settings, detections, one, *make_pools())
    assert both.alice.statistics.chsh is None
    assert both.alice.key.n_bits > 10_000


def test_a_noisy_source_gives_no_key(make_pools) -> None:
    """Whoever holds the source shows as errors: here she measures everything and sends it on."""
    settings, detections, one = pairs_block()
    random = rng.stream(rng.seed_from_int(9), "eve")
    spoiled = detections.events ^ (random.random(len(detections)) < 0.25).astype(np.uint64)
    noisy = Detections("l", 0, detections.n_slots, 1e9, spoiled, ORIGIN)
    with pytest.raises(BlockAborted) as caught:
        distill_block(settings, noisy, one, *make_pools())
    assert caught.value.reason == "qber-too-high"


def mdi_events(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Alice's codes and Bob's events of n announcements, errors where both bases would have them."""
    random = rng.stream(rng.seed_from_int(10), "mdi")
    levels = [random.choice(3, n, p=(0.7, 0.2, 0.1)) for _ in range(2)]
    bases = [(random.random(n) > 0.6).astype(np.int64) for _ in range(2)]
    value = random.integers(0, 2, n)
    wrong = random.random(n) < np.where(bases[1] == 1, 0.26, 0.01)
    codes = (value | bases[0] << 1 | levels[0] << 2).astype(np.uint8)
    low = (value ^ wrong) | bases[1] << 1 | levels[1] << Detections.ARRIVAL_SHIFT
    return codes, np.arange(n, dtype=np.uint64) << np.uint64(16) | low.astype(np.uint64)


def test_mdi_counts_every_pair_of_intensities_alike_at_both_ends(make_pools) -> None:
    """The proof gives no key for counts so far from physics; what was counted is told in the refusal."""
    n = 300_000
    codes, events = mdi_events(n)
    low = events.astype(np.int64) & 0xFFFF
    classes = 3 * (codes >> 2).astype(np.int64) + (low >> 8)
    match = codes >> 1 & 1 == low >> 1 & 1
    expected = [np.bincount(classes[match & (low >> 1 & 1 == b)], minlength=9) for b in (0, 1)]
    wrong = np.bincount(classes[match & (low >> 1 & 1 == 1) & (low & 1 != codes & 1)], minlength=9)
    tally = ExpectedTally(n, *(tuple(map(float, row)) for row in (*expected, wrong, expected[0] * 0.01)))
    one = job(MDI, "curty2014", n, tally)
    with pytest.raises(BlockAborted) as caught:
        distill_block(Known(codes), Detections("l", 0, n, 1e9, events, ORIGIN), one, *make_pools())
    counts = caught.value.statistics.counts
    assert counts.n_key == tuple(expected[0])
    assert counts.n_test == tuple(expected[1])
    assert counts.m_test == tuple(wrong)


def test_bobs_intensities_follow_the_announcement_and_are_checked() -> None:
    levels = np.array([0, 1, 2, 2, 1, 0, 0, 1, 2], np.uint8)
    message = COUNT.pack(9) + b"middle" + pack_levels(levels, 3)
    said, found = split_levels(memoryview(message), 3)
    assert bytes(said) == COUNT.pack(9) + b"middle"
    assert found.tolist() == levels.tolist()
    assert split_levels(memoryview(message), 1)[0] == message
    for bad in (
        COUNT.pack(9) + pack_levels(levels + 1, 4),
        COUNT.pack(1 << 31) + b"x",
        b"",
        COUNT.pack(1) + b"\x02\x00",
    ):
        with pytest.raises(Aborted):
            split_levels(memoryview(bad), 3)


def test_what_bob_tells_for_chsh_is_checked() -> None:
    events = np.array([2 << 16 | 9, 5 << 16 | 8, 6 << 16 | 11], np.uint64)
    key, further = split_events(np.append(events, np.uint64(9 << 16 | 1)))
    assert key.tolist() == [9 << 16 | 1]
    told = tell(further)
    codes = np.array([0, 0, 1, 0, 0, 3, NOTHING, 0, 0], np.uint8)
    found = count(told, Known(codes), 9)
    assert found.counts == (1, 0, 1, 0)
    assert found.same == (1, 0, 0, 0)
    assert found.value is None
    assert read_answer(answer(found), 3) == found
    for bad in (told[:-1], told + b"x", b"", tell(events[::-1])):
        with pytest.raises(Aborted):
            count(bad, Known(codes), 9)
    with pytest.raises(Aborted):
        count(told, Known(codes), 6)
    with pytest.raises(Aborted):
        read_answer(answer(found), 1)
    with pytest.raises(Aborted):
        read_answer(b"\xff" * 64, 3)
