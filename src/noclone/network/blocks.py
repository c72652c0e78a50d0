"""From a link of the scenario to the blocks that it is run in: how many slots, which length is agreed, which events.

In: `LinkSection`.  Out: `LinkPlan`, from it a `BlockJob` for each block; and the block events that the audit and the
monitors read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from noclone.counts import Counts
from noclone.distill.job import BlockAborted, BlockJob, BlockResult, BlockStatistics, agreed_tag_bits
from noclone.errors import ScenarioError
from noclone.events import EventLog
from noclone.link.devices import LinkDevices
from noclone.link.heralded import HeraldedPairs
from noclone.link.lights import LinkLight, expected
from noclone.link.meeting import Meeting
from noclone.link.overheard import overheard
from noclone.link.quadratures import CoherentDevices
from noclone.link.station import BellStation
from noclone.link.tap import Eavesdropper
from noclone.link.telemetry import Tally, Telemetry, measure
from noclone.link.theory import ExpectedCounts
from noclone.network.link_sections import LinkSection
from noclone.network.pass_plan import Overpass, overpasses
from noclone.proofs.agreement import Agreement, agree, refusal_probability
from noclone.protocols import class_names
from noclone.records import MAX_INTENSITIES, MAX_SLOTS, AliceRecord, BlockProvenance, Detections, Origin
from noclone.trust.provenance import PRE_SHARED_KEY
from noclone.watch.meters import Watched, watched

YEAR_S = 365.25 * 86_400
TRIAL_SLOTS = 1_000_000_000
DETECTIONS_MARGIN = 8  # an honest block, or one under attack, may bring this many times the detections expected
DETECTIONS_FLOOR = 1 << 20  # a few MB at Alice's end: not worth refusing
NO_PROOF = "the other end gave the block up, without proof of who it is"

# How an attack's name and strength become somebody on a link. `redteam` lies above this layer and hands it down.
AttackResolver = Callable[[str, float, LinkLight], Eavesdropper]


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """What both ends of a link know before any light is sent.

    A satellite's link has another plan for each pass; what is said of one stands for its first.

    Args:
        n_slots: Slots of each block.
        light: The devices that it meets.
        expected: What their model says of a block.
        agreement: The length that both ends agree on for each block.
        overpass: Of a satellite's link, the pass that is this block.
        later: The plans of the passes after it; when all have been, they begin anew.
    """

    link: LinkSection
    light: LinkLight
    n_slots: int
    expected: ExpectedCounts
    agreement: Agreement
    overpass: Overpass | None = None
    later: tuple[LinkPlan, ...] = ()

    def of(self, block: int) -> LinkPlan:
        """Return the plan of a block: this one, unless each block is another pass."""
        return self.all[block % (1 + len(self.later))]

    @property
    def all(self) -> tuple[LinkPlan, ...]:
        """The plans of all passes; of other links, this one."""
        return (self, *self.later)

    @property
    def secret_bps(self) -> float:
        """Secret bits that are agreed on, per second of light."""
        return sum(one.agreement.length_bits for one in self.all) / sum(one.seconds_per_block for one in self.all)

    @property
    def blocks_per_year(self) -> float:
        """How many blocks a year of light has; of a satellite's orbit, a year of passes."""
        orbit = self.link.passes
        if orbit is not None and orbit.start is not None:
            return len(self.all) * YEAR_S / (3600 * orbit.hours)
        return YEAR_S / self.seconds_per_block

    @property
    def devices(self) -> LinkDevices:
        """The devices of a decoy-state BB84 link, for whatever works with these only.

        Raises:
            ScenarioError: The link has another protocol.
        """
        return self.light if isinstance(self.light, LinkDevices) else self.link.devices()

    @property
    def seconds_per_block(self) -> float:
        """How long the light of one block takes on the real link."""
        return self.n_slots / self.light.clock_hz

    @property
    def qber_expected(self) -> float | None:
        """Error rate to plan reconciliation for, where the test basis says nothing of the key basis; None else.

        Memories lose their phase sooner than their value: what repeaters deliver differs between the bases.
        """
        if isinstance(self.light, Meeting | HeraldedPairs):
            return sum(self.expected.m_key) / sum(self.expected.n_key)
        return None

    @property
    def detections_max(self) -> int:
        """How many detections Bob may announce for a block before Alice's end stops to listen."""
        detections = self.expected.click_rate_hz * self.seconds_per_block
        return min(self.n_slots, max(DETECTIONS_FLOOR, math.ceil(DETECTIONS_MARGIN * detections)))

    @property
    def watched(self) -> Watched:
        """What the link's monitors hold its blocks against."""
        if isinstance(self.light, LinkDevices):
            return watched(self.light, self.expected, self.agreement.length_bits)
        refusal = refusal_probability(4.0) if self.agreement.length_bits else 0.0
        later = tuple(one.expected for one in self.later)
        return Watched(self.expected, refusal=refusal, later=later, classes=class_names(self.light.protocol))

    def job(self, block: int, origin: Origin, bootstrap: str = PRE_SHARED_KEY) -> BlockJob:
        """Return the job of one block."""
        plan = self.of(block)
        return BlockJob(
            link=self.link.name,
            alice=self.link.alice,
            bob=self.link.bob,
            block=block,
            n_slots=plan.n_slots,
            protocol=plan.light.protocol,
            clock_hz=plan.light.clock_hz,
            epsilons=self.link.epsilons(),
            proof=plan.agreement.proof,
            agreement=plan.agreement,
            origin=origin,
            bootstrap=bootstrap,
            reconciliation=self.link.reconciliation,
            amplification=self.link.distillation.amplification,
            detections_max=plan.detections_max,
        )


def plan_link(link: LinkSection) -> LinkPlan:
    """Return how a link is run.

    Raises:
        ScenarioError: The link can never detect as many bits as a block needs.
    """
    if link.passes is not None:
        return _plan_passes(link.model_dump_json())
    light = link.light()
    trial = expected(light, TRIAL_SLOTS)
    rate = sum(trial.n_key) / TRIAL_SLOTS
    n_slots = math.ceil(link.distillation.block_key_bits / rate) if rate > 0 else MAX_SLOTS + 1
    if n_slots > MAX_SLOTS:
        raise ScenarioError(
            f"link '{link.name}': a block of {link.distillation.block_key_bits} key bits would take more than "
            f"{MAX_SLOTS} pulses ({MAX_SLOTS / light.clock_hz / 86400:.0f} days of light)",
            hint="use a smaller distillation.block_key_bits, or a link with less loss",
        )
    return _agreed(link, light, n_slots, link.distillation.block_key_bits)


@lru_cache(maxsize=64)
def _plan_passes(link_json: str) -> LinkPlan:
    """Return the plans of a satellite's passes, those without key left out; kept, for both ends and the light ask."""
    link = LinkSection.model_validate_json(link_json)
    plans = [
        replace(_agreed(link, light, light.n_slots, None), overpass=overpass) for overpass, light in overpasses(link)
    ]
    first, *later = [plan for plan in plans if plan.agreement.length_bits] or plans
    return replace(first, later=tuple(later))


def _agreed(link: LinkSection, light: LinkLight, n_slots: int, key_bits: int | None) -> LinkPlan:
    """Return the plan of blocks of so many slots.

    Args:
        key_bits: What they are made for; None: what is expected.
    """
    counts = expected(light, n_slots)
    bits = key_bits or round(sum(counts.n_key))
    if isinstance(light, CoherentDevices):
        bits *= light.protocol.slices
    agreement = agree(
        counts,
        light.protocol,
        link.epsilons(),
        link.proof,
        efficiency=link.efficiency_agreed,
        confirmation_bits=agreed_tag_bits(bits, link.epsilons()),
    )
    worst = link.distillation.qber_abort
    if isinstance(light, CoherentDevices):  # signs of values; what noise there is decides the length
        worst = agreement.qber_max
    if isinstance(light, Meeting):  # many of the test bits are wrong by nature; with twin fields they mean nothing
        worst = agreement.qber_max if isinstance(light, BellStation) else 1.0
        agreement = replace(agreement, qber_max=worst)
    agreement = replace(agreement, qber_max=min(agreement.qber_max, worst))
    return LinkPlan(link, light, n_slots, counts, agreement)


def record_light(log: EventLog, plan: LinkPlan, block: int, attack: str | None, strength: float = 0.0) -> None:
    """Add the event of a block's light, with the truth about Eve that only the simulator knows; and of which pass."""
    overpass = plan.of(block).overpass
    over = {} if overpass is None else {"pass": asdict(overpass)}
    log.add("light.sent", f"link:{plan.link.name}", block=block, attack=attack, strength=strength, **over)


def record_telemetry(log: EventLog, link: str, block: int, telemetry: Telemetry) -> None:
    """Add the event of what the devices of both ends report of a block's light."""
    log.add("devices.measured", f"link:{link}", block=block, telemetry=asdict(telemetry))


def read_meters(plan: LinkPlan, tally: Tally, block: int, physics_seed: bytes, eve: Eavesdropper | None) -> Telemetry:
    """Return what the devices report of a block: as they are, which the two ends may not know."""
    devices, tap = (eve.devices, eve.tap) if eve is not None else (plan.devices, None)
    assert isinstance(devices, LinkDevices)
    return measure(tally, plan.devices, devices, tap, plan.n_slots, physics_seed, f"{plan.link.name}/block-{block}")


def record_learned(
    log: EventLog,
    eve: Eavesdropper,
    settings: AliceRecord,
    detections: Detections,
    *,
    alice_seed: bytes,
    physics_seed: bytes,
) -> None:
    """Add the event of what Eve's record of a block is worth: a truth that only the simulator can know."""
    view = overheard(detections, eve.devices, eve.tap, settings, alice_seed=alice_seed, physics_seed=physics_seed)
    learned = eve.learned(view)
    log.add(
        "eve.learned",
        f"link:{detections.link}",
        block=detections.block,
        **asdict(learned),
        per_sifted_bit=learned.per_sifted_bit,
    )


def record_distilled(log: EventLog, result: BlockResult, **more: Any) -> None:
    """Add the event of a block that gave key."""
    length = result.statistics.length
    provenance = result.key.provenance
    assert length is not None
    assert isinstance(provenance, BlockProvenance)
    log.add(
        "block.distilled",
        f"link:{provenance.link}",
        **_observed(result.statistics),
        secret_bits=result.key.n_bits,
        efficiency=result.statistics.leak_factor,
        epsilon=provenance.epsilon,
        cumulative_epsilon=provenance.cumulative_epsilon,
        proof=provenance.proof,
        statement=provenance.statement,
        assumptions=list(length.assumptions),
        length_terms=[asdict(term) for term in length.terms],
        origin=provenance.origin.kind,
        seeded=provenance.origin.seeded,
        provenance=provenance.to_json(),
        **more,
    )


def record_aborted(log: EventLog, link: str, block: int, abort: BlockAborted, **more: Any) -> None:
    """Add the event of a block that gave no key.

    Anybody on the public channel can say that a block is given up. Without the peer's tag neither the reason nor the
    text enters the event. `authenticated` says whether there was one; it is None where this end itself gave up.
    """
    observed = _observed(abort.statistics) if abort.statistics else {"block": block}
    told = abort.reason == "peer-aborted"
    log.add(
        "block.aborted",
        f"link:{link}",
        **observed,
        reason=abort.verdict,
        message=NO_PROOF if told and not abort.authenticated else abort.message,
        authenticated=abort.authenticated if told else None,
        **more,
    )


def error_rate(counts: Counts | ExpectedCounts) -> float | None:
    """Return the error rate that says how a block is: of the test basis.

    Where both send, of the key basis, None while it is not known: there a quarter of the test bits are wrong by nature.
    None of continuous variables, too, where many a sign is.
    """
    if counts.moments is not None:
        return None
    if len(counts.n_key) <= MAX_INTENSITIES:
        errors, total = float(sum(counts.m_test)), sum(counts.n_test)
    elif counts.m_key is not None:
        errors, total = float(sum(counts.m_key)), sum(counts.n_key)
    else:
        return None
    return errors / total if total else None


def _observed(statistics: BlockStatistics) -> dict[str, Any]:
    """Return what was seen in a block, as plain JSON values."""
    counts = statistics.counts
    return {
        "block": statistics.block,
        "stage": statistics.stage,
        "detections": statistics.detections,
        "counts": asdict(counts) if counts else None,
        "qber": error_rate(counts) if counts else None,
        "n_key": counts.key_total if counts else 0,
        "n_test": counts.test_total if counts else 0,
        "leak_bits": statistics.leak_bits,
        "chsh": statistics.chsh.to_json() if statistics.chsh else None,
        "quadratures": asdict(statistics.figures) if statistics.figures else None,
        "rounds": statistics.rounds,
        "authentication_bits": statistics.authentication_bits,
        "refill_bits": statistics.refill_bits,
    }
