"""The record of a relayed block: its shares, their paths, and the blocks that their one-time pads were cut from.

In: what the KMEs on the way signed, hop by hop.  Out: what a policy, a trust formula or an audit asks of it. JSON
values only, no secrets. It stands beside `records.BlockProvenance`, and is read where that one is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from noclone.records import BlockProvenance, Origin, Provenance

WEAKEST_FIRST = ("simulated", "recorded", "unknown", "local", "hardware", "computed")


@dataclass(frozen=True, slots=True)
class RelayHop:
    """What one share was sealed with between two neighbours: the blocks that the pad was cut from.

    Args:
        sender: The KME that sealed it, and signed this.
        receiver: The KME that opened it.
        blocks: Of the fibre between them.
        certificate: The sender's, DER in base64.
        signature: Over this hop and all before it, in base64; see `kms.relay_statements`.
    """

    sender: str
    receiver: str
    blocks: tuple[BlockProvenance, ...]
    certificate: str = ""
    signature: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "sender": self.sender,
            "receiver": self.receiver,
            "blocks": [block.to_json() for block in self.blocks],
            "certificate": self.certificate,
            "signature": self.signature,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RelayHop:
        """Rebuild what `to_json` gave."""
        return cls(**{**data, "blocks": tuple(map(BlockProvenance.from_json, data["blocks"]))})


@dataclass(frozen=True, slots=True)
class RelayProvenance:
    """What one relayed block stands on: shares over paths, `threshold` of which give the block.

    It has what readers of a `BlockProvenance` need as well: link, block, epsilon, origin, profile, time_s.

    Args:
        link: Name of the virtual link: the two KMEs, joined by "~", in the order of their names.
        block: Number of the block on it.
        initiator: The KME that drew the block.
        target: The KME that it was relayed to.
        transfer: Identifies the one relay that made it.
        threshold: How many shares it takes: as many as there are, for XOR.
        shares: For each share its hops, in order from the initiator to the target. One that was lost on its way ends
            at the last KME that may have seen it, or has no hop if it never left; that happens only where others are
            enough.
        n_bytes: Of the block as relayed, the part that confirmation burned included.
        relay_epsilon: What the relay itself adds: the forgery bounds of its one-time tags, and the confirmation's.
        time_s: When it was drawn, seconds since 1970.
    """

    link: str
    block: int
    initiator: str
    target: str
    transfer: str
    threshold: int
    shares: tuple[tuple[RelayHop, ...], ...]
    n_bytes: int
    relay_epsilon: float
    time_s: float

    def __post_init__(self) -> None:
        assert 1 <= self.threshold <= len(self.shares)

    @property
    def profile(self) -> str:
        """What policies choose key by: "paths-2", or "shares-2-3" for any two of three."""
        return relay_profile(self.threshold, len(self.shares))

    @property
    def blocks(self) -> tuple[BlockProvenance, ...]:
        """Every fibre's block that it stands on, once."""
        return tuple(dict.fromkeys(block for hops in self.shares for hop in hops for block in hop.blocks))

    @property
    def nodes(self) -> tuple[str, ...]:
        """The KMEs on the way, which handled a share in the clear; the two ends are none of them."""
        receivers = [hop.receiver for hops in self.shares for hop in hops]
        return tuple(dict.fromkeys(receiver for receiver in receivers if receiver != self.target))

    @property
    def epsilon(self) -> float:
        """Failure probabilities of everything used, added up."""
        return math.fsum([self.relay_epsilon, *(block.epsilon for block in self.blocks)])

    @property
    def cumulative_epsilon(self) -> float:
        """Those of all links that it crossed since they were bootstrapped, and of the relay, added up."""
        links: dict[str, float] = {}
        for block in self.blocks:
            links[block.link] = max(links.get(block.link, 0.0), block.cumulative_epsilon)
        return math.fsum([self.relay_epsilon, *links.values()])

    @property
    def origin(self) -> Origin:
        """The worst of what it stands on."""
        origins = [block.origin for block in self.blocks]
        kind = min((origin.kind for origin in origins), key=WEAKEST_FIRST.index)
        return Origin(kind, any(origin.seeded for origin in origins), "relayed")

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
            "kind": "relay",
            "link": self.link,
            "block": self.block,
            "initiator": self.initiator,
            "target": self.target,
            "transfer": self.transfer,
            "threshold": self.threshold,
            "shares": [[hop.to_json() for hop in hops] for hops in self.shares],
            "n_bytes": self.n_bytes,
            "relay_epsilon": self.relay_epsilon,
            "time_s": self.time_s,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RelayProvenance:
        """Rebuild what `to_json` gave."""
        fields = {name: value for name, value in data.items() if name != "kind"}
        shares = tuple(tuple(map(RelayHop.from_json, hops)) for hops in data["shares"])
        return cls(**{**fields, "shares": shares})


def relay_profile(threshold: int, shares: int) -> str:
    """Return the profile of blocks that are relayed in so many shares, `threshold` of which are needed."""
    return f"paths-{shares}" if threshold == shares else f"shares-{threshold}-{shares}"


@dataclass(frozen=True, slots=True)
class BorderProvenance:
    """What keys stand on that are shared with an application in another operator's domain, as far as we can know.

    They passed the border in the clear, inside TLS within one secure site, and what the other domain does with them is
    its own affair: it tells neither its nodes, nor its light, nor an epsilon.

    Args:
        link: Name of the way: our two KMEs, and the domain.
        block: Number of the transfer on it.
        site: Our KME that serves the application on this side.
        gate: Our KME at the border.
        domain: The other operator's.
        peer: Its KME at the border.
        own: The blocks that the pad was cut from with which they crossed our own domain; none where site is gate.
        carry_epsilon: Forgery bound of the one-time tag on that way.
        time_s: When they were drawn, or came, seconds since 1970.
    """

    link: str
    block: int
    site: str
    gate: str
    domain: str
    peer: str
    own: tuple[Provenance, ...]
    carry_epsilon: float
    time_s: float

    @property
    def profile(self) -> str:
        """What policies would choose key by; no policy speaks for two domains."""
        return "border"

    @property
    def epsilon(self) -> float:
        """1: what happens in the other domain has no number that is known here."""
        return 1.0

    @property
    def cumulative_epsilon(self) -> float:
        """1, as well."""
        return 1.0

    @property
    def origin(self) -> Origin:
        """The worst of our own part, and nothing better than unknown."""
        origins = [Origin("unknown"), *(block.origin for block in self.own)]
        kind = min((origin.kind for origin in origins), key=WEAKEST_FIRST.index)
        return Origin(kind, any(origin.seeded for origin in origins), f"crossed into the domain {self.domain}")

    @property
    def alice(self) -> str:
        """One of our ends."""
        return self.gate

    @property
    def bob(self) -> str:
        """The other one."""
        return self.site

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        fields = ("link", "block", "site", "gate", "domain", "peer", "carry_epsilon", "time_s")
        values = {name: getattr(self, name) for name in fields}
        return {"kind": "border", **values, "own": [block.to_json() for block in self.own]}

    @classmethod
    def from_json(cls, data: dict[str, Any], own: tuple[Provenance, ...]) -> BorderProvenance:
        """Rebuild what `to_json` gave, but for our own blocks in it, of whatever kind they are."""
        fields = {name: value for name, value in data.items() if name != "kind"}
        return cls(**{**fields, "own": own})


DOMAIN = "domain:"


def far_end(domain: str) -> str:
    """Return what stands for the far site of a key that is shared with somebody in another operator's domain."""
    return f"{DOMAIN}{domain}"
