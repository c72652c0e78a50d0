"""A link of continuous variables in the scenario file: Alice's modulation, Bob's coherent detector.

In: [link.modulation] and [link.coherent].  Out: `CoherentDevices`. Variances in shot-noise units: that of the vacuum,
as Bob's detector sees it, is 1.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from noclone.network.fields import NonNegative, Positive, Section
from noclone.protocols import GaussianModulation
from noclone.records import QUADRATURE_UNIT

if TYPE_CHECKING:
    from noclone.link.devices import Fibre
    from noclone.link.quadratures import CoherentDevices
    from noclone.network.distillation_section import DistillationSection
    from noclone.network.fibre_section import FibreSection

SLICES_EFFICIENCY = 1.18  # of the codes for slices, over the slices' entropy: what a length leaves room for
VALUES_MIN = 50_000  # of a block: codes need 32,768 at least


class ModulationSection(Section):
    """Alice's coherent states of Gaussian amplitudes."""

    clock_hz: Positive = Field(description="coherent states a second")
    variance: Annotated[float, Field(gt=0, le=1e4)] = Field(description="of either quadrature, in shot-noise units")
    excess: NonNegative = Field(
        description="excess noise of lasers and line, in shot-noise units at the line's input (at its output: times T)"
    )


class CoherentSection(Section):
    """Bob's detector."""

    detection: Literal["homodyne", "heterodyne"] = Field(
        default="homodyne", description="one quadrature, chosen at random (GG02), or both (no switching)"
    )
    efficiency: Annotated[float, Field(gt=0, le=1)]
    electronic: NonNegative = Field(description="electronic noise, in shot-noise units at the detector's output")
    trusted: bool = Field(
        default=True, description="whether its losses and electronic noise are taken to be out of Eve's reach"
    )
    p_test: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="share of the values that is told to estimate the line"
    )


def coherent_devices(modulation: ModulationSection, coherent: CoherentSection, fibre: Fibre) -> CoherentDevices:
    """Return the devices, with the bins that leave most key of what this light should bring."""
    from noclone.link.quadratures import CoherentDevices  # numba: only where it is needed
    from noclone.proofs.slices import choose_bins

    protocol = GaussianModulation(
        modulation.variance,
        coherent.detection,
        coherent.efficiency,
        coherent.electronic,
        coherent.trusted,
        coherent.p_test,
        step=1,
        slices=1,
        told=0,
    )
    devices = CoherentDevices(modulation.clock_hz, fibre, modulation.excess, protocol)
    ratio = devices.gain * modulation.variance / devices.noise_variance
    width, slices, told = choose_bins(float(f"{ratio:.3g}"))
    step = max(1, round(width * math.sqrt(devices.noise_variance) / QUADRATURE_UNIT))
    return replace(devices, protocol=replace(protocol, step=step, slices=slices, told=told))


def check_values(name: str, distillation: DistillationSection, fibre: FibreSection | None) -> None:
    """Refuse what continuous variables cannot do.

    Raises:
        ValueError: A link with them asks for it.
    """
    if distillation.block_key_bits < VALUES_MIN:
        raise ValueError(f"link '{name}': a cv link needs block_key_bits (values, here) of {VALUES_MIN} at least")
    if distillation.reconciliation == "cascade" and "reconciliation" in distillation.model_fields_set:
        raise ValueError(f"link '{name}': cascade goes both ways, and a cv link needs codes told by Bob alone")
    if fibre is not None and fibre.classical:
        raise ValueError(f"link '{name}': data in the fibre of a cv link are not modelled; add to its excess")
