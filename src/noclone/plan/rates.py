"""How much key a device gives over a loss, for every protocol of the catalogue.

In: a device and the losses of its arms.  Out: secret bits a second, and what kind of statement that is. It is the
length that `noclone run` agrees on for the link that the planner writes (`links`), a second; but for continuous
variables with an efficiency of reconciliation that is stated, which have a formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from pydantic import TypeAdapter

from noclone.plan.devices import AnyDevice, Device, GaussianSection, has_middle, needs_no_middle
from noclone.plan.links import agreed_bps, link_of
from noclone.proofs.gaussian import Gaussian

# Losses are rounded up to this, so that fibres alike are computed once; what takes longer to compute is coarser.
COARSE_DB = 0.5
STEPS_DB = {"decoy-bb84": 0.05, "cv": 0.2}
LEAST_BPS = 0.01  # less than a 256-bit key in seven hours is called none
STATEMENTS = {
    "decoy-bb84": "finite blocks, as noclone run proves them",
    "bbm92": "finite blocks, as noclone run proves them",
    "mdi": "finite blocks, as noclone run proves them",
    "twin-field": "finite blocks, as noclone run proves them; the finite statistics are our own",
    "sns": "finite blocks, as noclone run proves them; the finite statistics are our own",
    "cv": "finite blocks, collective attacks; with beta, reconciliation stated",
    "repeater": "finite blocks, as noclone run proves them; the chain's rate is sampled",
    "satellite": "one finite block a pass, as noclone run proves it, averaged over days",
    "vendor": "the vendor's word",
}
_DEVICES: TypeAdapter[Device] = TypeAdapter(AnyDevice)


def secret_bps(device: Device, loss_db: float, loss_bob_db: float | None = None) -> float:
    """Return the secret bits per second to plan with; 0 where there is no key.

    Args:
        loss_db: Of the fibre, or of Alice's arm where something stands between.
        loss_bob_db: Of Bob's arm.
    """
    fits = needs_no_middle(device) if loss_bob_db is None else has_middle(device)
    if not fits:
        return 0.0
    step = STEPS_DB.get(device.protocol, COARSE_DB)
    losses = (loss_db,) if loss_bob_db is None else (loss_db, loss_bob_db)
    bps = device.counted * _promised(
        device.model_dump_json(), tuple(round(math.ceil(loss / step - 1e-9) * step, 6) for loss in losses)
    )
    return bps if bps >= LEAST_BPS else 0.0


@lru_cache(maxsize=65536)
def _promised(text: str, losses_db: tuple[float, ...]) -> float:
    device = _DEVICES.validate_json(text)
    if isinstance(device, GaussianSection) and device.beta is not None:
        return _gaussian(device, device.beta, 10 ** (-losses_db[0] / 10))
    return agreed_bps(link_of("a-b", ("a", "b"), device, losses_db, (1.0,) * len(losses_db)))


def _gaussian(device: GaussianSection, beta: float, eta: float) -> float:
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
        return link.finite_rate(beta, device.block_symbols)

    return _largest(rate, 0.2, 40.0) * device.clock_hz


def _largest(rate: Callable[[float], float], low: float = 1e-3, high: float = 1.0) -> float:
    """Return the largest rate over an intensity: a coarse walk on a logarithmic scale, then finer about its best."""
    step = math.log(high / low) / 16
    best = max((low * math.exp(i * step) for i in range(17)), key=rate)
    while step > 0.02:
        step /= 2
        best = max((best, best * math.exp(step), best * math.exp(-step)), key=rate)
    return rate(best)
