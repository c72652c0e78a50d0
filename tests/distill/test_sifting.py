"""Sifting: kernels against their slow twins, the wire form, and messages that lie."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noclone.bits import pack, unpack
from noclone.distill import sifting
from noclone.distill.sifting import Announcement, Sieve, announce, answer, apply_answer
from noclone.errors import Aborted
from noclone.records import Basis


def events_at(slots, values, bases):
    return (
        np.array(slots, np.uint64) << np.uint64(16)
        | np.array(bases, np.uint64) << np.uint64(1)
        | np.array(values, np.uint64)
    )


def varints(slots, previous=-1):
    """Twin of `encode_events`."""
    out = bytearray()
    for slot in slots:
        gap, previous = int(slot) - previous - 1, int(slot)
        while gap >= 128:
            out.append(gap & 127 | 128)
            gap >>= 7
        out.append(gap)
    return bytes(out)


def sift(codes, bob_bases, bob_values):
    """Twin of both sifting kernels: bits and intensities of either party by basis."""
    found = {}
    for basis in Basis:
        take = [i for i, code in enumerate(codes) if (code >> 1 & 1) == bob_bases[i] == basis]
        found[basis] = ([codes[i] & 1 for i in take], [bob_values[i] for i in take], [codes[i] >> 2 for i in take])
    return found


blocks = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.integers(0, 11), st.integers(0, 1), st.integers(0, 1)), max_size=300
)


@settings(max_examples=60, deadline=None)
@given(rows=blocks, chunk=st.sampled_from([1, 7, 64, 100, 1 << 20]))
def test_both_parties_sift_what_the_twin_sifts(rows, chunk):
    """Any detections, cut into any chunks: both ends hold the bits, intensities and counts of the slow twin."""
    slots = np.cumsum([gap + 1 for gap, *_ in rows]) - 1 if rows else []
    codes, values, bases = ([row[k] for row in rows] for k in (1, 2, 3))
    events = events_at(slots, values, bases)
    n_slots = int(events[-1] >> np.uint64(16)) + 1 if len(rows) else 1
    at_alice, at_bob = Sieve.empty(), Sieve.empty()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sifting, "CHUNK", chunk)
        previous = -1
        for start in range(0, len(events), chunk):
            read = Announcement.read(announce(events, start), previous, n_slots)
            previous = int(read.slots[-1])
            here = slice(start, start + len(read.slots))
            assert read.slots.tolist() == (events[here] >> np.uint64(16)).tolist()
            data = answer(read, np.array(codes[here], np.uint8), at_alice)
            apply_answer(events[here], data, 3, at_bob)
    expected = sift(codes, bases, values)
    for basis in Basis:
        hers, his, levels = expected[basis]
        for sieve, bits in ((at_alice, hers), (at_bob, his)):
            n = int(sieve.n[basis])
            assert n == len(bits)
            assert unpack(sieve.bits(basis), n).tolist() == bits
            assert sieve.intensity[basis][:n].tolist() == levels
            assert sieve.tally(basis, 3) == tuple(levels.count(k) for k in range(3))


@pytest.mark.parametrize("slots", [[0], [0, 1, 2], [127, 128, 256], [5, 5 + 16384, 5 + (1 << 30)], [(1 << 48) - 1]])
def test_announcement_is_the_documented_layout(slots):
    events = events_at(slots, [1] * len(slots), [k % 2 for k in range(len(slots))])
    bases = np.packbits([k % 2 for k in range(len(slots))], bitorder="little").tobytes()
    assert announce(events, 0) == len(slots).to_bytes(4, "big") + varints(slots) + bases
    assert Announcement.read(announce(events, 0), -1, 1 << 48).slots.tolist() == slots


def test_an_announcement_never_holds_a_value():
    slots, bases = [3, 9, 700], [0, 1, 0]
    assert announce(events_at(slots, [0, 0, 0], bases), 0) == announce(events_at(slots, [1, 1, 1], bases), 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\2" + b"\0",
        b"\0\0\0\1" + b"\x80" * 8 + b"\0\0",  # a varint without end
        b"\0\0\0\1" + b"\x80\0" + b"\0",  # a varint with a needless byte
        b"\0\0\0\1" + b"\x64" + b"\0",  # slot 100 of 100
        b"\0\0\0\1" + b"\1" + b"\2",  # a basis bit behind the end
        b"\0\0\0\1" + b"\1\1" + b"\0",  # one gap too many
        b"\xff\xff\xff\xff" + b"\0" * 40,
    ],
)
def test_malformed_announcements_are_refused(data):
    with pytest.raises(Aborted) as refused:
        Announcement.read(data, -1, 100)
    assert refused.value.reason == "peer-misbehaved"


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
    events = events_at(range(10), [0] * 10, [0] * 10)
    matches = pack(np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 1], np.uint8)).tobytes()[:2]
    for data in (b"", b"\1", matches, matches + b"\0\0", b"\xff\xff\0\0\0", matches + b"\x3f"):
        with pytest.raises(Aborted) as refused:
            apply_answer(events, data, 3, Sieve.empty())
        assert refused.value.reason == "peer-misbehaved"
    apply_answer(events, matches + b"\x2a", 3, Sieve.empty())
