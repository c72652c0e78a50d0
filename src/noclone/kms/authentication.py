"""What keeps a link's authentication pool durable: which keys are spent, and the ones that refill it.

In: marks and refills from distillation, as its `Ledger`.  Out: the pool's state after a restart.
Segment 0 is the initial secret, which has a file of its own. What is spent of it is marked here, and before that wiped
from the file itself: should this store be lost, the file still knows. The other segments are sealed here, and their
spent pairs are overwritten. A secret that comes back after another was in use comes back as spent as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from noclone.errors import StoreError
from noclone.kms.commits import Commits
from noclone.kms.keyring import Keyring
from noclone.kms.tables import former_secret, link_state, segment

INITIAL_SEGMENT = 0
PAIR_BYTES = 64  # one 256-bit tag key for each direction

# Wipes pairs of the initial secret from its file, durably.
Wipe = Callable[[Sequence[int]], None]


@dataclass(frozen=True, slots=True)
class AuthenticationState:
    """What an `AuthenticationPool` starts from.

    Args:
        segments: Key, with its spent pairs zero, and pairs used from the first; by number, 0 being the initial secret.
    """

    segments: dict[int, tuple[bytes, int]] = field(repr=False)
    last_block: int
    cumulative_epsilon: float


@dataclass(frozen=True, slots=True)
class _Spent:
    """Which pairs of a segment are spent: all before `used`, and those `ahead`."""

    used: int = 0
    ahead: frozenset[int] = frozenset()

    @classmethod
    def of(cls, row: Any) -> _Spent:
        return cls() if row is None else cls(row.used_pairs, frozenset(json.loads(row.ahead)))

    def __or__(self, other: _Spent) -> _Spent:
        used, ahead = max(self.used, other.used), self.ahead | other.ahead
        while used in ahead:
            used += 1
        return _Spent(used, frozenset(pair for pair in ahead if pair > used))

    def columns(self) -> dict[str, int | str]:
        return {"used_pairs": self.used, "ahead": json.dumps(sorted(self.ahead))}

    def beyond(self, other: _Spent) -> list[int]:
        """Return the pairs that are spent here and not there."""
        return [pair for pair in (*range(other.used, self.used), *sorted(self.ahead)) if pair not in other.ahead]

    def wiped(self, key: bytes) -> bytes:
        """Return a key with its spent pairs zero."""
        out = bytearray(key)
        out[: self.used * PAIR_BYTES] = bytes(min(self.used * PAIR_BYTES, len(out)))
        for pair in self.ahead:
            out[pair * PAIR_BYTES : (pair + 1) * PAIR_BYTES] = bytes(PAIR_BYTES)
        return bytes(out)


class LinkLedger:
    """One link's marks and refills. Each call returns when what it was told is durable.

    Args:
        wipe: Wipes spent pairs of the initial secret from its file; None where it has none, in tests.
    """

    def __init__(self, link: str, commits: Commits, keyring: Callable[[], Keyring], wipe: Wipe | None = None) -> None:
        self.link = link
        self._commits = commits
        self._keyring = keyring
        self._wipe = wipe

    def load(self, initial_secret: bytes) -> AuthenticationState:
        """Return the state to go on from, and make it if the link is new.

        The secret's last pair names it and is never spent. A new initial secret starts with nothing used; block numbers
        and the summed epsilon go on.

        Raises:
            StoreError: The secret is too short to hold a pair and its name.
        """
        if len(initial_secret) < 2 * PAIR_BYTES:
            raise StoreError(
                f"the initial secret of link {self.link} has {len(initial_secret)} bytes; it takes {2 * PAIR_BYTES}",
                hint="make a new one with `noclone pki` and carry it to both ends",
            )
        key, name = initial_secret[:-PAIR_BYTES], initial_secret[-PAIR_BYTES:]
        return self._commits.run(lambda c: self._load(c, key, self._keyring().fingerprint(name)))

    def mark(self, segment: int, used_pairs: int, block: int, ahead: Sequence[int] = ()) -> None:
        """Record that the first `used_pairs` of `segment` and those `ahead` are spent, and that `block` was tried."""
        spent = _Spent(used_pairs, frozenset(ahead))
        if segment == INITIAL_SEGMENT and self._wipe is not None:
            self._wipe(spent.beyond(self._commits.run(lambda c: self._spent(c, INITIAL_SEGMENT))))
        self._commits.run(lambda c: self._mark(c, segment, spent, block))

    def refill(self, segment: int, key: bytes, cumulative_epsilon: float) -> None:
        """Keep new key, sealed, and what the link's key may fail by so far."""
        self._commits.run(lambda c: self._refill(c, segment, key, cumulative_epsilon))

    def marks(self) -> dict[int, int]:
        """Return the used pairs of every segment that is known here."""
        query = select(segment.c.number, segment.c.used_pairs).where(segment.c.link == self.link)
        return self._commits.run(lambda c: {row.number: row.used_pairs for row in c.execute(query)})

    def _load(self, connection: Connection, key: bytes, fingerprint: str) -> AuthenticationState:
        state = connection.execute(select(link_state).where(link_state.c.link == self.link)).first()
        if state is None:
            new = {"link": self.link, "fingerprint": fingerprint, "last_block": -1, "cumulative_epsilon": 0.0}
            connection.execute(insert(link_state), [new])
            self._write(connection, INITIAL_SEGMENT, _Spent(), None)
        elif state.fingerprint != fingerprint:
            self._change_secret(connection, state.fingerprint, fingerprint)
        segments: dict[int, tuple[bytes, int]] = {}
        for row in connection.execute(select(segment).where(segment.c.link == self.link).order_by(segment.c.number)):
            spent = _Spent.of(row)
            if row.number == INITIAL_SEGMENT:
                segments[row.number] = (spent.wiped(key), min(spent.used, len(key) // PAIR_BYTES))
            elif row.sealed is not None:
                segments[row.number] = (self._open(row), spent.used)
        if state is None:
            return AuthenticationState(segments, -1, 0.0)
        return AuthenticationState(segments, state.last_block, state.cumulative_epsilon)

    def _change_secret(self, connection: Connection, old: str, new: str) -> None:
        """Put the marks of one initial secret away, and take out those of another, if it was in use before."""
        kept = {"link": self.link, "fingerprint": old, **self._spent(connection, INITIAL_SEGMENT).columns()}
        connection.execute(
            delete(former_secret).where(former_secret.c.link == self.link, former_secret.c.fingerprint == old)
        )
        connection.execute(insert(former_secret), [kept])
        found = connection.execute(
            select(former_secret.c.used_pairs, former_secret.c.ahead).where(
                former_secret.c.link == self.link, former_secret.c.fingerprint == new
            )
        ).first()
        self._write(connection, INITIAL_SEGMENT, _Spent.of(found), None)
        connection.execute(update(link_state).where(link_state.c.link == self.link).values(fingerprint=new))

    def _mark(self, connection: Connection, number: int, new: _Spent, block: int) -> None:
        here = select(segment).where(segment.c.link == self.link, segment.c.number == number)
        row = connection.execute(here.with_for_update()).first()
        spent = new | _Spent.of(row)
        kept = b""
        if row is not None and row.sealed is not None:
            kept = spent.wiped(self._open(row))
        self._write(connection, number, spent, kept if any(kept) else None)
        connection.execute(
            update(link_state)
            .where(link_state.c.link == self.link, link_state.c.last_block < block)
            .values(last_block=block)
        )

    def _refill(self, connection: Connection, number: int, key: bytes, cumulative_epsilon: float) -> None:
        known = connection.execute(
            select(segment.c.number).where(segment.c.link == self.link, segment.c.number == number)
        ).first()
        if key and known is None:
            self._write(connection, number, _Spent(), key)
        connection.execute(
            update(link_state)
            .where(link_state.c.link == self.link, link_state.c.cumulative_epsilon < cumulative_epsilon)
            .values(cumulative_epsilon=cumulative_epsilon)
        )

    def _spent(self, connection: Connection, number: int) -> _Spent:
        return _Spent.of(
            connection.execute(
                select(segment.c.used_pairs, segment.c.ahead).where(
                    segment.c.link == self.link, segment.c.number == number
                )
            ).first()
        )

    def _open(self, row: Any) -> bytes:
        return self._keyring().open(row.sealed, row.data_key, "segment", self.link, row.number)

    def _write(self, connection: Connection, number: int, spent: _Spent, secret: bytes | None) -> None:
        connection.execute(delete(segment).where(segment.c.link == self.link, segment.c.number == number))
        sealed, data_key = (None, None)
        if secret is not None:
            sealed, data_key = self._keyring().seal(secret, "segment", self.link, number)
        row = {"link": self.link, "number": number, **spent.columns(), "sealed": sealed, "data_key": data_key}
        connection.execute(insert(segment), [row])
