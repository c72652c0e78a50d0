"""How much of its quota and its rate a pair of applications has used: durable, and the same for all workers of a KME.

In: the limits of a policy, how many bits a request asks for.  Out: they are counted, or why they cannot be had. A pair
has one row, which is locked while it is counted, so that no two workers give out the same part. What is counted and
then not delivered is put back; after a crash in between it stays counted: a quota errs on the strict side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, insert, select, update

from noclone.kms.keys import Refused
from noclone.kms.locks import lock
from noclone.kms.tables import allowance

DAY_S = 24 * 3600.0
SLOT_S = 600.0  # what was given in so long is one entry, and counts until all of it is a day old


@dataclass(frozen=True, slots=True)
class Limit:
    """What a pair may have.

    Args:
        quota_bits: In any 24 hours; None: no limit.
        rate_bps: A second, with bursts of one second or one request; None: no limit.
    """

    pair: tuple[str, str]
    quota_bits: int | None
    rate_bps: float | None


@dataclass(frozen=True, slots=True)
class Used:
    """What a pair has used.

    Args:
        given: When each slot began, and the bits given in it, oldest first.
        bucket_bits: What its rate leaves at `filled_s`; None: it has asked for nothing yet.
    """

    given: tuple[tuple[float, int], ...] = ()
    bucket_bits: float | None = None
    filled_s: float = 0.0

    def take(self, limit: Limit, n_bits: int, now_s: float) -> Used | str:
        """Return what is used once `n_bits` more are given, or one word for why they cannot be."""
        given = [(slot_s, bits) for slot_s, bits in self.given if slot_s + SLOT_S > now_s - DAY_S]
        if limit.quota_bits is not None:
            if sum(bits for _, bits in given) + n_bits > limit.quota_bits:
                return "quota-exceeded"
            slot_s = now_s - now_s % SLOT_S
            before = given.pop()[1] if given and given[-1][0] == slot_s else 0
            given.append((slot_s, before + n_bits))
        bucket_bits = self.bucket_bits
        if limit.rate_bps is not None:
            burst = max(limit.rate_bps, float(n_bits))
            passed_s = max(0.0, now_s - self.filled_s)
            level = burst if bucket_bits is None else min(burst, bucket_bits + limit.rate_bps * passed_s)
            if level < n_bits:
                return "rate-exceeded"
            bucket_bits = level - n_bits
        return Used(tuple(given), bucket_bits, now_s)

    def put_back(self, n_bits: int, then_s: float) -> Used:
        """Return what is used without the `n_bits` that were counted at `then_s` and never given."""
        slot_s = then_s - then_s % SLOT_S
        given = tuple((at_s, max(0, bits - n_bits) if at_s == slot_s else bits) for at_s, bits in self.given)
        bucket_bits = None if self.bucket_bits is None else self.bucket_bits + n_bits  # `take` knows how much it holds
        return replace(self, given=given, bucket_bits=bucket_bits)


def spend(connection: Connection, store: str, limits: Sequence[Limit], n_bits: int, now_s: float) -> None:
    """Count what is to be given to all of these pairs, or nothing.

    Raises:
        Refused: 503, a pair has used up what it may have.
    """
    changed: list[tuple[Limit, Used]] = []
    for limit in sorted(limits, key=lambda limit: limit.pair):  # in one order, so that nobody waits for each other
        used = _read(connection, store, limit.pair).take(limit, n_bits, now_s)
        if isinstance(used, str):
            text = "not enough key is available to this pair of SAEs now"
            raise Refused(503, text, used, detail=" and ".join(limit.pair))
        changed.append((limit, used))
    for limit, used in changed:
        _write(connection, limit.pair, used)


def put_back(connection: Connection, store: str, limits: Sequence[Limit], n_bits: int, then_s: float) -> None:
    """Count no more what was counted at `then_s` and not given after all."""
    for limit in sorted(limits, key=lambda limit: limit.pair):
        used = _read(connection, store, limit.pair)
        _write(connection, limit.pair, used.put_back(n_bits, then_s))


def _read(connection: Connection, store: str, pair: tuple[str, str]) -> Used:
    """Return what a pair has used, and keep others from counting it until the transaction's end."""
    lock(connection, "allowance", store, *pair, alone=True)
    row = connection.execute(select(allowance).where(allowance.c.pair == _name(pair))).first()
    if row is None:
        return Used()
    given = tuple((float(slot_s), int(bits)) for slot_s, bits in json.loads(row.given))
    return Used(given, row.bucket_bits, row.filled_s)


def _write(connection: Connection, pair: tuple[str, str], used: Used) -> None:
    name = _name(pair)
    values = {"given": json.dumps(used.given), "bucket_bits": used.bucket_bits, "filled_s": used.filled_s}
    if not connection.execute(update(allowance).where(allowance.c.pair == name).values(values)).rowcount:
        connection.execute(insert(allowance).values(pair=name, **values))


def _name(pair: tuple[str, str]) -> str:
    return json.dumps(pair)
