"""How a link's detections become key, in the scenario file: [link.distillation]."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from noclone.distill.job import EFFICIENCY
from noclone.network.fields import Section
from noclone.proofs.epsilon import LEAST, MOST

TOEPLITZ_BITS_MAX = 400_000_000  # a block may have twice as many bits as it is made for


class DistillationSection(Section):
    """How detections become key."""

    proof: str | None = Field(
        default=None,
        description="where not given: wiesemann2024 (others: lim2014, rusca2018, tupkary2024); for bbm92 "
        "tomamichel2012, for mdi curty2014, for twin-field cal2019, for sns jiang2019, for cv pirandola2023",
    )
    block_key_bits: Annotated[int, Field(ge=10_000, le=1_000_000_000)] = Field(
        default=1_000_000, description="sifted bits of the key basis (cv: values) that a block is made for"
    )
    eps_secrecy: Annotated[float, Field(ge=LEAST, lt=MOST)] = 1e-10
    eps_correctness: Annotated[float, Field(ge=LEAST, lt=MOST)] = 1e-15
    qber_abort: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.11, description="no block above this error rate"
    )
    reconciliation: Literal["cascade", "ldpc"] = Field(
        default="cascade", description="ldpc: hardly any round trips, for a long way; it tells more"
    )
    amplification: Literal["reed-solomon-1", "binary-toeplitz"] = Field(
        default="reed-solomon-1", description="binary-toeplitz: the matrix that others use, some ten times slower"
    )
    efficiency: Annotated[float, Field(ge=1, le=2)] | None = Field(
        default=None,
        description="reconciliation efficiency that the agreed length leaves room for; "
        "where not given: 1.12 for cascade, 1.3 for ldpc, 1.18 for the slices of cv",
    )

    @model_validator(mode="after")
    def _fits_amplification(self) -> Self:
        if self.amplification == "binary-toeplitz" and self.block_key_bits > TOEPLITZ_BITS_MAX:
            raise ValueError(f"binary-toeplitz takes blocks of {TOEPLITZ_BITS_MAX} key bits at most")
        return self

    @property
    def efficiency_agreed(self) -> float:
        """Return the most that reconciliation may leak, over Shannon's limit."""
        return EFFICIENCY[self.reconciliation] if self.efficiency is None else self.efficiency
