"""Run a scenario without servers: light, two parties, memory between them. `noclone run` and `noclone record`.

In: a `Scenario`, a seed, how many blocks.  Out: events, and a `RunResult`; keys are measured, not kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from noclone import __version__, rng
from noclone.distill.authentication import AuthenticationPool
from noclone.distill.job import BlockAborted, BlockStatistics
from noclone.distill.session import distill_block
from noclone.events import EventLog
from noclone.io.published import beside
from noclone.link.devices import LinkDevices
from noclone.link.lights import one_block
from noclone.link.tap import Eavesdropper
from noclone.link.telemetry import Tally
from noclone.network.blocks import (
    AttackResolver,
    LinkPlan,
    plan_link,
    read_meters,
    record_aborted,
    record_distilled,
    record_learned,
    record_light,
    record_telemetry,
)
from noclone.network.pass_plan import Overpass
from noclone.network.scenario import AttackSection, PublishedSection, Scenario
from noclone.network.watching import Watching
from noclone.records import AliceRecord, Detections, Origin

SECRET_BYTES = 4096  # initial authentication secret of a link: 64 blocks' worth


@dataclass(slots=True)
class LinkSummary:
    """What one link gave in a run.

    Args:
        light_s: Seconds of light: what the real link would have taken, the time between a satellite's passes apart.
        wall_s: Seconds that this machine took.
        detections: Bob's, of all blocks.
        sifted_bits: Of all blocks, both bases together.
        test_bits, test_errors: Bits of the test basis that were compared, and those that differed.
        passes: Of a satellite's link, each block's pass.
        best_bits: Secret bits of the block with most.
        best_sifted: Its sifted bits, of both bases; where no block gave key, the most that one had.
        refill_bits: Bits of key that went back into the authentication pool; `secret_bits` are without them.
    """

    link: str
    blocks: int = 0
    aborted: int = 0
    secret_bits: int = 0
    light_s: float = 0.0
    wall_s: float = 0.0
    detections: int = 0
    test_bits: int = 0
    test_errors: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    passes: list[Overpass] = field(default_factory=list)
    best_bits: int = 0
    best_sifted: int = 0
    refill_bits: int = 0
    sifted_bits: int = 0

    @property
    def secret_bps(self) -> float:
        """Secret bits per second of light."""
        return self.secret_bits / self.light_s if self.light_s else 0.0

    @property
    def published(self) -> dict[str, float]:
        """What may have been published of such a link."""
        return {
            "key_bps": self.secret_bps,
            "key_bits": self.best_bits,
            "sifted_bits": self.best_sifted,
            "sifted_bps": self.sifted_bits / self.light_s if self.light_s else 0.0,
            "error_rate": self.test_errors / self.test_bits if self.test_bits else 0.0,
        }

    def counted(self, statistics: BlockStatistics | None, key_bits: int = 0) -> None:
        """Add what was seen in a block, and the key that it gave."""
        self.detections += statistics.detections if statistics is not None else 0
        if statistics is None or statistics.counts is None:
            return
        counts = statistics.counts
        sifted = counts.key_total + counts.test_total
        self.sifted_bits += sifted
        self.test_bits += counts.test_total
        self.test_errors += sum(counts.m_test)
        self.best_bits, self.best_sifted = max((self.best_bits, self.best_sifted), (key_bits, sifted))


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run gave.

    Args:
        links: Those that the run came to.
        interrupted: Somebody ended it with Ctrl-C: this is what was finished by then.
    """

    scenario: str
    seeded: bool
    links: tuple[LinkSummary, ...]
    published: tuple[PublishedSection, ...] = ()
    interrupted: bool = False

    def beside(self) -> list[dict[str, Any]]:
        """Return what was published of this system, with what the run gave: of links that finished a block."""
        found = {one.link: one.published for one in self.links if one.blocks}
        return [row for one in self.published if one.link in found for row in beside([one], found[one.link])]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        links = [{**asdict(link), "secret_bps": link.secret_bps} for link in self.links]
        return {
            "scenario": self.scenario,
            "version": __version__,
            "seeded": self.seeded,
            "interrupted": self.interrupted,
            "links": links,
            "published": self.beside(),
        }


def origin_of(seeded: bool) -> Origin:
    """Return the origin of simulated light."""
    return Origin("simulated", seeded, f"noclone {__version__}")


def block_of_light(
    plan: LinkPlan, seed: bytes, block: int, *, seeded: bool, eve: Eavesdropper | None = None
) -> tuple[AliceRecord, Detections]:
    """Simulate one block: Alice's secret record of what she sent or measured, and what Bob's devices told him."""
    alice_seed, physics_seed = block_seeds(plan, seed, block)
    light, tap = (plan.light, None) if eve is None else (eve.devices, eve.tap)
    return one_block(
        light,
        alice_seed=alice_seed,
        physics_seed=physics_seed,
        n_slots=plan.n_slots,
        link=plan.link.name,
        block=block,
        origin=origin_of(seeded),
        tap=tap,
    )


def block_seeds(plan: LinkPlan, seed: bytes, block: int) -> tuple[bytes, bytes]:
    """Return Alice's seed of a block, and that of its physics."""
    name = f"{plan.link.name}/block-{block}"
    return rng.derive(seed, f"{name}/alice"), rng.derive(seed, f"{name}/physics")


def run(
    scenario: Scenario,
    log: EventLog,
    *,
    seed: bytes,
    seeded: bool,
    blocks: int,
    resolve: AttackResolver,
    on_block: Callable[[str, int], None] | None = None,
) -> RunResult:
    """Run every link for some blocks, one after the other, with the attacks that the scenario plans.

    Ctrl-C ends the run early: finished blocks count, the one under way does not.
    """
    log.add(
        "run.started", f"scenario:{scenario.name}", blocks=blocks, seeded=seeded, version=__version__, lab=scenario.lab
    )
    summaries: list[LinkSummary] = []
    interrupted = False
    try:
        plans = [plan_link(link) for link in scenario.links]
        watching = Watching(log, plans, scenario.responses)
        for plan in plans:
            one = _LinkRun(plan, log, seed, seeded, _pools(seed, plan.link.name))
            planned = [attack for attack in scenario.attacks if attack.on == plan.link.name]
            for attack in planned:
                resolve(attack.name, attack.strength, plan.light)  # says so before the first block, where it cannot be
            summaries.append(one.summary)
            for block in range(blocks):
                if watching.responder.stopped(plan.link.name):
                    break
                one.block(block, _eavesdropper(planned, resolve, plan.of(block), block, log), watching)
                if on_block is not None:
                    on_block(plan.link.name, block)
    except KeyboardInterrupt:
        interrupted = True
    log.add("run.interrupted" if interrupted else "run.finished", f"scenario:{scenario.name}")
    return RunResult(scenario.name, seeded, tuple(summaries), tuple(scenario.published), interrupted)


class _LinkRun:
    """One link of a run, block after block."""

    def __init__(
        self,
        plan: LinkPlan,
        log: EventLog,
        seed: bytes,
        seeded: bool,
        pools: tuple[AuthenticationPool, AuthenticationPool],
    ) -> None:
        self.summary = LinkSummary(plan.link.name)
        self._plan = plan
        self._log = log
        self._seed = seed
        self._seeded = seeded
        self._pools = pools

    def block(self, block: int, eve: Eavesdropper | None, watching: Watching) -> None:
        """Make one block: light, what the meters read, key; and what Eve has of it."""
        started = time.monotonic()
        plan, summary, link = self._plan.of(block), self.summary, self._plan.link.name
        settings, detections = block_of_light(plan, self._seed, block, seeded=self._seeded, eve=eve)
        alice_seed, physics_seed = block_seeds(plan, self._seed, block)
        if isinstance(plan.light, LinkDevices):
            tally = Tally(plan.light.receiver.detectors)
            tally.add(detections.events)
            record_telemetry(self._log, link, block, read_meters(plan, tally, block, physics_seed, eve))
        if eve is not None:
            record_learned(self._log, eve, settings, detections, alice_seed=alice_seed, physics_seed=physics_seed)
        try:
            job = plan.job(block, origin_of(self._seeded))
            carriage = eve.carriage() if eve is not None and eve.carriage is not None else None
            result = distill_block(
                settings,
                detections,
                job,
                *self._pools,
                time_s=time.time(),
                qber_expected=plan.qber_expected,
                carriage=carriage,
            )
            watching.vet(link, block, result.alice.statistics)
        except BlockAborted as abort:
            record_aborted(self._log, link, block, abort)
            summary.counted(abort.statistics)
            summary.aborted += 1
            summary.reasons[abort.verdict] = summary.reasons.get(abort.verdict, 0) + 1
        else:
            record_distilled(self._log, result.alice)
            summary.counted(result.alice.statistics, result.alice.key.n_bits)
            summary.secret_bits += result.alice.key.n_bits
            summary.refill_bits += result.alice.statistics.refill_bits
        summary.blocks += 1
        if plan.overpass is not None:
            summary.passes.append(plan.overpass)
        summary.light_s += plan.seconds_per_block
        summary.wall_s += time.monotonic() - started


def _pools(seed: bytes, link: str) -> tuple[AuthenticationPool, AuthenticationPool]:
    """Return both ends' pools with the same secret, made for this run alone."""
    secret = b"".join(rng.derive(seed, f"{link}/authentication/{i}") for i in range(SECRET_BYTES // rng.SEED_BYTES))
    return AuthenticationPool.from_secret("alice", secret), AuthenticationPool.from_secret("bob", secret)


def _eavesdropper(
    planned: list[AttackSection], resolve: AttackResolver, plan: LinkPlan, block: int, log: EventLog
) -> Eavesdropper | None:
    """Return who sits on the link in a block, and note where an attack begins or ends."""
    subject = f"link:{plan.link.name}"
    for attack in planned:
        if attack.last_block is not None and block == attack.last_block + 1:
            log.add("attack.stopped", subject, name=attack.name)
        if attack.first_block == block:
            log.add("attack.started", subject, name=attack.name, strength=attack.strength)
    for attack in planned:
        if attack.covers(plan.link.name, block):
            record_light(log, plan, block, attack.name, attack.strength)
            return resolve(attack.name, attack.strength, plan.light)
    record_light(log, plan, block, None)
    return None
