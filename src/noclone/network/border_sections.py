"""The part of a scenario that says where our domain meets another operator's, and whom there we share keys with.

In: tables [[border]] of the file.  Out: `kms.border_out.Domain`s, and where certificates are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from noclone.kms.border_messages import ACK_PATH
from noclone.kms.border_out import Domain
from noclone.network.fields import Name, Positive, SaeId, Section
from noclone.spelling import did_you_mean

FOREIGN_MAX = 10_000


class BorderSection(Section):
    """A site where one of our KMEs and one of another operator's stand side by side."""

    domain: Name = Field(description="what we call the other operator's domain")
    node: Name = Field(description="our node at the border")
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(description="where it listens for the other KME")
    peer: SaeId = Field(description="name of the other operator's KME, as its certificate has it")
    url: Annotated[str, Field(pattern=r"^https://[^/?#\s]+$")] = Field(description="where that KME listens for ours")
    peer_ca: str = Field(
        description="PEM: the other operator's authority for borders; a relative path begins at the node's folder of "
        "certificates"
    )
    saes: list[SaeId] = Field(
        min_length=1, max_length=FOREIGN_MAX, description="applications there that ours may share keys with"
    )
    timeout_s: Positive = Field(default=20.0, description="a key that has not arrived there after this is voided")

    def described(self, host: str) -> Domain:
        """Return what the KMEs go by; `host` is where our node listens."""
        shown = f"[{host}]" if ":" in host else host
        callback = f"https://{shown}:{self.port}{ACK_PATH}"
        return Domain(
            self.domain, self.node, self.peer, self.url, callback, frozenset(self.saes), timeout_s=self.timeout_s
        )


def check_borders(borders: Sequence[BorderSection], nodes: set[str], saes: Mapping[str, str]) -> None:
    """Refuse borders that cannot be.

    Raises:
        ValueError: A name is not known, or in two places.
    """
    homes: dict[str, str] = dict.fromkeys(saes, "this scenario")
    domains: set[str] = set()
    for border in borders:
        where = f"border with '{border.domain}'"
        if border.domain in domains:
            raise ValueError(f"{where}: there is another one; one border joins two domains so far")
        domains.add(border.domain)
        if border.node not in nodes:
            meant = did_you_mean(border.node, nodes)
            raise ValueError(f"{where}: node = '{border.node}' is not one of: {', '.join(sorted(nodes))}{meant}")
        for sae in border.saes:
            if sae in homes:
                raise ValueError(
                    f"{where}: application '{sae}' is in {homes[sae]} as well; ids are unique in all domains that meet"
                )
            homes[sae] = f"'{border.domain}'"
