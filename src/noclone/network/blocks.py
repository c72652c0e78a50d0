"""From a link of the scenario to the blocks that it is run in: how many slots, which length is agreed, which events.

In: `LinkSection`.  Out: `LinkPlan`, from it a `BlockJob` for each block; and the block events that the audit and the
monitors read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from noclone.distill.job import BlockAborted, BlockJob, BlockResult, BlockStatistics, agreed_tag_bits
from noclone.errors import ScenarioError
from noclone.events import EventLog
from noclone.link.devices import LinkDevices
from noclone.link.lights import LinkLight, expected
from noclone.link.meeting import Meeting
from noclone.link.overheard import overheard
from noclone.link.station import BellStation
from noclone.link.tap import Eavesdropper
from noclone.link.telemetry import Tally, Telemetry, measure
from noclone.link.theory import ExpectedCounts
from noclone.network.link_sections import LinkSection
from noclone.proofs.agreement import Agreement, agree, refusal_probability
from noclone.records import MAX_INTENSITIES, MAX_SLOTS, BlockProvenance, Counts, Detections, Origin
from noclone.trust.provenance import PRE_SHARED_KEY
from noclone.watch.meters import Watched, watched

TRIAL_SLOTS = 1_000_000_000
DETECTIONS_MARGIN = 8  # an honest block, or one under attack, may bring this many times the detections expected
DETECTIONS_FLOOR = 1 << 20  # a few MB at Alice's end: not worth refusing
NO_PROOF = "the other end gave the block up, without proof of who it is"

# How an attack's name and strength become somebody on a link. `redteam` lies above this layer and hands it down.
AttackResolver = Callable[[str, float, LinkDevices], Eavesdropper]


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """What both ends of a link know before any light is sent.

    Args:
        n_slots: Slots of each block.
        light: The devices that it meets.
        expected: What their model says of a block.
        agreement: The length that both ends agree on for each block.
    """

    link: LinkSection
    light: LinkLight
    n_slots: int
    expected: ExpectedCounts
    agreement: Agreement

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
        """Error rate to plan reconciliation for, where the test basis says nothing of the key basis; None else."""
        if isinstance(self.light, Meeting):
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
        return Watched(self.expected, refusal=refusal_probability(4.0) if self.agreement.length_bits else 0.0)

    def job(self, block: int, origin: Origin, bootstrap: str = PRE_SHARED_KEY) -> BlockJob:
        """Return the job of one block."""
        return BlockJob(
            link=self.link.name,
            alice=self.link.alice,
            bob=self.link.bob,
            block=block,
            n_slots=self.n_slots,
            protocol=self.light.protocol,
            clock_hz=self.light.clock_hz,
            epsilons=self.link.epsilons(),
            proof=self.agreement.proof,
            agreement=self.agreement,
            origin=origin,
            bootstrap=bootstrap,
            reconciliation=self.link.distillation.reconciliation,
            amplification=self.link.distillation.amplification,
            detections_max=self.detections_max,
        )


def plan_link(link: LinkSection) -> LinkPlan:
    """Return how a link is run.

    Raises:
        ScenarioError: The link can never detect as many bits as a block needs.
    """
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
    counts = expected(light, n_slots)
    agreement = agree(
        counts,
        light.protocol,
        link.epsilons(),
        link.proof,
        efficiency=link.distillation.efficiency_agreed,
        confirmation_bits=agreed_tag_bits(link.distillation.block_key_bits, link.epsilons()),
    )
    worst = link.distillation.qber_abort
    if isinstance(light, Meeting):  # many of the test bits are wrong by nature; with twin fields they mean nothing
        worst = agreement.qber_max if isinstance(light, BellStation) else 1.0
        agreement = replace(agreement, qber_max=worst)
    agreement = replace(agreement, qber_max=min(agreement.qber_max, worst))
    return LinkPlan(link, light, n_slots, counts, agreement)


def record_light(log: EventLog, link: str, block: int, attack: str | None, strength: float = 0.0) -> None:
    """Add the event of a block's light, with the truth about Eve that only the simulator knows."""
    log.add("light.sent", f"link:{link}", block=block, attack=attack, strength=strength)


def record_telemetry(log: EventLog, link: str, block: int, telemetry: Telemetry) -> None:
    """Add the event of what the devices of both ends report of a block's light."""
    log.add("devices.measured", f"link:{link}", block=block, telemetry=asdict(telemetry))


def read_meters(plan: LinkPlan, tally: Tally, block: int, physics_seed: bytes, eve: Eavesdropper | None) -> Telemetry:
    """Return what the devices report of a block: as they are, which the two ends may not know."""
    devices, tap = (eve.devices, eve.tap) if eve is not None else (plan.devices, None)
    return measure(tally, plan.devices, devices, tap, plan.n_slots, physics_seed, f"{plan.link.name}/block-{block}")


def record_learned(
    log: EventLog, eve: Eavesdropper, detections: Detections, *, alice_seed: bytes, physics_seed: bytes
) -> None:
    """Add the event of what Eve's record of a block is worth: a truth that only the simulator can know."""
    view = overheard(detections, eve.devices, eve.tap, alice_seed=alice_seed, physics_seed=physics_seed)
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
    """
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
        "rounds": statistics.rounds,
        "authentication_bits": statistics.authentication_bits,
        "refill_bits": statistics.refill_bits,
    }
