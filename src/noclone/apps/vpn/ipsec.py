"""IPsec: post-quantum preshared keys (RFC 8784) for strongSwan, each named by its key_ID, one IKE_SA a key.

In: delivered keys.  Out: tunnels whose IKE_SA mixed a delivered key in. A preshared key enters when an IKE_SA is made,
and never again in its life: rekeying does not read it anew. So a change of the key is a new IKE_SA beside the old one,
then the end of the old one. The responder has every key that may be asked for, its connection names none, and its
`ppk_required` refuses who has none; the initiator gets a connection for each key, which names it (PPK_ID = key_ID).
That both ends require it is ours to ensure: where both say "optional", a missing key would be passed over in silence.
"""

from __future__ import annotations

import contextlib
import hashlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noclone.apps.vpn.vici import SOCKET, Message, Vici
from noclone.client import Key
from noclone.errors import InputError, TunnelError
from noclone.io.toml import read_text

INITIATE_TIMEOUT_MS = 15_000
INITIATE_TIMEOUT_S = 20.0
KEY_BYTES = 32
UNPROTECTED = "ppk=no: an IKE_SA came up without a delivered key, and was ended"


@dataclass(frozen=True, slots=True)
class Connection:
    """What both ends have in common, and what is this end's own.

    Args:
        name: Of the connection.
        settings: As in a connection of swanctl.conf: local_addrs, remote_addrs, proposals, local, remote, children.
        child: Which of its children carries the traffic.
        secrets: Further secrets for load-shared and load-key, such as the IKE PSK that authenticates the ends.
    """

    name: str
    settings: Message
    child: str
    secrets: tuple[Message, ...] = field(default=(), repr=False)


class IpsecEnd:
    """One end of an IPsec tunnel that strongSwan keeps. The master is the initiator, the slave the responder."""

    kind = "ipsec"
    patience_s = INITIATE_TIMEOUT_S
    means = (
        "the child SAs of this IKE_SA fall only to who breaks both its key exchange and this key, or its ciphers and "
        "prf; the IKE_SA itself, and with it the ends' identities, stands on the key exchange alone (RFC 8784)"
    )

    def __init__(self, connection: Connection, *, master: bool, socket: Path = SOCKET) -> None:
        self._connection, self._master, self._socket = connection, master, socket
        self.facts: dict[str, Any] = {
            "connection": connection.name,
            "children": sorted(connection.settings["children"]),
        }
        self._key_id = ""
        self._before: set[str] = set()
        with self._vici() as vici:
            for secret in connection.secrets:
                vici.ask("load-shared", secret)
            if not master:
                vici.ask("load-conn", {connection.name: {**connection.settings, "ppk_required": True, "unique": "no"}})

    def load(self, key: Key) -> None:
        """Give strongSwan the key; at the master also a connection that names it."""
        if len(key.value) != KEY_BYTES:
            raise TunnelError(f"a preshared key has {8 * KEY_BYTES} bits here, not {8 * len(key.value)}")
        self._key_id = key.key_id
        with self._vici() as vici:
            self._before = {sa["uniqueid"] for _, sa in self._sas(vici)}
            secret = {"id": self._secret(key.key_id), "type": "PPK", "data": key.value, "owners": [key.key_id]}
            vici.ask("load-shared", secret)
            if self._master:
                settings = {**self._connection.settings, "ppk_id": key.key_id, "ppk_required": True, "unique": "no"}
                vici.ask("load-conn", {self._name(key.key_id): settings})

    def prove(self) -> str | None:
        """Make the IKE_SA, at the master, and say that the key is in it."""
        name = self._name(self._key_id)
        with self._vici(INITIATE_TIMEOUT_S) as vici:
            vici.ask(
                "initiate",
                {"child": self._connection.child, "ike": name, "timeout": INITIATE_TIMEOUT_MS, "loglevel": -1},
            )
            for found, sa in self._sas(vici):
                if found == name and sa.get("state") == "ESTABLISHED":
                    if sa.get("ppk") == "yes":
                        return f"IKE_SA {sa['uniqueid']} is established with PPK_ID {self._key_id}"
                    vici.ask("terminate", {"ike-id": sa["uniqueid"], "force": "yes"})
                    raise TunnelError(UNPROTECTED)
        raise TunnelError("strongSwan says that the IKE_SA is up, and does not list it")

    def keep(self) -> None:
        """End older IKE_SAs, at the master, and forget their connections and keys, at both ends."""
        with self._vici(INITIATE_TIMEOUT_S) as vici:
            if self._master:
                for name, sa in self._sas(vici):
                    if name != self._name(self._key_id):
                        _try(vici, "terminate", {"ike-id": sa["uniqueid"], "timeout": 2000})
                for name in self._connections(vici) - {self._name(self._key_id)}:
                    _try(vici, "unload-conn", {"name": name})
            for secret in self._secrets(vici) - {self._secret(self._key_id)}:
                _try(vici, "unload-shared", {"id": secret})

    def roll_back(self) -> None:
        """Forget the key that was loaded, and what came of it; the IKE_SA of before has gone on."""
        with self._vici(INITIATE_TIMEOUT_S) as vici:
            if self._master:
                for name, sa in self._sas(vici):
                    if name == self._name(self._key_id):
                        _try(vici, "terminate", {"ike-id": sa["uniqueid"], "force": "yes"})
                _try(vici, "unload-conn", {"name": self._name(self._key_id)})
            _try(vici, "unload-shared", {"id": self._secret(self._key_id)})

    def learn(self, current: str) -> None:
        """Nothing is in doubt here: the responder keeps all keys until a younger one is in effect."""

    def block(self) -> None:
        """End every IKE_SA of ours, and forget the keys: none comes up until another one is loaded."""
        self._key_id = ""
        with self._vici(INITIATE_TIMEOUT_S) as vici:
            for name in self._connections(vici):
                _try(vici, "unload-conn", {"name": name})
            for secret in self._secrets(vici):
                _try(vici, "unload-shared", {"id": secret})
            for _, sa in self._sas(vici):
                _try(vici, "terminate", {"ike-id": sa["uniqueid"], "force": "yes"})

    def tick(self) -> str | None:
        """End every IKE_SA of ours that came up without a key, and say so; say when there is none at all."""
        with self._vici() as vici:
            sas = [sa for _, sa in self._sas(vici) if sa.get("state") == "ESTABLISHED"]
            for sa in sas:
                if sa.get("ppk") != "yes":
                    vici.ask("terminate", {"ike-id": sa["uniqueid"], "force": "yes"})
                    return UNPROTECTED
        return None if sas or not self._key_id else "the tunnel is down: no IKE_SA is established"

    def _vici(self, timeout_s: float = 10.0) -> Vici:
        return Vici(self._socket, timeout_s)

    def _name(self, key_id: str) -> str:
        """Name the initiator's connection for a key."""
        return f"{self._connection.name}.{key_id}"

    def _secret(self, key_id: str) -> str:
        return f"noclone.{self._connection.name}.{key_id}"

    def _sas(self, vici: Vici) -> list[tuple[str, Message]]:
        """List our IKE_SAs: those of the responder's one connection, or of the initiator's connections."""
        own = self._connection.name
        return [
            (name, sa)
            for entry in vici.entries("list-sas", "list-sa")
            for name, sa in entry.items()
            if name == own or name.startswith(own + ".")
        ]

    def _connections(self, vici: Vici) -> set[str]:
        return {name for name in vici.ask("get-conns")["conns"] if name.startswith(self._connection.name + ".")}

    def _secrets(self, vici: Vici) -> set[str]:
        prefix = f"noclone.{self._connection.name}."
        return {name for name in vici.ask("get-shared")["keys"] if name.startswith(prefix)}


def load_connection(path: Path) -> Connection:
    """Read a connection from a TOML file: a table [NAME] as in swanctl.conf, and secrets as [[secret]] if it needs any.

    Raises:
        InputError: The file cannot be read, or lacks something.
    """
    try:
        data = tomllib.loads(read_text(path, InputError))
    except tomllib.TOMLDecodeError as problem:
        raise InputError(f"{path}: not valid TOML: {problem}") from None
    secrets = data.pop("secret", [])
    if secrets and path.stat().st_mode & 0o077:
        raise InputError(f"{path} holds secrets, and others can read it", hint=f"chmod 600 {path}")
    if len(data) != 1:
        raise InputError(f"{path}: it must have one connection, a table of its own; there are {len(data)}")
    ((name, settings),) = data.items()
    children = settings.get("children") if isinstance(settings, dict) else None
    if not isinstance(children, dict) or len(children) != 1:
        raise InputError(f"{path}: [{name}] needs one child, as in [{name}.children.net]")
    for field_name in ("local_addrs", "remote_addrs", "local", "remote"):
        if field_name not in settings:
            raise InputError(f"{path}: [{name}] has no {field_name}", hint="it says what swanctl.conf would say")
    for field_name in ("ppk_id", "ppk_required", "unique"):
        if field_name in settings:
            raise InputError(f"{path}: [{name}] says {field_name}, which is noclone's to say")
    if "." in name:
        raise InputError(f"{path}: the name of [{name}] has a dot, which noclone uses to tell keys apart")
    if not isinstance(secrets, list) or not all(isinstance(one, dict) for one in secrets):
        raise InputError(f"{path}: secrets stand in tables [[secret]]")
    return Connection(name, settings, next(iter(children)), tuple(_named(one) for one in secrets))


def _named(secret: Message) -> Message:
    """Give a secret an id: without one, loading it again would add another."""
    digest = hashlib.sha256(repr(sorted(secret.get("owners", []))).encode()).hexdigest()[:16]
    return {"id": f"noclone-{digest}", **secret}


def _try(vici: Vici, command: str, message: Message) -> None:
    """Clean up; what is gone already needs no cleaning."""
    with contextlib.suppress(TunnelError):
        vici.ask(command, message)
