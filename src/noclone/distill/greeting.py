"""The first message of a block, in both directions: do the two ends mean the same block, and what key can tag it?

In: the job, the pool's marks.  Out: `Greeting`, once the peer's hello was checked against ours.
Nothing is authenticated yet; both hellos are part of the transcript that the tags cover later.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noclone.distill.authentication import (
    AHEAD_MAX,
    PAIR_BITS,
    RELEASED_MAX,
    SEGMENTS_MAX,
    AuthenticationPool,
    Mark,
    common_pairs,
)
from noclone.distill.job import BlockJob
from noclone.distill.messages import FORMAT, TRANSCRIPT_BYTES_MAX, Misbehaved, epsilon_of

HELLO_BYTES_MAX = 1 << 17
TIME_S_MAX = 1e12


@dataclass(frozen=True, slots=True)
class Hello:
    """One end's first message.

    Args:
        marks: How far each segment of its authentication pool is used.
        released: The newest blocks whose key it released.
        cumulative_epsilon: What the link's key may fail by so far, as this end counts, blocks under way included.
        time_s: Alice's clock; Bob's is not used.
    """

    role: str
    job: dict[str, Any]
    marks: tuple[Mark, ...]
    released: tuple[int, ...]
    cumulative_epsilon: float
    time_s: float

    @classmethod
    def of(cls, job: BlockJob, pool: AuthenticationPool, time_s: float) -> Hello:
        """Return what this end has to say; from here on the block is under way."""
        epsilon = pool.undertake(job.block, epsilon_of(job.epsilons, TRANSCRIPT_BYTES_MAX))
        return cls(pool.role, job.public(), pool.marks(), pool.released, epsilon, time_s)

    def to_bytes(self) -> bytes:
        """Return the message."""
        return json.dumps(
            {
                "format": FORMAT,
                "role": self.role,
                "job": self.job,
                "pool": [[mark.segment, mark.used, mark.total, list(mark.ahead)] for mark in self.marks],
                "released": list(self.released),
                "cumulative_epsilon": self.cumulative_epsilon,
                "time_s": self.time_s,
            },
            separators=(",", ":"),
            allow_nan=False,
        ).encode()

    @classmethod
    def read(cls, data: bytes) -> Hello:
        """Read the peer's message.

        Raises:
            Misbehaved: It is no hello, or one of another version.
        """
        try:
            hello = json.loads(data)
        except (ValueError, RecursionError):
            raise Misbehaved("the peer's hello is no JSON") from None
        if not isinstance(hello, dict) or hello.get("format") != FORMAT:
            raise Misbehaved(f"the peer does not speak version {FORMAT} of the block protocol")
        try:
            return cls(
                role=_is(hello["role"], str),
                job=_is(hello["job"], dict),
                marks=tuple(map(_mark, _listed(hello["pool"], SEGMENTS_MAX))),
                released=tuple(map(_whole, _listed(hello["released"], RELEASED_MAX))),
                cumulative_epsilon=_finite(hello["cumulative_epsilon"], 1e6),
                time_s=_finite(hello["time_s"], TIME_S_MAX),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Misbehaved(f"the peer's hello is malformed ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the two hellos settled; the same at both ends, but for `peer_holds`.

    Args:
        common_bits: Authentication key that both ends have left after this block's tags.
        cumulative_epsilon: Before this block: the larger of what the two ends count.
    """

    peer_holds: tuple[int, ...]
    common_bits: int
    cumulative_epsilon: float
    time_s: float


def compare(ours: Hello, theirs: Hello) -> Greeting:
    """Check that both ends mean the same block.

    Raises:
        Misbehaved: They do not; the message names what differs.
    """
    if theirs.role == ours.role or theirs.role not in ("alice", "bob"):
        raise Misbehaved(f"both ends of the link claim to be {ours.role}")
    differing = list(differences(ours.job, theirs.job))
    if differing:
        raise Misbehaved(f"the two ends disagree about this block: {'; '.join(differing[:4])}")
    return Greeting(
        peer_holds=theirs.released,
        common_bits=max(0, common_pairs(ours.marks, theirs.marks) - 1) * PAIR_BITS,
        cumulative_epsilon=max(ours.cumulative_epsilon, theirs.cumulative_epsilon),
        time_s=ours.time_s if ours.role == "alice" else theirs.time_s,
    )


def differences(ours: Any, theirs: Any, place: str = "") -> Sequence[str]:
    """Return where two trees of JSON values differ, in words."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found: list[str] = []
        for key in ours:
            found.extend(differences(ours[key], theirs.get(key), f"{place}.{key}" if place else key))
        found.extend(f"{place or 'the peer'} has an unknown field" for key in theirs if key not in ours)
        return found
    if type(ours) is type(theirs) and ours == theirs:
        return []
    return [f"{place} is {str(ours)[:60]} here and {_printable(theirs)} there"]


def _printable(value: Any) -> str:
    return "".join(c for c in str(value)[:60] if c.isprintable())


def _is(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _listed(value: Any, length_max: int) -> list[Any]:
    if type(value) is not list or len(value) > length_max:
        raise TypeError
    return value


def _mark(value: Any) -> Mark:
    segment, used, total, ahead = _listed(value, 4)
    return Mark(_whole(segment), _whole(used), _whole(total), tuple(map(_whole, _listed(ahead, AHEAD_MAX))))


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise TypeError
    return value


def _finite(value: Any, largest: float) -> float:
    if (
        type(value) not in (int, float) or not 0 <= value <= largest
    ):  # not so for NaN; and no integer is too long for it
        raise TypeError
    return float(value)
