"""The rotation of a VPN's key at both ends: the slave's first, then the master's, then proof, or the old one again.

In: an application's KME at each end, a conversation between them, and a `Tunnel` at each end, which is one kind of VPN.
Out: the key that is in effect, by its id, with the proof. What is in effect stays in effect until a proof: each tunnel
loads a key beside the old one, and the master, who decides, says at the next call which key it has. So whatever breaks
in between, the slave's end finds the way back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from noclone.apps.conversation import Conversation, Listener, call, turned_away
from noclone.client import Key, KeySource
from noclone.errors import ChannelError, NocloneError, TunnelError

KEY_BITS = 256
POLL_S = 0.1
RETRY_S = 5.0
OVERDUE_INTERVALS = 3  # so many without a new key are an alarm
LOADED, EFFECTIVE, ROLLED_BACK, REFUSED = "loaded", "effective", "rolled-back", "refused"

Tell = Callable[..., None]


class Tunnel(Protocol):
    """One end of a VPN.

    Args:
        kind: What the two ends must have in common, such as "wireguard".
        facts: What they must agree on, as JSON values; the slave compares them with its own.
        patience_s: How long a proof may take at most.
        means: What the key protects in this VPN, and what not, in one sentence.
    """

    kind: str
    facts: dict[str, Any]
    patience_s: float
    means: str

    def load(self, key: Key) -> None:
        """Make a key ready, beside what is in effect."""

    def prove(self) -> str | None:
        """Say why the key that was loaded is in effect, for it is; None: not yet.

        Raises:
            TunnelError: It will not be.
        """

    def keep(self) -> None:
        """Forget what was before the key that was loaded."""

    def roll_back(self) -> None:
        """Forget the key that was loaded: what was before shall be in effect."""

    def learn(self, current: str) -> None:
        """Hear from the master which key it has; settles what was in doubt."""

    def block(self) -> None:
        """Let nothing through, as far as this VPN can do that, until a key that is loaded from now on is in effect."""

    def tick(self) -> str | None:
        """Look after the tunnel while nothing else happens; return an alarm, if there is one."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """A key that came into effect.

    Args:
        key_id: Its id, the same at both ends.
        origin: What its KME says that it stands on; see `Key.extension`.
        proof: Why it is in effect.
        loading_s: From the first load to the second: how long the two ends differed.
        proving_s: From then until the proof.
    """

    key_id: str
    origin: dict[str, Any] = field(repr=False)
    proof: str
    loading_s: float
    proving_s: float


class Master:
    """The end that decides when the key changes.

    Args:
        client: At our KME.
        peer: Where the slave's end listens.
        sender: Who we are.
        to: Who the slave is.
    """

    def __init__(self, client: KeySource, tunnel: Tunnel, peer: tuple[str, int], *, sender: str, to: str) -> None:
        self._client, self._tunnel, self._peer = client, tunnel, peer
        self._sender, self._to = sender, to
        self.current = ""

    def rotate(self, stop: threading.Event) -> Rotation | None:
        """Change the key; return None if told to stop while the proof was awaited: both ends have the new one then.

        Raises:
            NocloneError: The key did not change; both ends have the old one, or the slave's will find back to it.
        """
        tunnel = self._tunnel
        with call(
            self._client, self._peer, sender=self._sender, to=self._to, topic=tunnel.kind, number=1, size=KEY_BITS,
            facts=tunnel.facts, current=self.current,
        ) as talk:  # fmt: skip
            answer = talk.hear()
            loaded_s = time.monotonic()
            if answer.get("state") != LOADED:
                raise ChannelError(f"{self._to} did not load the key: {str(answer.get('reason'))[:500]}")
            (key,) = talk.keys
            proof = None
            try:
                tunnel.load(key)
                both_s = time.monotonic()
                proof = _await_proof(tunnel, stop)
            except NocloneError:
                self._roll_back(talk)
                raise
            self.current = key.key_id
            if proof is None:
                return None
            proven_s = time.monotonic()
            _tell_slave(talk, EFFECTIVE)
            tunnel.keep()
        return Rotation(key.key_id, key.extension, proof, both_s - loaded_s, proven_s - both_s)

    def _roll_back(self, talk: Conversation) -> None:
        try:
            self._tunnel.roll_back()
        finally:
            _tell_slave(talk, ROLLED_BACK)

    def run(
        self, tell: Tell, stop: threading.Event, *, interval_s: float, rotations: int | None = None,
        fail_closed_s: float | None = None,
    ) -> None:  # fmt: skip
        """Rotate until told to stop, or so many times; what fails is tried again.

        Args:
            tell: Told what happens: a kind of event, and its data.
            interval_s: From one rotation's proof to the next rotation.
            fail_closed_s: Without a new key for so long, traffic is stopped until there is one; None: the last key
                stays in effect.
        """
        done, alarmed, changed_s = 0, False, time.monotonic()
        watched = _Watched(self._tunnel, tell, fail_closed_s)
        while not stop.is_set():
            wait_s = interval_s
            try:
                rotation = self.rotate(stop)
                if rotation is not None:
                    done, alarmed, changed_s = done + 1, False, time.monotonic()
                    watched.changed()
                    tell("vpn.effective", **_told(rotation), means=self._tunnel.means)
                else:
                    tell("vpn.loaded", key_ID=self.current, message="loaded at both ends, not yet proven in effect")
            except NocloneError as error:
                wait_s = min(RETRY_S, interval_s)
                tell("vpn.failed", message=error.message, hint=error.hint, still=self.current)
                overdue_s = time.monotonic() - changed_s
                if overdue_s > OVERDUE_INTERVALS * interval_s and not alarmed:
                    alarmed = True
                    still = "" if watched.blocked else ": the last one is still in effect"
                    tell("alarm.raised", message=f"no new key for {overdue_s:.0f} s{still}")
            if rotations is not None and done >= rotations:
                return
            _pass_time(watched, stop, wait_s)


class Slave:
    """The end that loads first, and follows.

    Args:
        listener: Where the master calls.
    """

    def __init__(self, tunnel: Tunnel, listener: Listener) -> None:
        self._tunnel, self._listener = tunnel, listener

    def run(
        self, tell: Tell, stop: threading.Event, *, rotations: int | None = None, fail_closed_s: float | None = None
    ) -> None:
        """Answer calls until told to stop, or until so many keys came into effect; `fail_closed_s` as at the master."""
        done = 0
        tunnel = _Watched(self._tunnel, tell, fail_closed_s)
        while not stop.is_set() and (rotations is None or done < rotations):
            with turned_away(lambda error: tell("vpn.failed", message=error.message, hint=error.hint)):
                talk = self._listener.accept(stop, tunnel.tick)
                if talk is not None:
                    with talk:
                        if self._answer(talk, tell, stop):
                            done += 1
                            tunnel.changed()

    def _answer(self, talk: Conversation, tell: Tell, stop: threading.Event) -> bool:
        """Answer one call; return whether its key came into effect."""
        tunnel = self._tunnel
        (key,) = talk.keys
        try:
            if talk.opening.get("facts") != tunnel.facts:
                raise TunnelError("the two ends are set up for different tunnels", hint="compare their configurations")
            tunnel.learn(str(talk.opening.get("current")))
            tunnel.load(key)
        except NocloneError as error:
            talk.say(state=REFUSED, reason=error.message)
            raise
        talk.say(state=LOADED)
        deadline = time.monotonic() + tunnel.patience_s + 30.0
        while not talk.pending and not stop.is_set():
            stop.wait(POLL_S)
            if time.monotonic() > deadline:
                raise ChannelError("the master has not said what became of the key", hint="watch its end")
        if not talk.pending:
            return (
                False  # told to stop; the key is loaded at both ends, or the master's end will say so at its next call
            )
        state = talk.hear().get("state")
        if state == EFFECTIVE:
            tunnel.keep()
            tell("vpn.effective", key_ID=key.key_id, proof="the master's end proved it", **_origin(key.extension))
            return True
        tunnel.roll_back()
        tell("vpn.rolled-back", key_ID=key.key_id, message="the key did not come into effect; the old one is kept")
        return False


class _Watched:
    """A tunnel that says each alarm once, as long as it lasts, and stops traffic when no new key comes, if it shall."""

    def __init__(self, tunnel: Tunnel, tell: Tell, fail_closed_s: float | None) -> None:
        self._tunnel, self._tell, self._fail_closed_s = tunnel, tell, fail_closed_s
        self.blocked = False
        self._changed_s = time.monotonic()
        self._alarm: str | None = None
        self._looked_s = 0.0

    def tick(self) -> None:
        """Look after the tunnel, once a second at most."""
        if time.monotonic() < self._looked_s + 1.0:
            return
        self._looked_s = time.monotonic()
        try:
            self._fail_closed()
            alarm = self._tunnel.tick()
        except NocloneError as error:
            alarm = error.message
        if alarm is not None and alarm != self._alarm:
            self._tell("alarm.raised", message=alarm)
        self._alarm = alarm

    def changed(self) -> None:
        """Hear that a new key is in effect."""
        self._changed_s, self.blocked = time.monotonic(), False

    def _fail_closed(self) -> None:
        age_s = time.monotonic() - self._changed_s
        if self.blocked or self._fail_closed_s is None or age_s < self._fail_closed_s:
            return
        self._tunnel.block()
        self.blocked = True
        self._tell("vpn.stopped", message=f"no new key for {age_s:.0f} s: traffic is stopped until there is one")


def _pass_time(watched: _Watched, stop: threading.Event, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while not stop.is_set() and (left_s := end_s - time.monotonic()) > 0:
        watched.tick()
        stop.wait(min(left_s, 1.0))


def _await_proof(tunnel: Tunnel, stop: threading.Event) -> str | None:
    deadline = time.monotonic() + tunnel.patience_s
    while True:
        proof = tunnel.prove()
        if proof is not None or stop.is_set():
            return proof
        if time.monotonic() > deadline:
            raise TunnelError("the key did not come into effect in time; the old one is kept")
        stop.wait(POLL_S)


def _tell_slave(talk: Conversation, state: str) -> None:
    """Say what became of the key. Whether it is heard changes nothing: the slave learns it at the next call."""
    try:
        talk.say(state=state)
    except ChannelError:
        return


def _told(rotation: Rotation) -> dict[str, Any]:
    return {
        "key_ID": rotation.key_id,
        "proof": rotation.proof,
        "loading_ms": round(1e3 * rotation.loading_s, 1),
        "proving_s": round(rotation.proving_s, 3),
        **_origin(rotation.origin),
    }


def _origin(extension: dict[str, Any]) -> dict[str, Any]:
    """Return what the KME says of a key, as far as it is said in a line."""
    names = ("noclone_origin", "noclone_leaks")
    return {name.removeprefix("noclone_"): extension[name] for name in names if name in extension}
