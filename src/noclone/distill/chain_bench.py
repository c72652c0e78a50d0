"""How fast the whole chain is: sifting, estimation, Cascade, confirmation, amplification, authentication, both parties.

In: nothing but sizes; the detections are drawn from a plain model of a decoy-state link, not simulated light.
Out: megabits of sifted and of secret key per second, both ends' work included, on one core and on more.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np

from noclone.counts import Counts
from noclone.distill.authentication import AuthenticationPool
from noclone.distill.duet import Duet
from noclone.distill.job import BlockAborted, BlockJob, BlockResult, Reconciliation, RefillPolicy, agreed_tag_bits
from noclone.distill.lanes import BlockInput, distill_blocks
from noclone.distill.messages import Kind
from noclone.distill.parties import Party, alice, bob
from noclone.distill.session import DistilledBlock, converse
from noclone.kernels import kernel
from noclone.process import prepare_to_compute
from noclone.proofs.agreement import agree
from noclone.proofs.epsilon import Epsilons
from noclone.records import U8, U64, DecoyBB84, Detections, Origin, Settings

# One decoy, as in Rusca et al. 2018 (Appl. Phys. Lett. 112, 171104); enough test bits for blocks of a few million.
PROTOCOL = DecoyBB84(intensities=(0.5, 0.1), probabilities=(0.6, 0.4), p_key_alice=0.8, p_key_bob=0.8)
EPSILONS = Epsilons(secrecy=1e-10, correctness=1e-12)


EFFICIENCY = 1.12  # over Shannon's limit: the leak that is agreed on, and charged in full
TABLE_SLOTS = 1 << 20
TOGETHER_S = 120.0  # that processes wait for each other: the slowest may be compiling
_TOGETHER: Barrier | None = None  # in a process of `_rates_of_processes`


@dataclass(frozen=True, slots=True)
class ListedSettings:
    """Alice's settings as a table with one code for each of 2^20 slots, over and over."""

    codes: U8

    def at(self, slots: U64) -> U8:
        """Return one code per slot."""
        codes = np.empty(len(slots), np.uint8)
        look_up(self.codes, slots, codes)
        return codes


@kernel
def look_up(table, slots, codes):  # type: ignore[no-untyped-def]
    """Look up every slot in a table whose length is a power of two."""
    last = np.uint64(len(table) - 1)
    for i in range(len(slots)):
        codes[i] = table[slots[i] & last]


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
    settings = _table(rng, protocol.p_key_alice, gains / gains.sum())
    codes = settings.at(slots)
    bob_basis = (rng.random(n_detections) > protocol.p_key_bob).astype(np.uint8)
    wrong = rng.random(n_detections) < np.where(codes >> 1 & 1 == bob_basis, qber, 0.5)
    events = (
        slots << np.uint64(16) | (codes & 1 ^ wrong).astype(np.uint64) | bob_basis.astype(np.uint64) << np.uint64(1)
    )
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
    return ModelBlock(settings, Detections("alder-birch", block, n_slots, 1e9, events, origin), job)


def _table(rng: np.random.Generator, p_key: float, shares: np.ndarray[Any, Any]) -> ListedSettings:
    """Return settings as they are where something is detected: shares are met to one slot, order and values random.

    Drawn at random, the shares of a table would differ from what a large block agrees on by more than luck allows.
    """
    ends = np.cumsum(np.outer((p_key, 1 - p_key), shares).ravel()) * TABLE_SLOTS
    kinds = np.searchsorted(ends[:-1], np.arange(TABLE_SLOTS) + 0.5)
    codes = (kinds // len(shares) << 1 | kinds % len(shares) << 2 | rng.integers(0, 2, TABLE_SLOTS)).astype(np.uint8)
    rng.shuffle(codes)
    return ListedSettings(codes)


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


STAGES = {
    Kind.HELLO: "greeting",
    Kind.ANNOUNCE: "sifting",
    Kind.SIFT: "sifting",
    Kind.TEST: "estimation",
    Kind.COUNTS: "estimation",
    Kind.QUERY: "reconciliation",
    Kind.ANSWER: "reconciliation",
    Kind.RECONCILED: "reconciliation",
    Kind.CONFIRM: "confirmation",
    Kind.CONFIRMED: "confirmation",
    Kind.AMPLIFY: "amplification",
    Kind.TAG: "amplification",
}


def bench_chain(
    n_detections: int = 6_500_000,
    *,
    qber: float = 0.02,
    threads: Sequence[int] = (1, 2),
    blocks: int = 4,
    processes: int = 2,
) -> dict[str, Any]:
    """Return megabits per second of both parties' work: of one block by stage, and of blocks side by side.

    Args:
        n_detections: Of each block.
        threads: How many blocks of a link are under way at a time, each in a thread, for each figure.
        blocks: How many are distilled for each figure; it is the best of two runs.
        processes: How many links there are at a time, each in a process with one thread, for one figure more.
    """
    prepare_to_compute()
    cases = _cases(n_detections, qber, blocks)
    stage_seconds(cases[0])  # compiles, and touches the memory
    stages, done = min((stage_seconds(cases[0]) for _ in range(3)), key=lambda one: sum(one[0].values()))
    counts = done.bob.statistics.counts
    assert counts is not None
    rates = {str(count): max((_rates(cases, count) for _ in range(2)), key=_sifted) for count in threads}
    return {
        "detections": n_detections,
        "qber": qber,
        "sifted_bits": counts.key_total,
        "secret_bits": done.bob.key.n_bits + done.bob.statistics.refill_bits,
        "leak_factor": done.bob.statistics.leak_factor,
        "rounds": done.bob.statistics.rounds,
        "stage_ns_per_sifted_bit": {name: 1e9 * s / counts.key_total for name, s in stages.items()},
        "by_threads": rates,
        "by_processes": {str(processes): _rates_of_processes(processes, n_detections, qber, blocks)},
        **next(iter(rates.values())),
    }


def _cases(n_detections: int, qber: float, blocks: int) -> list[ModelBlock]:
    return [
        model_block(n_detections, qber=qber, seed=block, block=block, efficiency=EFFICIENCY) for block in range(blocks)
    ]


def _rates_of_processes(processes: int, n_detections: int, qber: float, blocks: int) -> dict[str, float]:
    """Return what links give that share nothing but the machine."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, _meet, (together,)) as pool:
        work = [pool.submit(_one_link, n_detections, qber, blocks) for _ in range(processes)]
        links = [one.result() for one in work]
    return {name: sum(link[name] for link in links) for name in links[0]}


def _meet(barrier: Barrier) -> None:
    global _TOGETHER
    _TOGETHER = barrier


def _one_link(n_detections: int, qber: float, blocks: int) -> dict[str, float]:
    """Return the rates of one link, while the others are at it, too: of the best of two runs that begin together."""
    assert _TOGETHER is not None
    prepare_to_compute()
    cases = _cases(n_detections, qber, blocks)
    stage_seconds(cases[0])
    found = []
    for _ in range(2):
        _TOGETHER.wait(TOGETHER_S)
        found.append(_rates(cases, 1))
    return max(found, key=_sifted)


def _sifted(rates: dict[str, float]) -> float:
    return rates["sifted_mbps"]


def _rates(cases: Sequence[ModelBlock], threads: int) -> dict[str, float]:
    inputs = [BlockInput(case.settings, case.detections, case.job) for case in cases]
    start = time.perf_counter()
    outcomes = list(distill_blocks(inputs, *pools(), threads=threads))
    seconds = time.perf_counter() - start
    sifted = secret = 0
    for outcome in outcomes:
        if isinstance(outcome, BlockAborted):
            raise outcome
        statistics = outcome.bob.statistics
        sifted += statistics.counts.key_total if statistics.counts else 0
        secret += outcome.bob.key.n_bits + statistics.refill_bits
    return {"sifted_mbps": sifted / seconds / 1e6, "secret_mbps": secret / seconds / 1e6}


def stage_seconds(case: ModelBlock) -> tuple[dict[str, float], DistilledBlock]:
    """Distil one block in this thread, and return how long both parties computed in each stage.

    What it takes to authenticate a message counts to the message's stage; Alice's settings, which a simulation works
    out and a device reads, have one of their own.
    """
    seconds = dict.fromkeys(("greeting", "settings", *STAGES.values()), 0.0)
    pool_a, pool_b = pools()
    settings, duet = _TimedSettings(case.settings, seconds), Duet()
    at_alice, at_bob = converse(
        _timed(alice(settings, case.job, pool_a, duet=duet), seconds),
        _timed(bob(case.detections, case.job, pool_b, duet=duet), seconds),
    )
    if at_alice.result is None or at_bob.result is None:
        raise at_alice.error or at_bob.error or AssertionError
    seconds["sifting"] -= seconds["settings"]
    return seconds, DistilledBlock(at_alice.result, at_bob.result)


@dataclass(frozen=True, slots=True)
class _TimedSettings:
    settings: Settings
    seconds: dict[str, float]

    def at(self, slots: U64) -> U8:
        start = time.perf_counter()
        codes = self.settings.at(slots)
        self.seconds["settings"] += time.perf_counter() - start
        return codes


def _timed(party: Party, seconds: dict[str, float]) -> Party:
    """Run a party, and book each of its steps to the message that it made, else to the last that came or went."""
    stage = "greeting"
    reply: Any = None
    while True:
        start = time.perf_counter()
        try:
            message = party.send(reply)
        except StopIteration as stop:
            seconds[stage] += time.perf_counter() - start
            result: BlockResult = stop.value
            return result
        stage = STAGES[Kind(message[0])] if message else stage
        seconds[stage] += time.perf_counter() - start
        reply = yield message
        if not message:
            stage = STAGES[Kind(reply[0])]
        elif message[0] == Kind.COUNTS:
            stage = "reconciliation"  # Alice makes ready for it
