"""How much key a device gives over a loss: what its proof or formula promises, for every protocol of the catalogue.

In: a device and the losses of its arms.  Out: secret bits a second, and what kind of statement that is. Decoy-state
BB84 goes through `network.blocks`, the same functions that `noclone run` and the audit use; BBM92 and CV have finite
blocks; MDI and twin-field have the limit of long blocks and infinitely many decoys, which no real link reaches: the
catalogue's `counted` leaves room.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from pydantic import TypeAdapter

from noclone.errors import ScenarioError
from noclone.network.blocks import plan_link
from noclone.network.link_sections import LinkSection
from noclone.plan.devices import AnyDevice, Device, DeviceSection, GaussianSection, PairsSection, StationSection
from noclone.proofs.entangled import PairSource, best_mean_pairs, finite_length
from noclone.proofs.entropy import binary_entropy
from noclone.proofs.gaussian import Gaussian
from noclone.proofs.middle_station import Arms, PhaseNoise, cal_rate, mdi_rate, sns_rate

LOSS_STEP_DB = 0.05  # losses are rounded up to this: fibres alike are computed once
LEAST_BPS = 0.01  # less than a 256-bit key in seven hours is called none
EFFICIENCY = 1.16  # of reconciliation, over Shannon's limit
EPS_CORRECTNESS = 1e-15
STATEMENTS = {
    "decoy-bb84": "finite blocks, as noclone run proves them",
    "bbm92": "finite blocks",
    "mdi": "the limit of long blocks and infinitely many decoys",
    "twin-field": "the limit of long blocks and infinitely many decoys",
    "cv": "finite blocks, collective attacks, reconciliation stated",
    "satellite": "one finite block a pass",
    "vendor": "the vendor's word",
}
_DEVICES: TypeAdapter[Device] = TypeAdapter(AnyDevice)


def secret_bps(device: Device, loss_db: float, loss_bob_db: float | None = None) -> float:
    """Return the secret bits per second to plan with; 0 where there is no key.

    Args:
        loss_db: Of the fibre, or of Alice's arm where something stands between.
        loss_bob_db: Of Bob's arm.
    """
    arms = tuple(round(-(-loss // LOSS_STEP_DB) * LOSS_STEP_DB, 6) for loss in (loss_db, loss_bob_db or 0.0))
    bps = device.counted * _promised(device.model_dump_json(), *arms, loss_bob_db is not None)
    return bps if bps >= LEAST_BPS else 0.0


@lru_cache(maxsize=65536)
def _promised(text: str, alice_db: float, bob_db: float, middle: bool) -> float:
    device = _DEVICES.validate_json(text)
    eta = (10 ** (-alice_db / 10), 10 ** (-bob_db / 10))
    match device:
        case DeviceSection():
            return _decoy_bb84(device, alice_db)
        case PairsSection():
            return _pairs(device, *(eta if middle else (1.0, eta[0])))
        case StationSection():
            return _station(device, *eta) if middle else 0.0
        case GaussianSection():
            return _gaussian(device, eta[0])


def _decoy_bb84(device: DeviceSection, loss_db: float) -> float:
    try:
        plan = plan_link(link_section("a-b", "a", "b", 1.0, loss_db, device))
    except ScenarioError:
        return 0.0
    return plan.secret_bps


def _pairs(device: PairsSection, alice: float, bob: float) -> float:
    """Bases are chosen evenly: as many sifted bits test as make key."""
    dark = device.dark_count_hz / device.clock_hz * 2  # of two detectors
    source = PairSource(
        0.01, alice * device.efficiency, bob * device.efficiency, dark, dark, min(2 * device.misalignment, 0.5)
    )
    source = replace(source, mean_pairs=best_mean_pairs(source, EFFICIENCY))
    gain, error, n = source.gain(), source.error_rate(), device.block_key_bits
    leak = EFFICIENCY * n * binary_entropy(min(error, 0.5))
    length = finite_length(n, n, error, leak, device.eps_secrecy, EPS_CORRECTNESS)
    pulses = 4.0 * n / gain if gain > 0 else math.inf
    return length / pulses * device.clock_hz


def _station(device: StationSection, alice: float, bob: float) -> float:
    dark = device.dark_count_hz / device.clock_hz
    a, b = alice * device.efficiency, bob * device.efficiency
    if device.protocol == "mdi":
        arms = Arms(a, b, dark, device.misalignment)
        # Intensities in proportion to the arms' losses would be best for the test basis; a search along both finds it.
        best = max(
            _largest(lambda mu, ratio=ratio: mdi_rate(arms, mu, mu * ratio, EFFICIENCY))  # type: ignore[misc]
            for ratio in (1.0, (a / b) ** 0.5, a / b)
        )
        return best * device.clock_hz
    # The formulas are for arms alike: the better one is made as lossy as the other.
    eta, noise = min(a, b), _noise(device)
    cal = _largest(lambda mu: cal_rate(eta, dark, mu, noise, EFFICIENCY))
    sns = max(_largest(lambda mu, e=e: sns_rate(eta, dark, mu, e, noise, EFFICIENCY)) for e in (0.01, 0.03, 0.06, 0.1))  # type: ignore[misc]
    return max(cal, sns) * device.clock_hz


def _noise(device: StationSection) -> PhaseNoise:
    """Misalignment is the share of wrong clicks: (1 - cos angle) / 2 of it in polarisation."""
    return PhaseNoise(device.phase_rad, math.acos(1.0 - 2.0 * device.misalignment))


def _gaussian(device: GaussianSection, eta: float) -> float:
    def rate(variance: float) -> float:
        link = Gaussian(
            variance,
            eta,
            device.excess,
            device.efficiency,
            device.electronic,
            device.detection,
            device.trusted_receiver,
        )
        return link.finite_rate(device.beta, device.block_symbols)

    return _largest(rate, 0.2, 40.0) * device.clock_hz


def _largest(rate: Callable[[float], float], low: float = 1e-3, high: float = 1.0) -> float:
    """Return the largest rate over an intensity: a coarse walk on a logarithmic scale, then finer about its best."""
    step = math.log(high / low) / 16
    best = max((low * math.exp(i * step) for i in range(17)), key=rate)
    while step > 0.02:
        step /= 2
        best = max((best, best * math.exp(step), best * math.exp(-step)), key=rate)
    return rate(best)


def link_section(name: str, a: str, b: str, length_km: float, loss_db: float, device: DeviceSection) -> LinkSection:
    """Return the link of a scenario: decoy-state BB84 with the intensities of the shipped scenario `metro`."""
    return LinkSection.model_validate(
        {
            "name": name,
            "alice": a,
            "bob": b,
            "source": {
                "clock_hz": device.clock_hz,
                "intensities": [0.43, 0.15],
                "probabilities": [0.55, 0.45],
                "p_key": 0.8,
            },
            "fibre": {"length_km": length_km, "attenuation_db_per_km": 0.0, "extra_loss_db": loss_db},
            "receiver": {
                "p_key": 0.8,
                "efficiency": device.efficiency,
                "dark_count_hz": device.dark_count_hz,
                "dead_time_ns": device.dead_time_ns,
                "misalignment": device.misalignment,
            },
            "distillation": {"block_key_bits": device.block_key_bits},
        }
    )
