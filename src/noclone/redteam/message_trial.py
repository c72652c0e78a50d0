"""An attack on the public channel, tried: real parties, real tags, a real pool.

In: an attack, defended or not.  Out: `Row`. Defended is the protocol as it is. Undefended, Eve holds the
authentication secret of the link, and so stands between the two ends for good; that is the only way to take the tags
away.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from noclone import rng
from noclone.distill.authentication import PAIR_BYTES, AuthenticationPool
from noclone.distill.job import BlockAborted, BlockJob
from noclone.distill.parties import alice, bob
from noclone.distill.session import converse, distill_block
from noclone.errors import ChannelError
from noclone.link.flaws import Flaws, Guards
from noclone.link.light import transmit
from noclone.link.settings import SeededSettings
from noclone.link.tap import Carriage
from noclone.records import Detections, Origin
from noclone.redteam.light_trial import EPSILONS, LINK, PROOF, Plan, plan, trial_devices
from noclone.redteam.messages import MessageAttack
from noclone.redteam.rows import Row

ORIGIN = Origin("simulated", seeded=True)
POOL_PAIRS = 6


def quiet_plan() -> Plan:
    """Return the plan of a link that nobody disturbs."""
    return plan(trial_devices(Flaws(), Guards()))


def job_of(one: Plan, block: int, alice_name: str = "alder", bob_name: str = "birch") -> BlockJob:
    """Return the job of a block of the trial's link."""
    source = one.devices.source
    return BlockJob(
        LINK,
        alice_name,
        bob_name,
        block,
        one.n_slots,
        source.protocol,
        source.clock_hz,
        EPSILONS,
        PROOF,
        one.agreement,
        ORIGIN,
    )


def light_of(one: Plan, seed: bytes, block: int) -> tuple[SeededSettings, Detections]:
    """Return one honest block of light."""
    alice_seed = rng.derive(seed, f"{block}/alice")
    detections = transmit(
        one.devices,
        alice_seed=alice_seed,
        physics_seed=rng.derive(seed, f"{block}/physics"),
        n_slots=one.n_slots,
        link=LINK,
        block=block,
        origin=ORIGIN,
    )
    return SeededSettings(alice_seed, one.devices.source.protocol), detections


def pools(pairs: int = POOL_PAIRS) -> tuple[AuthenticationPool, AuthenticationPool]:
    """Return both ends' pools with the same secret."""
    secret = os.urandom(pairs * PAIR_BYTES)
    return AuthenticationPool.from_secret("alice", secret), AuthenticationPool.from_secret("bob", secret)


def try_messages(attack: MessageAttack, *, seed: bytes, strength: float = 1.0, blocks: int = 2) -> Row:
    """Run some blocks with somebody on the channel; return what came of them."""
    one = quiet_plan()
    ends = pools()
    make = attack.eavesdropper(one.devices, strength).carriage
    reasons: list[str] = []
    key_bits = 0
    qber = 0.0
    for block in range(blocks):
        try:
            done = distill_block(
                *light_of(one, seed, block), job_of(one, block), *ends, carriage=make() if make else None
            )
        except BlockAborted as abort:
            reasons.append(abort.verdict)
            qber = abort.statistics.counts.qber_test if abort.statistics and abort.statistics.counts else qber
        except ChannelError:  # one end waited for a message that never came
            reasons.append("channel-broke")
        else:
            assert done.alice.key.to_bytes() == done.bob.key.to_bytes()
            key_bits += done.alice.key.n_bits
    return Row(
        attack.name,
        True,
        0.0,
        key_bits,
        0.0,
        "held" if key_bits else "refused",
        qber=qber or None,
        detected_after=1 if reasons else None,
        noticed_by=tuple(dict.fromkeys(reasons)),
        strength=strength,
        note="Eve read every message, and no key bit follows from them"
        if key_bits
        else "no key of a touched block is kept",
    )


def try_exhaustion(carriage: Carriage, *, seed: bytes, defended: bool) -> Row:
    """Spoil block after block until the pool is empty, and see what happens then.

    Defended, the pool holds what some blocks' refill has put in; undefended it is the initial secret alone.
    """
    one = quiet_plan()
    pairs = 4
    ends = pools(pairs)
    if defended:
        distill_block(*light_of(one, seed, 0), job_of(one, 0), *ends)
    light = light_of(one, seed, 1)
    spoiled, reason = 0, ""
    for block in range(1, 2 + 3 * pairs):
        settings, detections = light[0], replace(light[1], block=block)
        try:
            distill_block(settings, detections, job_of(one, block), *ends, carriage=carriage)
        except BlockAborted as abort:
            reason = abort.verdict
            if reason == "authentication-key-exhausted":
                break
            spoiled += 1
    empty = reason == "authentication-key-exhausted"
    return Row(
        "authentication-exhaustion",
        defended,
        0.0,
        0,
        0.0,
        "no service" if empty else "service",
        detected_after=1,
        noticed_by=("authentication-failed", *(("authentication-key-exhausted",) if empty else ())),
        note=f"{spoiled} spoiled blocks cost {spoiled} pairs of tag keys"
        + (f"; the pool of {pairs} was empty then, and no block is made without a tag" if empty else "; it goes on"),
    )


def try_in_the_middle(*, seed: bytes, defended: bool) -> Row:
    """Stand between the two ends, as Bob to Alice and as Alice to Bob, each with light of her own."""
    one = quiet_plan()
    pool_a, pool_b = pools()
    known = os.urandom(POOL_PAIRS * PAIR_BYTES)
    if not defended:  # she holds the secret that was carried to both ends
        pool_a = AuthenticationPool.from_secret("alice", known)
        pool_b = AuthenticationPool.from_secret("bob", known)
    eve_bob = AuthenticationPool.from_secret("bob", known)
    eve_alice = AuthenticationPool.from_secret("alice", known)
    sent, seen = light_of(one, seed, 0)
    resent, bobs = light_of(one, rng.derive(seed, "eve"), 0)
    job = job_of(one, 0)
    at_alice, hers = converse(alice(sent, job, pool_a), bob(seen, job, eve_bob))
    hers_too, at_bob = converse(alice(resent, job, eve_alice), bob(bobs, job, pool_b))
    owners, copies = (at_alice.result, at_bob.result), (hers.result, hers_too.result)
    bits = sum(own.key.n_bits for own in owners if own is not None)
    known_bits = sum(
        own.key.n_bits
        for own, copy in zip(owners, copies, strict=True)
        if own is not None and copy is not None and np.array_equal(own.key.bits, copy.key.bits)
    )
    reasons = [end.error.verdict for end in (at_alice, at_bob) if isinstance(end.error, BlockAborted)]
    return Row(
        "man-in-the-middle",
        defended,
        known_bits / bits if bits else 0.0,
        bits,
        float(known_bits),
        "broken" if known_bits else "refused",
        detected_after=1 if reasons else None,
        noticed_by=tuple(dict.fromkeys(reasons)),
        predicted=0.0 if defended else 1.0,
        note="she holds the very keys of both ends, compared bit by bit"
        if known_bits
        else "without the tag key neither end follows",
    )
