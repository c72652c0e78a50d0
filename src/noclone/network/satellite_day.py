"""A day of satellites over stations: every pass as a finite block, what a trusted satellite relays, pairs from orbit.

In: a `SatelliteBrief`.  Out: a `SatelliteDay`. Skies are clear: multiply by the share of clear nights that you have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from noclone.io.origins import with_origins
from noclone.io.published import beside
from noclone.link.orbit import Track, together
from noclone.network.satellite_file import PairsSection, SatelliteBrief
from noclone.network.satellite_pass import Exposure, Gains, PassKey, least_and_most, losses_db, moments
from noclone.proofs.entangled import PairSource, finite_length
from noclone.proofs.entropy import error_entropy
from noclone.proofs.epsilon import Epsilons
from noclone.units import transmittance

EFFICIENCY = 1.16


@dataclass(frozen=True, slots=True)
class PassOverStation:
    """One pass and its key.

    Args:
        sun_deg: Elevation of the Sun at the station, at its highest during the pass.
    """

    satellite: str
    station: str
    start: str
    highest_deg: float
    nearest_km: float
    sun_deg: float
    key: PassKey


@dataclass(frozen=True, slots=True)
class Relayed:
    """Key between two stations that a satellite carried: it has one with each, announces their XOR, and knows both."""

    between: tuple[str, str]
    satellite: str
    secret_bits: int


@dataclass(frozen=True, slots=True)
class FromOrbit:
    """Key of pairs whose halves went to two stations at once: all passes that both saw are one block of BBM92.

    The satellite need not be trusted: what it did to the pairs shows as errors.

    Args:
        seconds: That both saw it.
        pairs: Coincidences in the same basis.
    """

    between: tuple[str, str]
    satellite: str
    seconds: float
    pairs: float
    qber: float
    secret_bits: int


@dataclass(frozen=True, slots=True)
class SatelliteDay:
    """What came of the day."""

    brief: SatelliteBrief
    passes: tuple[PassOverStation, ...]
    relayed: tuple[Relayed, ...]
    from_orbit: tuple[FromOrbit, ...]

    def best(self) -> dict[str, float]:
        """Return what the best pass gave, to stand beside published passes; nothing where none gave key."""
        keys = [one.key for one in self.passes if one.key.secret_bits]
        best = max(keys, key=lambda key: key.secret_bits, default=None)
        if best is None:
            return {}
        return {"sifted_bits": best.sifted_bits_both_bases, "secret_bits": best.secret_bits}

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "name": self.brief.name,
            "start": self.brief.begins().isoformat(),
            "hours": self.brief.hours,
            "simulated": True,
            "passes": [asdict(one) for one in self.passes],
            "relayed": [asdict(one) for one in self.relayed],
            "from_orbit": [asdict(one) for one in self.from_orbit],
            "secret_bits": sum(one.key.secret_bits for one in self.passes),
            "published": beside(self.brief.published, self.best()),
            "origins": with_origins(self.brief.numbers(), self.brief.origins),
        }


def sky_hz(brief: SatelliteBrief, sun_deg: float) -> float:
    """Return counts a second of the sky's light in each of a receiver's four detectors."""
    return brief.sky.photons_hz(sun_deg, brief.downlink.aperture_m) * brief.devices.detector_efficiency / 4


def run_day(brief: SatelliteBrief, tell: Callable[[], None] | None = None) -> SatelliteDay:
    """Return all passes of the day with their keys.

    Args:
        tell: Is called after each satellite and station.
    """
    epsilons = Epsilons(brief.eps_secrecy, brief.eps_correctness)
    passes, from_orbit = [], []
    gains = Gains(brief.devices.devices)
    for name, satellite in brief.satellites():
        tracks: dict[str, list[Track]] = {}
        for station in brief.station:
            found = satellite.passes(
                station.station(), brief.begins(), brief.hours, lowest_deg=brief.lowest_deg, step_s=brief.step_s
            )
            tracks[station.name] = list(found)
            passes += [_key_of_track(brief, name, track, gains, epsilons) for track in tracks[station.name]]
            if tell is not None:
                tell()
        if brief.pairs is not None:
            from_orbit += [
                _from_orbit(brief, brief.pairs, name, (wish.between[0], wish.between[1]), tracks, epsilons)
                for wish in brief.relay
            ]
    in_order = tuple(sorted(passes, key=lambda one: one.start))
    return SatelliteDay(brief, in_order, tuple(_relayed(brief, passes)), tuple(from_orbit))


def _key_of_track(
    brief: SatelliteBrief, satellite: str, track: Track, gains: Gains, epsilons: Epsilons
) -> PassOverStation:
    downlink, exposure = brief.downlink.downlink(), Exposure(gains)
    for one in moments(track, downlink, brief.downlink.fades, lambda sun: sky_hz(brief, sun)):
        exposure.add(*one)
    return PassOverStation(
        satellite,
        track.station.name,
        track.start.isoformat(timespec="seconds"),
        float(track.elevation_deg.max()),
        float(track.range_km.min()),
        float(track.sun_deg.max()),
        exposure.key(least_and_most(losses_db(track, downlink)), epsilons, brief.proof),
    )


def _relayed(brief: SatelliteBrief, passes: Sequence[PassOverStation]) -> list[Relayed]:
    """What each satellite could pass on: the smaller of the keys that it has with both."""
    found = []
    for wish in brief.relay:
        for section in brief.satellite:
            held = [
                sum(one.key.secret_bits for one in passes if one.satellite == section.name and one.station == end)
                for end in wish.between
            ]
            found.append(Relayed((wish.between[0], wish.between[1]), section.name, min(held)))
    return found


def _from_orbit(
    brief: SatelliteBrief,
    source: PairsSection,
    satellite: str,
    between: tuple[str, str],
    tracks: dict[str, list[Track]],
    epsilons: Epsilons,
) -> FromOrbit:
    seconds = coincidences = wrong = 0.0
    for first in tracks[between[0]]:
        for second in tracks[between[1]]:
            both = together(first, second)
            if both is None:
                continue
            seconds += both[0].duration_s
            for i in range(both[0].unix_s.size):
                number, error = _coincidences(brief, source, both, i)
                coincidences, wrong = coincidences + number, wrong + number * error
    error = wrong / coincidences if coincidences else 0.5
    # Half of the coincidences are of the same basis: a quarter in each.
    quarter = int(coincidences / 4)
    leak = EFFICIENCY * quarter * error_entropy(error)
    bits = finite_length(quarter, quarter, error, leak, epsilons.secrecy, epsilons.correctness)
    return FromOrbit(between, satellite, seconds, coincidences / 2, error, bits)


def _coincidences(
    brief: SatelliteBrief, source: PairsSection, ends: tuple[Track, Track], k: int
) -> tuple[float, float]:
    """Return the coincidences of one step and their share of errors, windows taken for pulses of the source."""
    downlink, window_s = brief.downlink.downlink(), source.window_ns * 1e-9
    arms = []
    for track in ends:
        loss_db = downlink.loss_db(float(track.range_km[k]), float(track.elevation_deg[k]))
        noise = 4 * (brief.devices.dark_count_hz + sky_hz(brief, float(track.sun_deg[k]))) * window_s
        arms.append((transmittance(loss_db) * brief.devices.detector_efficiency, -math.expm1(-noise)))
    (eta_a, dark_a), (eta_b, dark_b) = arms
    pairs = PairSource(source.rate_hz * window_s, eta_a, eta_b, dark_a, dark_b, source.error)
    return pairs.gain() * brief.step_s / window_s, pairs.error_rate()
