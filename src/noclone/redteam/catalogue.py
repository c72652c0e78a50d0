"""The catalogue of attacks, of every layer.

In: the entries of each layer.  Out: `CATALOGUE`, by name, in the order in which the matrix shows them.
"""

from __future__ import annotations

from noclone.redteam.entry import Entry
from noclone.redteam.on_light import DARK, LIGHT
from noclone.redteam.on_messages import MESSAGES
from noclone.redteam.on_nodes import CRYPTOGRAPHY, NODES, SERVICE

CATALOGUE: dict[str, Entry] = {
    entry.name: entry for entry in (*LIGHT, *MESSAGES, *NODES, *CRYPTOGRAPHY, *DARK, *SERVICE)
}
