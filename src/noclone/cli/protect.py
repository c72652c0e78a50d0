"""`noclone file` and `noclone message`: a one-time pad from delivered keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from noclone.cli.application import Application, Cipher
from noclone.cli.terminal import Json, grouped, printable, progress, say, show
from noclone.errors import InputError

if TYPE_CHECKING:
    from noclone.apps.files import ReceivedFile
    from noclone.apps.pad_book import PadBook
    from noclone.apps.pad_lease import PadReceiver
    from noclone.apps.pads import NewKeys
    from noclone.client import Etsi014Client

file = App(name="file", help="Send or receive a file under a one-time pad.")
message = App(name="message", help="Send or receive a short text under a one-time pad.")

To = Annotated[str, Parameter(name="--to", help="The application that is to receive it.")]
Output = Annotated[Path, Parameter(name=("--output", "-o"))]
Granted = Annotated[
    str | None,
    Parameter(name="--pads", help="Use pads of the book, granted at HOST:PORT, where the other's `pad serve` listens."),
]
FromBook = Annotated[bool, Parameter(name="--pads", negative=(), help="It was sealed with pads of the book.")]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace the output if it is there.")]

SIMULATED = "its keys come from simulated light: this protects nothing"
MESSAGE_BYTES_MAX = 1 << 20


@file.command(name="send")
def send_file(
    path: Path,
    /,
    *,
    to: To,
    output: Output,
    overwrite: Overwrite = False,
    resume: Annotated[bool, Parameter(negative=())] = False,
    pads: Granted = None,
    cipher: Cipher = "one-time-pad",
    who: Application | None = None,
    as_json: Json = False,
) -> int:
    """Seal a file under a one-time pad of fresh keys. Carry the sealed file any way you like.

    If it is lost, send the same sealed file again: it is never sealed twice with the same pad.

    Args:
        path: The file.
        output: Where to write the sealed file.
        resume: If this is interrupted, keep what is sealed, and go on from there when called again.
        cipher: aes-256-gcm takes 256 bits of key for each 64 MiB, for when pad is scarce. It is no one-time pad.
    """
    who = who or Application()
    if cipher != "one-time-pad" and (resume or pads):
        raise InputError(f"--resume and --pads are for one-time pads, not for {cipher}")
    with who.client() as client, progress() as bar, _sender(client, pads, who, to) as source:
        task = bar.add_task(f"sealing {path.name}", total=None)
        common: dict[str, Any] = {
            "sender": who.name(),
            "to": to,
            "out": output,
            "overwrite": overwrite,
            "on_progress": lambda done, total: bar.update(task, completed=done, total=total),
        }
        if cipher == "one-time-pad":
            from noclone.apps.files import send_file as send

            sealed: Any = send(source, path, resume=resume, **common)
            what = f"{grouped(sealed.pad_bits)} bits of pad"
        else:
            from noclone.apps.hybrid import send_hybrid

            sealed = send_hybrid(client, path, **common)
            what = f"{grouped(sealed.key_bits)} bits of key; {sealed.secrecy}"
    lines = [f"{output}: {path.name} for {to}, {what}", *([SIMULATED] if sealed.simulated else [])]
    show(_plain(sealed), lines, as_json=as_json)
    return 0


@file.command(name="receive")
def receive_file(
    sealed: Path,
    /,
    *,
    output: Output,
    overwrite: Overwrite = False,
    pads: FromBook = False,
    who: Application | None = None,
    as_json: Json = False,
) -> int:
    """Open a sealed file: what comes out is identical to what was sent, or nothing does.

    If this is interrupted, run it again: pads that were fetched wait, sealed, in your own folder.

    Args:
        sealed: The sealed file.
        output: Where to write the file.
    """
    from noclone.apps.hybrid import is_hybrid, receive_hybrid

    who = who or Application()
    with progress() as bar:
        task = bar.add_task(f"opening {sealed.name}", total=None)
        common: dict[str, Any] = {
            "receiver": who.name(),
            "out": output,
            "overwrite": overwrite,
            "on_progress": lambda done, total: bar.update(task, completed=done, total=total),
        }
        if pads:
            received: Any = _receive_from_book(sealed, who, common)
        else:
            from noclone.apps.files import receive_file as receive

            with who.client() as client:
                received = (receive_hybrid if is_hybrid(sealed) else receive)(
                    client, sealed, spool_folder=spool_folder(who), **common
                )
    lines = [
        f"{output}: {grouped(received.bytes)} bytes from {received.sender}, sha256 {received.sha256}",
        *([received.secrecy] if is_hybrid(sealed) else []),
        *([SIMULATED] if received.simulated else []),
    ]
    show(_plain(received), lines, as_json=as_json)
    return 0


@message.command(name="send")
def send_message(
    text: str, /, *, to: To, output: Output, overwrite: Overwrite = False, pads: Granted = None,
    cipher: Cipher = "one-time-pad", who: Application | None = None, as_json: Json = False,
) -> int:  # fmt: skip
    """Seal a short text under a one-time pad. Its length is hidden but for a factor of two.

    Args:
        text: The text.
        output: Where to write the sealed message.
        cipher: aes-256-gcm takes 256 bits of key a message, whatever its length. It is no one-time pad.
    """
    from noclone.apps.hybrid import SECRECY, seal_text
    from noclone.apps.messages import seal_message
    from noclone.apps.whole_file import whole_file

    who = who or Application()
    if cipher != "one-time-pad" and pads:
        raise InputError(f"--pads is for one-time pads, not for {cipher}")
    with (
        who.client() as client,
        _sender(client, pads, who, to) as source,
        whole_file(output, overwrite=overwrite) as out,
    ):
        seal = seal_message if cipher == "one-time-pad" else seal_text
        container = seal(source, text, sender=who.name(), to=to).container
        out.write(container)
    data, line = {"output": str(output), "bytes": len(container)}, f"{output}: a message for {to}"
    if cipher != "one-time-pad":
        data, line = data | {"secrecy": SECRECY}, f"{line}; {SECRECY}"
    show(data, [line], as_json=as_json)
    return 0


@message.command(name="receive")
def receive_message(
    sealed: Path, /, *, pads: FromBook = False, who: Application | None = None, as_json: Json = False
) -> int:
    """Open a sealed message and print it.

    Args:
        sealed: The sealed message.
    """
    from noclone.apps.hybrid import SECRECY, is_hybrid, open_text
    from noclone.apps.messages import receive_message as receive

    who = who or Application()
    try:
        with sealed.open("rb") as source:
            container = source.read(MESSAGE_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"{sealed}: cannot be read: {error.strerror}") from None
    if pads:
        with open_book(who) as book:
            receiver = _receiver(book, sealed, who)
            received = receive(receiver, container, receiver=who.name(), store=receiver)
            book.tidy()
    else:
        open_it: Any = open_text if is_hybrid(sealed) else receive
        with who.client() as client:
            received = open_it(client, container, receiver=who.name(), spool_folder=spool_folder(who))
    if not as_json:
        notes = [f"from {received.sender}", *([SECRECY] if is_hybrid(sealed) else [])]
        say("; ".join([*notes, *([SIMULATED] if received.simulated else [])]))
    show(_plain(received), [printable(received.text)], as_json=as_json)
    return 0


def open_book(who: Application) -> PadBook:
    """Open the application's pad book."""
    from noclone.apps.pad_book import PadBook

    return PadBook(who.folder() / "pads")


@contextmanager
def _sender(client: Etsi014Client, pads: str | None, who: Application, to: str) -> Iterator[NewKeys]:
    """Give what a sender takes its pads from: the KME, or the book."""
    if pads is None:
        yield client
        return
    from noclone.apps.conversation import parse_address
    from noclone.apps.pad_lease import PadSender, ask_grant

    with open_book(who) as book:
        grant = ask_grant(client, parse_address(pads), sender=who.name(), to=to)
        sender = PadSender(book, grant, own=who.name(), peer=to)
        try:
            yield sender
        finally:
            sender.close()


def _receiver(book: PadBook, sealed: Path, who: Application) -> PadReceiver:
    """Return the book's pads of whoever sealed a container."""
    from noclone.apps.pad_lease import PadReceiver
    from noclone.apps.sealed import read_header

    with sealed.open("rb") as file:
        header, _ = read_header(file)
    return PadReceiver(book, own=who.name(), peer=header.sender)


def _receive_from_book(sealed: Path, who: Application, common: dict[str, Any]) -> ReceivedFile:
    from noclone.apps.files import receive_file as receive

    with open_book(who) as book:
        receiver = _receiver(book, sealed, who)
        received = receive(receiver, sealed, store=receiver, **common)
        book.tidy()
    return received


def spool_folder(who: Application) -> Path:
    """Return the folder where pads wait that were fetched and not yet used."""
    folder = who.folder() / "spool"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _plain(record: Any) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(record).items()}
