"""The part of a scenario that names its post-quantum algorithms, and where TLS must be post-quantum itself: [pqc]."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from noclone.crypto.kems import DEFAULT_SUITE, SUITES
from noclone.errors import InputError
from noclone.kms.files import Doors
from noclone.kms.qkd_tls import QkdTls
from noclone.kms.suites import Suites
from noclone.network.fields import Section

Tls = Literal["pq-required", "pq-preferred"]


class PqcSection(Section):
    """Post-quantum cryptography between KMEs, and between them and applications."""

    suites: list[str] = Field(
        default=[DEFAULT_SUITE],
        min_length=1,
        max_length=8,
        description=f"KEMs for combined keys, the one to offer first, then those still accepted: {', '.join(SUITES)}",
    )
    deprecated: list[str] = Field(default=[], max_length=8, description="suites that are refused, as a reminder")
    signatures: list[Literal["ECDSA-P256", "ML-DSA-65"]] = Field(
        default=["ECDSA-P256", "ML-DSA-65"],
        min_length=1,
        max_length=2,
        description="what exchanges are signed with: all of these count, none is optional",
    )
    kme_tls: Tls = Field(
        default="pq-required", description="between KMEs; pq-preferred while some have no ML-DSA-65 certificate yet"
    )
    kme_tls_qkd: QkdTls = Field(
        default="none",
        description="what QKD key is taken for between KMEs that share a link: mixed in above certificates, or as"
        " preshared key (psk) in their place",
    )
    sae_tls: Tls = Field(
        default="pq-preferred", description="for applications; pq-required shuts out requests, curl and the like"
    )
    block_bytes: Annotated[int, Field(ge=256, le=1 << 20, multiple_of=64)] = Field(
        default=16_384, description="key that one exchange makes"
    )
    low_bits: Annotated[int, Field(ge=0)] = Field(
        default=262_144, description="a pool of combined key below this is filled up"
    )
    high_bits: Annotated[int, Field(ge=1)] = Field(default=524_288, description="until it holds this")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.high_bits < self.low_bits:
            raise ValueError("[pqc]: high_bits is below low_bits")
        if len(set(self.signatures)) != len(self.signatures):
            raise ValueError("[pqc]: an algorithm for signatures appears twice")
        try:
            self.in_force()
        except InputError as error:
            raise ValueError(f"[pqc]: {error.message}; {error.hint}" if error.hint else error.message) from None
        return self

    def in_force(self) -> Suites:
        """Return the suites as a KME begins with them."""
        return Suites(self.suites, self.deprecated)

    def doors(self) -> Doors:
        """Return which doors are for post-quantum callers only."""
        return Doors(self.kme_tls == "pq-required", self.sae_tls == "pq-required")
