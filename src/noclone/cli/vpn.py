"""`noclone vpn`: feed VPNs that people already run with keys from KMEs, and change them without losing a packet."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators

from noclone.cli.application import Application
from noclone.cli.terminal import JsonLines, say
from noclone.errors import InputError

if TYPE_CHECKING:
    from noclone.apps.vpn.rotation import Tell, Tunnel
    from noclone.events import Event

vpn = App(name="vpn", help="Feed WireGuard, IPsec or stunnel with keys from KMEs, and change them in time.")

Positive = Annotated[float, Parameter(validator=validators.Number(gt=0))]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class End:
    """Which end of a VPN this is, and where the other one is.

    Args:
        to: The application at the other end.
        call: Where the other end listens, HOST:PORT: this end is the master, and decides when the key changes.
        listen: Where the other end calls, HOST:PORT: this end is the slave. Start it first.
        interval: Seconds from one change to the next; the master's word counts.
        rotations: Stop after so many changes.
        fail_closed: Stop traffic when no new key came into effect for so many seconds, until one does. Without this
            the last key stays, with an alarm.
    """

    to: Annotated[str | None, Parameter(name="--to")] = None
    call: str | None = None
    listen: str | None = None
    interval: Positive = 120.0
    rotations: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    fail_closed: Positive | None = None

    def check(self) -> None:
        """Refuse what makes no end."""
        from noclone.apps.conversation import parse_address

        if self.to is None:
            raise InputError("which application is at the other end?", hint="add --to SAE_ID")
        if (self.call is None) == (self.listen is None):
            raise InputError(
                "an end either calls or listens",
                hint="add --call HOST:PORT at one end, --listen HOST:PORT at the other",
            )
        parse_address(self.call or self.listen or "")
        if self.call is not None and self.fail_closed is not None and self.fail_closed <= self.interval:
            raise InputError(
                f"traffic would stop after {self.fail_closed:g} s, before the next key comes ({self.interval:g} s)",
                hint=f"give --fail-closed {3 * self.interval:g}, or a shorter --interval",
            )


@vpn.command
def wireguard(
    interface: str,
    /,
    *,
    peer: str,
    at_once: Annotated[bool, Parameter(negative=())] = False,
    end: End | None = None,
    who: Application | None = None,
    as_json: JsonLines = False,
) -> int:
    """Give a WireGuard tunnel its preshared key, and change it. Run it at both ends; Ctrl-C stops, the tunnel stays.

    The slave's end gets each key first, then the master's; a handshake that is younger than the key proves that it is
    in effect. Without one the old key is set again before the session dies.

    Args:
        interface: The interface, such as wg0; it is up and has the peer already.
        peer: The other end's public key.
        at_once: Make a new handshake at each change, which can cost a packet; otherwise the next one is waited for.
    """
    from noclone.apps.vpn.wireguard import WireGuard

    return _run(interface, end, who, lambda: WireGuard(interface, peer, at_once=at_once), as_json)


@vpn.command
def ipsec(
    connection: Path,
    /,
    *,
    vici: Path = Path("/var/run/charon.vici"),
    end: End | None = None,
    who: Application | None = None,
    as_json: JsonLines = False,
) -> int:
    """Give strongSwan post-quantum preshared keys (RFC 8784), each a new IKE_SA. Run it at both ends; Ctrl-C stops.

    The end that calls is the initiator. Both ends require a key; an IKE_SA that came up without one is ended, and an
    alarm. When this stops, the last IKE_SA stays.

    Args:
        connection: A TOML file with the connection, in swanctl.conf's words; docs/vpn.md has one.
        vici: The daemon's socket.
    """
    from noclone.apps.vpn.ipsec import IpsecEnd, load_connection

    loaded = load_connection(connection)
    master = end is not None and end.call is not None
    return _run(loaded.name, end, who, lambda: IpsecEnd(loaded, master=master, socket=vici), as_json)


@vpn.command
def stunnel(
    config: Path,
    service: str,
    /,
    *,
    end: End | None = None,
    who: Application | None = None,
    as_json: JsonLines = False,
) -> int:
    """Give an stunnel service TLS 1.3 preshared keys, and change them. Run it at both ends; Ctrl-C stops.

    The TLS client's end calls. A connection keeps the key that it was opened with; new ones use the newest.

    Args:
        config: stunnel's configuration.
        service: Which of its services, by the name of its section.
    """
    from noclone.apps.vpn.stunnel import StunnelEnd, load_service

    found = load_service(config, service)
    master = end is not None and end.call is not None
    return _run(service, end, who, lambda: StunnelEnd(found, master=master), as_json)


def _run(name: str, end: End | None, who: Application | None, make: Callable[[], Tunnel], as_json: bool) -> int:
    """Be one end of a VPN until told to stop."""
    from noclone.apps.conversation import Listener, parse_address
    from noclone.apps.vpn.rotation import Master, Slave

    end, who = end or End(), who or Application()
    end.check()
    assert end.to is not None
    own = who.name()
    with who.client() as client, stopped_by_signals() as stop:
        tunnel = make()
        tell = teller(f"tunnel:{name}", as_json=as_json)
        if end.call is not None:
            master = Master(client, tunnel, parse_address(end.call), sender=own, to=end.to)
            tell("vpn.started", role="master", peer=end.to, calls=end.call)
            master.run(tell, stop, interval_s=end.interval, rotations=end.rotations, fail_closed_s=end.fail_closed)
            return 0
        address = parse_address(end.listen or "")
        with Listener(client, address, receiver=own, callers=[end.to], topics=[tunnel.kind]) as listener:
            tell("vpn.started", role="slave", peer=end.to, listens="{}:{}".format(*listener.address))
            Slave(tunnel, listener).run(tell, stop, rotations=end.rotations, fail_closed_s=end.fail_closed)
    return 0


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set; what is under way then comes to a good end."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def teller(subject: str, *, as_json: bool) -> Tell:
    """Return what tells of an event: a line of JSON on stdout, or of words on stderr."""
    from noclone.events import EventLog

    log = EventLog()
    log.listen(_print_json if as_json else _print_words)

    def tell(kind: str, **data: Any) -> None:
        log.add(kind, subject, **data)

    return tell


def _print_json(event: Event) -> None:
    sys.stdout.write(event.to_json() + "\n")
    sys.stdout.flush()


def _print_words(event: Event) -> None:
    data = event.data
    match event.kind:
        case "vpn.started":
            where = f"calls {data['calls']}" if "calls" in data else f"listens at {data['listens']}"
            what = f"{data['role']} with {data['peer']}, {where}; Ctrl-C stops, the tunnel stays"
        case "vpn.effective":
            light = "; simulated light: this protects nothing" if data.get("origin") == "simulated" else ""
            what = f"key {data['key_ID']} is in effect: {data['proof']}{light}"
        case "vpn.failed":
            what = f"the key did not change: {data['message']}" + (f" ({data['hint']})" if data.get("hint") else "")
        case "vpn.stopped":
            what = f"STOPPED {data['message']}"
        case "alarm.raised":
            what = f"ALARM {data['message']}"
        case "pad.failed":
            what = data["message"] + (f" ({data['hint']})" if data.get("hint") else "")
        case "vpn.loaded" | "vpn.rolled-back":
            what = f"key {data['key_ID']}: {data['message']}"
        case _:
            what = data.get("message", "")
    say(f"{event.subject}  {what}")
