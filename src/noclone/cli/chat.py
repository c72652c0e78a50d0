"""`noclone chat`: two sites write to each other, and see with each line what it stands on."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from noclone.cli.application import Application, Cipher
from noclone.cli.protect import spool_folder
from noclone.cli.terminal import JsonLines, complain, printable, say, stdout
from noclone.cli.vpn import stopped_by_signals
from noclone.errors import InputError, NocloneError

if TYPE_CHECKING:
    from noclone.apps.chat import Line
    from noclone.apps.conversation import Conversation

POLL_S = 0.25


def chat(
    *,
    to: Annotated[str, Parameter(name="--to", help="The application at the other end.")],
    call: str | None = None,
    listen: str | None = None,
    cipher: Cipher = "one-time-pad",
    who: Application | None = None,
    as_json: JsonLines = False,
) -> int:
    """Write to another site, line by line, each under a one-time pad of its own. Ctrl-D or Ctrl-C leaves.

    Below each line stands what it stands on: who could read it, as the KME says of its keys.

    Args:
        call: Where the other end listens, HOST:PORT.
        listen: Where to wait for the other end, HOST:PORT.
        cipher: What our own lines are sealed with. aes-256-gcm takes 256 bits of key a line, and is no one-time pad.
    """
    from noclone.apps.chat import Chat

    who = who or Application()
    own = who.name()
    if (call is None) == (listen is None):
        raise InputError("a chat needs one who calls and one who listens", hint="add --call or --listen HOST:PORT")
    with who.client() as client, stopped_by_signals() as stop:
        talk = _meet(client, own, to, call, listen, stop)
        if talk is None:
            return 0
        line_chat = Chat(client, talk.hand_over(), own=own, peer=to, spool_folder=spool_folder(who), cipher=cipher)
        show = _show_json if as_json else _show
        say(f"{to} is there; Ctrl-D leaves")

        def told(line: Line | NocloneError | None) -> None:
            if line is None:
                if not stop.is_set():
                    say(f"{to} has left")
                stop.set()
            elif isinstance(line, NocloneError):
                complain(line.message, line.hint)
            else:
                show(line)

        thread = line_chat.listen(told)
        try:
            for text in _typed(stop):
                try:
                    show(line_chat.say(text))
                except NocloneError as error:
                    complain(error.message, error.hint)
        finally:
            stop.set()
            line_chat.close()
            thread.join(5)
    return 0


def _meet(
    client: object, own: str, to: str, calling: str | None, listening: str | None, stop: threading.Event
) -> Conversation | None:
    """Return the conversation that the chat begins with; None if told to stop before the other end came."""
    from noclone.apps.chat import TOPIC
    from noclone.apps.conversation import Listener, call, parse_address, turned_away
    from noclone.client import Etsi014Client

    assert isinstance(client, Etsi014Client)
    if calling is not None:
        talk = call(client, parse_address(calling), sender=own, to=to, topic=TOPIC)
        talk.hear()
        return talk
    address = parse_address(listening or "")
    with Listener(client, address, receiver=own, callers=[to], topics=[TOPIC]) as listener:
        say("waiting for {} at {}:{}; Ctrl-C leaves".format(to, *listener.address))
        while not stop.is_set():
            with turned_away(lambda error: complain(error.message, error.hint)):
                found = listener.accept(stop)
                if found is not None:
                    found.say(state="welcome")
                    return found
    return None


def _typed(stop: threading.Event) -> Iterator[str]:
    """Yield what is typed, line by line, until it ends or we are told to stop."""
    descriptor, rest = sys.stdin.fileno(), b""
    while not stop.is_set():
        readable, _, _ = select.select([descriptor], [], [], POLL_S)
        if not readable:
            continue
        data = os.read(descriptor, 65_536)
        *lines, rest = (rest + data).split(b"\n")
        if not data and rest:
            lines, rest = [rest], b""
        for line in lines:
            if line.strip():
                yield line.decode("utf-8", "replace")
        if not data:
            return


def _show(line: Line) -> None:
    stdout.print(f"{line.sender}> {printable(line.text)}", markup=False)
    stdout.print(f"    {printable(line.standing())}", markup=False, style="dim")


def _show_json(line: Line) -> None:
    import json

    told = {
        "kind": "chat.line",
        "from": line.sender,
        "text": line.text,
        "cipher": line.cipher,
        "stands_on": line.standing(),
        "labels": line.labels,
        "sealed_bytes": line.sealed_bytes,
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
