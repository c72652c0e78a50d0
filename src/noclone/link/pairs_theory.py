"""What a link of entangled pairs counts on average: the same law as its light, in closed form.

In: `PairDevices`.  Out: `ExpectedCounts`. Dead times enter as the share of time that a detector is alive, and
afterpulses as darkness: right to first order, as in `theory`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from noclone.link.devices import Clocked
from noclone.link.pairs import FIRST_CHSH, PairDevices
from noclone.link.slotlaw import no_click_outside, set_probabilities
from noclone.link.theory import ExpectedCounts

F64 = NDArray[np.float64]
Report = tuple[int, int | None, float]  # basis, value (None: drawn at random), how likely


def expected_pair_counts(devices: PairDevices, n_slots: int) -> ExpectedCounts:
    """Return the counts that a block of `n_slots` gives on average."""
    tables = coincidences(devices)
    counts, errors, singles = np.zeros(2), np.zeros(2), 0.0
    for (bases, share), table in zip(_shares(devices), tables, strict=True):
        reports_a = [_reports(s, devices.receiver_alice.scheme, bases[0]) for s in range(table.shape[1])]
        reports_b = [_reports(s, devices.receiver.scheme, bases[1]) for s in range(table.shape[0])]
        singles += share * float(table[1:].sum())
        for b in range(1, len(reports_b)):
            for a in range(1, len(reports_a)):
                _add(share * float(table[b, a]), reports_a[a], reports_b[b], counts, errors)
    n_key, n_test, m_key, m_test = (n_slots * float(x) for x in (*counts, *errors))
    return ExpectedCounts(n_slots, (n_key,), (n_test,), (m_key,), (m_test,), singles * devices.clock_hz)


def expected_chsh(devices: PairDevices) -> float:
    """Return the CHSH value that Bob's further bases show on average; see `proofs.chsh`."""
    total = 0.0
    _, all_bases = devices.rows()
    for (a, b), table in zip(all_bases, coincidences(devices), strict=True):
        if b >= FIRST_CHSH:
            both, same = float(table[1:, 1:].sum()), float(table[1, 1] + table[2, 2])
            unsure = both - same - float(table[1, 2] + table[2, 1])  # several clicks: values drawn at random
            correlation = (2 * same + unsure) / both - 1
            total += -correlation if (a, b) == (1, FIRST_CHSH + 1) else correlation
    return total


def coincidences(devices: PairDevices) -> list[F64]:
    """Return, for each pair of bases, how likely each set of detectors clicks in its gates: Bob's are the rows."""
    alive, stray = _alive(devices)
    etas = [
        eta * clocked.in_gate * live
        for eta, clocked, live in zip(devices.transmittances(), devices.clocked, alive, strict=True)
    ]
    dark = no_click_outside(np.concatenate(stray))
    shape = (1 << devices.receiver.detectors, 1 << devices.receiver_alice.detectors)
    _, bases = devices.rows()
    return [set_probabilities(devices.silences(row, etas[0], etas[1]) * dark).reshape(shape) for row in bases]


def _alive(devices: PairDevices) -> tuple[list[F64], list[F64]]:
    """Return, for each end, its detectors' share of live time, and their chance of a stray click in a gate."""
    alive, stray = [], []
    shares = _shares(devices)
    _, bases = devices.rows()
    silences = [devices.silences(row, *devices.transmittances()) for row in bases]
    low = devices.receiver_alice.detectors
    for clocked, shift in zip(devices.clocked, (0, low), strict=True):
        detectors = clocked.receiver.detectors
        everything = len(silences[0]) - 1
        lit = np.array(
            [
                sum(
                    share * (1 - s[everything ^ (1 << (shift + d))])
                    for (_, share), s in zip(shares, silences, strict=True)
                )
                for d in range(detectors)
            ]
        )
        dark = np.array(clocked.receiver.dark_count_hz) / clocked.clock_hz
        once = lit + dark
        more = 1 / (1 - clocked.receiver.afterpulse_probability)
        live = 1 / (1 + once * more * _blind_slots(clocked))
        after = live * once * (more - 1)
        alive.append(live)
        stray.append(-np.expm1(-(live * dark + after) * clocked.gate_fraction))
    return alive, stray


def _blind_slots(clocked: Clocked) -> float:
    """Return how many slots' light a click blinds for: photons come at slots' centres."""
    return max(0.0, float(np.ceil(clocked.dead_time_periods - 1e-9)) - 1.0)


def _shares(devices: PairDevices) -> list[tuple[tuple[int, int], float]]:
    """Return how often each pair of bases is chosen; one pair stands for all where a splitter draws."""
    protocol = devices.protocol
    _, bases = devices.rows()

    def share(active: bool, p_key: float, basis: int) -> float:
        return (p_key, 1 - p_key)[basis] if active else 1.0

    def bobs(basis: int) -> float:
        if basis >= FIRST_CHSH:
            return protocol.p_chsh / 2
        return (1 - protocol.p_chsh) * share(devices.receiver.scheme == "active", protocol.p_key_bob, basis)

    return [
        ((a, b), share(devices.receiver_alice.scheme == "active", protocol.p_key_alice, a) * bobs(b)) for a, b in bases
    ]


def _reports(detectors: int, scheme: str, basis: int) -> list[Report]:
    """Return what an end reports where a set of detectors clicked; as `detectors.play` does."""
    several = detectors & (detectors - 1) != 0
    if scheme == "active":
        return [(basis, None if several else detectors >> 1, 1.0)]
    found: list[Report] = []
    for one in (0, 1):
        inside = detectors >> (2 * one) & 3
        if inside:
            weight = 0.5 if detectors >> (2 - 2 * one) & 3 else 1.0
            found.append((one, None if several else inside >> 1, weight))
    return found


def _add(p: float, alice: list[Report], bob: list[Report], counts: F64, errors: F64) -> None:
    for basis_a, value_a, weight_a in alice:
        for basis_b, value_b, weight_b in bob:
            if basis_a == basis_b:
                both = p * weight_a * weight_b
                counts[basis_a] += both
                unsure = value_a is None or value_b is None
                errors[basis_a] += both * (0.5 if unsure else float(value_a != value_b))
