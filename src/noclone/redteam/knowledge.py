"""What a coalition knows, worked out from what crossed the wire and from what its members betray; no formula is asked.

In: a `Stage` on which keys were made, and the atoms that betray.  Out: the very bytes of the keys that follow, or none.

    link, bootstrap, fibre   betray what the fibre gave, and so every pad that was cut from it
    node                     betrays every pad that passed through its memory
    site                     betrays every key that its applications got
    alg:KEM                  betrays the ephemeral keys behind public keys that were on the wire
    alg:KDF                  betrays what the KDF gave for a transcript that was on the wire

Relays are linear algebra: a share under a pad is their sum, a block is a combination of its shares (`linear`).
Exchanges are a symbolic closure: whoever has all that goes into the combiner computes what both ends computed. An
attacker who forges signatures has to act while a session lasts: see `forgery`.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from noclone.combined import CombinedProvenance
from noclone.crypto.combiners import KDF_NAME, Transcript, combine
from noclone.crypto.kems import suite
from noclone.kms.exchange_messages import Answer, Offer
from noclone.kms.keys import StoredKey
from noclone.kms.naming import name_keys, needs_naming
from noclone.kms.relay_messages import CONFIRMATION_BYTES
from noclone.redteam.linear import Observation, power, value_of
from noclone.redteam.stage import Stage
from noclone.trust.formula import Atom

OF_FIBRES = ("link", "bootstrap", "fibre")
ATOM_BYTES = 32  # what stores cut key into


class Knowledge:
    """What the owners of some atoms have in the end; `pads`: among it the keys that KMEs used themselves, by id."""

    def __init__(self, stage: Stage, betrayed: Collection[Atom]) -> None:
        self._stage = stage
        self._betrayed = frozenset(betrayed)
        self._atoms: set[bytes] = set()
        for atom in self._betrayed:
            if atom.kind in OF_FIBRES:
                self._atoms |= _atoms(stage.fibres[atom.name])
        self.pads: dict[str, bytes] = {}
        for atom in self._betrayed:
            if atom.kind == "node":
                self.pads.update(stage.pads[atom.name])
        self._cut_pads()
        for transfer in _transfers(stage):
            self._atoms |= _atoms(self.relayed(transfer))
        self._cut_pads()
        offers = [heard for heard in stage.heard if heard.operation == "exchange-offer" and heard.answer]
        self._combined = {
            heard.sent["offer"]["exchange"]: self._exchanged(heard.sent, heard.answer) for heard in offers
        }

    def _cut_pads(self) -> None:
        """Note the pads that are made of atoms that she has: where these lie in a block is no secret."""
        for memory in self._stage.pads.values():
            self.pads.update({name: pad for name, pad in memory.items() if _atoms(pad) <= self._atoms})

    def relayed(self, transfer: str) -> bytes:
        """Return a relayed block if it follows from known pads and from what was on the wire; else nothing."""
        messages = [
            heard.sent["message"]
            for heard in self._stage.heard
            if heard.operation == "relay-share" and heard.sent["message"]["header"]["transfer"] == transfer
        ]
        header = messages[0]["header"]
        total = len(header["paths"])
        shares = _shares(header["threshold"], total)
        unknowns = len(shares[0])
        width = unknowns + len(messages)
        observed = []
        for place, message in enumerate(messages, unknowns):
            under_pad = [*shares[message["share"]], *[0] * len(messages)]
            under_pad[place] = 1
            sealed = base64.b64decode(message["data"])
            observed.append(Observation(tuple(under_pad), sealed))
            pad = self.pads.get(message["key_id"])
            if pad is not None:
                alone = [0] * width
                alone[place] = 1
                observed.append(Observation(tuple(alone), pad[-len(sealed) :]))
        found = value_of((*_secret(header["threshold"], total), *[0] * len(messages)), observed)
        return b"" if found is None else found[:-CONFIRMATION_BYTES]

    def _exchanged(self, sent: dict[str, Any], answered: dict[str, Any]) -> bytes:
        """Return the block of an exchange, if all follows that its combiner takes; else nothing."""
        offer, answer = Offer.from_json(sent["offer"]), Answer.from_json(answered["answer"])
        qkd = self.pads.get(offer.key_id)
        if Atom("alg", KDF_NAME) in self._betrayed:
            return self._from_broken_kdf(offer, qkd)
        kems = suite(offer.suite)
        if any(Atom("alg", kem.name) not in self._betrayed for kem in kems) or (offer.mode != "kem" and qkd is None):
            return b""
        secrets = [
            kem.decapsulate(self._stage.ephemeral[public], ciphertext)
            for kem, public, ciphertext in zip(kems, offer.public, answer.ciphertexts, strict=True)
        ]
        said = Transcript(offer.words(), answer.words())
        return bytes(combine(offer.mode, qkd, secrets, said, offer.n_bytes).key)

    def _from_broken_kdf(self, offer: Offer, qkd: bytes | None) -> bytes:
        """Whoever foresees what the KDF gives has the block, but where a QKD key lies over it."""
        block = self._stage.blocks[offer.initiator].get(offer.exchange, b"")
        if not block or offer.mode != "everlasting":
            return block  # none, where the exchange failed
        truth = self._stage.pads[offer.initiator][offer.key_id]
        given = _sum(block, truth)  # what the KDF gave
        return b"" if qkd is None else _sum(given, qkd)

    def knows(self, key: StoredKey, sites: tuple[str, str]) -> bool:
        """Tell whether a delivered key is among what she has: its bytes, found in hers.

        Args:
            sites: Those of the master and the slave.
        """
        if any(Atom("site", site) in self._betrayed for site in sites):
            return True
        if _atoms(key.value) <= self._atoms.union(*map(_atoms, self._combined.values())):
            return True
        named = [one for one in key.provenance if isinstance(one, CombinedProvenance) and needs_naming(one.profile)]
        assert not named or len(key.value) == ATOM_BYTES
        return any(
            key.value == _named(self._stage, atom, key.key_id, sites, one)
            for one in named
            for atom in _atoms(self._combined[one.exchange])
        )


def _atoms(data: bytes) -> set[bytes]:
    """Return the atoms that a store would cut, of a block or of what was cut from one; of nothing, none."""
    return {data[start : start + ATOM_BYTES] for start in range(0, len(data), ATOM_BYTES)}


@lru_cache(maxsize=1 << 16)
def _named(stage: Stage, piece: bytes, key_id: str, sites: tuple[str, str], made: CombinedProvenance) -> bytes:
    promise = stage.promises[key_id]
    """Return what key of this name would come of an atom: all that names it was on the wire."""
    values = name_keys(piece * promise.number, promise, *sites, [made])
    return values[promise.key_ids.index(key_id) * len(piece) :][: len(piece)]


def _transfers(stage: Stage) -> list[str]:
    names = [h.sent["message"]["header"]["transfer"] for h in stage.heard if h.operation == "relay-share"]
    return list(dict.fromkeys(names))


def _shares(threshold: int, total: int) -> list[Sequence[int]]:
    """Return each share as a combination: of all shares for XOR, of a polynomial's coefficients for k of n."""
    if threshold == total:
        return [[int(place == other) for other in range(total)] for place in range(total)]
    return [[power(place + 1, exponent) for exponent in range(threshold)] for place in range(total)]


def _secret(threshold: int, total: int) -> Sequence[int]:
    """Return the block as the same combination: the sum of all shares, or the polynomial's constant term."""
    return [1] * total if threshold == total else [1] + [0] * (threshold - 1)


def _sum(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))
