"""Quotas and rates of pairs: never exceeded in any 24 hours, kept over restarts, the same for all workers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.clock import ManualClock
from noclone.kms.allowances import DAY_S, SLOT_S, Limit, Used
from noclone.kms.keys import Refused
from noclone.kms.policies import Policies, Policy
from noclone.kms.requests import KeyRequest
from noclone.kms.store import Store

KEK = bytes(32)
PAIR = ("sae-a", "sae-b")
Place = Callable[[str], Path | str]


@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(0, 30), st.floats(0, 9 * SLOT_S), st.floats(DAY_S - SLOT_S, DAY_S + 2 * SLOT_S)),
            st.integers(1, 700),
            st.booleans(),
        ),
        max_size=60,
    ),
    st.integers(1, 2000),
)
def test_no_24_hours_see_more_than_the_quota(requests: list[tuple[float, int, bool]], quota_bits: int) -> None:
    limit, used, now_s = Limit(PAIR, quota_bits, None), Used(), 1.7e9
    kept: list[tuple[float, int]] = []
    for pause_s, n_bits, delivered in requests:
        now_s += pause_s
        answer = used.take(limit, n_bits, now_s)
        day = sum(bits for at_s, bits in kept if at_s > now_s - DAY_S)
        if isinstance(answer, str):
            assert sum(bits for at_s, bits in kept if at_s > now_s - DAY_S - SLOT_S) + n_bits > quota_bits
            continue
        assert day + n_bits <= quota_bits
        used = answer if delivered else answer.put_back(n_bits, now_s)
        if delivered:
            kept.append((now_s, n_bits))


def test_a_rate_fills_up_again_and_bursts_are_one_second_or_one_request() -> None:
    limit = Limit(PAIR, None, 100.0)
    assert Used().take(limit, 1000, 50.0) != "rate-exceeded"  # one request, however large
    used = Used().take(limit, 100, 50.0)
    assert isinstance(used, Used)
    assert used.take(limit, 50, 50.1) == "rate-exceeded"
    assert isinstance(used.take(limit, 50, 50.6), Used)
    assert isinstance(used.take(limit, 50, 20.0), str)  # a clock that was set back gives nothing
    assert isinstance(used.put_back(100, 50.0).take(limit, 100, 50.0), Used)


def test_a_quota_is_kept_over_a_restart(place: Place) -> None:
    clock, limits = ManualClock(1.7e9), [Limit(PAIR, 1000, 500.0), Limit(("sae-a", "sae-c"), 900, None)]

    def opened() -> Store:
        return Store.open(place("alder"), name="alder", kek=KEK, clock=clock)

    with opened() as store:
        then_s = store.spend(limits[:1], 200).result()
        clock.advance(3)
        store.spend(limits, 500).result()
        store.put_back(limits[:1], 200, then_s).result()
        clock.advance(3)
    with opened() as store:
        for n_bits, reason in ((401, "quota-exceeded"), (501, "quota-exceeded")):
            with pytest.raises(Refused) as refused:
                store.spend(limits, n_bits).result()
            assert refused.value.reason == reason
        store.spend(limits, 400).result()  # what was refused counted for neither pair
        with pytest.raises(Refused) as refused:
            store.spend([Limit(PAIR, None, 500.0)], 400).result()
        assert (refused.value.status, refused.value.reason) == (503, "rate-exceeded")
        clock.advance(DAY_S + SLOT_S)
        store.spend(limits, 500).result()
        assert not store.verify_audit().problems


def test_a_quota_survives_a_backup_and_a_restore(tmp_path: Path) -> None:
    limits = [Limit(PAIR, 1000, None)]
    with Store.open(tmp_path / "alder.db", name="alder", kek=KEK) as store:
        store.spend(limits, 900).result()
        store.back_up(tmp_path / "backup")
    with Store.restore(tmp_path / "again.db", tmp_path / "backup", kek=KEK) as store, pytest.raises(Refused):
        store.spend(limits, 200).result()


def test_workers_on_one_store_give_out_one_quota(postgres: Any) -> None:
    url, limits, granted = postgres.url(), [Limit(PAIR, 1000, None)], []
    with Store.open(url, name="alder", kek=KEK) as one, Store.open(url, name="alder", kek=KEK) as other:

        def ask(store: Store) -> None:
            for _ in range(30):
                try:
                    store.spend(limits, 40).result()
                    granted.append(40)
                except Refused:
                    pass

        threads = [threading.Thread(target=ask, args=(store,)) for store in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(granted) == 1000


def test_requests_that_are_refused_use_up_nothing(pair: Any) -> None:
    async def story() -> None:
        pair.a.policies = Policies([Policy(PAIR, "link", quota_bits=1024)])
        two = KeyRequest.model_validate({"number": 2})
        for _ in range(5):
            with pytest.raises(Refused) as exhausted:
                await pair.a.enc_keys(*PAIR, two)
            assert exhausted.value.reason == "keys-exhausted"
        await pair.deposit()
        assert len((await pair.a.enc_keys(*PAIR, two)).keys) == 2
        assert len((await pair.a.enc_keys("sae-a", "sae-b2", two)).keys) == 2  # another pair, without a policy
        assert len((await pair.a.enc_keys(*PAIR, two)).keys) == 2
        with pytest.raises(Refused) as spent:
            await pair.a.enc_keys(*PAIR, KeyRequest.model_validate({}))
        assert spent.value.reason == "quota-exceeded"

    asyncio.run(story())
