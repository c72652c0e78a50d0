"""The part of a scenario that names QKD systems of vendors, from which two nodes draw keys: [[vendor_link]].

In: tables of the file.  Out: `kms.vendor_messages.VendorLink`, and where each node finds its end of the system.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from noclone.async_client import AsyncEtsi014Client
from noclone.kms.vendor_messages import VendorLink
from noclone.network.fields import Name, SaeId, Section, Text

CONNECTIONS = 2


class VendorDoorSection(Section):
    """One end of a vendor's system: its ETSI GS QKD 014 interface, and as whom the node's KME goes there."""

    url: Annotated[str, Field(pattern=r"^https://[^/?#\s]+$")] = Field(description="such as https://10.0.0.7:8443")
    sae: SaeId = Field(description="as what our KME is known there")
    certificate: str = Field(description="PEM; a relative path begins at the node's folder of certificates")
    key: str = Field(description="PEM, closed to others")
    ca: str = Field(description="PEM: the authority of the vendor's system")
    tls: Literal["1.2", "1.3"] = Field(default="1.3", description="the least version that is spoken")

    def client(self, folder: Path) -> AsyncEtsi014Client:
        """Return what calls the vendor's system.

        Raises:
            InputError: A file is missing, or cannot be used.
        """
        return AsyncEtsi014Client(
            self.url,
            certificate=folder / self.certificate,
            key=folder / self.key,
            ca=folder / self.ca,
            tls=self.tls,
            connections=CONNECTIONS,
        )


class VendorLinkSection(Section):
    """A link whose key comes from a vendor's QKD system at both ends."""

    name: Name
    alice: Name = Field(description="node that asks the vendor for new keys")
    bob: Name = Field(description="node that asks for the same keys by their ids")
    vendor: Text = Field(description="whose system it is: for people, and in every key's record")
    epsilon: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="how probably one of its keys is not secret, as the vendor states it; unknown if absent",
    )
    block_bytes: Annotated[int, Field(ge=256, le=1 << 19)] = Field(
        default=16_384, description="key that one draw brings"
    )
    key_size_bits: Annotated[int, Field(ge=64, le=1 << 20, multiple_of=8)] | None = Field(
        default=None, description="of the vendor's keys; its default where not given"
    )
    stock_bits: Annotated[int, Field(ge=1024)] = Field(default=1 << 20, description="key that is kept in store")
    at_alice: VendorDoorSection
    at_bob: VendorDoorSection

    @model_validator(mode="after")
    def _has_two_ends(self) -> Self:
        if self.alice == self.bob:
            raise ValueError(f"vendor_link '{self.name}' has the same node, '{self.alice}', at both ends")
        if self.at_alice.sae == self.at_bob.sae:
            raise ValueError(
                f"vendor_link '{self.name}': the vendor's system must know the two KMEs by different names"
            )
        return self

    def link(self) -> VendorLink:
        """Return what the two KMEs go by."""
        return VendorLink(
            self.name,
            self.alice,
            self.bob,
            self.vendor,
            self.at_alice.sae,
            self.at_bob.sae,
            self.epsilon,
            self.block_bytes,
            self.key_size_bits or 0,
            self.stock_bits,
        )
