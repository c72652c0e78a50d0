"""Which device on which fibre gives how much key: the candidates that the solver chooses from.

In: a `Brief`.  Out: `Candidate`s, each with the rate that its finite-key proof promises by the devices' model: the same
functions that `noclone run` and the audit use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from noclone.errors import ScenarioError
from noclone.network.blocks import plan_link
from noclone.network.link_sections import LinkSection
from noclone.plan.sites import Brief, DeviceSection, fibres_of

# Where a brief names no devices. The figures of merit are in the range of what is sold; the costs are of our own
# making, in thousands of some currency, to be replaced by offers.
CATALOGUE = (
    DeviceSection(
        name="avalanche",
        cost=80.0,
        clock_hz=1e9,
        efficiency=0.2,
        dark_count_hz=500.0,
        dead_time_ns=2000.0,
        misalignment=0.015,
    ),
    DeviceSection(
        name="superconducting",
        cost=250.0,
        clock_hz=1e9,
        efficiency=0.8,
        dark_count_hz=50.0,
        dead_time_ns=40.0,
        misalignment=0.01,
    ),
)
LOSS_STEP_DB = 0.05  # losses are rounded up to this: fibres alike are computed once


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device on a fibre.

    Args:
        bps: Secret bits per second that its proof promises.
        cost: Of the device and the fibre.
    """

    a: str
    b: str
    length_km: float
    loss_db: float
    device: DeviceSection
    bps: float
    cost: float


def candidates_of(
    brief: Brief, on_fibre: Callable[[int, int], None] | None = None
) -> tuple[list[Candidate], list[str]]:
    """Return every device on every fibre that gives key, and what was left out and why.

    Args:
        on_fibre: Told how many fibres are done, of how many.
    """
    devices = brief.devices or list(CATALOGUE)
    fibres = fibres_of(brief)
    out: list[Candidate] = []
    notes: list[str] = []
    for number, (a, b, length, loss, cost) in enumerate(fibres, 1):
        rounded = -(-loss // LOSS_STEP_DB) * LOSS_STEP_DB
        found = [
            Candidate(a, b, length, loss, device, bps, device.cost + cost)
            for device in devices
            if (bps := secret_bps(device, rounded)) > 0
        ]
        out += [one for one in found if not any(_better(other, one) for other in found)]
        if not found:
            notes.append(f"{a} to {b}: {loss:.1f} dB ({length:.0f} km): no device gives key")
        if on_fibre is not None:
            on_fibre(number, len(fibres))
    return out, notes


def _better(other: Candidate, one: Candidate) -> bool:
    return (other.cost, -other.bps) < (one.cost, -one.bps) and other.cost <= one.cost and other.bps >= one.bps


@lru_cache(maxsize=8192)
def _secret_bps(device: str, loss_db: float) -> float:
    section = DeviceSection.model_validate_json(device)
    try:
        plan = plan_link(link_section("a-b", "a", "b", 1.0, loss_db, section))
    except ScenarioError:
        return 0.0
    return plan.agreement.length_bits / plan.seconds_per_block


def secret_bps(device: DeviceSection, loss_db: float) -> float:
    """Return the secret bits per second that a device's proof promises over a loss; 0 where there is no key."""
    return _secret_bps(device.model_dump_json(), round(loss_db, 6))


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
