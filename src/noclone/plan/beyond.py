"""Links that no single fibre makes: over a satellite's passes, over a chain of repeaters.

In: a satellite of the brief, or a repeater device and the fibres.  Out: the tables of their [[link]], and how much key
`noclone run` agrees on for it. A chain follows fibres between the ends of a demand, from station to station: over sites
where a middle station may stand, and huts. Half-way along each of its links something hears photons; where that stands
is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

from noclone.network.blocks import plan_link
from noclone.network.link_sections import LinkSection
from noclone.plan.devices import RepeaterSection
from noclone.plan.links import Tables, agreed_bps
from noclone.plan.sites import Brief, SatelliteSection
from noclone.plan.spans import Fibre, Span
from noclone.repeater.offer import Equipment, offer

DAY_S = 86_400.0
PASS_PROOF, PASS_EPS = "lim2014", 1e-9
PASS_STEP_S = 5.0
PATHS = 3  # the shortest ways between the ends of a demand
LINKS_MAX = 16


def link_under(satellite: SatelliteSection, name: str, station: str) -> Tables:
    """Return the link from a satellite down to a station: one pass, which stands for all."""
    return {
        "name": name,
        "alice": satellite.name,
        "bob": station,
        "source": {
            "clock_hz": satellite.clock_hz,
            "intensities": [0.8, 0.1, 1e-6],
            "probabilities": [0.5, 0.25, 0.25],
            "p_key": 0.5,
        },
        "receiver": {
            "scheme": "passive",
            "p_key": 0.5,
            "efficiency": satellite.efficiency,
            "dark_count_hz": satellite.noise_hz,
            "gate_ps": 2000.0,
            "misalignment": satellite.misalignment,
        },
        "pass": {
            "altitude_km": satellite.altitude_km,
            "highest_deg": satellite.highest_deg,
            "lowest_deg": satellite.lowest_deg,
            "step_s": PASS_STEP_S,
            "downlink": {
                "divergence_urad": satellite.divergence_urad,
                "aperture_m": satellite.aperture_m,
                "pointing_urad": satellite.pointing_urad,
                "zenith_db": satellite.zenith_db,
                "fixed_db": satellite.fixed_db,
            },
            "sky": {"night": 0.0},  # its light is in the detectors' noise
        },
        "distillation": {"proof": PASS_PROOF, "eps_secrecy": PASS_EPS},
    }


def satellite_bps(satellite: SatelliteSection) -> tuple[float, float, str]:
    """Return key a second, averaged over days, the least loss of a pass, and why there is no key, if there is none."""
    link = LinkSection.model_validate(link_under(satellite, "a-b", satellite.stations[0]))
    plan = plan_link(link)
    loss_db = 0.0 if plan.overpass is None else plan.overpass.losses_db[0]
    return plan.agreement.length_bits * satellite.passes_per_day / DAY_S, loss_db, plan.agreement.reason


@dataclass(frozen=True, slots=True)
class Chain:
    """A way for repeaters: the names of its stations, and the length of each link."""

    span: Span
    stations: tuple[str, ...]
    lengths_km: tuple[float, ...]


def chains_of(brief: Brief, fibres: list[Fibre]) -> Iterator[Chain]:
    """Yield the shortest ways between the ends of each demand, over places for stations."""
    import networkx

    graph: Any = networkx.Graph()
    for fibre in fibres:
        graph.add_edge(fibre.a, fibre.b, fibre=fibre, length=fibre.length_km)
    seen: set[tuple[tuple[str, str], ...]] = set()
    places = {site.name for site in brief.sites if site.takes_station}
    for demand in brief.demands:
        ends = sorted(demand.between)
        here = graph.subgraph(places | set(ends))
        if not all(end in here for end in ends) or not networkx.has_path(here, *ends):
            continue
        for path in islice(networkx.shortest_simple_paths(here, *ends, weight="length"), PATHS):
            chain = _along(brief, path, [here.edges[hop]["fibre"] for hop in pairwise(path)])
            if 2 <= len(chain.lengths_km) <= LINKS_MAX and chain.span.fibres not in seen:
                seen.add(chain.span.fibres)
                yield chain


def _along(brief: Brief, path: list[str], fibres: list[Fibre]) -> Chain:
    stations, lengths = [path[0]], []
    for (a, b), fibre in zip(pairwise(path), fibres, strict=True):
        if fibre.hut_km:
            first = fibre.hut_km if fibre.a == a else fibre.length_km - fibre.hut_km
            stations.append(f"hut-{len(stations)}")
            lengths += [first, fibre.length_km - first]
        else:
            lengths.append(fibre.length_km)
        stations.append(b)
    between = stations[1:-1]
    span = Span(
        path[0],
        path[-1],
        ", ".join(between),
        tuple(fibre.length_km for fibre in fibres),
        tuple(fibre.loss_db for fibre in fibres),
        tuple(fibre.key for fibre in fibres),
        sum(fibre.cost for fibre in fibres) + brief.costs.station * len(between),
    )
    # A fibre that loses more than the device's kilometres do counts as a longer one: later, and with fewer photons.
    return Chain(span, tuple(stations), tuple(lengths))


def link_over(device: RepeaterSection, chain: Chain, name: str) -> tuple[Tables, float]:
    """Return the link over a chain, and its key a second; 0 where there is none."""
    found = offer(
        _lengths(device, chain), Equipment(device.devices, device.memory, device.rules), block_pairs=device.block_pairs
    )
    if found.secret_bps <= 0:
        return {}, 0.0
    p_key = round(found.p_key, 4)
    links = [
        {"between": list(hop), "length_km": round(length, 4)}
        for hop, length in zip(pairwise(chain.stations), _lengths(device, chain), strict=True)
    ]
    parts = {part: getattr(device, part).model_dump(exclude_defaults=True) for part in ("devices", "memory", "rules")}
    link = {
        "name": name,
        "alice": chain.stations[0],
        "bob": chain.stations[-1],
        "protocol": "bbm92",
        "repeater": {"p_key": p_key, **{part: told for part, told in parts.items() if told}, "link": links},
        "distillation": {"block_key_bits": max(10_000, int(device.block_pairs * p_key**2))},
    }
    return link, device.counted * agreed_bps(link)


def _lengths(device: RepeaterSection, chain: Chain) -> tuple[float, ...]:
    """Return lengths that lose at least what the fibres do."""
    loss, length = sum(chain.span.losses_db), sum(chain.span.lengths_km)
    per_km = device.devices.attenuation_db_per_km
    factor = max(1.0, loss / (length * per_km)) if per_km > 0 else 1.0
    return tuple(one * factor for one in chain.lengths_km)
