"""Conversations under one-time tags: who is let in, what an altered word does, and what never reaches a KME."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from noclone.apps import conversation
from noclone.apps.conversation import Conversation, Listener, call, parse_address
from noclone.errors import AuthenticationError, ChannelError, InputError, KmeError, NocloneError


@contextmanager
def listening(keys: Any, **changes: Any) -> Iterator[Listener]:
    arguments = {"receiver": "sae-b", "callers": ["sae-a"], "topics": ["test"], **changes}
    with Listener(keys.client(arguments["receiver"]), ("127.0.0.1", 0), **arguments) as listener:
        yield listener


def accepted(listener: Listener, act: Callable[[], Any]) -> tuple[Any, Conversation | NocloneError | None]:
    """Call in a thread while the listener waits; return what each got."""
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(act()))
    thread.start()
    try:
        heard: Conversation | NocloneError | None = listener.accept(threading.Event())
    except NocloneError as error:
        heard = error
    thread.join(10)
    if isinstance(heard, NocloneError) and got and isinstance(got[0], Conversation):
        got[0].close()
    return got[0] if got else None, heard


def caller(keys: Any, listener: Listener, **changes: Any) -> Callable[[], Any]:
    arguments = {"sender": "sae-a", "to": "sae-b", "topic": "test", **changes}
    return lambda: call(keys.client(arguments["sender"]), listener.address, **arguments)


def test_both_say_and_hear_and_hold_the_same_keys(keys: Any) -> None:
    with listening(keys) as listener:
        here, there = accepted(listener, caller(keys, listener, number=3, size=512, colour="red"))
    with here, there:
        assert there.opening["colour"] == "red"
        assert [key.value for key in here.keys] == [key.value for key in there.keys]
        assert len(here.keys) == 3
        there.say(state="loaded")
        assert here.hear() == {"state": "loaded"}
        here.say(state="one")
        here.say(state="two")
        assert [there.hear()["state"], there.hear()["state"]] == ["one", "two"]
        assert not there.pending


def test_keys_are_small_where_a_kme_gives_only_small_ones(make_keys: Callable[..., Any]) -> None:
    keys = make_keys(key_bits_max=256)
    keys.fill(1 << 16)
    with listening(keys) as listener:
        here, there = accepted(listener, caller(keys, listener))
    with here, there:
        here.say(x=1)
        assert there.hear() == {"x": 1}
    tiny = make_keys(key_bits_max=64, per_request=16)
    with listening(tiny) as listener, pytest.raises(KmeError, match="too small"):
        caller(tiny, listener)()


@pytest.mark.parametrize("changes", [{"sender": "sae-c"}, {"topic": "other"}, {"to": "sae-x"}])
def test_others_are_turned_away_before_a_key_is_fetched(keys: Any, changes: dict[str, Any]) -> None:
    with listening(keys) as listener:
        _, heard = accepted(listener, caller(keys, listener, **changes))
    assert isinstance(heard, ChannelError)
    assert "dec_keys" not in keys.calls


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">I", 1 << 30),
        struct.pack(">I", 4) + b"null" + bytes(16),
        struct.pack(">I", 2) + b"{}" + bytes(16),
        b"",
    ],
)
def test_nonsense_is_turned_away_before_a_key_is_fetched(keys: Any, data: bytes) -> None:
    def knock() -> None:
        with socket.create_connection(listener.address) as connection:
            connection.sendall(data)

    with listening(keys) as listener:
        _, heard = accepted(listener, knock)
        assert isinstance(heard, ChannelError)
        here, there = accepted(listener, caller(keys, listener))
        assert isinstance(there, Conversation), "the next caller is served"
        here.close()
        there.close()
    assert keys.calls.count("dec_keys") == 1


@pytest.mark.parametrize("place", ["opening", "later"])
def test_an_altered_word_is_refused(keys: Any, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sits on the line can read the ids, but not change a word."""
    real = conversation._read_frame
    altered = [place == "opening"]

    def read(connection: socket.socket, timeout_s: float) -> tuple[bytes, bytes]:
        body, tag = real(connection, timeout_s)
        if altered.pop() if altered else False:
            body = body.replace(b"red", b"tan")
        return body, tag

    monkeypatch.setattr(conversation, "_read_frame", read)
    with listening(keys) as listener:
        here, there = accepted(listener, caller(keys, listener, colour="red"))
        with here:
            if place == "opening":
                assert isinstance(there, AuthenticationError)
                return
            altered.append(True)
            here.say(colour="red")
            assert isinstance(there, Conversation)
            with there, pytest.raises(AuthenticationError):
                there.hear()


def test_an_opening_cannot_be_played_again(keys: Any) -> None:
    with listening(keys) as listener:
        here, there = accepted(listener, caller(keys, listener))
        assert isinstance(there, Conversation)
        opening = json.dumps(there.opening, separators=(",", ":")).encode()
        frame = struct.pack(">I", len(opening)) + opening + conversation._tag(here._tag_keys[:32], opening)
        here.close()
        there.close()

        def replay() -> None:
            with socket.create_connection(listener.address) as connection:
                connection.sendall(frame)

        _, heard = accepted(listener, replay)
    assert isinstance(heard, KmeError), "its keys were handed out once"


def test_a_conversation_ends_when_its_tag_keys_do(keys: Any) -> None:
    with listening(keys) as listener:
        here, there = accepted(listener, caller(keys, listener))
    with here, there:
        for _ in range(7):
            here.say(x=1)
        with pytest.raises(ChannelError, match="longer"):
            here.say(x=1)


def test_silence_ends_it(keys: Any) -> None:
    with listening(keys) as listener:
        here, there = accepted(listener, caller(keys, listener))
    with here, there:
        with pytest.raises(ChannelError, match="no answer in time"):
            here.hear(0.1)
        there.close()
        with pytest.raises(ChannelError, match="hung up"):
            here.hear(1.0)


def test_nobody_listens_and_nothing_is_spent(keys: Any) -> None:
    with pytest.raises(ChannelError, match="does not listen"):
        call(keys.client("sae-a"), ("127.0.0.1", 9), sender="sae-a", to="sae-b", topic="test")
    assert keys.calls == []


@pytest.mark.parametrize("text", ["", "host", ":1", "host:", "host:port", "host:65536"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InputError, match="no address"):
        parse_address(text)


def test_addresses() -> None:
    assert parse_address("10.0.0.2:7014") == ("10.0.0.2", 7014)
    assert parse_address("[::1]:7014") == ("::1", 7014)
