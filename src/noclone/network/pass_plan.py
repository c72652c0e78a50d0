"""From the passes of a link's table to the light of each block: one pass, or several in a row.

In: `LinkSection` with [link.pass].  Out: an `Overpass`, which says where and when, and its `PassLight`. Losses and the
sky's light are rounded up in small steps, so that seconds and passes share what a slot does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from noclone.link.devices import Fibre, LinkDevices
from noclone.link.passing import PassLight, Stretch
from noclone.network.link_sections import LinkSection
from noclone.network.satellite_pass import LOSS_STEP_DB, Gains, least_and_most, losses_db, rounded_up, sky_of

if TYPE_CHECKING:
    from noclone.link.pairs import PairDevices
    from noclone.network.pass_section import OnePass

Place = TypeVar("Place")


@dataclass(frozen=True, slots=True)
class Overpass:
    """The pass of a satellite that is a block, as the block's events tell it; or several, taken together.

    Args:
        start: When it rises, UTC; nothing where the pass is geometry alone.
        highest_deg: Where two stations see it: the highest that it stands over both of them at once.
        nearest_km: Where two stations see it: both ways together.
        losses_db: Least and most, pointing by its mean; where two stations see it, of both arms together.
        sun_deg: Elevation of the Sun, at its highest during the pass.
        stations: That see it at once.
        passes: How many.
    """

    start: str
    seconds: float
    highest_deg: float
    nearest_km: float
    losses_db: tuple[float, float]
    sun_deg: float
    stations: int = 1
    passes: int = 1

    def __str__(self) -> str:
        when = f" {'of' if self.passes == 1 else 'from'} {self.start}" if self.start else ""
        both, every = (" over both stations", " in both arms") if self.stations == 2 else ("", "")
        least, most = self.losses_db
        return (
            f"{'pass' if self.passes == 1 else f'{self.passes} passes'}{when}{',' if when else ''} "
            f"{self.seconds:,.0f} s, up to {self.highest_deg:.0f} degrees{both}, "
            f"{self.nearest_km:,.0f} km and more{every}, {least:.1f} to {most:.1f} dB"
        )

    @classmethod
    def of(cls, link: LinkSection, one: OnePass) -> Overpass:
        """Return what is said of one pass over a link's station, or its two."""
        assert link.passes is not None
        downlinks = link.passes.downlinks(both=link.ends_on_ground)
        arms = one.arms
        losses = np.sum([losses_db(seen, downlink) for seen, downlink in zip(arms, downlinks, strict=True)], axis=0)
        return cls(
            one.start,
            arms[0].step_s * len(arms[0].range_km),
            one.highest_deg,
            float(np.sum([seen.range_km for seen in arms], axis=0).min()),
            least_and_most(losses),
            one.sun_deg,
            len(arms),
        )

    @classmethod
    def together(cls, passes: Sequence[Overpass]) -> Overpass:
        """Return several as one."""
        return cls(
            passes[0].start,
            math.fsum(one.seconds for one in passes),
            max(one.highest_deg for one in passes),
            min(one.nearest_km for one in passes),
            (min(one.losses_db[0] for one in passes), max(one.losses_db[1] for one in passes)),
            max(one.sun_deg for one in passes),
            passes[0].stations,
            len(passes),
        )


def overpasses(link: LinkSection) -> Iterator[tuple[Overpass, PassLight]]:
    """Yield the passes of every block of a link, in order of time, and their light.

    Raises:
        InputError: The orbit needs Skyfield, which is not installed.
        ScenarioError: The satellite does not rise.
    """
    section = link.passes
    assert section is not None
    both = link.ends_on_ground
    stretches = _pairs(link) if both else _pulses(link)
    found = section.passes(f"the satellite of {link.name}" if both else link.alice, both=both)
    for first in range(0, len(found), section.passes_per_block):
        block = found[first : first + section.passes_per_block]
        yield Overpass.together([Overpass.of(link, one) for one in block]), PassLight(tuple(stretches(block)))


def _pulses(link: LinkSection) -> Callable[[list[OnePass]], Iterator[Stretch]]:
    """Return what gives the light of passes over one station."""
    section, gains = link.passes, Gains(link.devices_under)
    assert section is not None

    def stretches(block: list[OnePass]) -> Iterator[Stretch]:
        moments = (moment for one in block for moment in section.moments(one.arms[0]))
        places = ((rounded_up(loss_db, sky_hz), seconds) for loss_db, sky_hz, seconds in moments)
        return _stretches(places, gains.devices, gains.clock_hz)

    return stretches


def _pairs(link: LinkSection) -> Callable[[list[OnePass]], Iterator[Stretch]]:
    """Return what gives the light of passes over two stations."""
    section = link.passes
    assert section is not None
    known: dict[tuple[tuple[int, int], ...], PairDevices] = {}

    def devices(place: tuple[tuple[int, int], ...]) -> PairDevices:
        if place not in known:
            (loss_alice, sky_alice), (loss, sky) = place
            seen = link.pairs_under(sky_of(sky_alice), sky_of(sky))
            known[place] = replace(
                seen,
                fibre_alice=Fibre(0.0, 0.0, loss_alice * LOSS_STEP_DB),
                fibre=Fibre(0.0, 0.0, loss * LOSS_STEP_DB),
            )
        return known[place]

    def stretches(block: list[OnePass]) -> Iterator[Stretch]:
        moments = (moment for one in block for moment in section.moments_of_both(one.arms))
        places = ((tuple(rounded_up(*arm[:2]) for arm in arms), arms[0][2]) for arms in moments)
        return _stretches(places, devices, link.pairs_under(0.0, 0.0).clock_hz)

    return stretches


def _stretches(
    places: Iterable[tuple[Place, float]], devices: Callable[[Place], LinkDevices | PairDevices], clock_hz: float
) -> Iterator[Stretch]:
    """Yield the slots of a block; a stretch ends where the time that has passed is nearest to a slot's end."""
    elapsed_s, done = 0.0, 0
    for place, moments in groupby(places, key=lambda one: one[0]):
        elapsed_s += math.fsum(seconds for _, seconds in moments)
        end = round(elapsed_s * clock_hz)
        if end > done:
            yield Stretch(devices(place), end - done)
        done = end
