"""`noclone file` and `noclone message`: a one-time pad from delivered keys."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from noclone.cli.application import Application
from noclone.cli.terminal import Json, grouped, progress, show
from noclone.errors import InputError

file = App(name="file", help="Send or receive a file under a one-time pad.")
message = App(name="message", help="Send or receive a short text under a one-time pad.")

To = Annotated[str, Parameter(name="--to", help="The application that is to receive it.")]
Output = Annotated[Path, Parameter(name=("--output", "-o"))]
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
    who: Application | None = None,
    as_json: Json = False,
) -> int:
    """Seal a file under a one-time pad of fresh keys. Carry the sealed file any way you like.

    If it is lost, send the same sealed file again: it is never sealed twice with the same pad.

    Args:
        path: The file.
        output: Where to write the sealed file.
    """
    from noclone.apps.files import send_file as send

    who = who or Application()
    with who.client() as client, progress() as bar:
        task = bar.add_task(f"sealing {path.name}", total=None)
        sealed = send(
            client,
            path,
            sender=who.name(),
            to=to,
            out=output,
            overwrite=overwrite,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    lines = [
        f"{output}: {path.name} for {to}, {grouped(sealed.pad_bits)} bits of pad",
        *([SIMULATED] if sealed.simulated else []),
    ]
    show(_plain(sealed), lines, as_json=as_json)
    return 0


@file.command(name="receive")
def receive_file(
    sealed: Path,
    /,
    *,
    output: Output,
    overwrite: Overwrite = False,
    who: Application | None = None,
    as_json: Json = False,
) -> int:
    """Open a sealed file: what comes out is identical to what was sent, or nothing does.

    If this is interrupted, run it again: pads that were fetched wait, sealed, in your own folder.

    Args:
        sealed: The sealed file.
        output: Where to write the file.
    """
    from noclone.apps.files import receive_file as receive

    who = who or Application()
    with who.client() as client, progress() as bar:
        task = bar.add_task(f"opening {sealed.name}", total=None)
        received = receive(
            client,
            sealed,
            receiver=who.name(),
            out=output,
            spool_folder=_spool(who),
            overwrite=overwrite,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    lines = [
        f"{output}: {grouped(received.bytes)} bytes from {received.sender}, sha256 {received.sha256}",
        *([SIMULATED] if received.simulated else []),
    ]
    show(_plain(received), lines, as_json=as_json)
    return 0


@message.command(name="send")
def send_message(
    text: str, /, *, to: To, output: Output, overwrite: Overwrite = False, who: Application | None = None,
    as_json: Json = False,
) -> int:  # fmt: skip
    """Seal a short text under a one-time pad. Its length is hidden but for a factor of two.

    Args:
        text: The text.
        output: Where to write the sealed message.
    """
    from noclone.apps.messages import send_message as send
    from noclone.apps.whole_file import whole_file

    who = who or Application()
    with who.client() as client, whole_file(output, overwrite=overwrite) as out:
        container = send(client, text, sender=who.name(), to=to)
        out.write(container)
    show({"output": str(output), "bytes": len(container)}, [f"{output}: a message for {to}"], as_json=as_json)
    return 0


@message.command(name="receive")
def receive_message(sealed: Path, /, *, who: Application | None = None, as_json: Json = False) -> int:
    """Open a sealed message and print it.

    Args:
        sealed: The sealed message.
    """
    from noclone.apps.messages import receive_message as receive

    who = who or Application()
    try:
        with sealed.open("rb") as source:
            container = source.read(MESSAGE_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"{sealed}: cannot be read: {error.strerror}") from None
    with who.client() as client:
        received = receive(client, container, receiver=who.name(), spool_folder=_spool(who))
    if received.simulated and not as_json:
        sys.stderr.write(f"from {received.sender}; {SIMULATED}\n")
    show(_plain(received), [_printable(received.text)], as_json=as_json)
    return 0


def _spool(who: Application) -> Path:
    """Return the folder where pads wait that were fetched and not yet used."""
    folder = who.folder() / "spool"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _plain(record: Any) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(record).items()}


def _printable(text: str) -> str:
    """Return text that cannot steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
