"""Units: the few conversions that physics papers leave to the reader."""

from __future__ import annotations

PS_PER_S = 1_000_000_000_000
SPEED_OF_LIGHT_M_PER_S = 299_792_458.0
FIBRE_GROUP_INDEX = 1.468  # ITU-T G.652 fibre at 1550 nm


def transmittance(loss_db: float) -> float:
    """Return the share of photons that survive a loss of `loss_db`."""
    return float(10.0 ** (-loss_db / 10.0))


def fibre_delay_s(length_km: float) -> float:
    """Return how long light, and so a message, travels through `length_km` of fibre."""
    return length_km * 1e3 * FIBRE_GROUP_INDEX / SPEED_OF_LIGHT_M_PER_S
