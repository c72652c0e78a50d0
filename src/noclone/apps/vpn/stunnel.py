"""stunnel: delivered keys as TLS 1.3 preshared keys, changed by its secrets file and a reload.

In: delivered keys, and stunnel's own configuration at each end.  Out: connections whose handshake had the newest key.
The slave is stunnel's server: it takes the new key beside the old one. The master is stunnel's client: it tries the new
key in a handshake of its own before stunnel uses it, and only then the server forgets the old one. A connection that is
open keeps the key that it was opened with.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noclone.apps.conversation import parse_address
from noclone.apps.vpn.psk_handshake import check_key
from noclone.apps.whole_file import whole_file
from noclone.client import Key
from noclone.errors import InputError, TunnelError
from noclone.spelling import choices

KEY_BYTES = 32
RELOAD_S = 3.0
CONFIG_BYTES_MAX = 1 << 20
SECTION = re.compile(r"\[(.+)\]")


@dataclass(frozen=True, slots=True)
class Service:
    """What noclone needs of a service in stunnel's configuration.

    Args:
        name: Of its section.
        client: Whether stunnel is the TLS client here.
        connect: Where it connects to.
        secrets: Its file of preshared keys.
        pid: The file with stunnel's process id.
    """

    name: str
    client: bool
    connect: str
    secrets: Path
    pid: Path


class StunnelEnd:
    """One end of a service: the TLS client is the master, the TLS server the slave."""

    kind = "stunnel"
    patience_s = 10.0
    means = (
        "connections made since fall only to who breaks both their (EC)DHE and this key, or the cipher suite; this key "
        "alone says who the ends are"
    )

    def __init__(self, service: Service, *, master: bool) -> None:
        if master != service.client:
            raise InputError(
                f"[{service.name}] is {'a client' if service.client else 'a server'} of TLS",
                hint="the client's end calls (--call), the server's end listens (--listen)",
            )
        self._service = service
        self.facts: dict[str, Any] = {"service": service.name}
        self._old: dict[str, bytes] = {}
        self._new: dict[str, bytes] = {}
        self._loaded_s = 0.0

    def load(self, key: Key) -> None:
        """Give the server the key, beside the old one. The client waits for the server."""
        if len(key.value) != KEY_BYTES:
            raise TunnelError(f"a preshared key has {8 * KEY_BYTES} bits here, not {8 * len(key.value)}")
        self._old = self._new or self._old
        self._new = {key.key_id: key.value}
        self._loaded_s = time.monotonic()
        if not self._service.client:
            self._write({**self._new, **self._old})

    def prove(self) -> str | None:
        """Shake hands with the server under the new key; then let stunnel use it."""
        ((key_id, value),) = self._new.items()
        address = parse_address(self._service.connect)
        try:
            suite = check_key(address, key_id, value)
        except TunnelError:
            if time.monotonic() < self._loaded_s + RELOAD_S:
                return None  # stunnel reads its keys when it comes to it
            raise
        self._write(self._new)
        return f"the server took it in a TLS 1.3 handshake ({suite}); new connections use it"

    def keep(self) -> None:
        """Forget the old key."""
        self._old = {}
        if not self._service.client:
            self._write(self._new)

    def roll_back(self) -> None:
        """Forget the new key."""
        self._new, self._old = self._old, {}
        if self._new:
            self._write(self._new)

    def learn(self, current: str) -> None:
        """Nothing is in doubt here: the server takes both keys until a younger one is in effect."""

    def block(self) -> None:
        """Forget all keys: no new connection is made until another key is loaded. Those that are open stay."""
        self._old, self._new = {}, {}
        self._write({"none": os.urandom(KEY_BYTES)})  # stunnel wants one; nobody has this

    def tick(self) -> str | None:
        """Say when stunnel is gone."""
        try:
            os.kill(self._pid(), 0)
        except (ProcessLookupError, TunnelError):
            return "stunnel is not running"
        except PermissionError:
            return None
        return None

    def _write(self, keys: dict[str, bytes]) -> None:
        """Replace the secrets file, for its owner's eyes only, and let stunnel read it."""
        path = self._service.secrets
        text = "".join(f"{key_id}:{value.hex()}\n" for key_id, value in keys.items())
        with whole_file(path, overwrite=True) as file:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                before = path.stat()
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.write(text.encode())
        try:
            os.kill(self._pid(), signal.SIGHUP)
        except ProcessLookupError:
            raise TunnelError("stunnel is not running", hint="start it; it needs no key to start") from None
        except PermissionError:
            raise TunnelError("we may not tell stunnel to read its keys", hint="be root, or its user") from None

    def _pid(self) -> int:
        try:
            return int(self._service.pid.read_text())
        except (OSError, ValueError):
            raise TunnelError(f"stunnel's process id is not in {self._service.pid}", hint="is it running?") from None


def load_service(path: Path, name: str) -> Service:
    """Read a service from stunnel's configuration, and refuse one in which keys would not do what they should.

    Raises:
        InputError: The file or the section cannot be used.
    """
    options = _options(path, name)
    for option, values, why in (
        ("sessionresume", ("no",), "resumed sessions go on under old keys"),
        ("sslversionmin", ("tlsv1.3",), "with TLS 1.2 a key can stand alone, without (EC)DHE"),
        ("pid", None, "it says whom to tell of a new key"),
        ("psksecrets", None, "it is where the keys go"),
        ("connect", None, "without it nothing is tunnelled"),
    ):
        value = options.get(option, "")
        if not value or (values and value.lower() not in values):
            wanted = f" = {values[0]}" if values else ""
            raise InputError(f"{path}: [{name}] needs {_spelt(option)}{wanted}: {why}")
    secrets = Path(options["psksecrets"])
    connect = options["connect"]
    if not secrets.is_absolute() or not Path(options["pid"]).is_absolute():
        raise InputError(f"{path}: [{name}] needs absolute paths for pid and PSKsecrets")
    return Service(
        name,
        options.get("client", "no").lower() == "yes",
        connect if ":" in connect else f"127.0.0.1:{connect}",
        secrets,
        Path(options["pid"]),
    )


def _options(path: Path, name: str) -> dict[str, str]:
    """Return a section's options over the global ones, by their names in lower case."""
    try:
        text = path.read_bytes()[:CONFIG_BYTES_MAX].decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no configuration of stunnel: it is not text") from None
    found: dict[str, str] = {}
    section: str | None = None
    sections = set()
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in ";#":
            continue
        if title := SECTION.fullmatch(stripped):
            section = title[1]
            sections.add(section)
        elif section in (None, name):
            option, _, value = stripped.partition("=")
            found[option.strip().lower()] = value.strip()
    if name not in sections:
        raise InputError(f"{path} has no service [{name}]", hint=choices(name, sorted(sections), "it has"))
    return found


def _spelt(option: str) -> str:
    names = {"sessionresume": "sessionResume", "sslversionmin": "sslVersionMin", "psksecrets": "PSKsecrets"}
    return names.get(option, option)
