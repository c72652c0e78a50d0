"""What every KME knows of all links: who is up, how much key is stored, how fast it comes. For routing, not for trust.

In: the state of our own links, records of other KMEs.  Out: a view of the whole network. As in OSPF (RFC 2328), each
KME describes its own links alone, numbers its records, and hands on those that are newer than what it had; each is
signed by its origin (as RFC 2154 has it), so that nobody can speak for another. A KME that lies about its own links can
attract or repel relays, as it can by dropping them; it cannot make a key leak to more than its formula says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from noclone.errors import NocloneError
from noclone.kms.relay_messages import canonical, is_name
from noclone.kms.relay_statements import Notary

RECORDS_PER_CALL_MAX = 64
LINKS_MAX = 256
AHEAD_S = 600.0  # how far another KME's clock may be ahead of ours
SPACING_MS = 100  # nobody's state is believed to change more often than this
BITS_MAX = 1 << 53
REPORT_CHARACTERS_MAX = 1 << 16
NOISE_BITS = 4096  # a change that is less than this is none, however large it is in proportion


@dataclass(frozen=True, slots=True)
class LinkReport:
    """One end's word about a link.

    Args:
        peer: The KME at the other end.
        up: Whether it can be called.
        ready_bits: Key that relays from this end can use now.
        rate_bps: Key that the fibre makes, both directions together.
    """

    peer: str
    up: bool
    ready_bits: int
    rate_bps: float

    def to_json(self) -> list[Any]:
        """Return plain JSON values."""
        return [self.peer, self.up, self.ready_bits, self.rate_bps]

    @classmethod
    def from_json(cls, data: Any) -> LinkReport:
        """Check and rebuild what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case [str(peer), bool(up), int(ready), int(rate) | float(rate)] if is_name(peer):
                if isinstance(ready, bool) or not 0 <= ready <= BITS_MAX or not 0 <= rate <= BITS_MAX:
                    raise ValueError("a link's numbers are out of range")
                return cls(peer, up, ready, float(rate))
        raise ValueError("a link's report is [peer, up, ready bits, rate]")


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One KME's word about all of its links.

    Args:
        number: Rises with each report: milliseconds since 1970 when it was made.
    """

    origin: str
    number: int
    links: tuple[LinkReport, ...]
    certificate: str = field(default="", repr=False)
    signature: str = field(default="", repr=False)

    def is_news(self, before: NodeReport | None) -> bool:
        """Say whether routes may be others than with the report before: a link came, went, or has much more or less."""
        if before is None or [link.peer for link in before.links] != [link.peer for link in self.links]:
            return True
        for old, new in zip(before.links, self.links, strict=True):
            more, less = max(old.ready_bits, new.ready_bits), min(old.ready_bits, new.ready_bits)
            if old.up != new.up or more > 2 * less + NOISE_BITS:
                return True
        return False

    def statement(self) -> bytes:
        """Return what the origin signs."""
        return canonical(["noclone-link-state-1", self.origin, self.number, [link.to_json() for link in self.links]])

    def to_text(self) -> str:
        """Return it as JSON text."""
        return _text(self)

    @classmethod
    def from_text(cls, text: str) -> NodeReport:
        """Check and rebuild what `to_text` gave.

        Raises:
            ValueError: It is something else.
        """
        return _report(text)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "origin": self.origin,
            "number": self.number,
            "links": [link.to_json() for link in self.links],
            "certificate": self.certificate,
            "signature": self.signature,
        }

    @classmethod
    def from_json(cls, data: Any) -> NodeReport:
        """Check and rebuild what `to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        match data:
            case {
                "origin": str(origin),
                "number": int(number),
                "links": [*links],
                "certificate": str(certificate),
                "signature": str(signature),
            } if is_name(origin) and len(links) <= LINKS_MAX and 0 <= number < 1 << 53:
                if len(certificate) > 16_384 or len(signature) > 16_384:
                    raise ValueError("a certificate or a signature is too long")
                return cls(origin, number, tuple(map(LinkReport.from_json, links)), certificate, signature)
        raise ValueError("a node's report lacks a field, or has one of the wrong type")


# Where many nodes share a process, each hears what all others have heard: it is read, and put in words to check, once.
@lru_cache(maxsize=4096)
def _report(text: str) -> NodeReport:
    if len(text) > REPORT_CHARACTERS_MAX:
        raise ValueError("a node's report is too long")
    try:
        return NodeReport.from_json(json.loads(text))
    except RecursionError:
        raise ValueError("a node's report is no report") from None


@lru_cache(maxsize=4096)
def _text(report: NodeReport) -> str:
    return json.dumps(report.to_json(), separators=(",", ":"))


@lru_cache(maxsize=4096)
def _statement(report: NodeReport) -> bytes:
    return report.statement()


class LinkStates:
    """What one KME has heard of all.

    Args:
        notary: Signs for us, and checks what others signed.
        neighbours: Of each KME, those that a fibre joins it with: nobody is believed beyond that.
        lifetime_s: A KME that was not heard of for this long is taken for dead.
    """

    def __init__(self, notary: Notary, neighbours: Mapping[str, Iterable[str]], lifetime_s: float) -> None:
        self._notary = notary
        self._neighbours = {name: frozenset(others) for name, others in neighbours.items()}
        self._lifetime_s = lifetime_s
        self._reports: dict[str, tuple[NodeReport, float]] = {}

    @property
    def name(self) -> str:
        """Whose view this is."""
        return self._notary.name

    @property
    def neighbours(self) -> Mapping[str, frozenset[str]]:
        """Of each KME of the network, those that a fibre joins it with."""
        return self._neighbours

    def report(self, origin: str) -> NodeReport | None:
        """Return the newest report of a KME."""
        known = self._reports.get(origin)
        return None if known is None else known[0]

    def has(self, origin: Any, number: Any) -> bool:
        """Say whether a report, as somebody describes it, is no newer than what we have."""
        known = self._reports.get(origin) if isinstance(origin, str) else None
        return known is not None and isinstance(number, int) and number < known[0].number + SPACING_MS

    def describe(self, links: Iterable[LinkReport], now_s: float) -> NodeReport:
        """Make and keep a new report of our own links."""
        name = self._notary.name
        known = self._reports.get(name)
        number = max(int(1000 * now_s), known[0].number + SPACING_MS if known else 0)
        report = NodeReport(name, number, tuple(links))
        report = NodeReport(name, number, report.links, *self._notary.sign(report.statement()))
        self._reports[name] = (report, now_s)
        return report

    def hear(self, report: NodeReport, now_s: float) -> bool:
        """Take in another KME's report; return whether it is news.

        Raises:
            NocloneError: It is not signed by its origin, or speaks of links that are none.
        """
        origin = report.origin
        known = self._reports.get(origin)
        if origin == self._notary.name or (known and report.number < known[0].number + SPACING_MS):
            return False
        if report.number > 1000 * (now_s + AHEAD_S):
            raise NocloneError("a report of links comes from the future")
        peers = [link.peer for link in report.links]
        if len(set(peers)) != len(peers) or not set(peers) <= self._neighbours.get(origin, frozenset()):
            raise NocloneError(f"the KME {origin} has no such links")
        self._notary.check(origin, _statement(report), report.certificate, report.signature)
        self._reports[origin] = (report, now_s)
        return True

    def numbers(self) -> dict[str, int]:
        """Return which report we have of whom."""
        return {origin: report.number for origin, (report, _) in self._reports.items()}

    def newer_than(self, numbers: Mapping[str, int]) -> list[NodeReport]:
        """Return some reports that somebody who has those of `numbers` lacks."""
        fresh = [report for report, _ in self._reports.values() if report.number > numbers.get(report.origin, -1)]
        return fresh[:RECORDS_PER_CALL_MAX]

    def links(self, now_s: float) -> dict[tuple[str, str], LinkReport]:
        """Return the links that both ends say to be up, by direction, each with its sender's report."""
        alive = {
            (origin, link.peer): link
            for origin, (report, heard_s) in self._reports.items()
            if now_s - heard_s <= self._lifetime_s
            for link in report.links
            if link.up
        }
        return {(a, b): link for (a, b), link in alive.items() if (b, a) in alive}
