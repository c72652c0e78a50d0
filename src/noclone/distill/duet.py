"""A shortcut through Cascade's hundreds of small rounds, for a block whose two parties sit in one process.

In: Bob, who was told the parities of a round of waves, and Alice, who waits for his next message.  Out: both, many
rounds later. Each works at a desk of its own, and nothing but the bits of messages passes between the two; they only do
not come back to Python after each. Every message enters both transcripts, so the tags at the block's end, which cover
all of it, are the same. Where somebody carries the messages, there is no duet.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from noclone.distill.cascade import BITS_AT, ROUND_AT, Answerer, Questioner
from noclone.distill.cascade import HEADER as CASCADE_HEADER
from noclone.distill.messages import ABSORBED, HEADER, LENGTH_AT, SEQUENCE_AT, Conversation, Kind

RECORD_BYTES = 1 << 18  # written down at a time; all waves of a block of 2^22 bits at 2 % say some 190,000
_BODY_AT = ABSORBED.size + HEADER.size
_PLACES = LENGTH_AT, SEQUENCE_AT, _BODY_AT + ROUND_AT, _BODY_AT + BITS_AT, ABSORBED.size


class Duet:
    """Where the two parties of one block find each other; each joins when it begins with Cascade."""

    def __init__(self) -> None:
        self._alice: tuple[Answerer, Conversation] | None = None

    def alice_joins(self, answerer: Answerer, talk: Conversation) -> None:
        """Note Alice's part, and where she keeps the transcript."""
        self._alice = answerer, talk

    def bob_joins(self, questioner: Questioner, talk: Conversation) -> None:
        """Let Bob go on through many rounds wherever he could go through one."""
        # Nothing that he holds may lead back to him: his records would lie about until somebody looks for garbage.
        questioner.play = partial(self._play, talk)

    def _play(self, his: Conversation, bob: Questioner) -> int:
        """Play rounds until something else is due: Bob has then entered what he was told last, and not answered yet.

        Returns:
            How many outcomes he is to tell.
        """
        from noclone.distill.cascade_rounds import DISAGREE, play  # numba: only where it is needed

        assert self._alice is not None
        alice, hers = self._alice
        said = his.head(Kind.QUERY) + bob.head(), hers.head(Kind.ANSWER) + alice.head()
        heads = np.frombuffer(bytearray(b"".join(said)), np.uint8).reshape(2, -1)
        numbers = his.next_sent, hers.next_sent, bob.rounds
        limits = bob.search.last_queries, bob.params.leak_bits_max - bob.leak_bits
        record = np.empty(RECORD_BYTES, np.uint8)
        status, n, found, found_hers, rounds, told, n_last, his_bytes, size = play(
            bob.search.desk, alice.search.desk, heads, _PLACES, numbers, limits, record
        )
        assert status != DISAGREE, "two searches were told the same, and came to different ends"
        passed = record[:size].tobytes()
        frames_bytes = size - 2 * rounds * ABSORBED.size
        his_bytes += rounds * (HEADER.size + CASCADE_HEADER.size)
        for party, talk, sent_bytes in ((bob, his, his_bytes), (alice, hers, frames_bytes - his_bytes)):
            party.went_on(rounds, told)
            talk.went_on(passed, rounds, sent_bytes)
        if rounds:
            alice.search.went_on(0, n_last, found_hers, rounds)
        bob.search.went_on(status, n, found, rounds + 1)
        return int(n_last)
