"""Pairs on the wire: both ends keep the same bits of them, and what is malformed is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from noclone import rng
from noclone.bits import pack, unpack
from noclone.distill.job import BlockAborted, BlockJob, agreed_tag_bits
from noclone.distill.messages import Kind, Misbehaved
from noclone.distill.pair_sifting import peer_levels_of
from noclone.distill.pairing import (
    COUNT,
    Pairs,
    choose_phases,
    pack_unlike,
    pairs_bytes_max,
    read_unlike,
    refuse_told_bits,
    split_told,
)
from noclone.distill.session import distill_block
from noclone.distill.sifting import CHUNK, Sieve
from noclone.link.devices import Fibre, Receiver
from noclone.link.lights import expected, one_block
from noclone.link.sns import SnsStation
from noclone.proofs.agreement import agree
from noclone.proofs.epsilon import Epsilons
from noclone.protocols import Sender, SendOrNot
from noclone.records import Basis, Detections, Origin, Settings

RANDOM = rng.stream(rng.seed_from_int(12), "pairs")


def sieve(bits: np.ndarray) -> Sieve:
    one = Sieve.empty(len(bits), peers=3)
    one.replace_key(pack(bits), len(bits))
    return one


@pytest.mark.parametrize("raw", [0, 1, 2, 63, 64, 1000, 70_001])
def test_both_ends_keep_the_same_pairs(raw: int) -> None:
    bobs = (RANDOM.random(raw) < 0.4).astype(np.uint8)
    alices = bobs ^ (RANDOM.random(raw) < 0.25)
    pairs = Pairs.draw(pack(bobs), raw, RANDOM.bytes)
    assert len(pairs.earlier) == min(bobs.sum(), raw - bobs.sum())
    assert (bobs[pairs.earlier] != bobs[pairs.later]).all()
    told = pairs.to_bytes()
    assert len(told) <= pairs_bytes_max(raw)
    heard = Pairs.read(told, raw)
    unlike = heard.unlike(pack(alices))
    hers, his = sieve(alices), sieve(bobs)
    numbers = heard.keep(hers, unlike)
    assert pairs.keep(his, read_unlike(pack_unlike(unlike), len(pairs.earlier))) == numbers
    kept = int(unlike.sum())
    assert (int(hers.n[Basis.KEY]), numbers.raw, numbers.pairs) == (kept, raw, len(pairs.earlier))
    a, b = (unpack(one.bits(Basis.KEY), kept) for one in (hers, his))
    both = (alices != bobs)[pairs.earlier] & (alices != bobs)[pairs.later]
    assert (a != b).sum() == both.sum()  # what is kept is right twice, or wrong twice
    assert hers.tally(Basis.KEY, 4, 3) == (kept, *(0,) * 11)


def test_pairs_are_drawn_anew_and_name_no_value() -> None:
    bits = (RANDOM.random(4000) < 0.5).astype(np.uint8)
    one, other = (Pairs.draw(pack(bits), 4000, RANDOM.bytes) for _ in range(2))
    assert one.to_bytes() != other.to_bytes()
    ones = bits[one.earlier].mean()  # the earlier bit of a pair is 0 as often as 1
    assert abs(ones - 0.5) < 6 * 0.5 / np.sqrt(len(one.earlier))


def rows(*places: int) -> bytes:
    return COUNT.pack(len(places) // 2) + np.array(places, "<u4").tobytes()


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0", COUNT.pack(1), rows(0, 1)[:-1], rows(0, 1) + b"\0", rows(3, 1, 4, 5), rows(0, 0), rows(1, 0),
     rows(0, 10), rows(0, 1, 2, 2), rows(0, 1, 1, 2), rows(*range(12)), COUNT.pack(2**32 - 1)],
)  # fmt: skip
def test_malformed_pairs_are_refused(data: bytes) -> None:
    with pytest.raises(Misbehaved):
        Pairs.read(data, 10)


def test_a_malformed_answer_is_refused() -> None:
    assert read_unlike(b"\x05", 3).tolist() == [1, 0, 1]
    for data in (b"", b"\x05\x00", b"\x08"):
        with pytest.raises(Misbehaved):
            read_unlike(data, 3)


def test_phases_are_chosen_by_alice() -> None:
    """Decoys at both ends whose phases are neither alike nor opposite become her fourth intensity."""
    codes = np.array([0b0010_0110, 0b1010_0110, 0b0011_0110, 0b0011_0010, 0b0000_0001], np.uint8)
    levels, slices = split_told(np.array([2 << 2 | 1, 2 << 2 | 1, 2 << 2 | 1, 2 << 2 | 1, 0], np.uint8))
    chosen = choose_phases(codes, levels, slices)
    assert (chosen >> 2).tolist() == [1, 1, 3, 0, 0]
    assert (chosen & 1).tolist() == [0, 1, 0, 0, 1]
    assert (chosen >> 1 & 1).tolist() == [1, 1, 1, 1, 0]
    with pytest.raises(Misbehaved):
        split_told(np.array([3], np.uint8))


SENDER = Sender((0.45, 0.1, 0.0), (0.25, 0.55, 0.2), 0.6)
ORIGIN = Origin("simulated", seeded=True)


@pytest.fixture(scope="module")
def block() -> tuple[Settings, Detections, BlockJob]:
    """Return a block of light over 8 dB, and the job that it is distilled by."""
    arm = Fibre(0, 0.2, 4.0)
    station = Receiver("active", (0.9,) * 2, (5.0,) * 2, misalignment=0.005)
    link = SnsStation(1e9, arm, arm, station, SendOrNot(SENDER, SENDER, 0.45, 0.45), 1.0, 0.05)
    n_slots, loose = 12_000_000, Epsilons(1e-4, 1e-6)
    counts = expected(link, n_slots)
    bits = agreed_tag_bits(int(sum(counts.n_key)), loose)
    agreement = agree(counts, link.protocol, loose, "jiang2019", efficiency=1.2, confirmation_bits=bits)
    assert agreement.length_bits > 1000, agreement.reason
    job = BlockJob("l", "a", "b", 0, n_slots, link.protocol, 1e9, loose, "jiang2019", agreement, ORIGIN)
    seeds = {
        "alice_seed": rng.derive(rng.seed_from_int(13), "a"),
        "physics_seed": rng.derive(rng.seed_from_int(13), "p"),
    }
    return (*one_block(link, **seeds, n_slots=n_slots, link="l", block=0, origin=ORIGIN), job)


def test_both_ends_of_a_block_get_one_key(block, make_pools) -> None:
    settings, detections, job = block
    both = distill_block(settings, detections, job, *make_pools(), qber_expected=1e-3)
    assert np.array_equal(both.alice.key.bits, both.bob.key.bits)
    assert both.alice.key.provenance.protocol == "sns"
    counts = both.alice.statistics.counts
    assert counts == both.bob.statistics.counts
    assert counts is not None
    assert counts.paired is not None
    assert counts.key_total < counts.paired.pairs < counts.paired.raw / 2
    assert (counts + counts).paired.raw == 2 * counts.paired.raw


@pytest.mark.parametrize("role", ["alice", "bob"])
@pytest.mark.parametrize("place", [14, 40, -2])
def test_changed_pairs_give_no_key(block, make_pools, role: str, place: int) -> None:
    settings, detections, job = block

    def change(sender: str, message: bytes) -> list[bytes]:
        if message[0] != Kind.PAIRS or sender != role:
            return [message]
        changed = bytearray(message)
        changed[place] ^= 0x10
        return [bytes(changed)]

    with pytest.raises(BlockAborted):
        distill_block(settings, detections, job, *make_pools(), qber_expected=1e-3, carriage=change)


def test_what_devices_say_of_key_pulses_is_not_announced(block, make_pools) -> None:
    """The intensity of a key pulse is Bob's bit: a driver that fills it in tells nobody."""
    settings, detections, job = block
    events = detections.events
    key = events & np.uint64(Detections.BASIS) == 0
    bits = (events & np.uint64(1)) << np.uint64(Detections.ARRIVAL_SHIFT)
    chatty = replace(detections, events=np.where(key, events | bits, events))
    heard: list[list[bytes]] = []
    for one in (detections, chatty):
        heard.append([])

        def listen(role: str, message: bytes, heard: list[bytes] = heard[-1]) -> list[bytes]:
            if message[0] == Kind.ANNOUNCE:
                heard.append(message)
            return [message]

        done = distill_block(settings, one, job, *make_pools(), qber_expected=1e-3, carriage=listen)
        assert done.bob.key.n_bits > 1000
    assert heard[0] == heard[1]


def test_an_announcement_of_key_pulses_is_refused(block, make_pools, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, detections, job = block
    refuse_told_bits(pack(np.array([0, 1, 0], np.uint8)), np.array([0, 6, 0], np.uint8))
    with pytest.raises(Misbehaved, match="where that is the key"):
        refuse_told_bits(pack(np.array([0, 1, 0], np.uint8)), np.array([0, 6, 1], np.uint8))

    def announces_all(_bob: object, events: np.ndarray, start: int) -> np.ndarray:
        return peer_levels_of(events[start : start + CHUNK])

    monkeypatch.setattr("noclone.distill.parties._Bob._levels", announces_all)
    first = int(np.flatnonzero(detections.events & np.uint64(Detections.BASIS) == 0)[0])
    events = detections.events.copy()
    events[first] |= np.uint64(1 << Detections.ARRIVAL_SHIFT)
    with pytest.raises(BlockAborted) as caught:
        distill_block(settings, replace(detections, events=events), job, *make_pools(), qber_expected=1e-3)
    assert caught.value.reason == "peer-misbehaved"
    assert "where that is the key" in caught.value.message


def test_a_changed_announcement_gives_no_key(block, make_pools) -> None:
    settings, detections, job = block

    def change(sender: str, message: bytes) -> list[bytes]:
        # The rows behind an announcement end it; the last byte holds slices of the last detections, some of the key.
        return [message[:-1] + b"\xff"] if message[0] == Kind.ANNOUNCE else [message]

    with pytest.raises(BlockAborted):
        distill_block(settings, detections, job, *make_pools(), qber_expected=1e-3, carriage=change)
