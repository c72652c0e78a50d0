"""`noclone pad`: a book of one-time pads at both ends, filled ahead, so that much can be sent at once."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from noclone.cli.application import Application
from noclone.cli.protect import open_book
from noclone.cli.terminal import Json, JsonLines, grouped, progress, show
from noclone.cli.vpn import stopped_by_signals, teller

pad = App(name="pad", help="Keep a book of one-time pads with another application, filled ahead.")

PeerAt = Annotated[str, Parameter(name="--call", help="Where the other's `noclone pad serve` listens, HOST:PORT.")]


@pad.command(name="fill")
def fill_book(
    *,
    to: Annotated[str, Parameter(name="--to", help="The application that will open what they seal.")],
    call: PeerAt,
    n_bytes: Annotated[int, Parameter(name="--bytes", validator=validators.Number(gte=1))],
    who: Application | None = None,
    as_json: Json = False,
) -> int:
    """Fetch pads to seal with, and have the other application keep its half. Whole batches; Ctrl-C keeps what is there.

    Args:
        n_bytes: How many bytes of pad, at least.
    """
    from noclone.apps.conversation import parse_address
    from noclone.apps.pad_lease import fill

    who, address = who or Application(), parse_address(call)
    own = who.name()
    with who.client() as client, open_book(who) as book, progress() as bar:
        task = bar.add_task("filling the book", total=n_bytes)
        done = fill(
            book, client, address, sender=own, to=to, n_bytes=n_bytes,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
        total, _ = book.stock(to, "out")
    lines = [f"{grouped(done)} bytes of pad for {to} were added; the book has {grouped(total)}"]
    show({"added": done, "stock": total, "to": to}, lines, as_json=as_json)
    return 0


@pad.command
def serve(
    *,
    listen: Annotated[str, Parameter(help="Where others call, HOST:PORT.")],
    callers: Annotated[list[str], Parameter(name="--from", help="Who may call; once for each.")],
    who: Application | None = None,
    as_json: JsonLines = False,
) -> int:
    """Keep one's half of pads that others fill in, and grant them when they are to be used. Ctrl-C stops."""
    from noclone.apps.conversation import Listener, parse_address, turned_away
    from noclone.apps.pad_lease import FILL, LEASE, answer

    who, address = who or Application(), parse_address(listen)
    own = who.name()
    tell = teller(f"sae:{own}", as_json=as_json)
    with (
        who.client() as client,
        open_book(who) as book,
        stopped_by_signals() as stop,
        Listener(client, address, receiver=own, callers=callers, topics=[FILL, LEASE]) as listener,
    ):
        where = "{}:{}".format(*listener.address)
        tell("pad.started", message=f"listens at {where}; Ctrl-C stops", listens=where)
        while not stop.is_set():
            with turned_away(lambda error: tell("pad.failed", message=error.message, hint=error.hint)):
                talk = listener.accept(stop)
                if talk is not None:
                    with talk:
                        tell("pad.answered", message=answer(book, talk), peer=talk.peer)
    return 0


@pad.command
def status(*, who: Application | None = None, as_json: Json = False) -> int:
    """Say how much pad the book has, with whom, and in which direction."""
    rows: list[dict[str, Any]] = []
    with open_book(who or Application()) as book:
        for peer, role in book.peers():
            rows.append({"peer": peer, "direction": role, "bytes": book.stock(peer, role)[0]})
    words = {"out": "to seal with, for", "in": "to open with, from"}
    lines = [f"{grouped(row['bytes'])} bytes {words[row['direction']]} {row['peer']}" for row in rows]
    show({"pads": rows}, lines or ["the book has no pads"], as_json=as_json)
    return 0
