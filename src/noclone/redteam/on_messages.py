"""The catalogue's attacks on the public channel.

In: the attacks themselves.  Out: `MESSAGES`.
"""

from __future__ import annotations

from functools import partial

from noclone.redteam import delay, reordering, replay, suppression, tampering, truncation
from noclone.redteam.entry import Entry, Trial
from noclone.redteam.message_trial import try_exhaustion, try_in_the_middle, try_messages
from noclone.redteam.messages import MessageAttack, Touched
from noclone.redteam.rows import Row


def _message(attack: MessageAttack) -> Trial:
    return lambda seed, defended, strength: try_messages(attack, seed=seed, strength=strength) if defended else None


def _middle(seed: bytes, defended: bool, _strength: float) -> Row:
    return try_in_the_middle(seed=seed, defended=defended)


def _exhaustion(seed: bytes, defended: bool, strength: float) -> Row:
    carriage = Touched(tampering.turn_one_bit(), strength)
    return try_exhaustion(carriage, seed=seed, defended=defended)


_channel = partial(Entry, layer="public channel")

MESSAGES: tuple[Entry, ...] = (
    _channel(
        "man-in-the-middle",
        does="poses as Bob to Alice and as Alice to Bob, with light of her own",
        hopes="the keys of both ends",
        caught_by="one-time tags over the whole conversation",
        source="Wegman, Carter, J. Comput. Syst. Sci. 22, 265 (1981)",
        threat="man-in-the-middle",
        trial=_middle,
    ),
    *(
        _channel(
            attack.name,
            does=does,
            hopes=hopes,
            caught_by=caught,
            source="docs/public-channel.md",
            threat="man-in-the-middle",
            trial=_message(attack),
            live="link",
        )
        for attack, does, hopes, caught in (
            (tampering.ATTACK, "turns over one bit of a message", "two ends with different keys", "the tags"),
            (replay.ATTACK, "sends a message twice", "two ends that disagree on what was said", "numbered frames"),
            (reordering.ATTACK, "sends a tag before what it closes", "a tag that covers less", "numbered frames"),
            (truncation.ATTACK, "cuts a message in half", "counts that are left out", "lengths that both ends know"),
            (delay.ATTACK, "holds every message up", "a decision that depends on time", "a protocol without a clock"),
            (suppression.ATTACK, "loses the last message", "key at one end alone", "key that both KMEs must hold"),
        )
    ),
    _channel(
        "authentication-exhaustion",
        does="spoils block after block, each of which costs a pair of tag keys",
        hopes="an empty pool, and a link that goes on without tags",
        caught_by="a pool that is refilled, and no block without a tag",
        source="references of docs/public-channel.md; Cederlöf, Larsson, IEEE Trans. Inf. Theory 54, 1735 (2008)",
        threat="authentication-exhaustion",
        trial=_exhaustion,
        live="link",
    ),
)
