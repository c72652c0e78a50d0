"""WireGuard: its preshared key, changed at one end of a tunnel with the `wg` tool.

In: delivered keys.  Out: the same tunnel, whose next handshake mixes the new key in. A preshared key that is set is not
in effect: the session goes on under the old one until the next handshake, which comes 120 s after the last. If the two
ends differ then, no handshake succeeds and traffic stops 180 s after the last one (REKEY_AFTER_TIME and
REJECT_AFTER_TIME in Donenfeld, "WireGuard", NDSS 2017, section 6). So the proof is a handshake that is younger than the
key, and without one the old key is set again while the session still lives.

Works with the kernel's WireGuard and with wireguard-go. Keys go to `wg` through a pipe, never on its command line.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from noclone.client import Key
from noclone.clock import Clock, SystemClock
from noclone.errors import InputError, TunnelError

REJECT_AFTER_S = 180.0  # a session older than this carries nothing
ROLL_BACK_AFTER_S = 150.0  # leaves 30 s, six attempts, for a handshake with the old key
NEW_TUNNEL_S = 30.0  # where there is no session: six attempts with the new key
DOUBT_S = 12.0  # with each of two keys in turn: two attempts, 5 s apart
GUARD_S = 1  # a handshake that was under way while the key was set shows up within this
PSK_BYTES = 32
TIMEOUT_S = 10.0

Run = Callable[[list[str], str], str]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A preshared key at our end. Its repr shows none."""

    key_id: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Peer:
    """What `wg show INTERFACE dump` says of a peer."""

    psk: bytes = field(repr=False)
    endpoint: str
    allowed_ips: str
    handshake_s: int
    keepalive: str


class WireGuard:
    """One end of a WireGuard tunnel.

    Args:
        interface: Such as wg0.
        peer: The other end's public key, in base64, as `wg` prints it.
        at_once: Make a handshake as soon as both ends have the key, by setting the peer up anew at this end. It can
            cost a packet that is under way; without it none is lost, and the handshake comes within two minutes.
        keepalive_s: Set as the persistent keepalive: a tunnel that sends nothing makes no handshake.
        run: How `wg` is run; for tests.

    Raises:
        InputError: There is no such tunnel.
    """

    kind = "wireguard"
    patience_s = REJECT_AFTER_S
    means = (
        "sessions since the proof fall only to who breaks both Curve25519 and this key, or ChaCha20-Poly1305, "
        "BLAKE2s or HKDF; how peers authenticate, and who talks to whom, stands on Curve25519 as before"
    )

    def __init__(
        self, interface: str, peer: str, *, at_once: bool = False, keepalive_s: int = 10, run: Run | None = None,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self._interface, self._peer, self._at_once = interface, peer, at_once
        self._run, self._clock = run or run_wg, clock or SystemClock()
        own = self._run(["show", interface, "public-key"], "").strip()
        _decoded(peer, "the peer's public key")
        self._read()
        self._set("persistent-keepalive", str(keepalive_s))
        self.facts = {"public_keys": sorted((own, peer))}
        self._old: _Loaded | None = None
        self._new: _Loaded | None = None
        self._loaded_at_s = self._load_monotonic_s = self._age_at_load_s = 0.0
        self._switched_s: float | None = None

    def load(self, key: Key) -> None:
        """Set the preshared key for the next handshake."""
        if len(key.value) != PSK_BYTES:
            raise TunnelError(f"WireGuard takes keys of {8 * PSK_BYTES} bits, not of {8 * len(key.value)}")
        if self._new is not None:
            self._old = self._new
        else:
            self._old = _Loaded("", self._read().psk)
        self._new = _Loaded(key.key_id, self._bound(key))
        self._switched_s = None
        self._use(self._new)
        if self._at_once:
            self._set_up_anew()

    def prove(self) -> str | None:
        """Say that a handshake succeeded since both ends have the key."""
        handshake_s = self._read().handshake_s
        if handshake_s > self._loaded_at_s + GUARD_S or (self._at_once and handshake_s):
            return f"handshake {max(0.0, self._clock.now_s() - handshake_s):.0f} s ago, after the key was set"
        waited_s = self._clock.monotonic_s() - self._load_monotonic_s
        session_s = self._age_at_load_s + waited_s
        if waited_s > NEW_TUNNEL_S and session_s > ROLL_BACK_AFTER_S:
            raise TunnelError("no handshake succeeded with the new key; the old one is set again")
        return None

    def keep(self) -> None:
        """Forget the old key."""
        self._old = self._switched_s = None

    def roll_back(self) -> None:
        """Set the old key again."""
        if self._old is not None:
            self._new, self._old = self._old, None
            self._use(self._new)
        self._switched_s = None

    def learn(self, current: str) -> None:
        """Set the key that the master has, if it is one of the two that may be in effect."""
        if not current:
            return  # it has just started and does not know itself
        if self._old is not None and current == self._old.key_id:
            self.roll_back()
        elif self._new is not None and current == self._new.key_id:
            self.keep()

    def block(self) -> None:
        """Set a key that nobody has, and end the sessions: no handshake succeeds until another key is loaded."""
        self._old, self._new, self._switched_s = None, _Loaded("", os.urandom(PSK_BYTES)), None
        self._use(self._new)
        self._set_up_anew()

    def tick(self) -> str | None:
        """Try both keys in turn while it is in doubt which one the other end has."""
        peer = self._read()
        age_s = self._clock.now_s() - peer.handshake_s
        if self._old is not None and self._new is not None:
            if peer.handshake_s > self._loaded_at_s + GUARD_S:
                self.keep()
            elif self._switched_s is None:
                self._switched_s = self._clock.monotonic_s()
            elif self._clock.monotonic_s() > self._switched_s + DOUBT_S:
                self._new, self._old = self._old, self._new
                self._use(self._new)
                self._switched_s = self._clock.monotonic_s()
        if age_s > REJECT_AFTER_S:
            return "the tunnel is down: no handshake for more than three minutes"
        return None

    def _bound(self, key: Key) -> bytes:
        """Derive the preshared key, bound to the key's id and to the tunnel: one key, one use, at these two ends."""
        info = "\0".join(["noclone wireguard psk 1", key.key_id, *self.facts["public_keys"]])
        return HKDF(SHA256(), PSK_BYTES, salt=None, info=info.encode()).derive(key.value)

    def _use(self, loaded: _Loaded) -> None:
        self._age_at_load_s = max(0.0, self._clock.now_s() - self._read().handshake_s)
        self._set("preshared-key", "/dev/stdin", secret=loaded.value)
        self._loaded_at_s, self._load_monotonic_s = int(self._clock.now_s()), self._clock.monotonic_s()

    def _set_up_anew(self) -> None:
        """Remove the peer and add it again, as it was, in one go: its sessions end, the keepalive starts a new one."""
        peer = self._read()
        settings = ["persistent-keepalive", peer.keepalive, "allowed-ips", peer.allowed_ips]
        if peer.endpoint != "(none)":
            settings += ["endpoint", peer.endpoint]
        self._set("remove", "peer", self._peer, "preshared-key", "/dev/stdin", *settings, secret=peer.psk)

    def _read(self) -> Peer:
        for line in self._run(["show", self._interface, "dump"], "").splitlines()[1:]:
            fields = line.split("\t")
            if len(fields) == 8 and fields[0] == self._peer:
                psk = bytes(PSK_BYTES) if fields[1] == "(none)" else _decoded(fields[1], "its preshared key")
                return Peer(psk, fields[2], fields[3].replace("(none)", ""), int(fields[4]), fields[7])
        raise InputError(
            f"the interface {self._interface} has no peer {self._peer}", hint=f"see `wg show {self._interface} peers`"
        )

    def _set(self, *words: str, secret: bytes = b"") -> None:
        text = base64.b64encode(secret).decode() + "\n" if secret else ""
        self._run(["set", self._interface, "peer", self._peer, *words], text)


def run_wg(arguments: list[str], text: str) -> str:
    """Run `wg` and return what it prints.

    Raises:
        InputError: It is not installed, or refuses.
    """
    tool = shutil.which("wg")
    if tool is None:
        raise InputError("the tool `wg` is not installed", hint="Debian and Ubuntu: apt install wireguard-tools")
    try:
        done = subprocess.run(  # noqa: S603
            [tool, *arguments], input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise TunnelError(f"`wg {arguments[0]}` did not end within {TIMEOUT_S:g} s") from None
    if done.returncode:
        raise InputError(
            f"`wg {' '.join(arguments[:2])}` refused: {done.stderr.strip() or 'it gave no reason'}",
            hint="does the interface exist, and are we allowed to change it (root)?",
        )
    return done.stdout


def _decoded(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        data = b""
    if len(data) != PSK_BYTES:
        raise InputError(f"{what} is no key: 44 characters of base64 are")
    return data
