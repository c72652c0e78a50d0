"""What the light should give on average: gains, error rates and counts, in closed form.

In: `LinkDevices`, perhaps a `Tap`.  Out: `ExpectedGains`, `ExpectedCounts`. The plan asks this module; tests hold the
light against it.

Exact for the model in `devices.Receiver`: Poisson light and dark counts, misalignment, the random value of several
clicks, the gate, and arrival errors that move a click into a neighbouring slot. Dead time is exact for a single
detector's clicks when every click comes at the same place in its slot (renewal theory), and good to a fraction
1/(dead time in slots) of the loss otherwise; that two detectors are alive together is taken as independent.
Afterpulses are first order in how often one falls into a dead time that a later click began: their relative error is
of the order of (afterpulse probability) * (click rate * dead time), beyond which simulate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from noclone.counts import Moments, Paired
from noclone.link.devices import LinkDevices
from noclone.link.optics import Case, cases, dark_means, setting_probability
from noclone.link.slotlaw import no_click_outside as _no_click_outside
from noclone.link.slotlaw import set_probabilities as _set_probabilities
from noclone.link.tap import Tap
from noclone.records import Basis

F64 = NDArray[np.float64]
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class ExpectedGains:
    """Per pulse of a given intensity and basis, both indexed [intensity][basis].

    Args:
        gain: Probability that Bob reports a detection measured in the basis in which Alice sent (so his own choice of
            that basis is included).
        error: Probability of the same with the wrong value.
        detection_rate_hz: Detections that Bob reports per second, in any basis.
        detector_rate_hz: Clicks of each detector per second, afterpulses and clicks outside the gate included.
    """

    gain: tuple[tuple[float, float], ...]
    error: tuple[tuple[float, float], ...]
    detection_rate_hz: float
    detector_rate_hz: tuple[float, ...]

    def error_rate(self, intensity: int, basis: Basis) -> float:
        """Return the share of wrong values, 0 where nothing is detected."""
        gain = self.gain[intensity][basis]
        return self.error[intensity][basis] / gain if gain else 0.0


@dataclass(frozen=True, slots=True)
class ExpectedCounts:
    """Like `counts.Counts`, on average and so not whole; one number per intensity.

    Args:
        n_slots: Pulses sent in the block.
        n_key, n_test: Detections where both used the basis.
        m_key, m_test: Errors among them.
        click_rate_hz: Detections that Bob reports per second, in any basis.
        paired: Where bits are paired before they are compared.
        moments: Of continuous variables.
    """

    n_slots: int
    n_key: tuple[float, ...]
    n_test: tuple[float, ...]
    m_key: tuple[float, ...]
    m_test: tuple[float, ...]
    click_rate_hz: float
    moments: Moments | None = None
    paired: Paired | None = None


def expected_gains(devices: LinkDevices, tap: Tap | None = None) -> ExpectedGains:
    """Return gains and error rates for every intensity and basis."""
    all_cases = cases(devices, tap)
    alive, rates = _detectors(devices, all_cases)
    stray = _stray_clicks(devices, all_cases, alive, rates)
    protocol = devices.source.protocol
    intensities = len(protocol.intensities)
    gain = np.zeros((intensities, 2))
    error = np.zeros((intensities, 2))
    any_click = 0.0
    for case in all_cases:
        sets = _set_probabilities(_none_outside(devices, case, alive) * stray)
        any_click += case.probability * float(sets[1:].sum())
        basis, value = (case.code >> 1) & 1, case.code & 1
        reported, wrong = _matched(devices, case, sets, basis, value)
        share = case.probability / (2 * setting_probability(protocol, case.code))
        gain[case.code >> 2, basis] += share * reported
        error[case.code >> 2, basis] += share * wrong
    clock_hz = devices.source.clock_hz
    return ExpectedGains(
        tuple((float(key), float(test)) for key, test in gain),
        tuple((float(key), float(test)) for key, test in error),
        any_click * clock_hz,
        tuple(float(rate) * clock_hz for rate in rates),
    )


def expected_counts(devices: LinkDevices, n_slots: int, tap: Tap | None = None) -> ExpectedCounts:
    """Return the counts that a block of `n_slots` gives on average."""
    gains = expected_gains(devices, tap)
    protocol = devices.source.protocol

    def counts(table: tuple[tuple[float, float], ...], basis: Basis) -> tuple[float, ...]:
        p_basis = protocol.p_key_alice if basis == Basis.KEY else 1 - protocol.p_key_alice
        return tuple(n_slots * p * p_basis * row[basis] for p, row in zip(protocol.probabilities, table, strict=True))

    return ExpectedCounts(
        n_slots,
        n_key=counts(gains.gain, Basis.KEY),
        n_test=counts(gains.gain, Basis.TEST),
        m_key=counts(gains.error, Basis.KEY),
        m_test=counts(gains.error, Basis.TEST),
        click_rate_hz=gains.detection_rate_hz,
    )


def total_counts(parts: Iterable[tuple[ExpectedCounts, float]]) -> ExpectedCounts:
    """Return the counts of a block that is made of others.

    Args:
        parts: Counts of one slot, and how many slots there are of it.
    """
    parts = list(parts)
    slots = sum(number for _, number in parts)

    def add(name: str) -> tuple[float, ...]:
        rows = ([number * count for count in getattr(one, name)] for one, number in parts)
        return tuple(map(sum, zip(*rows, strict=True)))

    rate_hz = sum(one.click_rate_hz * number for one, number in parts) / slots
    return ExpectedCounts(round(slots), add("n_key"), add("n_test"), add("m_key"), add("m_test"), rate_hz)


def event_probabilities(devices: LinkDevices, tap: Tap | None = None) -> F64:
    """Return, for each set of detectors, how likely just these click in the gate of a slot."""
    all_cases = cases(devices, tap)
    alive, rates = _detectors(devices, all_cases)
    stray = _stray_clicks(devices, all_cases, alive, rates)
    total = np.zeros(len(stray))
    for case in all_cases:
        total += case.probability * _set_probabilities(_none_outside(devices, case, alive) * stray)
    return total


def _detectors(devices: LinkDevices, all_cases: list[Case]) -> tuple[F64, F64]:
    """Return the share of time that each detector is alive, and its clicks per slot.

    A click that blinds for M slots leaves the share 1 / (1 + p M) alive (non-paralysable dead time in a slotted renewal
    process: the mean interval between clicks is 1/p + M).
    An afterpulse is due an exponential time L after the detector's revival and counts if no other click came before and
    blinded it. From a revival on, the probability A(u) of being alive has the Laplace transform
    1 / (s + r (1 - exp(-s T))) for clicks at rate r and dead time T (renewal equation A' = -r A(u) + r A(u - T)), so an
    afterpulse finds the detector alive with probability 1 / (1 + r L (1 - exp(-T / L))).
    """
    receiver = devices.receiver
    p = _click_probability(devices, all_cases, dark=True)
    p_light = _click_probability(devices, all_cases, dark=False)
    light_share = np.divide(p_light, p, out=np.zeros_like(p), where=p > 0)
    blind = _blinded_slots(devices, light_share)
    dead, lifetime = devices.dead_time_periods, devices.afterpulse_lifetime_periods
    caught = 1 / (1 + p * lifetime * -math.expm1(-dead / lifetime)) if lifetime > 0 else np.ones_like(p)
    clicks_per_primary = 1 / (1 - receiver.afterpulse_probability * caught)
    alive = 1 / (1 + p * clicks_per_primary * blind)
    return alive, alive * p * clicks_per_primary


def _blinded_slots(devices: LinkDevices, light_share: F64) -> F64:
    """Return how many slots' clicks a dead time swallows, on average over where in their slots the clicks are."""
    dead = devices.dead_time_periods
    sigma = math.sqrt(2) * devices.jitter_periods
    if sigma > 0:
        first = max(1, math.floor(dead - 7 * sigma))
        after = sum(_NORMAL.cdf((dead - j) / sigma) for j in range(first, math.ceil(dead + 7 * sigma) + 1))
        light = first - 1 + after if dead > 0 else 0.0
    else:
        light = max(0, math.ceil(dead - 1e-9) - 1)
    both = light_share**2
    return np.asarray(both * light + (1 - both) * max(0.0, dead - 0.5))


def _gated_clicks(devices: LinkDevices, means: F64, away: int, *, dark: bool) -> F64:
    """Return each detector's probability of a click, from one slot's light, in the gate of the slot `away` from it.

    A slot's click is a photon's if there was one, else a dark count's, which keeps to its slot.
    """
    half = devices.gate_fraction / 2
    sigma = devices.jitter_periods
    if sigma > 0:
        inside = _NORMAL.cdf((away + half) / sigma) - _NORMAL.cdf((away - half) / sigma)
    else:
        inside = 1.0 if away == 0 else 0.0
    clicks = -np.expm1(-means) * inside
    if dark:
        clicks = clicks + np.exp(-means) * -np.expm1(-dark_means(devices)) * devices.gate_fraction
    return np.asarray(clicks)


def _stray_clicks(devices: LinkDevices, all_cases: list[Case], alive: F64, rates: F64) -> F64:
    """Return, for each set of detectors, the probability that no stray click falls outside it in a slot's gate.

    Strays have nothing to do with the slot's own setting: afterpulses, and photons of neighbouring slots.
    """
    primary = alive * _click_probability(devices, all_cases, dark=True)
    stray = _no_click_outside((rates - primary) * _afterpulses_in_gate(devices))
    reach = math.ceil(6.5 * devices.jitter_periods + 0.5) if devices.jitter_periods > 0 else 0
    for away in [k for k in range(-reach, reach + 1) if k]:
        mean = np.zeros_like(stray)
        for case in all_cases:
            photons = case.means if case.law is None else -np.log1p(-np.minimum(case.law.click(), 1 - 1e-12))
            mean += case.probability * _no_click_outside(alive * _gated_clicks(devices, photons, away, dark=False))
        stray = stray * mean
    return stray


def _afterpulses_in_gate(devices: LinkDevices) -> float:
    """Return the share of afterpulses that fall into the gate of a later slot than their click, which was at a centre.

    The delay is the dead time plus an exponential time; for lifetimes of many slots this is the gate's share of a slot.
    """
    dead, lifetime, half = devices.dead_time_periods, devices.afterpulse_lifetime_periods, devices.gate_fraction / 2

    def later_than(delay: float) -> float:
        if delay <= dead:
            return 1.0
        return math.exp(-(delay - dead) / lifetime) if lifetime > 0 else 0.0

    first = max(1, math.floor(dead - half))
    share = sum(later_than(j - half) - later_than(j + half) for j in (first, first + 1))
    if lifetime > 0:  # from the third slot on, all terms fall by the same factor
        j = first + 2
        share += (later_than(j - half) - later_than(j + half)) / -math.expm1(-1 / lifetime)
    return share


def _click_probability(devices: LinkDevices, all_cases: list[Case], *, dark: bool) -> F64:
    """Return each detector's probability, over all cases, that it would click in a slot if it were alive."""
    extra = dark_means(devices) if dark else np.zeros(devices.receiver.detectors)
    total = np.zeros(devices.receiver.detectors)
    for case in all_cases:
        if case.law is None:
            total += case.probability * -np.expm1(-(case.means + extra))
        else:
            darkness = np.exp(-case.law.dark) if dark else 1.0
            total += case.probability * (1 - (1 - case.law.click()) * darkness)
    return total


def _none_outside(devices: LinkDevices, case: Case, alive: F64) -> F64:
    """Return, for each set of detectors, the probability that none outside it clicks in its slot's gate."""
    if case.law is None:
        return _no_click_outside(alive * _gated_clicks(devices, case.means, 0, dark=True))
    nothing = np.zeros_like(case.means)
    lit = alive * _gated_clicks(devices, np.full_like(nothing, np.inf), 0, dark=False)
    unlit = alive * -np.expm1(-case.law.dark) * devices.gate_fraction
    return case.law.none_outside(lit, unlit)


def _matched(devices: LinkDevices, case: Case, sets: F64, basis: int, value: int) -> tuple[float, float]:
    """Return the probability that Bob reports Alice's basis, and that he does with the wrong value."""
    active = devices.receiver.scheme == "active"
    if active and case.bob_basis != basis:
        return 0.0, 0.0
    in_basis = 3 if active else 3 << (2 * basis)
    right = 1 << (value if active else 2 * basis + value)
    reported = wrong = 0.0
    for mask in range(1, len(sets)):
        if not mask & in_basis:
            continue
        p = float(sets[mask]) * (1.0 if not mask & ~in_basis else 0.5)
        reported += p
        if mask & (mask - 1):
            wrong += p / 2
        elif mask != right:
            wrong += p
    return reported, wrong
