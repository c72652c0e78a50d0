"""Running the two parties: both in one process, or one of them over a public channel.

In: parties (see `parties`) and, for one alone, a `PublicChannel`.  Out: their `BlockResult`.
The event loop never computes for long: each step of a party that runs over a channel runs in a thread, unless the party
said that it takes a millisecond at most; of those there are hundreds in a block. Several blocks at a time: see `lanes`
in one process, `flight` over a channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from noclone.distill.authentication import AuthenticationPool
from noclone.distill.duet import Duet
from noclone.distill.job import BlockAborted, BlockJob, BlockResult
from noclone.distill.parties import Entropy, Party, alice, bob
from noclone.errors import ChannelError, NocloneError
from noclone.io.channel import PublicChannel, drain
from noclone.records import AliceRecord, Detections

BURST = 8  # messages that a party may produce before they are sent on
STEP_TIMEOUT_S = 600.0  # for one message; the peer may be amplifying 10^9 bits before it answers


@dataclass(frozen=True, slots=True)
class DistilledBlock:
    """Both ends of one block that went well."""

    alice: BlockResult
    bob: BlockResult


@dataclass(slots=True)
class Outcome:
    """How one side of a block ended: exactly one of the two is set."""

    result: BlockResult | None = None
    error: NocloneError | None = None


# What happens to a message between the parties: from the sender's role and the message, what arrives instead.
Carriage = Callable[[str, bytes], list[bytes]]
# Who is told of each message between the parties before it arrives, by the sender's role, and may make it wait.
Heed = Callable[[str, bytes], None]


def distill_block(
    settings: AliceRecord,
    detections: Detections,
    job: BlockJob,
    pool_a: AuthenticationPool,
    pool_b: AuthenticationPool,
    *,
    time_s: float = 0.0,
    qber_expected: float | None = None,
    entropy: Entropy = os.urandom,
    carriage: Carriage | None = None,
    heed: Heed | None = None,
) -> DistilledBlock:
    """Run both parties of one block in this thread. Only messages pass between them: see `converse`.

    Args:
        carriage: What becomes of each message on its way; for attacks and tests. Without it, waves of Cascade take a
            shortcut (`duet`), in which the same messages pass.
        heed: Is told of each message that takes no shortcut.

    Raises:
        BlockAborted: The block gives no key; the reason is that of the side that gave up first.
    """
    duet = Duet() if carriage is None else None
    sender = alice(settings, job, pool_a, time_s=time_s, qber_expected=qber_expected, entropy=entropy, duet=duet)
    at_alice, at_bob = converse(sender, bob(detections, job, pool_b, entropy=entropy, duet=duet), carriage, heed)
    if at_alice.result is not None and at_bob.result is not None:
        return DistilledBlock(at_alice.result, at_bob.result)
    raise _first_cause(at_alice, at_bob)


def converse(
    alice: Party, bob: Party, carriage: Carriage | None = None, heed: Heed | None = None
) -> tuple[Outcome, Outcome]:
    """Pass messages between two parties until both have ended, and return how each did.

    Args:
        carriage: What becomes of each message on its way.
        heed: Is told of each message.
    """
    ends = {"alice": _End(alice), "bob": _End(bob)}
    other = {"alice": "bob", "bob": "alice"}
    moved = True
    while moved:
        moved = False
        for role, end in ends.items():
            sent = end.run()
            moved = moved or bool(sent)
            if heed is not None:
                for message in sent:
                    heed(role, message)
            if carriage is not None:
                sent = [arriving for message in sent for arriving in carriage(role, message)]
            ends[other[role]].inbox.extend(sent)
    for end in ends.values():
        end.hang_up()
    return ends["alice"].outcome, ends["bob"].outcome


async def run_party(party: Party, channel: PublicChannel, *, timeout_s: float = STEP_TIMEOUT_S) -> BlockResult:
    """Run one party over a channel. The channel stays open; after any error, close it and make a new one.

    Raises:
        BlockAborted: The block gives no key.
        ChannelError: The channel broke, stalled, or carried nonsense.
    """
    try:
        return await _run(party, channel, timeout_s)
    finally:
        with contextlib.suppress(ValueError):  # cancelled while it computes in its thread: it is freed when that ends
            party.close()


async def _run(party: Party, channel: PublicChannel, timeout_s: float) -> BlockResult:
    reply: bytes | ChannelError | None = None
    brisk = False
    while True:
        step = advance(party, reply) if brisk else await asyncio.to_thread(advance, party, reply)
        brisk = step.brisk
        reply = b""
        try:
            for message in step.messages:
                await channel.send(message)
            if step.waiting:
                reply = await _receive(channel, timeout_s)
        except ChannelError as error:
            if step.error is None and step.result is None:
                reply = error
        if step.error is not None:
            if step.messages:  # our last word: it would be lost if we hung up on what the peer still sends
                await drain(channel)
            raise step.error
        if step.result is not None:
            # Bob's release does not depend on whether his tag arrives; the two stores settle that between them.
            return step.result


async def _receive(channel: PublicChannel, timeout_s: float) -> bytes:
    try:
        async with asyncio.timeout(timeout_s):
            return await channel.receive()
    except TimeoutError:
        raise ChannelError(
            f"the peer sent nothing for {timeout_s:g} s in the middle of a block",
            hint="look whether the other end is alive and the network between the two is up",
        ) from None


@dataclass(frozen=True, slots=True)
class Step:
    """What a party did: sent `messages`, and now it waits, has ended (one of the two is set), or has more to send.

    Args:
        brisk: It waits for a message that will cost it little.
    """

    messages: tuple[bytes, ...]
    waiting: bool = False
    brisk: bool = False
    result: BlockResult | None = None
    error: NocloneError | None = None


def advance(party: Party, reply: bytes | ChannelError | None) -> Step:
    """Let a party compute until it waits, ends, or has `BURST` messages to send.

    Args:
        reply: What arrived; None at the very beginning; an error of the channel is raised inside the party.
    """
    messages: list[bytes] = []
    try:
        while len(messages) < BURST:
            if isinstance(reply, ChannelError):
                message = party.throw(reply)
            else:
                message = next(party) if reply is None else party.send(reply)
            if not message:
                return Step(tuple(messages), waiting=True, brisk=message is not None)
            messages.append(message)
            reply = b""
        return Step(tuple(messages))
    except StopIteration as stop:
        return Step(tuple(messages), result=stop.value)
    except NocloneError as error:
        return Step(tuple(messages), error=error)


class _End:
    """One party in `converse`, with what has arrived for it."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self.inbox: deque[bytes] = deque()
        self.outcome = Outcome()
        self._reply: bytes | None = None
        self._waiting = False

    def run(self) -> list[bytes]:
        """Go on until the party ends, waits for a message that is not there, or has sent `BURST`; return what it sent.

        This is passed some thousand times a block: it is `advance` without its records.
        """
        sent: list[bytes] = []
        if self._ended:
            return sent
        try:
            while len(sent) < BURST:
                if self._waiting:
                    if not self.inbox:
                        break
                    self._reply = self.inbox.popleft()
                message = self.party.send(self._reply)  # type: ignore[arg-type]  # None starts it
                self._reply = b""
                self._waiting = not message
                if message:
                    sent.append(message)
        except StopIteration as stop:
            self.outcome.result = stop.value
        except NocloneError as error:
            self.outcome.error = error
        return sent

    def hang_up(self) -> None:
        """Tell a party that still waits that nothing more will come."""
        if not self._ended:
            step = advance(self.party, ChannelError("the peer closed the public channel"))
            self.outcome.result, self.outcome.error = step.result, step.error
        self.party.close()

    @property
    def _ended(self) -> bool:
        return self.outcome.result is not None or self.outcome.error is not None


def _first_cause(*outcomes: Outcome) -> NocloneError:
    """Return the error that explains the others: not that the peer gave up, nor that it hung up."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    own = [e for e in errors if isinstance(e, BlockAborted) and not e.peer_reason]
    rest = [e for e in errors if not isinstance(e, ChannelError)]
    return (own or rest or errors)[0]
