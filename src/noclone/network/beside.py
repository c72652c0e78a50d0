"""What a run of a link came to, beside what is published of it, and where the model's numbers come from.

In: a link of the scenario, what its blocks gave.  Out: `Beside`, as data and as lines; None where a link says nothing
of its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from noclone.io import published
from noclone.io.origins import origin_lines, with_origins
from noclone.network.link_sections import LinkSection
from noclone.network.repeater_section import RepeaterSection
from noclone.network.simulate import LinkSummary
from noclone.repeater.pairs import BellPair

# 1 - 2 h(e) = 0: Shor and Preskill, Phys. Rev. Lett. 85, 441 (2000); blocks of finite size want fewer errors.
NO_KEY_ABOVE = 0.1100


@dataclass(frozen=True, slots=True)
class Beside:
    """A link over repeaters: what it delivered, and what is known of others like it."""

    link: str
    section: RepeaterSection
    stations: tuple[str, ...]
    summary: LinkSummary
    ours: dict[str, float]

    @property
    def pairs_hz(self) -> float:
        """Pairs a second of the network's time, in this run."""
        return self.summary.detections / self.summary.light_s if self.summary.light_s else 0.0

    @property
    def error_rate(self) -> float | None:
        """Errors of the test basis, in this run."""
        return self.summary.test_errors / self.summary.test_bits if self.summary.test_bits else None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        section = self.section
        return {
            "repeaters": list(self.stations),
            "pairs": self.summary.detections,
            "pairs_hz": self.pairs_hz,
            "error_rate_test": self.error_rate,
            "no_key_above": NO_KEY_ABOVE,
            "published": published.beside(section.published, self.ours),
            "origins": with_origins(section.numbers(), section.origins),
        }

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        section, summary = self.section, self.summary
        lines = [
            f"{self.link}: pairs over repeaters, {self.pairs_hz:.3g} a second; a block is "
            f"{summary.light_s / max(summary.blocks, 1):,.0f} s of the network's time"
        ]
        if self.stations:
            lines.append(f"  nobody has to trust {', '.join(self.stations)}: they can stop the link, and learn nothing")
        if self.error_rate is not None:
            verdict = "no key comes of so many" if self.error_rate > NO_KEY_ABOVE else "key may come of so few"
            lines.append(
                f"  errors in the test basis: {self.error_rate:.1%}; {verdict} ({NO_KEY_ABOVE:.1%} at most, in long "
                "blocks with both bases alike)"
            )
        lines += published.lines(published.beside(section.published, self.ours))
        for one in section.published:
            if one.what.endswith("fidelity"):
                error = BellPair.werner(one.value).error_z
                lines.append(f"  (by white noise, a fidelity of {one.value:g} is {error:.1%} of errors in each basis)")
        return [*lines, *(f"  {line}" for line in origin_lines(section.numbers(), section.origins, "simulated"))]


def beside(link: LinkSection, summary: LinkSummary) -> Beside | None:
    """Return what a link's run stands beside."""
    section = link.repeater
    if section is None:
        return None
    ours = section.ours(link.alice, link.bob) if section.published else {}
    return Beside(link.name, section, tuple(link.repeaters), summary, ours)
