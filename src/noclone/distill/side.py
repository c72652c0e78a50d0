"""What Alice and Bob do alike in a block: greet, weigh the counts, count the leak, settle the length, release the key.

In: what the two of them told each other (see `parties` for the order).  Out: one `BlockResult`, equal at both ends but
for what each sent and received.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from noclone.bits import Words, bytes_from_words, take
from noclone.counts import Counts, Paired
from noclone.crypto.polynomial_hash import tag_bits_for
from noclone.distill import amplification, binary_toeplitz, ldpc
from noclone.distill.authentication import PAIR_BITS, AuthenticationPool
from noclone.distill.cascade import Answerer, CascadeParameters, Questioner, plan
from noclone.distill.duet import Duet
from noclone.distill.estimation import leak_factor
from noclone.distill.greeting import Greeting, Hello, compare
from noclone.distill.job import BlockJob, BlockResult, BlockStatistics
from noclone.distill.messages import Conversation, Misbehaved, epsilon_of
from noclone.errors import Aborted, ChannelError, InputError
from noclone.proofs.agreement import screen, settle
from noclone.proofs.gaussian_key import figures
from noclone.proofs.keylength import KeyLength
from noclone.protocols import PHASE_SLICES, EntangledPairs, GaussianModulation, SendOrNot
from noclone.records import BlockProvenance, SecretKey

T = TypeVar("T")

HASHES = {module.FAMILY: module for module in (amplification, binary_toeplitz)}

KEY_BITS_MIN = 128  # below that no proof gives a key, and Cascade has nothing to divide


def conduct(step: Callable[[bytes], T], message: bytes) -> T:
    """Take one step of reconciliation; what is wrong with the message is a verdict about the peer, who is told."""
    try:
        return step(message)
    except ChannelError as error:
        raise Misbehaved(error.message) from None


class Side:
    """What both sides do alike."""

    def __init__(self, job: BlockJob, pool: AuthenticationPool, time_s: float, duet: Duet | None) -> None:
        self.job = job
        self.duet = duet
        self.pool = pool
        self.statistics = BlockStatistics(job.link, job.block, pool.role)
        self.talk = Conversation(pool.role, self.statistics)
        self.time_s = time_s
        self.levels, self.peers = job.protocol.levels, job.protocol.peer_levels
        self.classes = self.levels * self.peers
        self.has_chsh = isinstance(job.protocol, EntangledPairs) and job.protocol.p_chsh > 0
        self.has_phases = isinstance(job.protocol, SendOrNot)
        self.has_pairs = isinstance(job.protocol, SendOrNot) and job.protocol.pairing == "aopp"
        self.told = 4 * PHASE_SLICES if self.has_phases else self.peers  # what Bob tells of a slot: one of so many
        self.paired: Paired | None = None
        self.gaussian = isinstance(job.protocol, GaussianModulation)
        self.hashes = HASHES[job.amplification]

    def close(self) -> None:
        """Forget the tag keys; the block is not under way any more."""
        self.talk.close()
        self.pool.conclude(self.job.block)

    @property
    def detections_max(self) -> int:
        """How many detections the peer may announce: what waits for the last of them fills memory until then."""
        most = self.job.detections_max
        return self.job.n_slots if most is None else min(most, self.job.n_slots)

    def greet(self, ours: Hello, theirs: bytes) -> Greeting:
        """Check the peer's hello against ours, and take a fresh pair of tag keys."""
        hello = Hello.read(theirs)
        greeting = compare(ours, hello)
        self.talk.arm(self.pool.reserve(ours.marks, hello.marks, self.job.block))
        self.statistics.authentication_bits = PAIR_BITS
        return greeting

    def estimated(self, counts: Counts) -> None:
        """Note the counts, and give up before reconciliation where they already allow no key.

        With one decoy the key basis' errors enter the length and are not known yet; none at all is the best case.
        """
        self.statistics.counts = counts
        self.statistics.stage = "parameter estimation"
        if min(counts.key_total, counts.test_total) < KEY_BITS_MIN:
            raise Aborted(
                "too-few-detections",
                f"{counts.key_total} detections in the key basis and {counts.test_total} in the test basis are left; "
                f"each must give {KEY_BITS_MIN} at least",
            )
        self._figure()
        screen(self.job.agreement, counts)
        settle(self.job.agreement, replace(counts, m_key=(0,) * self.classes), 0)

    def tag_bits(self, n_bits: int) -> int:
        """Return how long the confirmation tag is: what was agreed, if that is enough for so many bits."""
        agreed = self.job.agreement.confirmation_bits
        needed = tag_bits_for(n_bits, self.job.epsilons.correctness)
        if needed > agreed:
            raise InputError(
                f"a confirmation tag of {agreed} bits was agreed, but {n_bits} sifted bits need {needed}",
                hint="agree on more confirmation bits, or on shorter blocks",
            )
        self.statistics.confirmation_bits = agreed
        return agreed

    def cascade(self, n_bits: int, qber: float, seed: bytes) -> CascadeParameters:
        """Return what both sides of Cascade must hold alike."""
        return plan(n_bits, qber, seed, leak_bits_max=self.job.agreement.leak_bits_max)

    def answerer(self, words: Words, n_bits: int, qber: float, seed: bytes) -> Answerer:
        """Return Alice's part in Cascade."""
        answerer = Answerer(words, n_bits, self.cascade(n_bits, qber, seed))
        if self.duet is not None:
            self.duet.alice_joins(answerer, self.talk)
        return answerer

    def questioner(self, words: Words, n_bits: int, qber: float, seed: bytes) -> Questioner:
        """Return Bob's part in Cascade."""
        questioner = Questioner(words, n_bits, self.cascade(n_bits, qber, seed))
        if self.duet is not None:
            self.duet.bob_joins(questioner, self.talk)
        return questioner

    def codes(self, n_bits: int, qber: float, seed: bytes) -> ldpc.LdpcParameters | None:
        """Return the same for LDPC codes; None where Cascade was agreed on, or no code fits."""
        if self.job.reconciliation != "ldpc":
            return None
        return ldpc.plan(n_bits, qber, seed, leak_bits_max=self.job.agreement.leak_bits_max)

    def reconciled(self, leak_bits: int, rounds: int) -> None:
        """Note what reconciliation cost; the one place where the leak is counted."""
        self.statistics.stage = "reconciliation"
        self.statistics.leak_bits = leak_bits
        self._figure(leak_bits)
        self.statistics.cascade_rounds = rounds

    def _figure(self, leak_bits: int | None = None) -> None:
        """Note what the moments of continuous variables mean, once it is known what reconciliation told."""
        protocol, counts = self.job.protocol, self.statistics.counts
        if isinstance(protocol, GaussianModulation) and counts is not None:
            tag_bits = self.job.agreement.confirmation_bits
            self.statistics.figures = figures(counts, protocol, self.job.epsilons, leak_bits, tag_bits)

    def settled(self, m_key: tuple[int, ...] | None) -> KeyLength:
        """Return the length; both sides compute it from the same numbers.

        Args:
            m_key: Errors of the key basis; None where values are no bits, and nobody counts them.
        """
        counts = self.statistics.counts
        assert counts is not None
        if m_key is not None:
            try:
                counts = replace(counts, m_key=m_key)
            except ValueError as error:
                raise Misbehaved(f"the peer's error counts are impossible: {error}") from None
            self.statistics.counts = counts
            self.statistics.corrected = sum(m_key)
            found = leak_factor(self.statistics.leak_bits, counts.key_total, counts.qber_key or 0.0)
            self.statistics.leak_factor = found
        self.statistics.stage = "key length"
        length = settle(
            self.job.agreement, counts, self.statistics.leak_bits, confirmation_bits=self.statistics.confirmation_bits
        )
        self.statistics.length = length
        return length

    def release(self, key: Words, length: KeyLength, greeting: Greeting) -> BlockResult:
        """Refill the pool and hand out the rest, after the last tag was checked."""
        job, statistics = self.job, self.statistics
        refill_bits = job.refill.refill_bits(length.bits, greeting.common_bits)
        statistics.refill_bits = refill_bits
        statistics.epsilon = epsilon_of(job.epsilons, self.talk.transcript_bytes)
        statistics.cumulative_epsilon = greeting.cumulative_epsilon + statistics.epsilon
        statistics.stage = "released"
        provenance = BlockProvenance(
            link=job.link,
            alice=job.alice,
            bob=job.bob,
            block=job.block,
            protocol=self.job.protocol.NAME,
            origin=job.origin,
            proof=length.proof,
            statement=length.statement,
            epsilon=statistics.epsilon,
            cumulative_epsilon=statistics.cumulative_epsilon,
            bootstrap=job.bootstrap,
            time_s=greeting.time_s,
        )
        refill = bytes_from_words(take(key, 0, refill_bits), refill_bits)
        rest = length.bits - refill_bits
        secret = SecretKey(take(key, refill_bits, rest), rest, provenance)
        self.pool.deposit(job.block, refill, statistics.cumulative_epsilon)
        return BlockResult(secret, statistics, greeting.peer_holds)
