"""What keeps a link's authentication pool durable: which keys are spent, and the ones that refill it.

In: marks and refills from distillation, as its `Ledger`.  Out: the pool's state after a restart.
Segment 0 is the initial secret, which has a file of its own: only its mark is kept here. The others are sealed, and
the spent part of each is overwritten when it is marked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, insert, select, update

from noclone.kms.commits import Commits
from noclone.kms.sealing import Sealer
from noclone.kms.tables import link_state, segment

INITIAL_SEGMENT = 0
PAIR_BYTES = 64  # one 256-bit tag key for each direction


@dataclass(frozen=True, slots=True)
class AuthenticationState:
    """What an `AuthenticationPool` starts from.

    Args:
        segments: Key and used pairs by segment number; 0 is the initial secret.
    """

    segments: dict[int, tuple[bytes, int]] = field(repr=False)
    last_block: int
    cumulative_epsilon: float


class LinkLedger:
    """One link's marks and refills. Each call returns when what it was told is durable."""

    def __init__(self, link: str, commits: Commits, sealer: Sealer) -> None:
        self.link = link
        self._commits = commits
        self._sealer = sealer

    def load(self, initial_secret: bytes) -> AuthenticationState:
        """Return the state to go on from, and make it if the link is new.

        A new initial secret starts with nothing used; block numbers and the summed epsilon go on.
        """
        fingerprint = self._sealer.fingerprint(initial_secret)
        return self._commits.run(lambda c: self._load(c, initial_secret, fingerprint))

    def mark(self, segment: int, used_pairs: int, block: int) -> None:
        """Record that the first `used_pairs` of `segment` are spent, and that `block` was tried."""
        self._commits.run(lambda c: self._mark(c, segment, used_pairs, block))

    def refill(self, segment: int, key: bytes, cumulative_epsilon: float) -> None:
        """Keep new key, sealed, and what the link's key may fail by so far."""
        self._commits.run(lambda c: self._refill(c, segment, key, cumulative_epsilon))

    def marks(self) -> dict[int, int]:
        """Return the used pairs of every segment that is known here."""
        query = select(segment.c.number, segment.c.used_pairs).where(segment.c.link == self.link)
        return self._commits.run(lambda c: {row.number: row.used_pairs for row in c.execute(query)})

    def _load(self, connection: Connection, secret: bytes, fingerprint: str) -> AuthenticationState:
        state = connection.execute(select(link_state).where(link_state.c.link == self.link)).first()
        if state is None:
            new = {"link": self.link, "fingerprint": fingerprint, "last_block": -1, "cumulative_epsilon": 0.0}
            connection.execute(insert(link_state), [new])
        if state is None or state.fingerprint != fingerprint:
            self._write(connection, INITIAL_SEGMENT, 0, None)
            connection.execute(update(link_state).where(link_state.c.link == self.link).values(fingerprint=fingerprint))
        segments: dict[int, tuple[bytes, int]] = {}
        for row in connection.execute(select(segment).where(segment.c.link == self.link).order_by(segment.c.number)):
            if row.number == INITIAL_SEGMENT:
                segments[row.number] = (secret, min(row.used_pairs, len(secret) // PAIR_BYTES))
            elif row.sealed is not None:
                segments[row.number] = (self._open(row.number, row.sealed), row.used_pairs)
        if state is None:
            return AuthenticationState(segments, -1, 0.0)
        return AuthenticationState(segments, state.last_block, state.cumulative_epsilon)

    def _mark(self, connection: Connection, number: int, used_pairs: int, block: int) -> None:
        row = connection.execute(select(segment).where(segment.c.link == self.link, segment.c.number == number)).first()
        sealed = None
        if row is not None and row.sealed is not None:
            kept = bytearray(self._open(number, row.sealed))
            spent = min(used_pairs * PAIR_BYTES, len(kept))
            kept[:spent] = bytes(spent)
            sealed = self._sealer.seal(bytes(kept), "segment", self.link, number) if spent < len(kept) else None
        self._write(connection, number, max(used_pairs, row.used_pairs if row else 0), sealed)
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
            self._write(connection, number, 0, self._sealer.seal(key, "segment", self.link, number))
        connection.execute(
            update(link_state)
            .where(link_state.c.link == self.link, link_state.c.cumulative_epsilon < cumulative_epsilon)
            .values(cumulative_epsilon=cumulative_epsilon)
        )

    def _open(self, number: int, sealed: bytes) -> bytes:
        return self._sealer.open(sealed, "segment", self.link, number)

    def _write(self, connection: Connection, number: int, used_pairs: int, sealed: bytes | None) -> None:
        connection.execute(delete(segment).where(segment.c.link == self.link, segment.c.number == number))
        row = {"link": self.link, "number": number, "used_pairs": used_pairs, "sealed": sealed}
        connection.execute(insert(segment), [row])
