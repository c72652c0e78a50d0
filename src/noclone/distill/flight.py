"""Blocks in flight: several blocks of one link at a time over one public channel; while one waits, others compute.

In: parties (see `parties`), begun in the order of their blocks.  Out: how each block ended, in the same order.
Every message of a block names it, so the messages of several follow one another as they come, and whatever is no
message of a block but begins with a brace is the talk between blocks. Of a block's steps hundreds cost next to nothing
(`messages.BRISK`): these are taken where the message arrives, without a task. All others run in threads.

What must happen in the order of the blocks still does, whatever arrives when:

- a block is begun, and says hello, when the one before has been begun;
- the peer's hello is read when the one before has been: so both ends take pairs of tag keys in the same order;
- the peer's tag is read when the block before has ended here: so pools are refilled, and keys released, in order.

A block that is given up ends alone. A peer that speaks of a block that nobody began, that floods or falls silent ends
all of them; what was released until then stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Self

from noclone.distill.flight_lane import Landed, Lane, Turn
from noclone.distill.messages import HEADER, STALE_MAX, Kind
from noclone.distill.parties import Party
from noclone.distill.session import STEP_TIMEOUT_S, Step, advance
from noclone.errors import ChannelError
from noclone.io.channel import TIMEOUT_S, AttendedChannel
from noclone.process import cores

BLOCKS_MAX = 8  # in flight by default; they hide 10 ms of a round trip where a block takes 25 ms of arithmetic
TALK_MAX = 64  # messages between blocks that nobody has asked for yet
HELD_BYTES_MAX = 64 << 20  # of messages that their blocks have not taken yet; beyond, the peer is made to wait
BACKLOG_BYTES_MAX = 256 << 20  # that we told a peer who does not read it
LOOP_S = 0.002  # how long small steps keep the event loop, in a row
SENT_S = 1e-4  # after which an answer leaves, though more are under way: the peer might have nothing else to do
LAST_WORD_S = 2.0  # that we wait for a peer to read why we gave up
WATCHED_TIMES = 8  # within the time that a peer may be silent

_TALK = ord("{")


class Flight:
    """One end of a channel with blocks in flight. It is a `PublicChannel` itself, for the talk between blocks.

    Args:
        channel: Nobody else may use it from now on; `close` closes it.
        blocks_max: How many blocks may be in flight; see `room`.
        silence_s: How long the peer may say nothing in the talk.
        step_s: How long the peer may say nothing about the oldest block.
    """

    def __init__(
        self,
        channel: AttendedChannel,
        *,
        blocks_max: int = BLOCKS_MAX,
        silence_s: float = TIMEOUT_S,
        step_s: float = STEP_TIMEOUT_S,
    ) -> None:
        self.room = asyncio.Semaphore(blocks_max)
        self.counters = channel.counters
        self._channel = channel
        self._silence_s = silence_s
        self._step_s = step_s
        self._open: dict[int, Lane] = {}
        self._newest = -1
        self._before = Turn()
        self._before.end()
        self._landing: asyncio.Queue[Lane | None] = asyncio.Queue()
        self._talk: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._broken: ChannelError | None = None
        self._broke: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stale = 0
        self._held_bytes = 0
        self._handing_out = False
        self._holding = False
        self._end: ChannelError | None = None
        self._hung_up = False
        self._arrived: deque[bytes] = deque()
        self._out: list[bytes] = []
        self._spoke_last = False
        self._cores = asyncio.Semaphore(cores())
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._channel.attend(self._hear, self._hear_end)
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The talk

    async def send(self, message: bytes) -> None:
        """Say something between blocks: it begins with a brace."""
        assert message[0] == _TALK
        self._raise_if_broken()
        self._channel.post(message)
        await self._channel.flush()

    async def receive(self) -> bytes:
        """Return what the peer says next between blocks. It may be silent for long while blocks are in flight.

        Raises:
            ChannelError: It hung up, fell silent, or talked nonsense.
        """
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    message = await self._talk.get()
            except TimeoutError:
                if self._open:
                    continue
                raise ChannelError(
                    f"the peer on the public channel sent nothing for {self._silence_s:g} s",
                    hint="look whether the other end is alive and the network between the two is up",
                ) from None
            if message is not None:
                return message
            self._talk.put_nowait(None)
            self._raise_if_broken()

    # Blocks

    async def launch(self, party: Party, block: int) -> None:
        """Begin a block. Whoever calls this took a place in `room`; it is given back when `landings` has passed it on.

        Raises:
            ChannelError: The channel broke before.
        """
        self._raise_if_broken()
        assert block > self._newest
        lane = self._open[block] = Lane(party, block, self._before)
        self._newest, self._before = block, lane.turn
        self._landing.put_nowait(lane)
        task = asyncio.create_task(self._fly(lane))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await lane.begun.wait()

    async def landings(self) -> AsyncIterator[Landed]:
        """Yield how each block ended, in order; no more after `no_more` or `close`."""
        while (lane := await self._landing.get()) is not None:
            await lane.turn.ended.wait()
            try:
                yield lane.landed
            finally:
                self.room.release()

    def no_more(self) -> None:
        """Say that no block will be begun any more."""
        self._landing.put_nowait(None)

    @property
    def in_flight(self) -> int:
        """How many blocks are."""
        return len(self._open)

    @property
    def ungreeted(self) -> int:
        """How many of them have no tag keys yet."""
        return sum(not lane.turn.greeted.is_set() for lane in self._open.values())

    async def one_lands(self) -> None:
        """Wait until some block in flight ends, if there are any."""
        if self._running:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Give up what is in flight, but for steps that were begun: they may release a key. Then hang up, once."""
        self.no_more()
        if self._spoke_last and self._broken is None:  # our last word: it would be lost if we hung up at once
            await asyncio.wait({self._broke}, timeout=LAST_WORD_S)
        self._break(ChannelError("this end hung up"))
        if self._running:
            await asyncio.wait(self._running)
        self._watching.cancel()
        await asyncio.wait({self._watching})
        if not self._hung_up:  # whoever listens may have let another peer in since
            self._hung_up = True
            await self._channel.close()

    async def _fly(self, lane: Lane) -> None:
        """Run our side of a block to its end."""
        step: Step | None = None
        try:
            while step is None or (step.result is None and step.error is None):
                step = await self._next(lane, step)
                self._out += step.messages
                self._send_out()
            lane.landed = Landed(lane.block, step.result, step.error)
            self._spoke_last |= step.error is not None and bool(step.messages)
        except Exception as error:  # a mistake of ours; whoever is told decides
            lane.landed = Landed(lane.block, error=error)
        finally:
            if lane.landed.result is None and lane.landed.error is None:
                lane.landed = Landed(lane.block, error=ChannelError("this end hung up"))
            with contextlib.suppress(ValueError):  # stopped while it computes in its thread: freed when that ends
                lane.party.close()
            del self._open[lane.block]
            self._held_bytes -= sum(map(len, lane.inbox))
            lane.begun.set()
            lane.turn.end()

    async def _next(self, lane: Lane, step: Step | None) -> Step:
        """Take the next step, when there is what it needs."""
        if step is None:
            first = await self._compute(lane, None)
            lane.begun.set()
            return first
        if not step.waiting:
            await self._flush()
            return await self._compute(lane, b"")
        while not lane.inbox:
            if self._broken is not None:
                return advance(lane.party, _anew(self._broken))
            lane.brisk, lane.idle = step.brisk, asyncio.get_running_loop().create_future()
            if (taken := await lane.idle) is not None:
                return taken
        message = lane.inbox.popleft()
        self._held_bytes -= len(message)
        if self._arrived:
            self._hand_out_later()
        await lane.await_turn(message)
        lane.heard += 1
        taken = advance(lane.party, message) if step.brisk else await self._compute(lane, message)
        if message[0] == Kind.HELLO:
            lane.turn.greeted.set()
        return taken

    async def _flush(self) -> None:
        """Wait until the peer has read most of what it was told, or the channel breaks."""
        flushing = asyncio.create_task(self._channel.flush())
        await asyncio.wait({flushing, self._broke}, return_when=asyncio.FIRST_COMPLETED)
        flushing.cancel()
        (error,) = await asyncio.gather(flushing, return_exceptions=True)
        if isinstance(error, ChannelError):
            self._break(error)

    async def _compute(self, lane: Lane, reply: bytes | None) -> Step:
        async with self._cores:
            return await asyncio.to_thread(advance, lane.party, reply)

    # What arrives

    def _hear(self, messages: list[bytes]) -> None:
        """Take in what has arrived."""
        self._arrived += messages
        if not self._handing_out:
            self._hand_out_all()

    def _hear_end(self, error: ChannelError) -> None:
        """Break off, once all that has arrived is handed out."""
        self._end = error
        if not self._arrived:
            self._break(error)

    def _hand_out_all(self) -> None:
        """Hand out what has arrived, as far as there is room; let others have the event loop now and then."""
        self._handing_out = False
        since = sent = time.perf_counter()
        try:
            while self._arrived and self._held_bytes <= HELD_BYTES_MAX:
                self._hand_out(self._arrived.popleft())
                now = time.perf_counter()
                if now - sent > SENT_S:
                    self._send_out()
                    sent = now
                if now - since > LOOP_S:
                    self._hand_out_later()
                    break
            self._send_out()
            if self._channel.backlog_bytes > BACKLOG_BYTES_MAX:
                raise ChannelError("the peer asks and asks, and does not read what it is told")
        except ChannelError as error:
            self._arrived.clear()
            self._break(error)
        if self._end is not None and not self._arrived:
            self._break(self._end)
        if bool(self._arrived) != self._holding:
            self._holding = not self._holding
            self._channel.hold(held=self._holding)

    def _hand_out_later(self) -> None:
        if not self._handing_out:
            self._handing_out = True
            asyncio.get_running_loop().call_soon(self._hand_out_all)

    def _hand_out(self, message: bytes) -> None:
        """Give a message to whom it is for."""
        if message[:1] == b"{":
            if self._talk.qsize() >= TALK_MAX:
                raise ChannelError("the peer talks on and on between blocks, and waits for no answer")
            self._talk.put_nowait(message)
            return
        if len(message) < HEADER.size:
            raise ChannelError(f"the peer sent {len(message)} bytes, which is no message of the block protocol")
        block = HEADER.unpack_from(message)[2]
        lane = self._open.get(block)
        if lane is None:
            self._pass_over(block)
        elif lane.brisk and lane.waits and not lane.inbox:
            self._step(lane, message)
        else:
            lane.inbox.append(message)
            self._held_bytes += len(message)
            lane.wake()

    def _step(self, lane: Lane, message: bytes) -> None:
        """Take one of the steps that cost next to nothing."""
        lane.heard += 1
        try:
            step = advance(lane.party, message)
        except Exception as error:
            assert lane.idle is not None
            lane.idle.set_exception(error)
            return
        if step.waiting and step.brisk:  # as nearly all are
            self._out += step.messages
        else:
            lane.brisk = False
            lane.wake(step)

    def _pass_over(self, block: int) -> None:
        """Forget a message of a block that ended; there may be some on their way when this end gives a block up.

        Raises:
            ChannelError: It is of a block that was never begun, or there are too many.
        """
        if block > self._newest:
            raise ChannelError(f"the peer speaks of block {block}, which was not begun")
        self._stale += 1
        if self._stale > STALE_MAX:
            raise ChannelError("the peer sends nothing but messages of earlier blocks")

    def _send_out(self) -> None:
        """Send what was said."""
        if not self._out:
            return
        said, self._out = self._out, []
        try:
            self._channel.post(*said)
        except ChannelError as error:
            self._break(error)

    async def _watch(self) -> None:
        """See to it that the peer goes on with the oldest block, for which the others may have to wait."""
        last, since = None, 0.0
        while True:
            oldest = next(iter(self._open.values()), None)
            seen = (oldest.block, oldest.heard) if oldest is not None and oldest.waits else None
            now = time.monotonic()
            if seen is None or seen != last:
                last, since = seen, now
            elif now - since > self._step_s:
                self._break(
                    ChannelError(
                        f"the peer sent nothing about block {seen[0]} for {self._step_s:g} s in the middle of it",
                        hint="look whether the other end is alive and the network between the two is up",
                    )
                )
            await asyncio.sleep(self._step_s / WATCHED_TIMES)

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise _anew(self._broken)

    def _break(self, error: ChannelError) -> None:
        """End everything that waits for the peer; what has arrived is still read."""
        if self._broken is not None:
            return
        self._broken = error
        self._broke.set_result(None)
        self._talk.put_nowait(None)
        for lane in self._open.values():
            lane.wake()


def _anew(error: ChannelError) -> ChannelError:
    """Return the same error for one more to raise: each gathers a traceback of its own."""
    return ChannelError(error.message, hint=error.hint)
