"""What a hostile KME says about promises: it reaches its own pool only, and costs little to refuse."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tracemalloc
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noclone.errors import KeysExhausted
from noclone.kms.keys import SIZE_BITS_MAX, Assignment, Refused, Reservation, Span, key_id_of
from noclone.kms.limits import BATCH_KEYS_MAX, KmeSettings
from noclone.kms.locks import insert_rows
from noclone.kms.pools import BlockName
from noclone.kms.requests import KeyRequest
from noclone.kms.reservations import Refusal, key_row
from noclone.kms.store import Store
from noclone.kms.tables import key
from noclone.records import SecretKey
from tests.kms.conftest import secret_key

LINK = "alder-birch"
MakeKey = Callable[..., SecretKey]


def open_store(folder: Path, key: SecretKey, name: str = "alder", peer: str = "birch") -> Store:
    store = Store.open(folder / f"{name}.db", name=name, kek=bytes(range(32)))
    store.deposit(key, peer).result()
    store.acknowledge(peer, [BlockName(LINK, key.provenance.block, key.n_bits // 256)]).result()
    return store


def claim(store: Store, number: int = 1) -> list[Reservation]:
    return store.claim("birch", master="sae-a", slaves=["sae-b"], number=number, size_bits=256).result()


def promise(*spans: Span, way: int = 0, number: int = 1) -> Assignment:
    bits = 256 * sum(span.count for span in spans) // number
    return Assignment(key_id_of(spans[0], way), "r", "sae-a", ("sae-b",), bits, spans, number)


@pytest.mark.parametrize("peer", ["cedar", "birch"])
@pytest.mark.parametrize("way", [0, 1])
def test_no_peer_can_void_what_our_masters_have_not_claimed_yet(
    tmp_path: Path, make_key: MakeKey, peer: str, way: int
) -> None:
    with open_store(tmp_path, make_key(0, 320)) as store:
        store.void(peer, [key_id_of(Span(LINK, 0, position, 1), way) for position in range(5)]).result()
        assert sum(run.assignment.number for run in claim(store, 5)) == 5
        assert store.pool("birch").result().ready_out_bits == 0


def test_a_stranger_cannot_void_what_a_peer_is_going_to_promise_and_the_peer_can(
    tmp_path: Path, make_key: MakeKey
) -> None:
    with open_store(tmp_path, make_key(0, 320), "birch", "alder") as store:
        first, second = (promise(Span(LINK, 0, position, 1)) for position in range(2))
        store.void("cedar", [first.key_id, second.key_id]).result()
        store.void("alder", [second.key_id]).result()
        assert store.assign("alder", [first, second]).result() == {second.key_id: Refusal("already-assigned", 0)}


def test_a_peer_notes_no_more_voided_ids_than_its_pool_has_atoms(tmp_path: Path, make_key: MakeKey) -> None:
    count = "SELECT COUNT(*) FROM voided WHERE peer = ?"
    with open_store(tmp_path, make_key(0, 320)) as store:
        for peer, room in (("birch", 10), ("cedar", 0)):
            for _ in range(3):
                store.void(peer, [str(uuid.uuid4()) for _ in range(7)]).result()
            noted = store.commits.run(lambda c, who=peer: c.exec_driver_sql(count, (who,)).scalar_one())
            assert noted == room


def test_atoms_whose_ids_are_in_use_are_burned_and_the_others_served(tmp_path: Path, make_key: MakeKey) -> None:
    with open_store(tmp_path, make_key(0, 320)) as store:
        spoiled = [key_row(promise(Span(LINK, 0, i, 1)), "cedar", "slave", 0.0, 0.0) for i in (0, 1, 3)]
        store.commits.run(lambda c: insert_rows(c, key, spoiled))
        with pytest.raises(KeysExhausted):
            claim(store, 6)
        assert [made.assignment.spans for made in claim(store, 2)] == [
            (Span(LINK, 0, 2, 1),),
            (Span(LINK, 0, 4, 1),),
        ]
        with pytest.raises(KeysExhausted):
            claim(store)


def refuse_a_huge_span(folder: Path, block: int) -> int:
    """Promise eight spans of 2^24 numbers each, and return the most memory that refusing them took."""
    huge = promise(*(Span(LINK, block, i << 24, (1 << 24) - 1) for i in range(8)))
    with open_store(folder, secret_key(0, 320), "birch", "alder") as store:
        before = store.pool("alder").result()
        tracemalloc.start()
        answer = store.assign("alder", [huge]).result()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert answer == {huge.key_id: Refusal("malformed" if block == 0 else "unknown-block")}
        assert store.pool("alder").result() == before
    return peak


@pytest.mark.parametrize("block", [0, 7])
def test_a_huge_span_is_refused_before_it_is_expanded(tmp_path: Path, block: int) -> None:
    """In a process of its own: tracemalloc must not begin where compiled kernels allocate without the GIL."""
    code = (
        "import sys; from pathlib import Path; from tests.kms.test_reservations import refuse_a_huge_span; "
        "print(refuse_a_huge_span(Path(sys.argv[1]), int(sys.argv[2])))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(block)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 << 20  # one expanded span has 2^24 numbers of 28 bytes or more


def test_scattered_and_overlapping_spans(tmp_path: Path, make_key: MakeKey) -> None:
    with open_store(tmp_path, make_key(0, 32 * 1000), "birch", "alder") as store:
        scattered = promise(*(Span(LINK, 0, position, 1) for position in range(499, 0, -83)))
        rest = promise(Span(LINK, 0, 0, 1), Span(LINK, 0, 400, 3))
        overlapping = promise(Span(LINK, 0, 3, 4), Span(LINK, 0, 5, 1))
        beyond = promise(Span(LINK, 0, 498, 3))
        answer = store.assign("alder", [scattered, rest, overlapping, beyond]).result()
        assert {key_id: refusal.reason for key_id, refusal in answer.items()} == {
            overlapping.key_id: "malformed",
            beyond.key_id: "malformed",
        }
        assert store.pool("alder").result().ready_in_bits == 256 * (500 - scattered.atoms - rest.atoms)


@pytest.mark.parametrize(
    "change",
    [
        {"size_bits": 0},
        {"size_bits": SIZE_BITS_MAX + 8},
        {"size_bits": 16, "spans": [[LINK, 0, i, 1] for i in range(3)]},
        {"size_bits": 256, "spans": [[LINK, 0, 0, 33]]},
        {"number": 0},
        {"number": 2000},
        {"number": 2, "spans": [[LINK, 0, 0, 1], [LINK, 0, 2, 1]]},
        {"number": 2, "spans": [[LINK, 0, 0, 65]]},
        {"slaves": ["sae-b"] * 2000},
        {"master": "x" * 300},
        {"spans": [["x" * 300, 0, 0, 1]]},
    ],
)
def test_what_no_promise_needs_is_not_even_read(change: dict[str, Any]) -> None:
    fine = promise(Span(LINK, 0, 0, 1)).to_json()
    assert Assignment.from_json(fine).to_json() == fine
    with pytest.raises(ValueError, match=r"assignment|span"):
        Assignment.from_json({**fine, **change})


def test_a_kme_refuses_promises_above_its_own_limits(pair: Any) -> None:
    async def story() -> None:
        await pair.deposit(32 * 1024)
        pair.b.settings = KmeSettings(max_key_size_bits=1024)
        large, small = promise(Span(LINK, 0, 0, 5)), promise(Span(LINK, 0, 5, 4))
        padded = replace(small, spans=(Span(LINK, 0, 5, 5),))
        long = promise(Span(LINK, 0, 20, 129), number=129)
        for one, reason in ((large, ["malformed"]), (padded, ["malformed"]), (long, ["malformed"]), (small, [])):
            assert [r.reason for r in (await pair.b.on_reserve("alder", [one])).values()] == reason

    asyncio.run(story())
    for wrong in ({"max_keys_per_request": BATCH_KEYS_MAX + 1}, {"max_key_size_bits": SIZE_BITS_MAX + 8}):
        with pytest.raises(ValueError, match="at most"):
            KmeSettings(**wrong)


def test_keys_that_run_out_after_a_partial_refusal_leave_no_promise_behind(pair: Any) -> None:
    async def story() -> None:
        for _ in range(2):  # so that the request is of two runs
            await pair.deposit(192)
        honest = pair.peers["alder"].reserve

        async def refuse_the_last(assignments: Any) -> dict[str, Refusal]:
            refused = {assignments[-1].key_id: Refusal("malformed")}
            return {**await honest(assignments[:-1]), **refused}

        pair.peers["alder"].reserve = refuse_the_last
        pair.a.add_peer(pair.peers["alder"])
        with pytest.raises(Refused) as refused:
            await pair.a.enc_keys("sae-a", "sae-b", KeyRequest(number=5))
        assert refused.value.reason == "keys-exhausted"
        await pair.a.close()
        for kme, peer in ((pair.a, "birch"), (pair.b, "alder")):
            assert kme.store.pool(peer).result().reserved_keys == 0

    asyncio.run(story())
