"""A chat over sockets: lines in both directions, altered ones refused, and the other end that leaves."""

from __future__ import annotations

import queue
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noclone.apps.chat import Chat, Line
from noclone.apps.messages import seal_message
from noclone.errors import AuthenticationError, ChannelError, InputError, KeysExhausted


@pytest.fixture
def two(keys: Any, tmp_path: Path) -> Iterator[tuple[Chat, Chat, socket.socket]]:
    left, right = socket.socketpair()
    chats = [
        Chat(keys.client(own), end, own=own, peer=peer, spool_folder=tmp_path / own)
        for own, peer, end in (("sae-a", "sae-b", left), ("sae-b", "sae-a", right))
    ]
    yield chats[0], chats[1], left
    for chat in chats:
        chat.close()


def test_lines_cross_both_ways_and_say_what_they_stand_on(two: tuple[Chat, Chat, Any]) -> None:
    a, b, _ = two
    for text in ("hello", "\N{SNOWMAN}" * 100, "x" * 16_000):
        sent = a.say(text)
        heard = b.hear()
        assert heard == Line("sae-a", text, sent.labels, sent.sealed_bytes)
        assert sent.labels == ({"noclone_origin": "simulated"},)
        assert b.say(text[::-1]).text == text[::-1]
        back = a.hear()
        assert back is not None
        assert back.text == text[::-1]


def test_lengths_are_hidden_in_buckets(two: tuple[Chat, Chat, Any]) -> None:
    a, _, _ = two
    assert a.say("yes").sealed_bytes == a.say("no, never").sealed_bytes


def test_what_is_altered_or_said_twice_is_refused_and_the_chat_goes_on(
    two: tuple[Chat, Chat, socket.socket], keys: Any
) -> None:
    _, b, wire = two
    container = seal_message(keys.client("sae-a"), "true", sender="sae-a", to="sae-b").container
    altered = container[:-20] + bytes([container[-20] ^ 1]) + container[-19:]
    for data in (altered, container, container):
        wire.sendall(struct.pack(">I", len(data)) + data)
    with pytest.raises(AuthenticationError):
        b.hear()
    heard = b.hear()
    assert heard is not None
    assert heard.text == "true"
    with pytest.raises(Exception, match="cannot be had"):
        b.hear()


def test_a_line_of_somebody_else_is_not_shown(two: tuple[Chat, Chat, socket.socket], keys: Any) -> None:
    _, b, wire = two
    container = seal_message(keys.client("sae-c"), "I am a", sender="sae-c", to="sae-b").container
    wire.sendall(struct.pack(">I", len(container)) + container)
    with pytest.raises(ChannelError, match="not shown"):
        b.hear()


def test_something_without_end_is_cut(two: tuple[Chat, Chat, socket.socket]) -> None:
    _, b, wire = two
    wire.sendall(b"GET / HTTP/1.1\r\n")
    with pytest.raises(ChannelError, match="was cut"):
        b.hear()
    assert b.hear() is None


def test_leaving_is_heard(two: tuple[Chat, Chat, Any]) -> None:
    a, b, _ = two
    told: queue.Queue[Any] = queue.Queue()
    thread = b.listen(told.put)
    a.say("bye")
    a.close()
    assert told.get(timeout=120).text == "bye"
    assert told.get(timeout=120) is None
    thread.join(5)
    with pytest.raises(ChannelError, match="has left"):
        b.say("still there?")


def test_long_lines_and_empty_stores_are_said(two: tuple[Chat, Chat, Any], keys: Any) -> None:
    a, _, _ = two
    with pytest.raises(InputError, match="at most"):
        a.say("x" * 20_000)
    keys.master.atoms.clear()
    with pytest.raises(KeysExhausted):
        a.say("hello")


def test_a_line_under_a_cipher_says_so_at_both_ends_and_takes_less_key(
    two: tuple[Chat, Chat, Any], keys: Any, tmp_path: Path
) -> None:
    a, b, wire = two
    scarce = Chat(
        keys.client("sae-a"), wire, own="sae-a", peer="sae-b", spool_folder=tmp_path / "a", cipher="aes-256-gcm"
    )
    before = len(keys.handed_out)
    sent = scarce.say("x" * 5_000)
    assert len(keys.handed_out) == before + 1
    heard = b.hear()
    assert (
        heard
        == sent
        == Line("sae-a", "x" * 5_000, ({"noclone_origin": "simulated"},), sent.sealed_bytes, "aes-256-gcm")
    )
    assert "COMPUTATIONAL" in heard.standing()
    b.say("as before")  # each end sends as it likes, and each line says what it is
    back = a.hear()
    assert back is not None
    assert (back.cipher, "COMPUTATIONAL" in back.standing()) == ("one-time-pad", False)
