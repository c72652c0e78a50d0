"""Sifting: kernels against their slow twins, the wire form, and messages that lie."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noclone.bits import pack, unpack
from noclone.distill import sifting
from noclone.distill.bit_kernels import token, variants_here
from noclone.distill.sifting import Announcement, Announcer, Sieve, answer, apply_answer
from noclone.errors import Aborted, InputError
from noclone.records import Basis


def events_at(slots, values, bases):
    return (
        np.array(slots, np.uint64) << np.uint64(16)
        | np.array(bases, np.uint64) << np.uint64(1)
        | np.array(values, np.uint64)
    )


def announce(events):
    pieces, kept = Announcer(events).announce(0)
    return b"".join(pieces), kept


def sift(codes, bob_bases, bob_values):
    """Twin of both sifting kernels: bits and intensities of either party by basis."""
    found = {}
    for basis in Basis:
        take = [i for i, code in enumerate(codes) if (code >> 1 & 1) == bob_bases[i] == basis]
        found[basis] = ([codes[i] & 1 for i in take], [bob_values[i] for i in take], [codes[i] >> 2 for i in take])
    return found


def run_both(slots, codes, values, bases, chunk, levels):
    """Sift all of it at both ends, in chunks."""
    events = events_at(slots, values, bases)
    n_slots = int(events[-1] >> np.uint64(16)) + 1 if len(events) else 1
    at_alice, at_bob = Sieve.empty(), Sieve.empty()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sifting, "CHUNK", chunk)
        previous, announcer, room = -1, Announcer(events), np.empty(chunk, np.uint64)
        for start in range(0, len(events), chunk):
            pieces, kept = announcer.announce(start)
            message = b"".join(pieces)
            read = Announcement.read(message, previous, n_slots, room)
            previous = int(read.slots[-1])
            here = slice(start, start + len(read.slots))
            assert read.slots.tolist() == (events[here] >> np.uint64(16)).tolist()
            apply_answer(kept, answer(read, np.array(codes[here], np.uint8), levels, at_alice), levels, at_bob)
    return at_alice, at_bob


def check_against_the_twin(at_alice, at_bob, codes, values, bases, levels):
    expected = sift(codes, bases, values)
    for basis in Basis:
        hers, his, intensities = expected[basis]
        for sieve, bits in ((at_alice, hers), (at_bob, his)):
            n = int(sieve.n[basis])
            assert n == len(bits)
            assert unpack(sieve.bits(basis), n).tolist() == bits
            low, high = (unpack(row, n) for row in sieve.levels(basis))
            assert (low + 2 * high).tolist() == intensities
            assert sieve.tally(basis, levels) == tuple(intensities.count(k) for k in range(levels))
            for row in (sieve.bits(basis), *sieve.levels(basis)):
                assert not n % 64 or int(row[-1]) >> n % 64 == 0


detections = st.tuples(st.integers(0, 1 << 20), st.integers(0, 15), st.integers(0, 1), st.integers(0, 1))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(detections, max_size=300),
    chunk=st.sampled_from([1, 7, 63, 64, 65, 100, 128, 1 << 20]),
    levels=st.integers(2, 4),
)
def test_both_parties_sift_what_the_twin_sifts(rows, chunk, levels):
    """Any detections, cut into any chunks: both ends hold the bits, intensities and counts of the slow twin."""
    slots = (np.cumsum([gap + 1 for gap, *_ in rows]) - 1).tolist() if rows else []
    codes, values, bases = ([row[k] for row in rows] for k in (1, 2, 3))
    codes = [code & 3 | (code >> 2) % levels << 2 for code in codes]
    check_against_the_twin(*run_both(slots, codes, values, bases, chunk, levels), codes, values, bases, levels)


@pytest.mark.parametrize("match", ["all", "none"])
@pytest.mark.parametrize("n", [1, 63, 64, 65, 128, 1000])
def test_all_match_and_none(match, n):
    rng = np.random.default_rng(n)
    codes, bases, values = rng.integers(0, 12, n), rng.integers(0, 2, n), rng.integers(0, 2, n)
    codes = codes & ~2 | (bases if match == "all" else 1 - bases) << 1
    rows = [row.tolist() for row in (codes, values, bases)]
    ends = run_both(range(n), *rows, 1 << 10, 3)
    check_against_the_twin(*ends, *rows, 3)
    assert ends[0].n.sum() == (n if match == "all" else 0)


def test_variants_sift_alike():
    rng = np.random.default_rng(3)
    codes, theirs = rng.integers(0, 16, 1000).astype(np.uint8), rng.integers(0, 1 << 64, 16, np.uint64)
    theirs[-1] &= np.uint64((1 << 1000 % 64) - 1)
    found = []
    for variant in variants_here():
        rows = [np.zeros((3, 20), np.uint64) for _ in range(4)]
        matches, told, sums = np.zeros(16, np.uint64), np.zeros((2, 18), np.uint64), np.zeros((4, 4), np.int64)
        sifting.sift_settings(token(variant), codes, theirs, matches, told, *rows[:2], sums[:2])
        values = rng.integers(0, 1 << 64, 16, np.uint64) if not found else found[0][1]
        sifting.sift_detections(token(variant), values, theirs, matches, told, *rows[2:], sums[2:])
        found.append(([matches.tolist(), told.tolist(), sums.tolist(), *(row.tolist() for row in rows)], values))
    assert all(other[0] == found[0][0] for other in found)
    assert found[0][0][2][0][0] > 0


def test_chunks_of_full_size():
    """Two chunks and a bit more, as they are."""
    n = 2 * sifting.CHUNK + 77
    rng = np.random.default_rng(4)
    slots = np.cumsum(rng.geometric(1 / 20, n)).astype(np.uint64)
    codes, flags = rng.integers(0, 12, n).astype(np.uint8), rng.integers(0, 4, n, np.uint64)
    ends = run_both(slots, codes, flags & np.uint64(1), flags >> np.uint64(1), sifting.CHUNK, 3)
    for basis in Basis:
        chosen = (codes >> 1 & 1 == basis) & (flags >> np.uint64(1) == basis)
        for sieve, values in zip(ends, (codes & 1, flags & np.uint64(1)), strict=True):
            assert unpack(sieve.bits(basis), int(sieve.n[basis])).tolist() == values[chosen].tolist()
            low, high = (unpack(row, int(sieve.n[basis])) for row in sieve.levels(basis))
            assert (low + 2 * high).tolist() == (codes >> 2)[chosen].tolist()


@pytest.mark.parametrize(
    ("slots", "widths", "planes"),
    [
        ([0], [0], []),
        ([0, 1, 2], [0], []),
        ([127, 128, 256], [7], [0b101] * 7),
        ([5, 5 + 16384], [14], [0b11, 0b10, 0b11] + [0b10] * 11),
        ([(1 << 48) - 1], [48], [1] * 48),
        ([*range(64), 65], [0, 1], [1]),
    ],
)
def test_announcement_is_the_documented_layout(slots, widths, planes):
    n = len(slots)
    data, kept = announce(events_at(slots, [1] * n, [k % 2 for k in range(n)]))
    bases = np.packbits([k % 2 for k in range(n)], bitorder="little").tobytes()
    words = b"".join(plane.to_bytes(8, "little") for plane in planes)
    assert data == n.to_bytes(4, "big") + bytes(widths) + words + bases
    assert Announcement.read(data, -1, 1 << 48).slots.tolist() == slots
    assert (kept.count, unpack(kept.values, n).tolist()) == (n, [1] * n)


def test_answer_is_the_documented_layout():
    data, _ = announce(events_at(range(10), [0] * 10, [0] * 9 + [1]))
    codes = np.array([0, 4, 8, 12, 2, 2, 2, 2, 2, 6], np.uint8)  # the first four and the last match
    read = Announcement.read(data, -1, 10)
    assert answer(read, codes, 4, Sieve.empty()) == bytes([0b00001111, 0b10, 0b11010, 0b01100])
    assert answer(read, codes, 2, Sieve.empty()) == bytes([0b00001111, 0b10, 0b11010])


def test_an_announcement_never_holds_a_value():
    said = {announce(events_at([3, 9, 700], [value] * 3, [0, 1, 0]))[0] for value in (0, 1)}
    assert len(said) == 1


def test_slots_that_do_not_rise_are_never_announced():
    with pytest.raises(InputError, match="order of their slots"):
        announce(events_at([5, 9, 9], [0] * 3, [0] * 3))


def test_an_announcement_is_shorter_than_bytes_for_each_gap():
    """Against one byte for each seven bits of a gap, the form before: at mean gaps of 2 to 100,000 slots."""
    rng = np.random.default_rng(5)
    for mean in (2, 16, 50, 100, 1000, 100_000):
        gaps = rng.geometric(1 / mean, 1 << 14) - 1
        slots = np.cumsum(gaps + 1)
        data, _ = announce(events_at(slots, [0] * len(slots), [0] * len(slots)))
        before = 4 + sum(max(1, -(-int(gap).bit_length() // 7)) for gap in gaps) + len(gaps) // 8
        assert len(data) < before


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\1" + b"\0",  # the basis is missing
        b"\0\0\0\1" + b"\1" + b"\0" * 8 + b"\0",  # a plane that holds nothing
        b"\0\0\0\1" + b"\2" + b"\1" + b"\0" * 7 + b"\0",  # a plane too few
        b"\0\0\0\1" + b"\0" + b"\1" + b"\0" * 7 + b"\0",  # a plane too many
        b"\0\0\0\1" + b"\1" + b"\3" + b"\0" * 7 + b"\0",  # a gap behind the last
        b"\0\0\0\1" + b"\1" + b"\1" + b"\0" * 6 + b"\0",  # half a plane
        b"\0\0\0\1"
        + b"\7"
        + b"\0" * 16
        + (b"\1" + b"\0" * 7 + b"\0" * 8 + b"\0" * 8 + (b"\1" + b"\0" * 7) * 2)
        + b"\0",
        b"\0\0\0\1" + b"\0" + b"\2",  # a basis bit behind the end
        b"\xff\xff\xff\xff" + b"\0" * 40,
    ],
)
def test_malformed_announcements_are_refused(data):
    with pytest.raises(Aborted) as refused:
        Announcement.read(data, -1, 100)
    assert refused.value.reason == "peer-misbehaved"


def test_a_slot_that_was_never_sent_is_refused():
    data, _ = announce(events_at([100], [0], [0]))
    assert Announcement.read(data, -1, 101).slots.tolist() == [100]
    with pytest.raises(Aborted, match="never sent"):
        Announcement.read(data, -1, 100)


@settings(deadline=None)
@given(data=st.binary(max_size=200), n_slots=st.integers(1, 1 << 48))
def test_garbage_is_refused_or_means_rising_slots(data, n_slots):
    try:
        slots = Announcement.read(data, -1, n_slots).slots.astype(object)
    except Aborted:
        return
    assert all(a < b for a, b in pairwise(slots))
    assert all(0 <= slot < n_slots for slot in slots)


def test_answers_that_do_not_fit_are_refused():
    _, kept = announce(events_at(range(10), [0] * 10, [0] * 10))
    matches = pack(np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 1], np.uint8)).tobytes()[:2]
    for data in (
        b"",
        b"\1",
        matches,
        matches + b"\0",
        matches + b"\0\0\0",
        b"\xff\xff\0\0\0",  # matches behind the end
        matches + b"\x08\0",  # intensities behind the end
        matches + b"\1\1",  # intensity 3 of 3
    ):
        with pytest.raises(Aborted) as refused:
            apply_answer(kept, data, 3, Sieve.empty())
        assert refused.value.reason == "peer-misbehaved"
    apply_answer(kept, matches + b"\1\2", 3, Sieve.empty())
    apply_answer(kept, matches + b"\1\1", 4, Sieve.empty())


def test_a_sieve_does_not_show_its_bits():
    sieve = Sieve.empty()
    sieve.rows[0][0, 0] = 0xDEADBEEF
    assert str(0xDEADBEEF) not in repr(sieve)
