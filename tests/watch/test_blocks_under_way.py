"""Monitors of a link with several blocks under way: whatever arrives when, each block is looked at, and once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.counts import Counts
from noclone.events import EventLog
from noclone.link.expected_telemetry import ExpectedTelemetry
from noclone.link.telemetry import Telemetry
from noclone.watch.meters import Watched
from noclone.watch.monitors import BLOCKS_KEPT, LinkMonitor
from tests.watch.test_monitors import MODEL

SLOTS = MODEL.n_slots
LINK = "a-b"
PLANNED = ExpectedTelemetry(0.0077, (0.0039, 0.0039), 1e-4, (), 1.0, 1_000.0)
QUIET = Telemetry(SLOTS, 77_000, (39_000, 39_000), 1_000, dark_counts=1_000, dark_s=1.0)
KNOWN = Watched(MODEL, PLANNED, refusal=1e-4)
ENDS = ("alice", "bob")


@dataclass(frozen=True)
class Block:
    """What happens to a block, at either end."""

    number: int
    errors: int = 72
    dark: int = 1_000
    aborted: bool = False
    knows: tuple[str, ...] = ENDS  # who has its counts

    @property
    def counts(self) -> Counts:
        return Counts(SLOTS, (60_000, 10_000), (6_000, 1_000), (self.errors, 0))

    def report(self, monitor: LinkMonitor, log: EventLog, end: str) -> list[str]:
        """Let one end finish it; return the alarms that it hears of before it would release the key."""
        heard = [] if self.aborted else monitor.check(LINK, self.number, self.counts)
        counts = asdict(self.counts) if end in self.knows else None
        kind = "block.aborted" if self.aborted else "block.distilled"
        log.add(kind, f"link:{LINK}", block=self.number, end=end, counts=counts, reason="qber-too-high")
        return [alarm.monitor for alarm in heard]

    def measure(self, log: EventLog) -> None:
        readings = asdict(replace(QUIET, dark_counts=self.dark))
        log.add("devices.measured", f"link:{LINK}", block=self.number, telemetry=readings)


def watching() -> tuple[LinkMonitor, EventLog]:
    log = EventLog()
    return LinkMonitor(log, {LINK: KNOWN}), log


def alarms(log: EventLog) -> list[tuple[int, str, float]]:
    return sorted(
        (event.data["block"], event.data["monitor"], event.data["statistic"])
        for event in log
        if event.kind == "alarm.raised"
    )


def one_at_a_time(story: list[Block]) -> tuple[list[tuple[int, str, float]], list[list[str]]]:
    monitor, log = watching()
    heard = []
    for block in story:
        block.measure(log)
        heard += [block.report(monitor, log, end) for end in ENDS]
    return alarms(log), heard[::2]


def orders(story: list[Block], chance: random.Random) -> Iterator[tuple[str, Block]]:
    """Yield what happens: light in order, either end's reports in order and after the light; else in any order."""
    at = dict.fromkeys(("light", *ENDS), 0)
    while min(at.values()) < len(story):
        can = [who for who, n in at.items() if n < len(story) and (who == "light" or n < at["light"])]
        who = chance.choice(can)
        yield who, story[at[who]]
        at[who] += 1


blocks = st.lists(
    st.tuples(st.sampled_from([60, 75, 120, 400]), st.sampled_from([950, 1_000, 1_300, 3_000]), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(blocks, st.randoms(use_true_random=False))
def test_reports_that_cross_give_the_alarms_of_reports_in_turn(
    story: list[tuple[int, int, bool]], chance: random.Random
) -> None:
    tale = [Block(number, *one) for number, one in enumerate(story)]
    monitor, log = watching()
    heard: dict[str, list[list[str]]] = {end: [] for end in ENDS}
    for who, block in orders(tale, chance):
        if who == "light":
            block.measure(log)
        else:
            heard[who].append(block.report(monitor, log, who))
    found, each = one_at_a_time(tale)
    assert alarms(log) == found
    assert heard["alice"] == heard["bob"] == each, "either end hears of every alarm before it releases a key"


@given(blocks, st.lists(st.sampled_from([("alice",), ("bob",), ENDS]), min_size=12, max_size=12), st.data())
def test_counts_that_one_end_alone_has_are_looked_at(
    story: list[tuple[int, int, bool]], knowing: list[tuple[str, ...]], data: st.DataObject
) -> None:
    """Where Alice gives a block up Bob knows no counts, and he may report it first."""
    tale = [Block(number, *one[:2], aborted=True, knows=knowing[number]) for number, one in enumerate(story)]
    monitor, log = watching()
    for who, block in orders(tale, data.draw(st.randoms(use_true_random=False))):
        (block.measure(log) if who == "light" else block.report(monitor, log, who))

    def single(found: list[tuple[int, str, float]]) -> list[tuple[int, str, float]]:
        return [one for one in found if one[1] != "error-drift"]  # the one test that looks at counts of many blocks

    assert single(alarms(log)) == single(one_at_a_time([replace(block, knows=ENDS) for block in tale])[0])


def test_readings_wait_for_their_block() -> None:
    monitor, log = watching()
    tale = [Block(number, dark=3_000 if number == 1 else 1_000) for number in range(4)]
    for block in tale:
        block.measure(log)
    assert [block.report(monitor, log, "bob") for block in tale] == [[], ["dark-counts", "dark-counts-up"], [], []]
    assert {block for block, _, _ in alarms(log)} == {1}


def test_readings_that_come_late_are_looked_at_all_the_same() -> None:
    monitor, log = watching()
    late = Block(0, dark=3_000)
    assert late.report(monitor, log, "alice") == []
    for _ in range(3):
        late.measure(log)
    assert [name for _, name, _ in alarms(log)] == ["dark-counts", "dark-counts-up"]


def test_an_earlier_block_that_is_reported_later_is_looked_at_and_once() -> None:
    monitor, log = watching()
    for number in (5, 4, 5, 4):
        Block(number, errors=1_500).report(monitor, log, "alice")
    assert [(block, name) for block, name, _ in alarms(log)] == [(4, "error-rate"), (5, "error-rate")]


@pytest.mark.parametrize("jump", [1, 1_000_000])
def test_what_is_kept_is_bounded_and_what_is_forgotten_is_not_looked_at_again(jump: int) -> None:
    monitor, log = watching()
    for number in range(3 * BLOCKS_KEPT):
        block = Block(jump * number, errors=1_500, aborted=number % 2 == 1)
        block.measure(log)
        block.report(monitor, log, "alice")
        block.report(monitor, log, "bob")
    assert len(monitor._links[LINK]._blocks) == BLOCKS_KEPT
    before = alarms(log)
    Block(0, errors=1_500, dark=3_000).measure(log)
    assert Block(0, errors=1_500).report(monitor, log, "alice") == []
    assert alarms(log) == before
