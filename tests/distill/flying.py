"""Two ends of one channel in one loop, with blocks in flight and somebody who holds the wire between them."""

import asyncio

from noclone.distill.authentication import MemoryLedger
from noclone.distill.flight import Flight
from noclone.distill.messages import HEADER
from noclone.distill.parties import alice, bob
from noclone.errors import ChannelError
from noclone.io.channel import ChannelCounters

BEGUN = b'{"begun":true}'
WAIT_S = 120.0


class End:
    """One end of a channel within one loop; what is posted passes through the hands of whoever holds the wire."""

    def __init__(self, role, wire):
        self.counters = ChannelCounters()
        self.backlog_bytes = 0
        self.role, self.wire, self.other = role, wire, None
        self.held, self.closed, self.inbox = False, False, []
        self.heard = self.ended = None

    async def attend(self, heard, ended):
        self.heard, self.ended = heard, ended
        self._tell()

    def hold(self, *, held):
        self.held = held
        self._tell()

    def post(self, *messages):
        if self.closed:
            raise ChannelError("the public channel is closed")
        for message in messages:
            self.other.arrive(*self.wire(self.role, message))

    def arrive(self, *messages):
        self.inbox += messages
        asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self):
        if self.heard and not self.held and self.inbox:
            here, self.inbox = self.inbox, []
            self.heard(here)

    async def flush(self):
        await asyncio.sleep(0)

    async def close(self):
        self.closed = True
        if self.other.ended is not None:
            asyncio.get_running_loop().call_soon(self.other.ended, ChannelError("the peer closed the public channel"))


def honest(_role, message):
    return [message]


def wired(wire=honest):
    ends = End("alice", wire), End("bob", wire)
    ends[0].other, ends[1].other = ends[::-1]
    return ends


async def fly(flight, role, parties, outcomes, *, tells):
    """Begin one block after the other at one end, as soon as there is room; collect how each ended."""

    async def launch():
        for block, party in parties:
            await flight.room.acquire()
            if not tells:
                await flight.receive()
            await flight.launch(party, block)
            if tells:
                await flight.send(BEGUN)
        flight.no_more()

    async def land():
        async for landed in flight.landings():
            outcomes[role].append(landed)

    await asyncio.gather(launch(), land())


def both(cases, pools, *, wire=honest, in_flight=3, ends=None, **options):
    """Run the blocks of both ends; return what became of each, by end, and what broke an end."""

    async def run():
        outcomes = {"alice": [], "bob": []}

        async def one(role, end):
            parties = (
                (
                    c.job.block,
                    alice(c.settings, c.job, pools[0]) if role == "alice" else bob(c.detections, c.job, pools[1]),
                )
                for c in cases
            )
            async with Flight(end, blocks_max=in_flight, **options) as flight:
                try:
                    await fly(flight, role, parties, outcomes, tells=role == "alice")
                finally:
                    await flight.close()
                    async for landed in flight.landings():
                        outcomes[role].append(landed)

        at = ends or wired(wire)
        async with asyncio.timeout(WAIT_S):
            broke = await asyncio.gather(one("alice", at[0]), one("bob", at[1]), return_exceptions=True)
        return outcomes["alice"], outcomes["bob"], broke

    return asyncio.run(run())


def keys(landed):
    return [one.result.key.to_bytes() if one.result else None for one in landed]


def reasons(landed):
    return [getattr(one.error, "reason", type(one.error).__name__) if one.error else "" for one in landed]


def renamed(message, block):
    """The same message, in the name of another block."""
    kind, flags, _, sequence = HEADER.unpack_from(message)
    return HEADER.pack(kind, flags, block, sequence) + message[HEADER.size :]


def about(message):
    """Of which block a message is; None of the talk."""
    return None if message[:1] == b"{" else HEADER.unpack_from(message)[2]


class Watched(MemoryLedger):
    def __init__(self):
        self.refilled = []

    def refill(self, segment, key, cumulative_epsilon):
        self.refilled.append(segment - 1)


def once(chosen, change):
    """Change the first message that is chosen; pass on all others."""
    done = []

    def wire(role, message):
        if not done and about(message) is not None and chosen(role, message):
            done.append(message)
            return change(message)
        return [message]

    return wire
