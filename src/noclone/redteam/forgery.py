"""A forger in the middle of an exchange: she signs in both KMEs' names, and each of them talks to her alone.

In: which signature algorithms she forges, the QKD keys that she has.  Out: the keys that either end then holds with
her, if any. She puts public keys of her own into the offer and ciphertexts of her own into the answer. A signature that
she cannot forge, or a one-time tag under a QKD key that she has not, ends it (`kms.exchange`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from noclone.crypto.combiners import Combined, Transcript, combine, qkd_bytes
from noclone.crypto.kems import PrivateKeys, encapsulate
from noclone.kms import files as kme_files
from noclone.kms.exchange_messages import ANSWER, OFFER, Answer, Offer, digest
from noclone.kms.relay_statements import Notary
from noclone.network.identities import load_kme
from noclone.redteam.stage import Forward, Stage


class Forger:
    """Sits in the middle of every exchange on a stage.

    Args:
        forges: The algorithms whose signatures she makes as she likes.
        pads: QKD keys that she has, by id.

    `keys` holds what she computed for either end: exchange and KME -> block.
    """

    def __init__(self, stage: Stage, forges: Collection[str], pads: Mapping[str, bytes]) -> None:
        self.keys: dict[tuple[str, str], bytes] = {}
        self._stage = stage
        self._forges = frozenset(forges)
        self._pads = pads
        self._tags: dict[str, bytes] = {}

    async def middle(
        self, sender: str, receiver: str, operation: str, sent: dict[str, Any], forward: Forward
    ) -> dict[str, Any]:
        """Stand between two KMEs; what is no exchange passes."""
        if operation == "exchange-done":
            return await forward({**sent, "tag": self._tags[sent["exchange"]].hex()})
        if operation != "exchange-offer":
            return await forward(sent)
        theirs = Offer.from_json(sent["offer"])
        own = PrivateKeys(theirs.suite)
        hers = replace(theirs, public=own.public)
        hers = replace(hers, signatures=self._sign(sender, OFFER, hers.statement()))
        answered = Answer.from_json((await forward({"offer": hers.to_json()}))["answer"])
        with_target = self._combined(hers, answered, own.open(answered.ciphertexts))
        self._tags[theirs.exchange] = with_target.initiator_tag
        secrets, ciphertexts = encapsulate(theirs.suite, theirs.public)
        answer = Answer(digest(theirs), ciphertexts)
        answer = replace(answer, signatures=self._sign(receiver, ANSWER, answer.statement()))
        with_initiator = self._combined(theirs, answer, secrets)
        self.keys[theirs.exchange, sender] = bytes(with_initiator.key)
        self.keys[theirs.exchange, receiver] = bytes(with_target.key)
        return {"answer": replace(answer, tag=with_initiator.target_tag).to_json()}

    def _sign(self, name: str, domain: bytes, statement: bytes) -> tuple[list[str], ...]:
        """Sign in somebody's name: as he would where she forges that algorithm, and with noise where not."""
        notaries = kme_files.notaries(name, load_kme(self._stage.folder / "pki", name).files())
        signers = [notaries[algorithm] for algorithm in self._stage.exchanges[name].signers.algorithms]
        return tuple(list(self._signature(notary, domain, statement)) for notary in signers)

    def _signature(self, notary: Notary, domain: bytes, statement: bytes) -> tuple[str, str]:
        said = statement if notary.algorithm in self._forges else os.urandom(32)
        return notary.sign(said, domain)

    def _combined(self, offer: Offer, answer: Answer, secrets: tuple[bytes, ...]) -> Combined:
        """Combine as the end does that she talks to; a QKD key that she has not is guessed."""
        size = qkd_bytes(offer.mode, offer.n_bytes)
        qkd = self._pads.get(offer.key_id, os.urandom(size)) if size else None
        return combine(offer.mode, qkd, secrets, Transcript(offer.words(), answer.words()), offer.n_bytes)
