"""Which device where gives how much key: the candidates that the solver chooses from.

In: a `Brief`.  Out: `Candidate`s: each device on each span, each satellite over each of its stations, and what vendors
have built already.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from noclone.link.devices import Fibre as Channel
from noclone.link.devices import LinkDevices, Receiver, Source
from noclone.network.satellite_pass import key_of_pass
from noclone.plan.devices import CATALOGUE, Device, has_middle, runs
from noclone.plan.rates import EPS_CORRECTNESS, LEAST_BPS, secret_bps
from noclone.plan.sites import Brief, SatelliteSection, VendorSection
from noclone.plan.spans import Fibre, Span, fibres_of, spans_of
from noclone.proofs.epsilon import Epsilons
from noclone.records import DecoyBB84

DAY_S = 86_400.0
PASS_PROOF, PASS_EPS = "lim2014", 1e-9
PASS_STEP_S = 5.0


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
        return self.device is not None and runs(self.device)

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
        only_what_runs: Leave out what `noclone run` cannot run yet.
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
    lit = {one.fibres for one in out if len(one.fibres) == 1} | {(key,) for one in out for key in one.fibres}
    notes = [_dark(fibre) for fibre in fibres if (fibre.key,) not in lit]
    if not only_what_runs:
        for satellite in brief.satellites:
            links, note = _under(satellite)
            out += links
            notes += note
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


def _under(satellite: SatelliteSection) -> tuple[list[Candidate], list[str]]:
    """Return the links of a satellite with its ground stations: all alike, an average over days."""
    detectors = Receiver(
        scheme="passive",
        efficiency=(satellite.efficiency,) * 4,
        dark_count_hz=(satellite.noise_hz,) * 4,
        gate_ps=2000.0,
        misalignment=satellite.misalignment,
    )
    light = Source(satellite.clock_hz, DecoyBB84((0.8, 0.1, 1e-6), (0.5, 0.25, 0.25), 0.5, 0.5))
    key = key_of_pass(
        satellite.over(),
        satellite.downlink(),
        LinkDevices(light, Channel(0.0, 0.0), detectors),
        Epsilons(PASS_EPS, EPS_CORRECTNESS),
        proof=PASS_PROOF,
        step_s=PASS_STEP_S,
    )
    bps = key.secret_bits * satellite.passes_per_day / DAY_S
    if bps < LEAST_BPS:
        return [], [f"satellite {satellite.name}: a pass gives no key: {key.reason or 'too little'}"]
    nearest_km = satellite.over().range_km(0.0)
    return [
        Candidate(
            satellite.name,
            station,
            nearest_km,
            key.losses_db[0],
            bps,
            satellite.ground_station_cost,
            "satellite",
            satellite.name,
            epsilon=satellite.epsilon,
        )
        for station in dict.fromkeys(satellite.stations)
    ], []


def _existing(vendor: VendorSection) -> Candidate:
    return Candidate(
        vendor.a, vendor.b, 0.0, 0.0, vendor.bps, vendor.cost, "vendor", vendor.vendor, epsilon=vendor.epsilon
    )
