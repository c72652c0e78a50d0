"""Two KMEs that a test can crash, restore and run dry: what is durable in them, and nothing else."""

from __future__ import annotations

import copy
import hashlib
import heapq
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from noclone.client import Key, KeyContainer, Refusal, Status

ATOM_BYTES = 32


@dataclass
class State:
    """What one KME has on its disk: unused atoms by their place, promised keys by their id."""

    atoms: dict[int, bytes] = field(default_factory=dict)
    promised: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)


@dataclass
class Keys:
    """Two KMEs, one at each end, with the rules of ours: an atom leaves both stores when it is promised."""

    key_bits_max: int = 65_536
    per_request: int = 128
    key_bits_min: int = 64
    master: State = field(default_factory=State)
    slave: State = field(default_factory=State)
    handed_out: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    places: dict[str, tuple[int, ...]] = field(default_factory=dict)
    next_atom: int = 0
    origin: str = "simulated"
    calls: list[str] = field(default_factory=list)
    before_answer: Callable[[str], None] = lambda call: None

    def fill(self, n_bytes: int) -> None:
        for _ in range(-(-n_bytes // ATOM_BYTES)):
            atom = os.urandom(ATOM_BYTES)
            self.master.atoms[self.next_atom] = self.slave.atoms[self.next_atom] = atom
            self.next_atom += 1

    def backup(self, end: str) -> State:
        return copy.deepcopy(getattr(self, end))

    def restore(self, end: str, state: State) -> None:
        setattr(self, end, copy.deepcopy(state))

    def client(self, sae: str) -> Client:
        return Client(self, sae)


@dataclass
class Client:
    """One application's view of its KME."""

    keys: Keys
    sae: str

    def status(self, slave: str) -> Status:
        keys = self.keys
        stored = len(keys.master.atoms)
        return Status(
            "here", "there", self.sae, slave, 8 * ATOM_BYTES, stored, 1 << 20,
            keys.per_request, keys.key_bits_max, keys.key_bits_min, 0,
        )  # fmt: skip

    def enc_keys(
        self, slave: str, number: int = 1, size: int | None = None, additional: Sequence[str] = ()
    ) -> KeyContainer:
        keys = self.keys
        keys.calls.append("enc_keys")
        size = size or 8 * ATOM_BYTES
        assert keys.key_bits_min <= size <= keys.key_bits_max
        assert size % 8 == 0
        assert 0 < number <= keys.per_request
        each = -(-size // (8 * ATOM_BYTES))
        for place in keys.master.atoms.keys() - keys.slave.atoms.keys():
            del keys.master.atoms[place]  # the other end is the witness: it has seen this promised
        places = heapq.nsmallest(number * each, keys.master.atoms)
        if len(places) < number * each:
            raise Refusal(503, "not enough key is stored", [])
        out = []
        for start in range(0, len(places), each):
            mine = tuple(places[start : start + each])
            value = b"".join(keys.master.atoms.pop(place) for place in mine)[: size // 8]
            for place in mine:
                del keys.slave.atoms[place]
            key_id = str(uuid.UUID(bytes=hashlib.sha256(str(mine[0]).encode()).digest()[:16]))
            keys.slave.promised[key_id] = (self.sae, slave, value)
            keys.handed_out.append((key_id, mine))
            keys.places[key_id] = mine
            out.append(Key(key_id, value, {"noclone_origin": keys.origin}))
        keys.before_answer("enc_keys")
        return KeyContainer(tuple(out))

    def dec_keys(self, master: str, key_ids: Sequence[str]) -> KeyContainer:
        keys = self.keys
        keys.calls.append("dec_keys")
        assert 0 < len(key_ids) <= keys.per_request
        if any(keys.slave.promised.get(i, ("", "", b""))[:2] != (master, self.sae) for i in key_ids):
            raise Refusal(400, "one or more keys specified are not found on KME", [])
        found = [Key(i, keys.slave.promised.pop(i)[2], {"noclone_origin": keys.origin}) for i in key_ids]
        keys.before_answer("dec_keys")
        return KeyContainer(tuple(found))


@pytest.fixture
def make_keys() -> Callable[..., Keys]:
    return Keys


@pytest.fixture
def keys() -> Keys:
    keys = Keys()
    keys.fill(1 << 20)
    return keys


@pytest.fixture
def ends(tmp_path: Path) -> dict[str, Any]:
    """Return who sends and who receives, and the receiver's spool."""
    return {"sender": "sae-a", "receiver": "sae-b", "spool": tmp_path / "spool"}
