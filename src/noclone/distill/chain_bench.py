"""How fast the whole chain is: sifting, estimation, Cascade, confirmation, amplification, authentication, both parties.

In: nothing but sizes; the detections are drawn from a plain model of a decoy-state link, not simulated light.
Out: megabits of sifted and of secret key per second of one core that does the work of both ends.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from noclone.distill.authentication import AuthenticationPool
from noclone.distill.job import BlockJob, Reconciliation, RefillPolicy, agreed_tag_bits
from noclone.proofs.agreement import agree
from noclone.proofs.epsilon import Epsilons
from noclone.records import U8, U64, Counts, DecoyBB84, Detections, Origin

# One decoy, as in Rusca et al. 2018 (Appl. Phys. Lett. 112, 171104); enough test bits for blocks of a few million.
PROTOCOL = DecoyBB84(intensities=(0.5, 0.1), probabilities=(0.6, 0.4), p_key_alice=0.8, p_key_bob=0.8)
EPSILONS = Epsilons(secrecy=1e-10, correctness=1e-12)


@dataclass(frozen=True, slots=True)
class ListedSettings:
    """Alice's settings as a table with one code for each slot."""

    codes: U8

    def at(self, slots: U64) -> U8:
        """Return one code per slot."""
        return self.codes[slots]


@dataclass(frozen=True, slots=True)
class ModelBlock:
    """One block drawn from the model, with what each end needs for it."""

    settings: ListedSettings
    detections: Detections
    job: BlockJob


def model_block(
    n_detections: int,
    *,
    qber: float = 0.02,
    seed: int = 1,
    block: int = 0,
    protocol: DecoyBB84 = PROTOCOL,
    epsilons: Epsilons = EPSILONS,
    proof: str = "wiesemann2024",
    mean_gap: int = 16,
    efficiency: float = 1.3,
    expected_qber: float | None = None,
    refill: RefillPolicy | None = None,
    reconciliation: Reconciliation = "cascade",
) -> ModelBlock:
    """Draw a block: gaps are geometric, gains are 1 - exp(-mu eta), errors are independent of everything.

    Args:
        expected_qber: What the length is agreed for, if not `qber` itself.
    """
    rng = np.random.default_rng(seed)
    gaps = rng.geometric(1 / mean_gap, n_detections).astype(np.uint64)
    slots = np.cumsum(gaps) - np.uint64(1)
    n_slots = int(slots[-1]) + 1 if n_detections else mean_gap
    eta = 1 / mean_gap
    gains = -np.expm1(-eta * np.array(protocol.intensities)) * np.array(protocol.probabilities)
    level = rng.choice(len(gains), n_detections, p=gains / gains.sum()).astype(np.uint8)
    basis = (rng.random(n_detections) > protocol.p_key_alice).astype(np.uint8)
    value = rng.integers(0, 2, n_detections, dtype=np.uint8)
    codes = np.zeros(n_slots, np.uint8)
    codes[slots] = value | basis << 1 | level << 2
    bob_basis = (rng.random(n_detections) > protocol.p_key_bob).astype(np.uint8)
    wrong = np.where(basis == bob_basis, rng.random(n_detections) < qber, rng.random(n_detections) < 0.5)
    events = slots << np.uint64(16) | (value ^ wrong).astype(np.uint64) | bob_basis.astype(np.uint64) << np.uint64(1)
    origin = Origin("simulated", seeded=True, detail="model block")
    expected = expected_counts(n_detections, n_slots, gains, protocol, qber if expected_qber is None else expected_qber)
    agreement = agree(
        expected,
        protocol,
        epsilons,
        proof,
        efficiency=efficiency,
        confirmation_bits=agreed_tag_bits(max(n_detections, 1), epsilons),
    )
    job = BlockJob(
        link="alder-birch",
        alice="alder",
        bob="birch",
        block=block,
        n_slots=n_slots,
        protocol=protocol,
        clock_hz=1e9,
        epsilons=epsilons,
        proof=proof,
        agreement=agreement,
        origin=origin,
        refill=refill or RefillPolicy(),
        reconciliation=reconciliation,
    )
    return ModelBlock(ListedSettings(codes), Detections("alder-birch", block, n_slots, 1e9, events, origin), job)


def expected_counts(n: int, n_slots: int, gains: np.ndarray[Any, Any], protocol: DecoyBB84, qber: float) -> Counts:
    """Return the counts that the model leads us to expect."""
    key = n * protocol.p_key_alice * protocol.p_key_bob * gains / gains.sum()
    test = n * (1 - protocol.p_key_alice) * (1 - protocol.p_key_bob) * gains / gains.sum()
    return Counts(
        n_slots=n_slots,
        n_key=tuple(int(x) for x in key),
        n_test=tuple(int(x) for x in test),
        m_test=tuple(int(qber * x) for x in test),
        m_key=tuple(int(qber * x) for x in key),
    )


def pools(secret: bytes | None = None) -> tuple[AuthenticationPool, AuthenticationPool]:
    """Return two pools that share a secret, a fresh one if none is given; only for benches and tests."""
    secret = secret or os.urandom(4096)
    return AuthenticationPool.from_secret("alice", secret), AuthenticationPool.from_secret("bob", secret)


def bench_chain(n_detections: int = 4_000_000, *, qber: float = 0.02) -> dict[str, float]:
    """Return megabits per second of one core that plays both parties, by stage and in all."""
    from noclone.distill.session import distill_block

    distill_block(*_arguments(model_block(n_detections, qber=qber)))  # compiles, and touches the memory
    case = model_block(n_detections, qber=qber, seed=2)
    arguments = _arguments(case)
    start = time.perf_counter()
    done = distill_block(*arguments)
    seconds = time.perf_counter() - start
    counts = done.bob.statistics.counts
    assert counts is not None
    return {
        "detections": float(n_detections),
        "sifted_bits": float(counts.key_total),
        "secret_bits": float(done.bob.key.n_bits + done.bob.statistics.refill_bits),
        "sifted_mbps": counts.key_total / seconds / 1e6,
        "secret_mbps": (done.bob.key.n_bits + done.bob.statistics.refill_bits) / seconds / 1e6,
        "leak_factor": done.bob.statistics.leak_factor,
        "rounds": float(done.bob.statistics.rounds),
        "seconds": seconds,
    }


def _arguments(case: ModelBlock) -> tuple[Any, ...]:
    return (case.settings, case.detections, case.job, *pools())
