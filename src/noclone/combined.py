"""The record of a combined block: the QKD blocks that it was made of, if any, and the algorithms beside them.

In: what two KMEs agreed on when they combined key (`kms.exchange`).  Out: what a policy, a formula or an audit asks
of it. JSON values only, no secrets. It stands beside `records.BlockProvenance` and `relayed.RelayProvenance`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from noclone.records import BlockProvenance, Origin, Provenance
from noclone.relayed import WEAKEST_FIRST, BorderProvenance, RelayProvenance

POST_QUANTUM_ONLY = "kem"
EVERLASTING = "everlasting"
ANY_SUITE = "*"

Part = BlockProvenance | RelayProvenance


@dataclass(frozen=True, slots=True)
class CombinedProvenance:
    """What one combined block stands on.

    It has what readers of a `BlockProvenance` need as well: link, block, epsilon, origin, profile, time_s.

    Args:
        link: Name of the virtual link: the two KMEs, joined by "+", in the order of their names.
        block: Number of the block on it.
        initiator: The KME that began the exchange.
        target: The other one.
        exchange: Identifies the one exchange that made it.
        mode: Which combiner; see `crypto.combiners`.
        suite: The KEMs, by the suite's name.
        kems: The same, one by one: all must fall before the exchange does.
        signatures: What authenticated the exchange: all must be forged while it lasts.
        kdf: What made key of the secrets.
        transcript: Hash of everything that was said, public keys and ciphertexts included.
        parts: The QKD blocks that its QKD key was cut from; none without QKD.
        n_bytes: Of the block.
        exchange_epsilon: What the exchange itself adds: the forgery bounds of its one-time tags.
        time_s: When it was made, seconds since 1970.
    """

    link: str
    block: int
    initiator: str
    target: str
    exchange: str
    mode: str
    suite: str
    kems: tuple[str, ...]
    signatures: tuple[str, ...]
    kdf: str
    transcript: str
    parts: tuple[Part, ...]
    n_bytes: int
    exchange_epsilon: float
    time_s: float

    def __post_init__(self) -> None:
        assert self.kems
        assert self.signatures
        assert bool(self.parts) == (self.mode != POST_QUANTUM_ONLY)
        assert len({part.profile for part in self.parts}) <= 1

    @property
    def profile(self) -> str:
        """What policies choose key by: combiner, suite, and how the QKD key came, such as "catkdf:SUITE:paths-2"."""
        return combined_profile(self.mode, self.suite, self.parts[0].profile if self.parts else "")

    @property
    def epsilon(self) -> float:
        """Failure probabilities of everything used, added up. They say nothing about the algorithms."""
        return math.fsum([self.exchange_epsilon, *(part.epsilon for part in self.parts)])

    @property
    def cumulative_epsilon(self) -> float:
        """Those of all its QKD links since they were bootstrapped, and of the exchange, added up."""
        links = {part.link: part.cumulative_epsilon for part in self.parts}
        return math.fsum([self.exchange_epsilon, *links.values()])

    @property
    def origin(self) -> Origin:
        """The worst of its QKD blocks; computed, if it has none."""
        origins = [part.origin for part in self.parts]
        if not origins:
            return Origin("computed", detail="post-quantum")
        kind = min((origin.kind for origin in origins), key=WEAKEST_FIRST.index)
        return Origin(kind, any(origin.seeded for origin in origins), "combined")

    @property
    def nodes(self) -> tuple[str, ...]:
        """The KMEs on the way that handled a share of its QKD key."""
        return tuple(
            dict.fromkeys(node for part in self.parts if isinstance(part, RelayProvenance) for node in part.nodes)
        )

    @property
    def alice(self) -> str:
        """One end of the virtual link."""
        return self.initiator

    @property
    def bob(self) -> str:
        """The other end."""
        return self.target

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "kind": "combined",
            "link": self.link,
            "block": self.block,
            "initiator": self.initiator,
            "target": self.target,
            "exchange": self.exchange,
            "mode": self.mode,
            "suite": self.suite,
            "kems": list(self.kems),
            "signatures": list(self.signatures),
            "kdf": self.kdf,
            "transcript": self.transcript,
            "parts": [part.to_json() for part in self.parts],
            "n_bytes": self.n_bytes,
            "exchange_epsilon": self.exchange_epsilon,
            "time_s": self.time_s,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CombinedProvenance:
        """Rebuild what `to_json` gave."""
        fields = {name: value for name, value in data.items() if name != "kind"}
        parts = tuple(_part_from_json(part) for part in data["parts"])
        texts = {name: tuple(data[name]) for name in ("kems", "signatures")}
        return cls(**{**fields, **texts, "parts": parts})


def combined_profile(mode: str, suite: str, inner: str) -> str:
    """Return the profile of combined blocks; `inner` is how their QKD key comes, nothing without QKD."""
    return f"{mode}:{suite}" + (f":{inner}" if inner else "")


def generic_profile(profile: str) -> str:
    """Return a profile with any suite in place of its own; one without a suite stays as it is."""
    mode, *rest = profile.split(":")
    return combined_profile(mode, ANY_SUITE, ":".join(rest[1:])) if rest else profile


def suite_of(profile: str) -> str | None:
    """Return the suite in a profile; None if it has none."""
    _, *rest = profile.split(":")
    return rest[0] if rest else None


def inner_profile(profile: str) -> str:
    """Return how the QKD key of a profile comes: the profile itself, or what a combined one is made of."""
    _, *rest = profile.split(":")
    return ":".join(rest[1:]) if rest else profile


def provenance_from_json(data: dict[str, Any]) -> Provenance:
    """Rebuild what any kind's `to_json` gave."""
    if data.get("kind") == "border":
        return BorderProvenance.from_json(data, tuple(map(_own_from_json, data["own"])))
    return _own_from_json(data)


def _own_from_json(data: dict[str, Any]) -> CombinedProvenance | Part:
    return CombinedProvenance.from_json(data) if data.get("kind") == "combined" else _part_from_json(data)


def _part_from_json(data: dict[str, Any]) -> Part:
    return RelayProvenance.from_json(data) if data.get("kind") == "relay" else BlockProvenance.from_json(data)


def unbordered(blocks: Iterable[Provenance]) -> Iterator[Provenance]:
    """Return our own blocks: for keys over a border, those with which they crossed our own domain."""
    for block in blocks:
        yield from block.own if isinstance(block, BorderProvenance) else (block,)


def qkd_blocks(blocks: Iterable[Provenance]) -> tuple[Part, ...]:
    """Return every QKD block that some blocks are, or were combined from; of our own domain, where they cross it."""
    out: dict[Part, None] = {}
    for block in unbordered(blocks):
        if isinstance(block, CombinedProvenance):
            out.update(dict.fromkeys(block.parts))
        elif isinstance(block, BlockProvenance | RelayProvenance):
            out[block] = None
    return tuple(out)


def fibre_blocks(blocks: Iterable[Provenance]) -> tuple[BlockProvenance, ...]:
    """Return every fibre's block that some blocks are, or were relayed with, or combined from."""
    out: dict[BlockProvenance, None] = {}
    for block in qkd_blocks(blocks):
        out.update(dict.fromkeys(block.blocks if isinstance(block, RelayProvenance) else (block,)))
    return tuple(out)
