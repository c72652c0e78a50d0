"""Key containers: what an application gets, in the words of ETSI GS QKD 014.

In: keys, and the two KMEs that hold them.  Out: the JSON of table 11, each key with what it stands on.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from noclone.kms.keys import StoredKey
from noclone.kms.labels import label


@dataclass(frozen=True, slots=True)
class Delivered:
    """Keys for one application, and the two KMEs that hold them."""

    keys: tuple[StoredKey, ...] = field(repr=False)
    sites: tuple[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the key container of ETSI GS QKD 014, table 11. The result holds key; do not log it."""
        return container(self.keys, self.sites)


def container(keys: Sequence[StoredKey], sites: tuple[str, str]) -> dict[str, Any]:
    """Return the key container of ETSI GS QKD 014, table 11, each key with what it stands on."""
    labels = [label(key.provenance, sites) for key in keys]
    out: dict[str, Any] = {
        "keys": [
            {"key_ID": key.key_id, "key": base64.b64encode(key.value).decode("ascii"), "key_extension": mark}
            for key, mark in zip(keys, labels, strict=True)
        ]
    }
    if any(mark["noclone_origin"] == "simulated" for mark in labels):
        out["key_container_extension"] = {"noclone_notice": "simulated light: these keys are secret in the model only"}
    return out
