"""A compromised trusted node: whoever owns it reads every key that is relayed over it, and forges none that is not.

In: a relay over one path, or over two that share no node.  Out: what the owner of one node between has. From its pads
and from what is on the wire it works the shares out, and joins what it has: the key, or nothing of it (`kms.relay`;
Salvail et al., arXiv:0904.4072). What it has is held against the trust formula of that very block.
"""

from __future__ import annotations

import asyncio
import base64
import json

from noclone.crypto.secret_sharing import join
from noclone.kms.relay_messages import CONFIRMATION_BYTES
from noclone.kms.requests import KeyRequest
from noclone.redteam.rows import Row
from noclone.redteam.stage import Stage, stage
from noclone.relayed import RelayProvenance
from noclone.trust.formula import Atom
from noclone.trust.provenance import formula_of_block

OWNED = "b"
EDGES = (("a", "b"), ("b", "z"), ("a", "c"), ("c", "z"))
BYTES = 256


def shares_at(one: Stage, node: str, transfer: str) -> dict[int, bytes]:
    """Return the shares of a relay that a node's owner works out from its pads and the wire."""
    shares = {}
    for operation, text in one.heard:
        if operation == "relay-share":
            message = json.loads(text)["message"]
            pad = one.pads[node].get(message["key_id"])
            if message["header"]["transfer"] == transfer and pad is not None:
                data = base64.b64decode(message["data"])
                shares[message["share"]] = bytes(x ^ y for x, y in zip(data, pad[-len(data) :], strict=True))
    return shares


def learned(one: Stage, node: str, block: RelayProvenance) -> bytes:
    """Return the key that the owner of a node has; empty if she has none."""
    shares = shares_at(one, node, block.transfer)
    if len(shares) < block.threshold:
        return b""
    return bytes(join(shares, block.threshold, len(block.shares)))[:-CONFIRMATION_BYTES]


async def _trial(defended: bool) -> Row:
    async with stage(EDGES) as one:
        await one.fill()
        routes = [("a", OWNED, "z"), ("a", "c", "z")]
        shape = 2 if defended else 1
        block = await one.relays["a"].relay(routes[:shape], shape, BYTES)
        await one.ready("a", "z", 4 * 256)
        got = await one.kmes["a"].enc_keys("sae-a", "sae-z", KeyRequest.model_validate({"number": 4}))
        real = [key.value for key in got.keys]
        hers = learned(one, OWNED, block)
        known = sum(value in hers for value in real)
        says = formula_of_block(block).leaks({Atom("node", OWNED)})
        bits = sum(8 * len(value) for value in real)
        assert says == bool(known), "the trust formula and the wire disagree"
        return Row(
            "compromised-node",
            defended,
            known / len(real),
            bits,
            bits * known / len(real),
            "broken" if known else "held",
            unit="keys",
            predicted=float(says),
            note=f"as the trust formula says: node:{OWNED} alone {'learns' if says else 'does not learn'} it",
        )


def trial(_seed: bytes, defended: bool, _strength: float) -> Row:
    """Relay a key over a node that Eve owns; defended, as a sum of shares over two paths."""
    return asyncio.run(_trial(defended))
