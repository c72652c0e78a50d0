"""An attack on light, tried: what Eve learns, what is seen, and whether a key comes out that is not secret.

In: an attack, defended or not, a strength, a seed.  Out: `LightOutcome`. The link is a small one of its own.
Undefended it has the flaw that the attack needs, no meter, and the proof that the attack breaks; defended it has the
same flaw and what stands against it. The key's length comes from the same code as on a real link.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from noclone import rng
from noclone.counts import Counts
from noclone.distill.job import agreed_tag_bits
from noclone.distill.side import KEY_BITS_MIN
from noclone.errors import Aborted
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.flaws import Flaws, Guards
from noclone.link.lights import one_block
from noclone.link.overheard import Overheard, overheard
from noclone.link.tap import Learned
from noclone.link.telemetry import Tally, Telemetry, measure
from noclone.link.theory import expected_counts
from noclone.proofs.agreement import Agreement, agree, screen, settle
from noclone.proofs.entropy import error_entropy
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.keylength import KeyLength, secret_length
from noclone.records import Basis, DecoyBB84, Origin
from noclone.redteam.light import LightAttack
from noclone.redteam.trojan_horse import mixed_error, photons_out
from noclone.watch.meters import Watched, watched

PROTOCOL = DecoyBB84((0.48, 0.16), (0.6, 0.4), 0.7, 0.7)
LOSS_KM = 60.0
KEY_BITS = 600_000
EPSILONS = Epsilons(1e-10, 1e-15)
EFFICIENCY = 1.16
PROOF = "wiesemann2024"
LINK = "trial"


def trial_devices(flaws: Flaws, guards: Guards, gate: float = 1.0) -> LinkDevices:
    """Return the devices of the trial's link: 12 dB of fibre, detectors of 25 %, a clock of 1 GHz."""
    receiver = Receiver(
        "active",
        (0.25, 0.25),
        (100.0, 100.0),
        misalignment=0.01,
        jitter_ps=60.0,
        gate_ps=0.0 if gate == 1 else 1000 * gate,
    )
    return LinkDevices(Source(1e9, PROTOCOL), Fibre(LOSS_KM, 0.2), receiver, flaws, guards)


@dataclass(frozen=True, slots=True)
class Plan:
    """What both ends agree on before the light, and what their monitors expect."""

    devices: LinkDevices
    n_slots: int
    agreement: Agreement
    watched: Watched


def plan(devices: LinkDevices, key_bits: int = KEY_BITS) -> Plan:
    """Return how the trial's link is run."""
    trial = expected_counts(devices, 1_000_000_000)
    n_slots = math.ceil(key_bits / (sum(trial.n_key) / 1e9))
    expected = expected_counts(devices, n_slots)
    tag_bits = agreed_tag_bits(key_bits, EPSILONS)
    agreement = agree(expected, PROTOCOL, EPSILONS, PROOF, efficiency=EFFICIENCY, confirmation_bits=tag_bits)
    return Plan(devices, n_slots, agreement, watched(devices, expected, agreement.length_bits))


@dataclass(frozen=True, slots=True)
class Block:
    """One block of the trial: what was counted and read, and what Eve knows."""

    counts: Counts
    telemetry: Telemetry
    learned: Learned
    view: Overheard


def block_of(plan: Plan, attack: LightAttack, strength: float, seed: bytes, number: int) -> Block:
    """Run one block of light with Eve on it."""
    name = f"{LINK}/block-{number}"
    alice_seed, physics_seed = rng.derive(seed, f"{name}/alice"), rng.derive(seed, f"{name}/physics")
    eve = attack.eavesdropper(plan.devices, strength)
    assert isinstance(eve.devices, LinkDevices)
    settings, detections = one_block(
        eve.devices,
        alice_seed=alice_seed,
        physics_seed=physics_seed,
        n_slots=plan.n_slots,
        link=LINK,
        block=number,
        origin=Origin("simulated", seeded=True),
        tap=eve.tap,
    )
    tally = Tally(plan.devices.receiver.detectors)
    tally.add(detections.events)
    telemetry = measure(tally, plan.devices, eve.devices, eve.tap, plan.n_slots, physics_seed, name)
    view = overheard(detections, eve.devices, eve.tap, settings, alice_seed=alice_seed, physics_seed=physics_seed)
    return Block(counts_of(view), telemetry, eve.learned(view), view)


def counts_of(view: Overheard) -> Counts:
    """Return what the two ends count after reconciliation."""
    levels = len(view.bb84.source.protocol.intensities)
    basis, intensity = (view.codes >> 1) & 1, view.codes >> 2
    wrong = view.alice_values != view.detections.values

    def table(where: np.ndarray) -> tuple[int, ...]:
        return tuple(int(n) for n in np.bincount(intensity[where], minlength=levels)[:levels])

    key, test = ((basis == which) & (view.detections.bases == which) for which in (Basis.KEY, Basis.TEST))
    return Counts(view.detections.n_slots, table(key), table(test), table(test & wrong), table(key & wrong))


@dataclass(frozen=True, slots=True)
class LightOutcome:
    """What came of a trial.

    Args:
        strength: Of the attack.
        sifted_bits: Key-basis bits of the first block.
        eve_bits: Information that Eve's record holds about each of them, measured.
        predicted: The same by the closed form.
        qber: Error rate seen in the test basis.
        key_bits: Length of the key that the block gave; 0 where it was refused.
        secret_bits: The most that anybody can distil of that block in secret from this very Eve:
            n (I(A:B) - I(A:E)), with h(error rate) told to the world (Csiszár, Körner 1978).
        refused: Reason why the block gave no key.
        alarms: Monitors that spoke in the last block.
        detected_after: Blocks until the first alarm or refusal; None: never, in as many blocks as were run.
    """

    strength: float
    sifted_bits: int
    eve_bits: float
    predicted: float
    qber: float
    key_bits: int
    secret_bits: float
    refused: str
    alarms: tuple[str, ...]
    detected_after: int | None

    @property
    def exposed_bits(self) -> float:
        """How many bits of the key are not secret: what it is longer than it may be."""
        return max(0.0, self.key_bits - self.secret_bits)


def try_light(
    attack: LightAttack, *, defended: bool, strength: float = 1.0, seed: bytes, blocks: int = 2
) -> LightOutcome:
    """Run an attack for some blocks, or until it is noticed."""
    guards, gate = (attack.guards, attack.gate) if defended else (Guards(), 1.0)
    one = plan(trial_devices(attack.flaws, guards, gate))
    first: Block | None = None
    state = one.watched.fresh()
    alarms: tuple[str, ...] = ()
    refused, length, detected = "", 0.0, None
    for number in range(blocks):
        block = block_of(one, attack, strength, seed, number)
        first = first or block
        alarms = tuple(alarm.monitor for alarm in state.look(block.counts, block.telemetry)) if defended else ()
        length, refused = _length(attack, one, block, defended, strength)
        if defended and alarms and not refused:
            length, refused = 0.0, "alarm"
        if refused:
            detected = number + 1
            break
    assert first is not None
    return LightOutcome(
        strength=strength,
        sifted_bits=first.learned.sifted_bits,
        eve_bits=first.learned.per_sifted_bit,
        predicted=attack.bits(one.devices, strength),
        qber=first.counts.qber_test,
        key_bits=math.floor(length),
        secret_bits=secret_bits(first),
        refused=refused,
        alarms=alarms,
        detected_after=detected,
    )


def secret_bits(block: Block) -> float:
    """Return the most that can be secret in a block: what Bob has of Alice's bits, less what Eve has."""
    qber_key = block.counts.qber_key
    assert qber_key is not None
    shared = block.learned.sifted_bits * (1 - error_entropy(qber_key))
    return max(0.0, shared - block.learned.information_bits)


def _length(attack: LightAttack, one: Plan, block: Block, defended: bool, strength: float) -> tuple[float, str]:
    """Return the key's length by the proof that the trial uses, and why there is none."""
    proof = attack.corrected if defended else attack.naive
    try:
        return PROOFS[proof](one, block, strength), ""
    except Aborted as abort:
        return 0.0, abort.reason


def _settled(one: Plan, counts: Counts) -> KeyLength:
    if min(counts.key_total, counts.test_total) < KEY_BITS_MIN:
        raise Aborted("too-few-detections", f"{counts.key_total} detections in the key basis are left")
    screen(one.agreement, counts)
    return settle(one.agreement, counts, 0)


def _ordinary(one: Plan, block: Block, _strength: float) -> float:
    """Return the agreed length, if the block keeps to what was agreed."""
    return _settled(one, block.counts).bits


def _uncharged(_one: Plan, block: Block, _strength: float) -> float:
    """Return the length of who corrects errors, and does not ask who made them."""
    counts = block.counts
    assert counts.qber_key is not None
    return max(0.0, counts.key_total * (1 - EFFICIENCY * error_entropy(counts.qber_key)))


def _without_decoys(_one: Plan, block: Block, _strength: float) -> float:
    """Return the length of who takes every detection for a single photon: BB84 as of 1984, asymptotic."""
    counts = block.counts
    assert counts.qber_key is not None
    leak = EFFICIENCY * counts.key_total * error_entropy(counts.qber_key)
    return max(0.0, counts.key_total * (1 - error_entropy(counts.qber_test)) - leak)


def _true_intensities(one: Plan, block: Block, _strength: float) -> float:
    """Return the length by the bounds at the mean photon numbers that the source really had."""
    kept = _settled(one, block.counts)
    true = block.view.bb84.source.protocol
    found = secret_length(
        block.counts, true, EPSILONS, leak_bits=one.agreement.leak_bits_max,
        confirmation_bits=one.agreement.confirmation_bits, proof=PROOF, two_way=True,
    )  # fmt: skip
    if not found.bits:
        raise Aborted("no-secret-key", found.reason)
    return min(found.bits, kept.bits)


def _leaking_states(one: Plan, block: Block, strength: float) -> float:
    """Return the length with the phase error that leaking states ask for (Lucamarini et al. 2015)."""
    kept = _settled(one, block.counts)
    mean = photons_out(one.devices, strength)
    protocol = one.devices.source.protocol
    share = sum(p * k * math.exp(-k) for p, k in zip(protocol.probabilities, protocol.intensities, strict=True))
    single_yield = kept.single / (block.counts.n_slots * protocol.p_key_alice * protocol.p_key_bob * share)
    phase = mixed_error(kept.phase_error, mean, single_yield)
    length = kept.bits - kept.single * (error_entropy(phase) - error_entropy(kept.phase_error))
    if length <= 0:
        raise Aborted("no-secret-key", f"what leaks from Alice's lab puts the phase error at {phase:.3f}")
    return length


PROOFS: dict[str, Callable[[Plan, Block, float], float]] = {
    "": _ordinary,
    "ordinary": _ordinary,
    "errors are noise": _uncharged,
    "every detection a single photon": _without_decoys,
    "true intensities": _true_intensities,
    "states leak": _leaking_states,
}
