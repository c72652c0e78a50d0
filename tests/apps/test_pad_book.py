"""The pad book: what it gives once, what it refuses, and what no crash, backup or copy can bring back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from noclone.apps.conversation import Listener
from noclone.apps.files import receive_file, send_file
from noclone.apps.messages import receive_message, seal_message
from noclone.apps.pad_book import PadBook, merged
from noclone.apps.pad_lease import (
    FILL,
    LEASE,
    PadReceiver,
    PadSender,
    answer,
    ask_grant,
    batch_label,
    batch_shape,
    fill,
)
from noclone.client import Key, Status
from noclone.errors import AuthenticationError, ChannelError, InputError, KeysExhausted, KmeError, StoreError


@dataclass
class Books:
    """The books of two applications, which have the same batches from a to b."""

    folder: Path
    used: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.a, self.b = PadBook(self.folder / "a"), PadBook(self.folder / "b")

    def fill(self, number: int, n_bytes: int = 5_000, label: dict[str, Any] | None = None) -> None:
        for _ in range(number):
            name, value = os.urandom(8).hex(), os.urandom(n_bytes)
            self.a.add("sae-b", "out", name, value, label or {"noclone_origin": "simulated"})
            self.b.add("sae-a", "in", name, value, label or {"noclone_origin": "simulated"})

    def sender(self, grant: Callable[[Any], Any] | None = None) -> PadSender:
        return PadSender(self.a, grant or (lambda ids: self.b.grant("sae-a", ids)), own="sae-a", peer="sae-b")

    def receiver(self) -> PadReceiver:
        return PadReceiver(self.b, own="sae-b", peer="sae-a")

    def reopen(self, end: str, copy: Path | None = None) -> None:
        """Crash an end, or put a backup in its place."""
        getattr(self, end).close()
        if copy is not None:
            shutil.rmtree(self.folder / end)
            shutil.copytree(copy, self.folder / end)
        setattr(self, end, PadBook(self.folder / end))

    def backup(self, end: str, name: str) -> Path:
        return Path(shutil.copytree(self.folder / end, self.folder / f"{end}-{name}"))


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path)
    made.fill(20)
    yield made
    made.a.close()
    made.b.close()


def say(books: Books, sender: PadSender, text: str) -> bytes:
    return seal_message(sender, text, sender="sae-a", to="sae-b").container


def hear(books: Books, container: bytes) -> str:
    receiver = books.receiver()
    return receive_message(receiver, container, receiver="sae-b", store=receiver).text


def test_messages_and_files_cross_with_book_pads(books: Books, tmp_path: Path) -> None:
    books.fill(40, 66_000)
    sender = books.sender()
    assert hear(books, say(books, sender, "one")) == "one"
    assert hear(books, say(books, sender, "x" * 20_000)) == "x" * 20_000
    plain = tmp_path / "plain"
    plain.write_bytes(os.urandom(300_000))
    made = send_file(sender, plain, sender="sae-a", to="sae-b", out=tmp_path / "sealed")
    assert made.simulated
    receiver = books.receiver()
    receive_file(receiver, tmp_path / "sealed", receiver="sae-b", out=tmp_path / "out", store=receiver)
    assert (tmp_path / "out").read_bytes() == plain.read_bytes()
    with pytest.raises(InputError, match=r"opened before|no pad"):
        receive_file(receiver, tmp_path / "sealed", receiver="sae-b", out=tmp_path / "again", store=receiver)


def test_a_message_is_opened_once_also_after_a_crash_and_in_any_order(books: Books) -> None:
    sender = books.sender()
    containers = [say(books, sender, str(number)) for number in range(5)]
    for number in (3, 0, 4):
        assert hear(books, containers[number]) == str(number)
    books.reopen("b")
    for number in (3, 0, 4):
        with pytest.raises(InputError, match="opened before"):
            hear(books, containers[number])
    assert [hear(books, containers[number]) for number in (1, 2)] == ["1", "2"]


def test_an_altered_message_is_refused_and_the_true_one_still_opens(books: Books) -> None:
    container = say(books, books.sender(), "true")
    altered = bytearray(container)
    altered[-20] ^= 1
    with pytest.raises(AuthenticationError):
        hear(books, bytes(altered))
    assert hear(books, container) == "true"


def test_a_sender_that_crashes_never_seals_with_the_same_bytes(books: Books) -> None:
    pads: list[str] = []
    for _ in range(4):
        sender = books.sender()
        pads += [key.key_id for key in sender.enc_keys("sae-b", 3, 800).keys]
        books.reopen("a")
    places = [tuple(map(int, pad.partition(":")[2].split("+"))) for pad in pads]
    assert len(set(pads)) == len(pads) == 12, places
    assert len({pad.partition(":")[0] for pad in pads}) == 4, "what was in memory is lost with all that was granted"


@pytest.mark.parametrize("end", ["a", "b"])
def test_one_end_restored_from_a_backup_brings_nothing_back(books: Books, end: str) -> None:
    copy = books.backup(end, "before")
    first = books.sender().enc_keys("sae-b", 2, 800).keys
    books.reopen(end, copy)
    second = books.sender().enc_keys("sae-b", 2, 800).keys
    assert {key.value for key in first}.isdisjoint(key.value for key in second)


def test_both_ends_restored_do_repeat_pads(books: Books) -> None:
    """The one way there is, and the documents say so."""
    copies = {end: books.backup(end, "before") for end in "ab"}
    first = books.sender().enc_keys("sae-b", 2, 800).keys
    for end, copy in copies.items():
        books.reopen(end, copy)
    assert books.sender().enc_keys("sae-b", 2, 800).keys == first


def test_a_grant_whose_answer_is_lost_costs_the_batch_and_no_more(books: Books) -> None:
    def lost(ids: Any) -> Any:
        books.b.grant("sae-a", ids)
        raise ChannelError("lost")

    sender = books.sender(lost)
    with pytest.raises(ChannelError):
        sender.enc_keys("sae-b", 1, 800)
    before = books.a.stock("sae-b", "out")[0]
    assert books.sender().enc_keys("sae-b", 1, 800).keys
    assert books.a.stock("sae-b", "out")[0] < before


def test_a_receiver_grants_each_batch_once_and_only_to_its_sender(books: Books) -> None:
    ids = books.a.propose("sae-b", 10_000)
    assert books.b.grant("sae-c", ids) == []
    assert books.b.grant("sae-a", [*ids, *ids, "nothing"]) == ids
    assert books.b.grant("sae-a", ids) == []


def test_two_processes_with_one_book_never_get_the_same(books: Books) -> None:
    other = PadBook(books.folder / "a")
    senders = [
        PadSender(book, lambda ids: books.b.grant("sae-a", ids), own="sae-a", peer="sae-b")
        for book in (books.a, other, books.a, other)
    ]
    pads = [key.key_id for sender in senders for key in sender.enc_keys("sae-b", 1, 800).keys]
    assert len({pad.partition(":")[0] for pad in pads}) == len(pads) > 0
    other.close()


def test_a_forked_process_seals_nothing(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = books.sender()
    sender.enc_keys("sae-b", 1, 800)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(StoreError, match="copy of this process"):
        sender.enc_keys("sae-b", 1, 800)


def test_too_little_pad_is_said_before_any_is_taken(books: Books, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(bytes(200_000))
    before = books.a.stock("sae-b", "out")
    with pytest.raises(KeysExhausted):
        send_file(books.sender(), tmp_path / "plain", sender="sae-a", to="sae-b", out=tmp_path / "sealed")
    assert books.a.stock("sae-b", "out") == before


def test_what_was_opened_is_overwritten_and_whole_batches_are_forgotten(books: Books) -> None:
    sender = books.sender()
    keys = sender.enc_keys("sae-b", 1, 8 * 4_000).keys
    batch, place = keys[0].key_id.split(":")
    receiver = books.receiver()
    assert receiver.pads({keys[0].key_id})[keys[0].key_id].value == keys[0].value
    receiver.erase({keys[0].key_id})
    books.b.tidy()
    assert books.b.read("sae-a", batch)[0][:4_000] == bytes(4_000)
    receiver.erase({f"{batch}:4000+1000"})
    with pytest.raises(InputError, match="no pad"):
        books.b.read("sae-a", batch)
    assert place == "0+4000"


def test_no_pad_lies_in_the_open(books: Books) -> None:
    value = bytes(range(256)) * 20
    books.a.add("sae-b", "out", "canary", value, {})
    books.a.close()
    for path in (books.folder / "a").iterdir():
        assert value[:64] not in path.read_bytes(), path
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    books.a = PadBook(books.folder / "a")


def test_a_book_without_its_key_or_with_another_is_refused(books: Books) -> None:
    books.a.close()
    key = books.folder / "a" / "pads.key"
    text = key.read_text()
    key.unlink()
    with pytest.raises(StoreError, match="lost their key"):
        PadBook(books.folder / "a")
    key.write_text("00" * 32)
    key.chmod(0o600)
    books.a = PadBook(books.folder / "a")
    with pytest.raises(StoreError, match="does not open"):
        books.sender().enc_keys("sae-b", 1, 800)
    key.write_text(text)


def test_rows_that_were_swapped_are_refused(books: Books) -> None:
    first, second = books.a.propose("sae-b", 10_000)[:2]
    database = sqlite3.connect(books.folder / "a" / "pads.db")
    rows = dict(database.execute("SELECT id, sealed FROM pad JOIN batch USING (number)").fetchall())
    query = "UPDATE pad SET sealed = ? WHERE number = (SELECT number FROM batch WHERE id = ?)"
    database.execute(query, (rows[second], first))
    database.commit()
    database.close()
    with pytest.raises(StoreError, match="does not open"):
        books.a.take("sae-b", [first], [first])


@pytest.mark.parametrize("name", ["x", "ab:1", "ab:1+", "AB:1+2", "ab:1+2+3", "a" * 70 + ":1+2", "ab:-1+2"])
def test_names_that_are_no_pads_are_refused(books: Books, name: str) -> None:
    with pytest.raises(InputError, match="no pad of a book"):
        books.receiver().pads({name})


def test_ranges() -> None:
    assert merged([(5, 6), (0, 2), (2, 3), (1, 2)]) == [(0, 3), (5, 6)]


@pytest.mark.parametrize(
    ("largest", "at_once", "stored", "wanted", "shape"),
    [
        (65_536, 128, 1 << 30, 1 << 30, (128, 6147)),  # twelve records
        (1 << 19, 128, 1 << 30, 1 << 30, (16, 49_176)),
        (1024, 4096, 1 << 30, 1 << 30, (683, 96)),  # one record
        (256, 128, 1 << 30, 1 << 30, (128, 32)),  # as much as fits
        (65_536, 128, 1 << 30, 1, (1, 1024)),
        (65_536, 128, 1000, 1 << 30, (4, 7744)),  # as much as there is
        (65_536, 128, 0, 1 << 30, (1, 1024)),
    ],
)
def test_a_batch_is_made_of_whole_records_where_that_can_be(
    largest: int, at_once: int, stored: int, wanted: int, shape: tuple[int, int]
) -> None:
    status = Status("a", "b", "m", "s", 256, stored, 9, at_once, largest, 64, 0)
    assert batch_shape(status, wanted) == shape


def test_a_kme_that_gives_nothing_is_said() -> None:
    with pytest.raises(KmeError, match="no keys at all"):
        batch_shape(Status("a", "b", "m", "s", 256, 9, 9, 0, 256, 64, 0), 1)


def test_a_label_is_what_all_keys_say() -> None:
    same = {"noclone_leaks": "link:x", "noclone_origin": "hardware"}
    assert batch_label([Key("1", b"", same), Key("2", b"", same)]) == same
    other = {"noclone_leaks": "node:y", "noclone_origin": "simulated"}
    assert batch_label([Key("1", b"", same), Key("2", b"", other)]) == {
        "noclone_leaks": "(link:x) OR (node:y)",
        "noclone_origin": "simulated",
    }


@pytest.fixture
def conversing(books: Books, keys: Any) -> Iterator[Any]:
    """Books whose owners talk: what b says to each call is kept."""
    listener = Listener(
        keys.client("sae-b"), ("127.0.0.1", 0), receiver="sae-b", callers=["sae-a"], topics=[FILL, LEASE]
    )
    stop, said = threading.Event(), []

    def serve() -> None:
        while (talk := listener.accept(stop)) is not None:
            with talk:
                said.append(answer(books.b, talk))

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.address, said
    stop.set()
    thread.join()
    listener.close()


def test_books_are_filled_and_leased_over_conversations(
    books: Books, keys: Any, conversing: Any, tmp_path: Path
) -> None:
    keys.fill(1 << 21)
    address, said = conversing
    client = keys.client("sae-a")
    done = fill(books.a, client, address, sender="sae-a", to="sae-b", n_bytes=1_000_000)
    assert done >= 1_000_000
    assert said[0] == "kept 786816 bytes of pad of sae-a"
    assert len(said) == 3, "twelve records, three, and the rest"
    sender = PadSender(books.a, ask_grant(client, address, sender="sae-a", to="sae-b"), own="sae-a", peer="sae-b")
    plain = tmp_path / "plain"
    plain.write_bytes(os.urandom(600_000))
    send_file(sender, plain, sender="sae-a", to="sae-b", out=tmp_path / "sealed")
    receiver = books.receiver()
    receive_file(receiver, tmp_path / "sealed", receiver="sae-b", out=tmp_path / "out", store=receiver)
    assert (tmp_path / "out").read_bytes() == plain.read_bytes()
    assert any(one.startswith("granted") for one in said)


def test_a_batch_that_is_there_already_is_refused(books: Books) -> None:
    (name,) = books.a.propose("sae-b", 1)
    with pytest.raises(InputError, match="already"):
        books.a.add("sae-b", "out", name, b"x", {})
