"""The block protocol: Alice and Bob turn one block of detections into one block of secret key.

In: Alice's `Settings`, Bob's `Detections`, the same `BlockJob` at both ends, and each end's authentication pool.
Out: a `BlockResult` each, with the same key; or `BlockAborted` or `ChannelError`, and no key.

    Bob                                  Alice
    HELLO      job, pool, epsilon   ->
                                    <-   HELLO        the same; both now hold a fresh pair of tag keys
    ANNOUNCE*  slots and bases      ->
                                    <-   SIFT*        which match, and their intensities
    CHSH       further outcomes     ->                (only where Bob has further bases, for CHSH)
                                    <-   CHSH         coincidences and agreements
    PAIRS      of key bits          ->                (only where bits are paired: see `pairing`)
                                    <-   PAIRS        which are unlike
    TEST       test-basis values    ->
                                    <-   COUNTS       errors per intensity; error rate and seed for Cascade
                                    <-   ANSWER       (with LDPC codes only: the frames' syndromes)
    QUERY      blocks               ->                (Cascade, again and again; LDPC: frames that failed, a few times)
                                    <-   ANSWER       their parities
    RECONCILED leak                 ->
                                    <-   CONFIRM      hash key and tag of the key
    CONFIRMED  errors corrected     ->                (both now compute the length)
                                    <-   AMPLIFY*     seed; then TAG over everything so far
    TAG        over all of it       ->                Bob releases his key; Alice hers when it verifies

Of continuous variables what lies between HELLO and CONFIRM is another: see `gaussian`; Bob then has no errors to tell.
Both parties are generators that do no input or output: see `messages`. What the order protects, and the last message
that gets lost: docs/public-channel.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import cast

import numpy as np

from noclone.bits import Words, bytes_from_words, words_from_bytes
from noclone.counts import Counts
from noclone.crypto.polynomial_hash import digest
from noclone.distill import chsh, gaussian, pairing
from noclone.distill.authentication import AuthenticationPool
from noclone.distill.cascade import Answerer, Questioner, cascade_bytes_max
from noclone.distill.duet import Duet
from noclone.distill.estimation import errors_by_intensity, pack_numbers, qber_estimate, unpack_numbers
from noclone.distill.greeting import HELLO_BYTES_MAX, Hello
from noclone.distill.job import BlockAborted, BlockJob, BlockResult
from noclone.distill.ldpc import Listener, Teller
from noclone.distill.messages import Kind, Misbehaved, Steps
from noclone.distill.pair_sifting import pack_levels, peer_levels_of, sift_received, sift_sent, split_levels
from noclone.distill.pairing import choose_phases, refuse_told_bits, split_told
from noclone.distill.side import Side, conduct
from noclone.distill.sifting import (
    ANNOUNCEMENT_BYTES_MAX,
    CHUNK,
    Announcement,
    Announcer,
    Sieve,
    answer,
    apply_answer,
    level_bits,
)
from noclone.errors import Aborted, InputError
from noclone.records import U8, U64, AliceRecord, Amplitudes, Basis, Detections, Settings

Party = Steps[BlockResult]
Entropy = Callable[[int], bytes]

SEED_BYTES = 32
HASH_KEY_BYTES = 16
TOTAL = struct.Struct(">Q")
PLAN = struct.Struct(f">d{SEED_BYTES}s")
NUMBER = struct.Struct(">Q")
QUERY, ANSWER, RECONCILED = Kind.QUERY, Kind.ANSWER, Kind.RECONCILED  # by name: hundreds of rounds look them up


def alice(
    settings: AliceRecord,
    job: BlockJob,
    pool: AuthenticationPool,
    *,
    time_s: float = 0.0,
    qber_expected: float | None = None,
    entropy: Entropy = os.urandom,
    begun: bool = False,
    duet: Duet | None = None,
) -> Party:
    """Return Alice's side of one block.

    Args:
        time_s: When the block is distilled; it enters the provenance at both ends.
        qber_expected: Error rate of the key basis in earlier blocks, for Cascade's block sizes.
        entropy: Where hash keys and seeds come from; anything but `os.urandom` is for seeded runs.
        begun: Whether the caller told the pool about this block already, before it told anybody else its number.
        duet: Given to Bob, too, if he sits in this process and nobody is to touch their messages.
    """
    assert pool.role == "alice"
    if not begun:
        pool.begin(job.block)
    elif pool.last_block != job.block:
        raise InputError(f"the pool's last block is {pool.last_block}, and not block {job.block}, which is to run")
    side = _Alice(job, pool, time_s, duet)
    return (yield from _guarded(side, side.run(settings, qber_expected, entropy)))


def bob(
    detections: Detections,
    job: BlockJob,
    pool: AuthenticationPool,
    *,
    entropy: Entropy = os.urandom,
    duet: Duet | None = None,
) -> Party:
    """Return Bob's side of one block.

    Args:
        entropy: Where his pairs come from, if there are any; anything but `os.urandom` is for seeded runs.
        duet: See `alice`.
    """
    assert pool.role == "bob"
    if (detections.link, detections.block, detections.n_slots) != (job.link, job.block, job.n_slots):
        raise InputError(
            f"the detections are of block {detections.block} of {detections.link} with {detections.n_slots} slots, "
            f"the job is block {job.block} of {job.link} with {job.n_slots}"
        )
    pool.begin(job.block)
    side = _Bob(job, pool, 0.0, duet)
    return (yield from _guarded(side, side.run(detections, entropy)))


def _guarded(side: Side, steps: Party) -> Party:
    """Run one side; when it gives up, tell the peer why and keep what was learned; forget the tag keys at any end."""
    talk = side.talk
    try:
        return (yield from steps)
    except BlockAborted:
        raise
    except Aborted as abort:
        yield from talk.tell_abort(abort)
        raise BlockAborted(abort.reason, abort.message, hint=abort.hint, statistics=talk.statistics) from abort
    finally:
        side.close()


class _Alice(Side):
    def run(self, settings: AliceRecord, qber_expected: float | None, entropy: Entropy) -> Party:
        """Run the block."""
        talk = self.talk
        _, data = yield from talk.receive(Kind.HELLO, bytes_max=HELLO_BYTES_MAX)
        ours = Hello.of(self.job, self.pool, self.time_s)
        greeting = self.greet(ours, data)
        yield from talk.send(Kind.HELLO, ours.to_bytes())
        if self.gaussian:
            words, n_bits = yield from gaussian.alices_bits(self, cast(Amplitudes, settings), entropy)
        else:
            words, n_bits = yield from self._bits(cast(Settings, settings), qber_expected, entropy)
        m_key = yield from self._confirm(words, n_bits, entropy)
        length = self.settled(m_key)
        seed = entropy(self.hashes.seed_bytes(n_bits, length.bits))
        yield from talk.send(Kind.AMPLIFY, seed)
        yield from talk.send_tag()
        key: Words = self.hashes.amplify(words, n_bits, seed, length.bits)
        self.statistics.stage = "authentication"
        yield from talk.receive_tag()
        return self.release(key, length, greeting)

    def _bits(self, settings: Settings, qber_expected: float | None, entropy: Entropy) -> Steps[tuple[Words, int]]:
        """Sift, estimate, reconcile; return her bits, and how many they are."""
        sieve = yield from self._sift(settings)
        if self.has_chsh:
            yield from chsh.alices_part(self, settings)
        if self.has_pairs:
            yield from pairing.alices_part(self, sieve)
        counts = yield from self._estimate(sieve)
        words, n_bits = sieve.bits(Basis.KEY), int(sieve.n[Basis.KEY])
        yield from self._reconcile(words, n_bits, qber_estimate(counts, qber_expected), counts, entropy)
        return words, n_bits

    def _sift(self, settings: Settings) -> Steps[Sieve]:
        """Read Bob's announcement, then answer which detections match."""
        talk, n_slots = self.talk, self.job.n_slots
        most = self.detections_max
        bytes_max = ANNOUNCEMENT_BYTES_MAX + TOTAL.size + level_bits(self.told) * CHUNK // 8
        sieve = Sieve.empty(peers=self.peers)
        answers: list[bytes] = []
        previous, announced, total = -1, 0, 1
        room = np.empty(CHUNK, np.uint64)
        while announced < total:
            data = yield from talk.receive_view(Kind.ANNOUNCE, bytes_max=bytes_max)
            if len(data) < TOTAL.size:
                raise Misbehaved("an announcement of detections is truncated")
            total = TOTAL.unpack_from(data)[0]
            said, peer_levels = split_levels(data[TOTAL.size :], self.told)
            chunk = Announcement.read(said, previous, n_slots, room)
            count = len(chunk.slots)
            announced += count
            if total > most:
                raise Misbehaved(f"the peer announces {total} detections, where {most} at most are plausible")
            if total > n_slots or announced > total or (count < CHUNK and announced < total):
                raise Misbehaved(f"the peer announces {announced} of {total} detections in {n_slots} slots")
            if count == 0:
                break
            if not answers:
                sieve = Sieve.empty(total, peers=self.peers)
            previous = int(chunk.slots[-1])
            codes = settings.at(chunk.slots)
            if self.has_phases:
                refuse_told_bits(chunk.bases, peer_levels)
                peer_levels, slices = split_told(peer_levels)
                codes = choose_phases(codes, peer_levels, slices)
            answers.append(answer(chunk, codes, self.levels, sieve))
            if sieve.beside is not None:
                sift_sent(codes, chunk.bases, peer_levels, sieve.beside)
        self.statistics.detections = announced
        self.statistics.stage = "sifting"
        if not announced:
            raise Aborted("too-few-detections", "nothing was detected in this block", hint="is there light at all?")
        for told in answers:
            yield from talk.send(Kind.SIFT, told)
        return sieve

    def _estimate(self, sieve: Sieve) -> Steps[Counts]:
        """Compare the test-basis values that Bob discloses with hers."""
        n_test = int(sieve.n[Basis.TEST])
        _, data = yield from self.talk.receive(Kind.TEST, bytes_max=(n_test + 7) // 8)
        if len(data) != (n_test + 7) // 8:
            raise Misbehaved(f"the peer disclosed {8 * len(data)} test bits of {n_test}")
        shape = self.levels, self.peers
        errors = errors_by_intensity(
            sieve.bits(Basis.TEST), words_from_bytes(data), sieve.levels(Basis.TEST), n_test, *shape
        )
        n_key, n_tested = (sieve.tally(basis, *shape) for basis in (Basis.KEY, Basis.TEST))
        counts = Counts(self.job.n_slots, n_key, n_tested, errors, paired=self.paired)
        self.estimated(counts)
        return counts

    def _reconcile(self, words: Words, n_bits: int, qber: float, counts: Counts, entropy: Entropy) -> Steps[None]:
        """Tell the counts, then answer Bob's questions until he has no more."""
        talk = self.talk
        seed = entropy(SEED_BYTES)
        self.statistics.qber_estimate = qber
        yield from talk.send(
            Kind.COUNTS, PLAN.pack(qber, seed) + pack_numbers(counts.n_key, counts.n_test, counts.m_test)
        )
        codes = self.codes(n_bits, qber, seed)
        answerer: Answerer | Teller
        if codes is None:
            answerer = self.answerer(words, n_bits, qber, seed)
        else:
            answerer = Teller(words, n_bits, codes)
            yield from talk.send(Kind.ANSWER, answerer.opening())
        most = cascade_bytes_max(n_bits)
        while True:
            kind, data = yield from talk.receive(QUERY, RECONCILED, bytes_max=most, brisk=answerer.brisk)
            if kind is RECONCILED:
                break
            yield from talk.send(ANSWER, conduct(answerer.answer, data))
        if data != NUMBER.pack(answerer.leak_bits):
            raise Misbehaved("the two ends do not count the same leak")
        self.reconciled(answerer.leak_bits, answerer.rounds)

    def _confirm(self, words: Words, n_bits: int, entropy: Entropy) -> Steps[tuple[int, ...] | None]:
        """Send a fresh hash of the key; learn from Bob where the errors were, if he is to tell."""
        tag_bits = self.tag_bits(n_bits)
        key = entropy(HASH_KEY_BYTES)
        yield from self.talk.send(Kind.CONFIRM, key + digest(words, n_bits, key, tag_bits))
        _, data = yield from self.talk.receive(Kind.CONFIRMED, bytes_max=8 * self.classes)
        return None if self.gaussian else unpack_numbers(data, 1, self.classes)[0]


class _Bob(Side):
    def run(self, detections: Detections, entropy: Entropy) -> Party:
        """Run the block."""
        talk = self.talk
        ours = Hello.of(self.job, self.pool, self.time_s)
        yield from talk.send(Kind.HELLO, ours.to_bytes())
        _, data = yield from talk.receive(Kind.HELLO, bytes_max=HELLO_BYTES_MAX)
        greeting = self.greet(ours, data)
        m_key = None
        if self.gaussian:
            words, n_bits = yield from gaussian.bobs_bits(self, detections)
            yield from self._confirm(words, n_bits)
            yield from talk.send(Kind.CONFIRMED)
        else:
            words, n_bits, m_key = yield from self._bits(detections.events, entropy)
        seed = yield from talk.receive_view(Kind.AMPLIFY, bytes_max=n_bits // 4 + 2048)
        length = self.settled(m_key)
        due = self.hashes.seed_bytes(n_bits, length.bits)
        if len(seed) != due:
            raise Misbehaved(f"the peer's seed has {len(seed)} bytes, {due} are due")
        key: Words = self.hashes.amplify(words, n_bits, seed, length.bits)
        self.statistics.stage = "authentication"
        yield from talk.receive_tag()
        yield from talk.send_tag()
        return self.release(key, length, greeting)

    def _bits(self, events: U64, entropy: Entropy) -> Steps[tuple[Words, int, tuple[int, ...]]]:
        """Sift, estimate, reconcile, confirm; return his bits, how many they are, and how many errors there were."""
        events, for_chsh = chsh.split_events(events) if self.has_chsh else (events, None)
        sieve = yield from self._sift(events)
        if for_chsh is not None:
            yield from chsh.bobs_part(self, for_chsh)
        if self.has_pairs:
            yield from pairing.bobs_part(self, sieve, entropy)
        qber, seed = yield from self._estimate(sieve)
        n_bits = int(sieve.n[Basis.KEY])
        raw = sieve.bits(Basis.KEY)
        words = yield from self._reconcile(raw, n_bits, qber, seed)
        yield from self._confirm(words, n_bits)
        m_key = errors_by_intensity(raw, words, sieve.levels(Basis.KEY), n_bits, self.levels, self.peers)
        yield from self.talk.send(Kind.CONFIRMED, pack_numbers(m_key))
        return words, n_bits, m_key

    def _sift(self, events: U64) -> Steps[Sieve]:
        """Announce slots and bases, and keep what Alice says matches."""
        self.statistics.detections = len(events)
        total = TOTAL.pack(len(events))
        announced = []
        announcer = Announcer(events)
        for start in range(0, max(len(events), 1), CHUNK):
            pieces, kept = announcer.announce(start)
            announced.append(kept)
            own = b"" if self.peers == 1 else pack_levels(self._levels(events, start), self.told)
            yield from self.talk.send(Kind.ANNOUNCE, total, *pieces, own)
        sieve = Sieve.empty(len(events), peers=self.peers)
        for i, kept in enumerate(announced):
            data = yield from self.talk.receive_view(Kind.SIFT, bytes_max=CHUNK)
            apply_answer(kept, data, self.levels, sieve)
            if sieve.beside is not None:
                levels = self._levels(events, i * CHUNK)
                sift_received(kept, split_told(levels)[0] if self.has_phases else levels, data, sieve.beside)
        self.statistics.stage = "sifting"
        return sieve

    def _levels(self, events: U64, start: int) -> U8:
        """Return what is announced of his intensities in one chunk."""
        return peer_levels_of(events[start : start + CHUNK], of_tests=self.has_phases)

    def _estimate(self, sieve: Sieve) -> Steps[tuple[float, bytes]]:
        """Disclose the test-basis values; check Alice's counts against what she let him sift."""
        n_test = int(sieve.n[Basis.TEST])
        yield from self.talk.send(Kind.TEST, bytes_from_words(sieve.bits(Basis.TEST), n_test))
        size = PLAN.size + 24 * self.classes
        _, data = yield from self.talk.receive(Kind.COUNTS, bytes_max=size)
        if len(data) != size:
            raise Misbehaved("the peer's counts are truncated")
        qber, seed = PLAN.unpack_from(data)
        n_key, n_tested, m_test = unpack_numbers(data[PLAN.size :], 3, self.classes)
        shape = self.levels, self.peers
        ours = sieve.tally(Basis.KEY, *shape), sieve.tally(Basis.TEST, *shape)
        if (n_key, n_tested) != ours or not 0 < qber <= 0.5:
            raise Misbehaved("the peer's counts are not those of what was sifted")
        try:
            counts = Counts(self.job.n_slots, n_key, n_tested, m_test, paired=self.paired)
        except ValueError as error:
            raise Misbehaved(f"the peer's counts are impossible: {error}") from None
        self.statistics.qber_estimate = qber
        self.estimated(counts)
        return qber, seed

    def _reconcile(self, raw: Words, n_bits: int, qber: float, seed: bytes) -> Steps[Words]:
        """Ask Alice for parities until no more errors show."""
        codes = self.codes(n_bits, qber, seed)
        questioner: Questioner | Listener
        if codes is None:
            questioner = self.questioner(raw, n_bits, qber, seed)
            query = questioner.next(None)
        else:
            questioner = Listener(raw, n_bits, codes)
            query = yield from self._listen(questioner, n_bits)
        while query is not None:
            yield from self.talk.send(QUERY, query)
            query = yield from self._listen(questioner, n_bits)
        yield from self.talk.send(Kind.RECONCILED, NUMBER.pack(questioner.leak_bits))
        self.reconciled(questioner.leak_bits, questioner.rounds)
        return questioner.words

    def _listen(self, questioner: Questioner | Listener, n_bits: int) -> Steps[bytes | None]:
        """Wait for what Alice tells, and return what to ask next."""
        most = cascade_bytes_max(n_bits)
        _, reply = yield from self.talk.receive(ANSWER, bytes_max=most, brisk=questioner.brisk)
        return conduct(questioner.next, reply)

    def _confirm(self, words: Words, n_bits: int) -> Steps[None]:
        """Check Alice's hash of her key against the same hash of his."""
        tag_bits = self.tag_bits(n_bits)
        size = HASH_KEY_BYTES + (tag_bits + 7) // 8
        _, data = yield from self.talk.receive(Kind.CONFIRM, bytes_max=size)
        if len(data) != size:
            raise Misbehaved("the peer's confirmation is truncated")
        self.statistics.stage = "confirmation"
        if digest(words, n_bits, data[:HASH_KEY_BYTES], tag_bits) != data[HASH_KEY_BYTES:]:
            raise Aborted(
                "confirmation-failed",
                f"after reconciliation the two keys of {n_bits} bits still differ",
                hint="rare by chance; if it repeats, the error rate is higher than Cascade planned for",
            )
