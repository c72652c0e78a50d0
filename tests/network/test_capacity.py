"""No link of any protocol promises more than its channel can carry, over a grid of losses, arms and devices.

Rates are those that `noclone run` agrees on, in bits per slot. The bound is that of the fibres alone (PLOB; one node's
for twin fields), for the two polarisations that a slot has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from noclone.errors import ScenarioError
from noclone.network.blocks import plan_link
from noclone.network.link_sections import LinkSection
from noclone.proofs.capacity import one_node_bound, repeaterless_bound

GOOD = {"efficiency": 1.0, "dark_count_hz": 0.1, "misalignment": 0.0}
POOR = {"efficiency": 0.2, "dark_count_hz": 300.0, "misalignment": 0.02, "dead_time_ns": 50.0, "loss_db": 1.0}
LONG = {"block_key_bits": 1_000_000_000, "eps_secrecy": 1e-6, "eps_correctness": 1e-9}
SHORT = {"block_key_bits": 3_000_000}
DECOYS = {"clock_hz": 1e9, "intensities": [0.5, 0.15, 0.0], "probabilities": [0.6, 0.25, 0.15], "p_key": 0.9}
LASERS = {
    "decoy-bb84": {**DECOYS, "intensities": [0.43, 0.15], "probabilities": [0.55, 0.45]},
    "mdi": DECOYS,
    "twin-field": {
        **DECOYS,
        "intensities": [0.9, 0.1, 0.0],
        "probabilities": [0.06, 0.4, 0.54],
        "key_intensity": 0.025,
    },
    "sns": {**DECOYS, "intensities": [0.45, 0.08, 0.0], "probabilities": [0.27, 0.48, 0.25], "key_intensity": 0.45},
}
MIDDLE = ("bbm92", "mdi", "twin-field", "sns")
BOUNDS = {"twin-field": one_node_bound, "sns": one_node_bound}


def link(
    protocol: str, loss_db: float, share: float, devices: dict[str, Any], distillation: dict[str, Any]
) -> LinkSection:
    """Return a link with that loss in all, of which Alice's arm has a share where there is a middle."""

    def fibre(db: float) -> dict[str, float]:
        return {"length_km": 0.0, "extra_loss_db": db}

    tables: dict[str, Any] = {"fibre": fibre(loss_db)}
    if protocol in MIDDLE:
        tables = {"fibre_alice": fibre(share * loss_db), "fibre": fibre((1 - share) * loss_db)}
    if protocol == "bbm92":
        tables |= {"pairs": {"clock_hz": 1e9, "mean_pairs": 0.03}, "receiver": {**devices, "p_key": 0.9}}
    elif protocol == "decoy-bb84":
        tables |= {"source": LASERS[protocol], "receiver": {**devices, "p_key": 0.9}}
    else:
        tables |= {"source": LASERS[protocol], "station": devices}
    return LinkSection.model_validate(
        {"name": "l", "alice": "a", "bob": "b", "protocol": protocol, "distillation": distillation, **tables}
    )


def rates(protocol: str) -> Iterator[tuple[float, float]]:
    """Return loss and bits per slot over the grid."""
    for loss_db in (0.0, 0.5, 3.0, 10.0, 25.0, 50.0, 77.0):
        for share in (0.5, 0.2) if protocol in MIDDLE else (1.0,):
            for devices in (GOOD, POOR):
                for distillation in (LONG, SHORT):
                    try:
                        plan = plan_link(link(protocol, loss_db, share, devices, distillation))
                    except ScenarioError:  # a block would take more pulses than there may be: no rate
                        continue
                    yield loss_db, plan.agreement.length_bits / plan.n_slots


@pytest.mark.parametrize("protocol", ["decoy-bb84", *MIDDLE])
def test_no_rate_exceeds_what_the_channel_carries(protocol: str) -> None:
    bound, positive = BOUNDS.get(protocol, repeaterless_bound), 0
    for loss_db, rate in rates(protocol):
        assert 0 <= rate < 2 * bound(10 ** (-loss_db / 10))
        positive += rate > 0
    assert positive >= 8, "a grid without key would say nothing"


@pytest.mark.parametrize("loss_db", [65.0, 77.0, 90.0])
def test_sending_or_not_beats_the_repeaterless_bound_where_published_work_does(loss_db: float) -> None:
    """Xu et al. 2020 and Zhou et al. 2023: of one mode, and of the fibre alone, with real detectors."""
    devices = {"efficiency": 0.7, "dark_count_hz": 4.0, "misalignment": 0.03, "phase_noise_rad": 0.1}
    plan = plan_link(link("sns", loss_db, 0.5, devices, {"block_key_bits": 10_000_000}))
    assert plan.agreement.length_bits / plan.n_slots > repeaterless_bound(10 ** (-loss_db / 10))
