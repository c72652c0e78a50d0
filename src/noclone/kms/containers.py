"""Key containers: what an application gets, in the words of ETSI GS QKD 014.

In: keys, and the two KMEs that hold them.  Out: the JSON of table 11, each key with what it stands on. The text is put
together by hand: a container has the same label for each of its keys, and that is most of it.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from dataclasses import dataclass, field
from typing import Any

from noclone.kms.keys import StoredKey
from noclone.kms.labels import label
from noclone.records import Provenance

NOTICE = ', "key_container_extension": {"noclone_notice": "simulated light: these keys are secret in the model only"}'


@dataclass(frozen=True, slots=True)
class Delivered:
    """Keys for one application, and the two KMEs that hold them."""

    keys: tuple[StoredKey, ...] = field(repr=False)
    sites: tuple[str, str]

    def to_text(self) -> bytes:
        """Return the key container of ETSI GS QKD 014, table 11, as JSON. The result holds key; do not log it."""
        parts, simulated = [], False
        of: tuple[Provenance, ...] | None = None
        for key in self.keys:
            if key.provenance is not of or of is None:
                of, mark = key.provenance, label(key.provenance, self.sites)
                simulated = simulated or mark.origin == "simulated"
            value = b2a_base64(key.value, newline=False).decode("ascii")
            parts.append(f'{{"key_ID": "{key.key_id}", "key": "{value}", "key_extension": {mark.text}}}')
        return f'{{"keys": [{", ".join(parts)}]{NOTICE if simulated else ""}}}'.encode()

    def to_json(self) -> dict[str, Any]:
        """Return the same as plain JSON values."""
        out: dict[str, Any] = json.loads(self.to_text())
        return out
