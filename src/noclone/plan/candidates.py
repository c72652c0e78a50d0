"""Which device where gives how much key: the candidates that the solver chooses from.

In: a `Brief`.  Out: `Candidate`s: each device on each span, each satellite over each of its stations, and what vendors
have built already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from noclone.plan.beyond import chains_of, link_over, link_under, satellite_bps
from noclone.plan.devices import CATALOGUE, Device, RepeaterSection, has_middle, runs
from noclone.plan.links import Tables
from noclone.plan.rates import LEAST_BPS, secret_bps
from noclone.plan.sites import Brief, SatelliteSection, VendorSection
from noclone.plan.spans import Fibre, Span, fibres_of, spans_of


@dataclass(frozen=True, slots=True)
class Candidate:
    """A link that may be built.

    Args:
        bps: Secret bits per second to plan with.
        cost: Of devices, fibres and the place of a station.
        protocol: Of the device; "satellite", or "vendor".
        device: None for satellites and vendors' equipment.
        made_by: Name of the device, satellite or vendor.
        epsilon: What somebody states of each key, where the scenario has to be told.
        link: The [[link]] of a satellite or a chain of repeaters; other devices' links follow from device and span.
    """

    a: str
    b: str
    length_km: float
    loss_db: float
    bps: float
    cost: float
    protocol: str
    made_by: str
    device: Device | None = None
    span: Span | None = None
    epsilon: float | None = None
    link: Tables | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """Its ends, in the order of the alphabet."""
        return (self.a, self.b) if self.a < self.b else (self.b, self.a)

    @property
    def fibres(self) -> tuple[tuple[str, str], ...]:
        """The fibres that it uses."""
        return () if self.span is None else self.span.fibres

    @property
    def runs(self) -> bool:
        """Whether `noclone run` can run it."""
        return self.link is not None or (self.device is not None and runs(self.device))

    @property
    def middle(self) -> str:
        """Where its station stands; empty where there is none."""
        return "" if self.span is None else self.span.middle


def candidates_of(
    brief: Brief, on_span: Callable[[int, int], None] | None = None, *, only_what_runs: bool = False
) -> tuple[list[Candidate], list[str]]:
    """Return every link that gives key, and what was left out and why.

    Args:
        on_span: Told how many places of links are done, of how many.
        only_what_runs: Leave out what `noclone run` cannot run.
    """
    devices = [one for one in brief.devices or CATALOGUE if runs(one) or not only_what_runs]
    fibres = fibres_of(brief)
    spans = spans_of(brief, fibres)
    found: dict[tuple[tuple[str, str], ...], list[Candidate]] = defaultdict(list)
    for number, span in enumerate(spans, 1):
        found[span.fibres] += _on(span, devices)
        if on_span is not None:
            on_span(number, len(spans))
    out = [one for alike in found.values() for one in alike if not any(_better(other, one) for other in alike)]
    out += _over_repeaters(brief, fibres, devices)
    lit = {one.fibres for one in out if len(one.fibres) == 1} | {(key,) for one in out for key in one.fibres}
    notes = [_dark(fibre) for fibre in fibres if (fibre.key,) not in lit]
    for satellite in brief.satellites:
        links, note = _under(satellite)
        out += links
        notes += note
    if not only_what_runs:
        out += [_existing(vendor) for vendor in brief.vendors]
    return out, notes


def _on(span: Span, devices: list[Device]) -> list[Candidate]:
    out = []
    for device in devices:
        if span.middle and not has_middle(device):
            continue
        bps = secret_bps(device, *span.losses_db)
        if bps > 0:
            length, loss = sum(span.lengths_km), sum(span.losses_db)
            epsilon = getattr(device, "epsilon", None)
            cost = device.cost + span.cost
            out.append(
                Candidate(span.a, span.b, length, loss, bps, cost, device.protocol, device.name, device, span, epsilon)
            )
    return out


def _better(other: Candidate, one: Candidate) -> bool:
    """Say whether one of two links in the same place is never needed; of equals, what runs here is kept."""
    if other.pair != one.pair or other.cost > one.cost or other.bps < one.bps:
        return False
    return (other.cost, -other.bps, not other.runs) < (one.cost, -one.bps, not one.runs)


def _dark(fibre: Fibre) -> str:
    return f"{fibre.a} to {fibre.b}: {fibre.loss_db:.1f} dB ({fibre.length_km:.0f} km): no device gives key"


def _over_repeaters(brief: Brief, fibres: list[Fibre], devices: list[Device]) -> list[Candidate]:
    repeaters = [device for device in devices if isinstance(device, RepeaterSection)]
    out = []
    for chain in chains_of(brief, fibres) if repeaters else ():
        span = chain.span
        for device in repeaters:
            link, bps = link_over(device, chain, f"{span.a}-{span.b}")
            if bps >= LEAST_BPS:
                length, loss = sum(span.lengths_km), sum(span.losses_db)
                cost = device.chain_cost(len(chain.lengths_km)) + span.cost
                kind = (device.protocol, device.name, device, span)
                out.append(Candidate(span.a, span.b, length, loss, bps, cost, *kind, link=link))
    return out


def _under(satellite: SatelliteSection) -> tuple[list[Candidate], list[str]]:
    """Return the links of a satellite with its ground stations: all alike, an average over days."""
    bps, loss_db, reason = satellite_bps(satellite)
    if bps < LEAST_BPS:
        return [], [f"satellite {satellite.name}: a pass gives no key: {reason or 'too little'}"]
    nearest_km, cost = satellite.over().range_km(0.0), satellite.ground_station_cost
    return [
        Candidate(
            satellite.name,
            station,
            nearest_km,
            loss_db,
            bps,
            cost,
            "satellite",
            satellite.name,
            link=link_under(satellite, f"{satellite.name}-{station}", station),
        )
        for station in dict.fromkeys(satellite.stations)
    ], []


def _existing(vendor: VendorSection) -> Candidate:
    return Candidate(
        vendor.a, vendor.b, 0.0, 0.0, vendor.bps, vendor.cost, "vendor", vendor.vendor, epsilon=vendor.epsilon
    )
