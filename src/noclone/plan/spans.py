"""Where a link can lie: along a fibre, over a middle station in a hut or at a site, between near sites.

In: a `Brief`.  Out: `Fibre`s that may be lit, and `Span`s over them. Where no fibre is given, any two sites within
reach may be joined, along great circles times a factor.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass

from noclone.network.topology_files import great_circle_km
from noclone.plan.sites import Brief, PlanError

SHORTEST_KM = 0.1
HUT = "a hut"


@dataclass(frozen=True, slots=True)
class Fibre:
    """A fibre that may be lit.

    Args:
        cost: Of each link that uses it.
        systems: How many links may.
        hut_km: From `a` to a hut on it; 0 for none.
    """

    a: str
    b: str
    length_km: float
    loss_db: float
    cost: float = 0.0
    systems: int = 1
    hut_km: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """Its ends, in the order of the alphabet."""
        return (self.a, self.b) if self.a < self.b else (self.b, self.a)


@dataclass(frozen=True, slots=True)
class Span:
    """Where one link can lie.

    Args:
        middle: Where its station stands: a site, a hut, or nothing; of repeaters, all of their stations.
        lengths_km: Of its arms: one, or Alice's and Bob's.
        cost: Of fibres and the place of the station.
    """

    a: str
    b: str
    middle: str
    lengths_km: tuple[float, ...]
    losses_db: tuple[float, ...]
    fibres: tuple[tuple[str, str], ...]
    cost: float


def fibres_of(brief: Brief) -> list[Fibre]:
    """Return every fibre that may be lit; of several between two sites the best.

    Raises:
        PlanError: A hut stands beyond the end of its fibre.
    """
    if not brief.fibres:
        return _all_within_reach(brief)
    best: dict[tuple[str, str], Fibre] = {}
    for fibre in brief.fibres:
        length = fibre.length_km
        if length is None:
            if fibre.loss_db is not None:
                length = fibre.loss_db / brief.attenuation_db_per_km
            else:
                length = brief.route_factor * great_circle_km(brief.place(fibre.a), brief.place(fibre.b))
        length = max(length, SHORTEST_KM)
        loss = length * brief.attenuation_db_per_km if fibre.loss_db is None else fibre.loss_db
        if fibre.hut_km is not None and fibre.hut_km >= length:
            raise PlanError(f"fibre {fibre.a}-{fibre.b}: hut_km = {fibre.hut_km:g} lies beyond its {length:.1f} km")
        one = Fibre(fibre.a, fibre.b, length, loss, fibre.cost, fibre.systems, fibre.hut_km or 0.0)
        if one.key not in best or loss < best[one.key].loss_db:
            best[one.key] = one
    return list(best.values())


def _all_within_reach(brief: Brief) -> list[Fibre]:
    located = [site.name for site in brief.sites if site.latitude is not None and site.longitude is not None]
    places = [brief.place(name) for name in located]
    out: dict[tuple[str, str], Fibre] = {}
    for here in places:
        far = sorted(
            (brief.route_factor * great_circle_km(here, there), there.name) for there in places if there is not here
        )
        for length, name in far[: brief.neighbours]:
            if length <= brief.reach_km:
                length = max(length, SHORTEST_KM)
                fibre = Fibre(here.name, name, length, length * brief.attenuation_db_per_km)
                out.setdefault(fibre.key, fibre)
    return list(out.values())


def spans_of(brief: Brief, fibres: list[Fibre]) -> list[Span]:
    """Return every place of a link: each fibre, also over its hut, and each two that meet where a station may be."""
    out = []
    for one in fibres:
        out.append(Span(one.a, one.b, "", (one.length_km,), (one.loss_db,), (one.key,), one.cost))
        if one.hut_km:
            lengths = (one.hut_km, one.length_km - one.hut_km)
            losses = tuple(one.loss_db * length / one.length_km for length in lengths)
            out.append(Span(one.a, one.b, HUT, lengths, losses, (one.key,), one.cost + brief.costs.station))
    touching: dict[str, list[Fibre]] = defaultdict(list)
    for one in fibres:
        touching[one.a].append(one)
        touching[one.b].append(one)
    for site in brief.sites:
        if site.takes_station:
            for pair in itertools.combinations(touching[site.name], 2):
                out.append(_over(brief, site.name, pair))
    return out


def _over(brief: Brief, middle: str, pair: tuple[Fibre, Fibre]) -> Span:
    arms = sorted((one.b if one.a == middle else one.a, one) for one in pair)
    (a, near), (b, far) = arms
    return Span(
        a,
        b,
        middle,
        (near.length_km, far.length_km),
        (near.loss_db, far.loss_db),
        (near.key, far.key),
        near.cost + far.cost + brief.costs.station,
    )
