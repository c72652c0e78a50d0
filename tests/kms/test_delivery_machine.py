"""Any order of requests, losses, crashes and one-sided restores: nothing is delivered twice, no promise is broken.

The model keeps what applications were told. Invariants of the design: no key (or byte of one) goes to two pairs or to
one role twice; both ends get the same bytes; what a master got, its slave can collect; what goes in adds up.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from noclone.bits import words_from_bytes
from noclone.clock import ManualClock
from noclone.errors import KeysExhausted
from noclone.kms.keys import Refused, Reservation
from noclone.kms.store import Store
from noclone.records import BlockProvenance, Origin, SecretKey

KEKS = {"alder": bytes(range(32)), "birch": bytes(32)}
MASTERS = {"alder": "sae-a", "birch": "sae-b"}
SLAVES = {"alder": ("sae-a", "sae-a2"), "birch": ("sae-b", "sae-b2")}
OTHER = {"alder": "birch", "birch": "alder"}
SIZES = st.sampled_from([8, 256, 264, 520])
SIDES = st.sampled_from(["alder", "birch"])


class Delivery(RuleBasedStateMachine):
    """Two stores, driven by their owners' rules, and what applications saw."""

    claimed = Bundle("claimed")
    promised = Bundle("promised")
    delivered = Bundle("delivered")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="noclone-machine-"))
        self.clock = ManualClock()
        self.stores: dict[str, Store] = {}
        for name in KEKS:
            self.open(name)
        self.blocks = 0
        self.material: list[bytes] = []
        self.masters_got: dict[str, bytes] = {}
        self.slaves_got: dict[tuple[str, str], bytes] = {}
        self.epoch = dict.fromkeys(KEKS, 0)
        self.backups: dict[str, dict[str, object]] = {}

    def open(self, name: str) -> None:
        path = self.folder / f"{name}.db"
        self.stores[name] = Store.open(path, name=name, kek=KEKS[name], clock=self.clock)

    def teardown(self) -> None:
        for store in self.stores.values():
            store.close()
        shutil.rmtree(self.folder)

    @rule(atoms=st.integers(1, 16))
    def deposit(self, atoms: int) -> None:
        data = os.urandom(32 * atoms)
        origin = BlockProvenance(
            "l", "alder", "birch", self.blocks, "p", Origin("simulated"), "x", "fixed-length", 0.0, 0.0, "b", 0.0
        )
        self.blocks += 1
        self.material += [data[i : i + 32] for i in range(0, len(data), 32)]
        for name, store in self.stores.items():
            store.deposit(SecretKey(words_from_bytes(data), 8 * len(data), origin), OTHER[name]).result()

    @rule(side=SIDES)
    def compare_blocks(self, side: str) -> None:
        own, far = self.stores[side], self.stores[OTHER[side]]
        both = far.acknowledge(side, own.held(OTHER[side]).result()).result()
        own.acknowledge(OTHER[side], both).result()

    @rule(target=claimed, side=SIDES, number=st.integers(1, 6), size_bits=SIZES, both=st.booleans())
    def claim(self, side: str, number: int, size_bits: int, both: bool) -> object:
        slaves = SLAVES[OTHER[side]][: 1 + both]
        try:
            keys = (
                self.stores[side]
                .claim(OTHER[side], master=MASTERS[side], slaves=slaves, number=number, size_bits=size_bits)
                .result()
            )
        except KeysExhausted:
            return multiple()
        return (side, self.epoch[side], keys)

    @rule(target=promised, claim=consumes(claimed), replay=st.booleans())
    def promise(self, claim: tuple[str, int, list[Reservation]], replay: bool) -> object:
        side, epoch, keys = claim
        far = self.stores[OTHER[side]]
        refused = far.assign(side, [key.assignment for key in keys]).result()
        if replay:
            assert far.assign(side, [key.assignment for key in keys]).result().keys() == refused.keys()
        if epoch == self.epoch[side]:
            lost = [
                (key.assignment, refused[key.assignment.key_id]) for key in keys if key.assignment.key_id in refused
            ]
            self.stores[side].give_up([promise.key_id for promise, _ in lost], lost).result()
        good = [key for key in keys if key.assignment.key_id not in refused]
        return (side, epoch, good) if good else multiple()

    @rule(target=delivered, promise=consumes(promised))
    def deliver(self, promise: tuple[str, int, list[Reservation]]) -> object:
        side, epoch, keys = promise
        if epoch != self.epoch[side]:
            return multiple()  # the process that knew of it is gone
        self.stores[side].deliver_to_master([run.assignment.key_id for run in keys], MASTERS[side]).result()
        for key in (key for run in keys for key in run.keys):
            assert key.key_id not in self.masters_got
            self.masters_got[key.key_id] = key.value
        return (side, keys)

    @rule(delivery=delivered, recipient=st.integers(0, 1), part=st.integers(0, 6))
    def collect(self, delivery: tuple[str, list[Reservation]], recipient: int, part: int) -> None:
        """Collect the keys of a request, or one of them: `part` says which, 0 all."""
        side, runs = delivery
        slaves = runs[0].assignment.slaves
        ids = [key_id for run in runs for key_id in run.assignment.key_ids]
        ids = [ids[part % len(ids)]] if part else ids
        who = SLAVES[OTHER[side]][recipient]
        try:
            got = self.stores[OTHER[side]].collect(who, MASTERS[side], ids).result()
        except Refused as refused:
            if who not in slaves:
                assert refused.status == 401  # noqa: PT017
            else:  # nothing that a master got may be missing, unless this slave has had it
                assert refused.status == 400  # noqa: PT017
                assert any((key_id, who) in self.slaves_got for key_id in ids)
            return
        assert who in slaves
        assert [key.key_id for key in got] == ids
        for key in got:
            assert (key.key_id, who) not in self.slaves_got
            assert key.value == self.masters_got[key.key_id]
            self.slaves_got[key.key_id, who] = key.value

    @rule(side=SIDES)
    def crash(self, side: str) -> None:
        """The process ends and comes back; what it had in hand is settled as `Kme.settle` does."""
        self.stores[side].close()
        self.open(side)
        self.epoch[side] += 1
        doubtful = [key_id for key_id, _ in self.stores[side].undelivered(OTHER[side]).result()]
        self.stores[OTHER[side]].void(side, doubtful).result()
        self.stores[side].give_up(doubtful).result()

    @rule(side=SIDES)
    def back_up(self, side: str) -> None:
        self.stores[side].close()
        shutil.copy(self.folder / f"{side}.db", self.folder / f"{side}.backup")
        self.open(side)
        self.epoch[side] += 1
        self.backups[side] = {"slaves": set(self.slaves_got)}

    @precondition(lambda self: self.backups)
    @rule(side=SIDES)
    def restore_a_master(self, side: str) -> None:
        """One end comes back from a backup. Its slaves' copies are the residual that docs/etsi014.md names, so the
        rule waits until they have collected what they were promised since."""
        waiting = self.stores[side].pool(OTHER[side]).result().reserved_keys
        if side not in self.backups or waiting or self.backups[side]["slaves"] != set(self.slaves_got):
            return
        self.stores[side].close()
        shutil.copy(self.folder / f"{side}.backup", self.folder / f"{side}.db")
        self.open(side)
        self.epoch[side] += 1
        doubtful = [key_id for key_id, _ in self.stores[side].undelivered(OTHER[side]).result()]
        self.stores[side].give_up([key_id for key_id in doubtful if key_id not in self.masters_got]).result()

    @invariant()
    def no_byte_goes_twice(self) -> None:
        used: list[bytes] = []
        for value in self.masters_got.values():
            used += [value[i : i + 32] for i in range(0, len(value), 32)]
        whole = [piece for piece in used if len(piece) == 32]
        assert len(whole) == len(set(whole))
        assert set(whole) <= set(self.material)
        starts = {piece[:1] for piece in used}
        assert starts <= {atom[:1] for atom in self.material}

    @invariant()
    def what_goes_in_adds_up(self) -> None:
        for store in self.stores.values():
            account = store.account("l")
            assert account.burned_bits >= 0
            parts = (account.ready_bits, account.held_bits, account.promised_bits, account.delivered_bits)
            assert sum(parts) + account.burned_bits == account.deposited_bits <= 256 * len(self.material)


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
