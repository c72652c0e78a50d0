"""A link's authentication key in the store: what is spent stays spent, whatever is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from noclone.distill.authentication import AuthenticationPool, Mark
from noclone.errors import StoreError
from noclone.kms.store import Store

KEK = bytes(range(32))
Place = Callable[[str], Path | str]


def test_marks_and_refills_of_a_link_survive(place: Place) -> None:
    secret, refill = os.urandom(640), os.urandom(256)
    with Store.open(place("a"), name="alder", kek=KEK) as store:
        ledger = store.ledger("alder-birch")
        state = ledger.load(secret)
        key = secret[:-64]  # the last pair is its name
        assert (state.segments, state.last_block, state.cumulative_epsilon) == ({0: (key, 0)}, -1, 0.0)
        ledger.mark(0, 3, 5)
        ledger.refill(6, refill, 2e-10)
        ledger.mark(6, 1, 7)
        ledger.mark(0, 2, 4)  # never backwards
    with Store.open(place("a"), name="alder", kek=KEK) as store:
        ledger = store.ledger("alder-birch")
        state = ledger.load(secret)
        wiped = bytes(3 * 64) + key[3 * 64 :]
        assert state.segments == {0: (wiped, 3), 6: (bytes(64) + refill[64:], 1)}
        assert (state.last_block, state.cumulative_epsilon) == (7, 2e-10)
        ledger.mark(6, 4, 8)
        assert ledger.load(secret).segments == {0: (wiped, 3)}
        assert ledger.marks() == {0: 3, 6: 4}
        ledger.refill(6, refill, 1e-10)  # a spent segment never comes back, epsilon never falls
        assert ledger.load(secret).segments == {0: (wiped, 3)}
        assert ledger.load(secret).cumulative_epsilon == 2e-10
        fresh = os.urandom(640)
        assert ledger.load(fresh).segments == {0: (fresh[:-64], 0)}
        ledger.mark(0, 1, 8, ahead=(4,))
        assert ledger.load(secret).segments[0] == (wiped, 3), "a secret that comes back is as spent as it was"
        spent = bytes(64) + fresh[64:256] + bytes(64) + fresh[320:-64]
        assert ledger.load(fresh).segments[0] == (spent, 1)
        assert ledger.load(fresh).last_block == 8


def test_spent_pairs_are_wiped_from_the_secret_before_they_are_marked(tmp_path: Path) -> None:
    """A store that is lost takes its marks with it; the secret's file still knows."""
    secret = os.urandom(640)
    file = tmp_path / "secret"
    file.write_bytes(secret)

    def wipe(pairs: Sequence[int]) -> None:
        data = bytearray(file.read_bytes())
        for pair in pairs:
            data[64 * pair : 64 * pair + 64] = bytes(64)
        file.write_bytes(data)

    with Store.open(tmp_path / "a.db", name="alder", kek=KEK) as store:
        ledger = store.ledger("alder-birch", wipe)
        ledger.load(file.read_bytes())
        ledger.mark(0, 2, 0, ahead=(5,))
    with Store.open(tmp_path / "new.db", name="alder", kek=KEK) as store:
        state = store.ledger("alder-birch", wipe).load(file.read_bytes())
    pool = AuthenticationPool("alice", state.segments)
    assert pool.marks() == (Mark(0, 2, 9, (5,)),)


def test_a_secret_that_cannot_be_wiped_is_not_used(tmp_path: Path) -> None:
    def wipe(pairs: Sequence[int]) -> None:
        raise StoreError("read-only")

    with Store.open(tmp_path / "a.db", name="alder", kek=KEK) as store:
        ledger = store.ledger("alder-birch", wipe)
        ledger.load(os.urandom(640))
        with pytest.raises(StoreError):
            ledger.mark(0, 1, 0)
        assert ledger.marks() == {0: 0}
        with pytest.raises(StoreError, match="has 64 bytes"):
            ledger.load(bytes(64))
