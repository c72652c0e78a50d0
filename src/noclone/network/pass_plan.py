"""From the passes of a link's table to the light of each: one pass is one block.

In: `LinkSection` with [link.pass].  Out: an `Overpass`, which says where and when, and its `PassLight`. Losses and the
sky's light are rounded up in small steps, so that seconds and passes share what a slot does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from noclone.link.passing import PassLight, Stretch
from noclone.network.link_sections import LinkSection
from noclone.network.satellite_pass import Gains, Seen, losses_db, rounded_up

if TYPE_CHECKING:
    from noclone.network.pass_section import PassSection


@dataclass(frozen=True, slots=True)
class Overpass:
    """One pass of a satellite over a station, as its blocks' events tell it.

    Args:
        start: When it rises, UTC; nothing where the pass is geometry alone.
        losses_db: Least and most, pointing by its mean.
        sun_deg: Elevation of the Sun, at its highest during the pass.
    """

    start: str
    seconds: float
    highest_deg: float
    nearest_km: float
    losses_db: tuple[float, float]
    sun_deg: float

    def __str__(self) -> str:
        when = f"of {self.start}, " if self.start else ""
        least, most = self.losses_db
        return (
            f"pass {when}{self.seconds:.0f} s, up to {self.highest_deg:.0f} degrees, "
            f"{self.nearest_km:,.0f} km and more, {least:.1f} to {most:.1f} dB"
        )


def overpasses(link: LinkSection) -> Iterator[tuple[Overpass, PassLight]]:
    """Yield every pass of a link, in order of time.

    Raises:
        InputError: The orbit needs Skyfield, which is not installed.
        ScenarioError: The satellite does not rise.
    """
    section = link.passes
    assert section is not None
    gains = Gains(link.devices_under)
    for start, seen in section.passes(link.alice):
        overpass = Overpass(
            start,
            seen.step_s * len(seen.range_km),
            float(seen.elevation_deg.max()),
            float(seen.range_km.min()),
            losses_db(seen, section.downlink.downlink()),
            float(seen.sun_deg.max()),
        )
        yield overpass, PassLight(tuple(_stretches(section, seen, gains)))


def _stretches(section: PassSection, seen: Seen, gains: Gains) -> Iterator[Stretch]:
    """Yield the slots of a pass; a stretch ends where the time that has passed is nearest to a slot's end."""
    places = ((rounded_up(loss_db, sky_hz), seconds) for loss_db, sky_hz, seconds in section.moments(seen))
    elapsed_s, done = 0.0, 0
    for place, moments in groupby(places, key=lambda one: one[0]):
        elapsed_s += math.fsum(seconds for _, seconds in moments)
        end = round(elapsed_s * gains.clock_hz)
        if end > done:
            yield Stretch(gains.devices(place), end - done)
        done = end
