"""The parts of a scenario that say what a link's devices do beyond their data sheets: [link.flaws], [link.guards].

In: tables of the file.  Out: `link.flaws`. Devices without these tables are the ideal ones of the model.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from noclone.link.flaws import Flaws, Guards
from noclone.network.fields import Positive, Probability, Section


class FlawsSection(Section):
    """What an attacker can bring out of the devices of a link."""

    linear_never_uw: Positive | None = Field(
        default=None, description="bright power up to which a blinded detector never clicks; none: it cannot be blinded"
    )
    linear_always_uw: Positive | None = Field(default=None, description="bright power from which it always clicks")
    mismatch: Probability = Field(
        default=1.0, description="efficiency of one detector over the other's, off the centre"
    )
    mismatch_shift: Annotated[float, Field(ge=0.05, le=0.45)] = Field(
        default=0.25, description="how far off the centre, in slots"
    )
    dead_each: bool = Field(default=False, description="a detector is dead for itself, and the others count on")
    probe_loss_db: Annotated[float, Field(ge=0, le=400)] = Field(
        default=170.0, description="of light sent into Alice's lab, until it is out again"
    )
    seed_gain: Annotated[float, Field(ge=0, le=100)] = Field(
        default=0.0, description="by how much light sent into her laser brightens it"
    )
    damage_db: Annotated[float, Field(ge=0, le=60)] = Field(
        default=0.0, description="loss of her attenuator that light can burn away"
    )
    setting_leak: Probability = Field(default=0.0, description="how often a pulse's intensity shows in its neighbours")

    def flaws(self) -> Flaws:
        """Return what the light takes."""
        return Flaws(**{name: value for name, value in self.model_dump().items() if value is not None})


class GuardsSection(Section):
    """The meters and rules of a link."""

    photocurrent: bool = Field(default=False, description="Bob reads the current through his detectors")
    dark_slots: Annotated[float, Field(ge=0, le=0.1)] = Field(
        default=0.0, description="share of the time in which Bob counts behind a closed shutter"
    )
    arrivals: bool = Field(default=False, description="Bob keeps a histogram of arrival times")
    output_meter: bool = Field(default=False, description="Alice measures what leaves her")
    input_meter: bool = Field(default=False, description="Alice measures what enters her lab")
    setting_meter: bool = Field(default=False, description="Alice measures how pulses depend on earlier settings")
    all_alive: bool = Field(default=False, description="a click counts only while all detectors are alive")
    four_state: bool = Field(default=False, description="Bob swaps his detectors at random")

    def guards(self) -> Guards:
        """Return what the light takes."""
        return Guards(**self.model_dump())
