"""Twin-field QKD's station: one beam splitter with a detector behind either output, after Curty, Azuma, Lo (CAL).

In the key basis both send one intensity with a phase of 0 or pi for their values, locked to each other but for some
noise; in the test basis decoys of random phase. Exactly one click is announced; behind output 1 the values differ.
Curty, Azuma, Lo, npj Quantum Inf. 5, 64 (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from noclone.link.joint import CODES
from noclone.link.meeting import F64, PHASES, UNIFORM, Meeting, strengths
from noclone.protocols import TwinField
from noclone.records import Basis

NODES = 21  # of Gauss and Hermite's quadrature over the noise


@dataclass(frozen=True, slots=True)
class TwinStation(Meeting):
    """A link whose station announces which of two detectors clicked."""

    DIFFER: ClassVar[dict[int, tuple[bool, bool]]] = {0b01: (False, False), 0b10: (True, False)}
    DETECTORS: ClassVar[int] = 2

    def means(self) -> tuple[F64, F64]:
        """Return mean photon numbers and the phases' weights; see `Meeting.means`.

        The first phases stand for random ones, the others for the noise between two pulses of the key basis.
        """
        assert isinstance(self.protocol, TwinField)
        codes = np.arange(CODES)
        key = codes >> 1 & 1 == Basis.KEY
        sign = np.where(key & (codes & 1 == 1), -1.0, 1.0)
        keys = (self.protocol.key_alice, self.protocol.key_bob)
        alice, bob = (
            np.where(key, np.sqrt(strong * t), strengths(sender.intensities, t)) * sign
            for sender, strong, t in zip(
                (self.protocol.alice, self.protocol.bob), keys, self.transmittances, strict=True
            )
        )
        nodes, shares = np.polynomial.hermite_e.hermegauss(NODES)
        phase = np.concatenate([UNIFORM, nodes * self.phase_noise_rad])
        locked = key[:, None] & key[None, :]
        weights = np.where(
            locked[:, :, None],
            np.concatenate([np.zeros(PHASES), shares / shares.sum()]),
            np.concatenate([np.full(PHASES, 1 / PHASES), np.zeros(NODES)]),
        )
        a, b = alice[:, None, None], bob[None, :, None]
        beat = 2 * self.visibility * a * b * np.cos(phase)
        total = a * a + b * b + np.zeros_like(beat)
        return np.stack([total + beat, total - beat], axis=3) / 2 * np.array(self.receiver.efficiency), weights
