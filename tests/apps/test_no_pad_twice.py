"""No pad byte is ever used twice: histories of sends, crashes and restored backups, drawn by Hypothesis.

The KMEs of the test have what ours have: what is durable, and the other end as a witness. The applications are real.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from noclone.apps.files import receive_file, send_file
from noclone.apps.messages import receive_message, send_message
from noclone.apps.sealed import read_header, records
from noclone.client import Refusal
from noclone.errors import KeysExhausted, KmeError


class PowerCut(BaseException):
    """The machine is gone; nothing but its disk is left."""


def atoms_of(keys: Any, container: bytes) -> list[int]:
    """Return the places of all pad atoms that a container was sealed with."""
    stream = io.BytesIO(container)
    header, head = read_header(stream)
    found = records(stream, header, len(head), len(container))
    return [place for record in found for key in record.keys for place in keys.places[key.key_id]]


class History(RuleBasedStateMachine):
    """One sender, one receiver, two KMEs; in each history one end is restored from backups, as often as it likes."""

    make_keys: Callable[..., Any]

    @initialize(end=st.sampled_from(["master", "slave"]))
    def begin(self, end: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.end = end
        self.keys = type(self).make_keys(key_bits_max=1024, per_request=3)
        self.keys.fill(2_000)
        self.sent: list[tuple[bytes, bytes]] = []
        self.saved: list[tuple[Any, Path]] = []

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def cut_at(self, call: str, number: int) -> None:
        left = [number]

        def maybe(name: str) -> None:
            left[0] -= name == call
            if left[0] == 0:
                raise PowerCut

        self.keys.before_answer = maybe

    @rule(n_bytes=st.integers(100, 1_000))
    def distil(self, n_bytes: int) -> None:
        self.keys.fill(n_bytes)

    @rule(text=st.text(max_size=300), cut=st.integers(0, 3))
    def send_a_message(self, text: str, cut: int) -> None:
        self.cut_at("enc_keys", cut)
        try:
            container = send_message(self.keys.client("a"), text, sender="a", to="b")
            self.sent.append((container, text.encode()))
        except (PowerCut, KeysExhausted, Refusal):
            pass
        finally:
            self.keys.before_answer = lambda call: None

    @rule(data=st.binary(max_size=400), cut=st.integers(0, 3), late=st.booleans())
    def send_a_file(self, data: bytes, cut: int, late: bool) -> None:
        plain, out = self.folder / "plain", self.folder / "sealed"
        plain.write_bytes(data)
        self.cut_at("enc_keys", cut)

        def progress(done: int, total: int) -> None:
            if late:
                raise PowerCut

        try:
            send_file(self.keys.client("a"), plain, sender="a", to="b", out=out, overwrite=True, on_progress=progress)
            self.sent.append((out.read_bytes(), data))
        except (PowerCut, KeysExhausted, Refusal):
            pass
        finally:
            self.keys.before_answer = lambda call: None

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), cut=st.integers(0, 3), late=st.booleans())
    def receive(self, data: st.DataObject, cut: int, late: bool) -> None:
        container, content = data.draw(st.sampled_from(self.sent))
        header, _ = read_header(io.BytesIO(container))
        self.cut_at("dec_keys", cut)
        try:
            if header.kind == "message":
                got = receive_message(self.keys.client("b"), container, receiver="b", spool_folder=self.spool)
                assert got.text.encode() == content
            else:
                self.receive_a_file(container, content, late)
        except (PowerCut, KmeError):
            pass
        finally:
            self.keys.before_answer = lambda call: None

    def receive_a_file(self, container: bytes, content: bytes, late: bool) -> None:
        sealed, out = self.folder / "arrived", self.folder / "out"
        sealed.write_bytes(container)
        out.unlink(missing_ok=True)

        def progress(done: int, total: int) -> None:
            if late:
                raise PowerCut

        try:
            receive_file(
                self.keys.client("b"), sealed, receiver="b", out=out, spool_folder=self.spool, on_progress=progress
            )
        finally:
            assert not out.exists() or out.read_bytes() == content

    @rule()
    def back_up(self) -> None:
        copy = self.folder / f"spool-{len(self.saved)}"
        if self.spool.exists():
            shutil.copytree(self.spool, copy)
        self.saved.append((self.keys.backup(self.end), copy))

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        state, copy = data.draw(st.sampled_from(self.saved))
        self.keys.restore(self.end, state)
        if self.end == "slave":
            shutil.rmtree(self.spool, ignore_errors=True)
            if copy.exists():
                shutil.copytree(copy, self.spool)

    @invariant()
    def no_pad_is_used_twice(self) -> None:
        used = [place for container, _ in getattr(self, "sent", []) for place in atoms_of(self.keys, container)]
        assert len(used) == len(set(used))


@pytest.mark.parametrize("examples", [40, pytest.param(600, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_no_history_with_one_end_restored_uses_a_pad_twice(make_keys: Any, examples: int) -> None:
    class Bound(History):
        pass

    Bound.make_keys = staticmethod(make_keys)
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(("restored", "reused"), [(["master"], False), (["slave"], False), (["master", "slave"], True)])
def test_only_both_ends_restored_together_reuse_a_pad(keys: Any, restored: list[str], reused: bool) -> None:
    """The residual risk, shown: a master and its witness that both forget."""
    saved = {end: keys.backup(end) for end in restored}
    first = send_message(keys.client("a"), "first", sender="a", to="b")
    for end, state in saved.items():
        keys.restore(end, state)
    second = send_message(keys.client("a"), "second", sender="a", to="b")
    assert bool(set(atoms_of(keys, first)) & set(atoms_of(keys, second))) is reused


def test_a_pad_that_was_fetched_by_its_id_never_seals(keys: Any, tmp_path: Path) -> None:
    """The receiver answers with keys of its own: what it spooled is for opening alone."""
    container = send_message(keys.client("a"), "question", sender="a", to="b")
    receive_message(keys.client("b"), container, receiver="b", spool_folder=tmp_path)
    answer = send_message(keys.client("b"), "answer", sender="b", to="a")
    assert not set(atoms_of(keys, container)) & set(atoms_of(keys, answer))
