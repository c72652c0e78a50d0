"""MDI-QKD's station: a beam splitter and two polarising ones, which announce Bell states.

Detectors 0 and 1 stand behind one output (horizontal, vertical), 2 and 3 behind the other. Two clicks, one of each
polarisation, announce psi+ (same output) or psi- (different ones), as in Ma and Razavi, Phys. Rev. A 86, 062319 (2012),
Sec. III. Pulses have independent, uniformly random phases. In the key basis values differ always; in the test basis for
psi- only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from noclone.link.joint import CODES
from noclone.link.meeting import F64, PHASES, UNIFORM, Meeting, strengths

PSI_MINUS, PSI_PLUS = (0b1001, 0b0110), (0b0011, 0b1100)
# By basis and value: the polarisation's horizontal and vertical part.
STATES = np.array([[1.0, 0.0], [0.0, 1.0], [math.sqrt(0.5), math.sqrt(0.5)], [math.sqrt(0.5), -math.sqrt(0.5)]])


@dataclass(frozen=True, slots=True)
class BellStation(Meeting):
    """A link whose station announces Bell states."""

    DIFFER: ClassVar[dict[int, tuple[bool, bool]]] = {
        **dict.fromkeys(PSI_MINUS, (True, True)),
        **dict.fromkeys(PSI_PLUS, (True, False)),
    }
    DETECTORS: ClassVar[int] = 4

    def means(self) -> tuple[F64, F64]:
        """Return mean photon numbers and the phases' weights; see `Meeting.means`."""
        polarised = STATES[np.arange(CODES) & 3]
        senders = zip((self.protocol.alice, self.protocol.bob), self.transmittances, strict=True)
        alice, bob = (strengths(sender.intensities, t)[:, None] * polarised for sender, t in senders)
        a, b = alice[:, None, None, :], bob[None, :, None, :]
        beat = 2 * self.visibility * a * b * np.cos(UNIFORM)[None, None, :, None]
        both = np.concatenate([a * a + b * b + beat, a * a + b * b - beat], axis=3) / 2
        return both * np.array(self.receiver.efficiency), np.full((CODES, CODES, PHASES), 1 / PHASES)
