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
from noclone.distill.job import BlockAborted
from noclone.distill.session import distill_block
from noclone.events import EventLog
from noclone.link.light import transmit
from noclone.link.settings import SeededSettings
from noclone.link.tap import Tap
from noclone.network.blocks import AttackResolver, LinkPlan, plan_link, record_aborted, record_distilled, record_light
from noclone.network.scenario import AttackSection, Scenario
from noclone.records import Detections, Origin
from noclone.watch.monitors import LinkMonitor

SECRET_BYTES = 4096  # initial authentication secret of a link: 64 blocks' worth


@dataclass(slots=True)
class LinkSummary:
    """What one link gave in a run.

    Args:
        light_s: Seconds of light: what the real link would have taken.
        wall_s: Seconds that this machine took.
    """

    link: str
    blocks: int = 0
    aborted: int = 0
    secret_bits: int = 0
    light_s: float = 0.0
    wall_s: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def secret_bps(self) -> float:
        """Secret bits per second of light."""
        return self.secret_bits / self.light_s if self.light_s else 0.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run gave."""

    scenario: str
    seeded: bool
    links: tuple[LinkSummary, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        links = [{**asdict(link), "secret_bps": link.secret_bps} for link in self.links]
        return {"scenario": self.scenario, "version": __version__, "seeded": self.seeded, "links": links}


def origin_of(seeded: bool) -> Origin:
    """Return the origin of simulated light."""
    return Origin("simulated", seeded, f"noclone {__version__}")


def block_of_light(
    plan: LinkPlan, seed: bytes, block: int, *, seeded: bool, tap: Tap | None = None
) -> tuple[SeededSettings, Detections]:
    """Simulate one block: Alice's secret record of what she sent, and what Bob's devices told him."""
    name = f"{plan.link.name}/block-{block}"
    alice_seed = rng.derive(seed, f"{name}/alice")
    detections = transmit(
        plan.devices,
        alice_seed=alice_seed,
        physics_seed=rng.derive(seed, f"{name}/physics"),
        n_slots=plan.n_slots,
        link=plan.link.name,
        block=block,
        origin=origin_of(seeded),
        tap=tap,
    )
    return SeededSettings(alice_seed, plan.devices.source.protocol), detections


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
    """Run every link for some blocks, one after the other, with the attacks that the scenario plans."""
    log.add(
        "run.started", f"scenario:{scenario.name}", blocks=blocks, seeded=seeded, version=__version__, lab=scenario.lab
    )
    summaries = []
    plans = [plan_link(link) for link in scenario.links]
    LinkMonitor(log, {plan.link.name: plan.expected for plan in plans})
    for plan in plans:
        link = plan.link
        summary = LinkSummary(link.name)
        planned = [attack for attack in scenario.attacks if attack.on == link.name]
        pools = _pools(seed, link.name)
        for block in range(blocks):
            started = time.monotonic()
            tap = _tap(planned, plan, block, resolve, log)
            settings, detections = block_of_light(plan, seed, block, seeded=seeded, tap=tap)
            try:
                job = plan.job(block, origin_of(seeded))
                result = distill_block(settings, detections, job, *pools, time_s=time.time())
            except BlockAborted as abort:
                record_aborted(log, link.name, block, abort)
                summary.aborted += 1
                summary.reasons[abort.verdict] = summary.reasons.get(abort.verdict, 0) + 1
            else:
                record_distilled(log, result.alice)
                summary.secret_bits += result.alice.key.n_bits
            summary.blocks += 1
            summary.light_s += plan.seconds_per_block
            summary.wall_s += time.monotonic() - started
            if on_block is not None:
                on_block(link.name, block)
        summaries.append(summary)
    log.add("run.finished", f"scenario:{scenario.name}")
    return RunResult(scenario.name, seeded, tuple(summaries))


def _pools(seed: bytes, link: str) -> tuple[AuthenticationPool, AuthenticationPool]:
    """Return both ends' pools with the same secret, made for this run alone."""
    secret = b"".join(rng.derive(seed, f"{link}/authentication/{i}") for i in range(SECRET_BYTES // rng.SEED_BYTES))
    return AuthenticationPool.from_secret("alice", secret), AuthenticationPool.from_secret("bob", secret)


def _tap(
    planned: list[AttackSection], plan: LinkPlan, block: int, resolve: AttackResolver, log: EventLog
) -> Tap | None:
    """Return Eve's tap in a block, and note where an attack begins or ends."""
    subject = f"link:{plan.link.name}"
    for attack in planned:
        if attack.last_block is not None and block == attack.last_block + 1:
            log.add("attack.stopped", subject, name=attack.name)
        if attack.first_block == block:
            log.add("attack.started", subject, name=attack.name, strength=attack.strength)
    for attack in planned:
        if attack.covers(plan.link.name, block):
            record_light(log, plan.link.name, block, attack.name, attack.strength)
            return resolve(attack.name, attack.strength, plan.devices)
    record_light(log, plan.link.name, block, None)
    return None
