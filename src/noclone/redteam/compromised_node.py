"""A compromised trusted node: whoever owns it reads every key that is relayed over it, and forges none that is not.

In: a relay over one path, or over two that share no node.  Out: what the owner of one node between has. From its pads
and from what is on the wire follows the key, or nothing of it (`knowledge`; Salvail et al., arXiv:0904.4072). What it
has is held against the trust formula of that very block.
"""

from __future__ import annotations

import asyncio

from noclone.kms.requests import KeyRequest
from noclone.redteam.knowledge import Knowledge
from noclone.redteam.rows import Row
from noclone.redteam.stage import stage
from noclone.trust.formula import Atom
from noclone.trust.provenance import formula_of_block

OWNED = "b"
EDGES = (("a", "b"), ("b", "z"), ("a", "c"), ("c", "z"))
BYTES = 256


async def _trial(defended: bool) -> Row:
    async with stage(EDGES) as one:
        await one.fill()
        routes = [("a", OWNED, "z"), ("a", "c", "z")]
        shape = 2 if defended else 1
        block = await one.relays["a"].relay(routes[:shape], shape, BYTES)
        await one.ready("a", "z", 4 * 256)
        got = await one.kmes["a"].enc_keys("sae-a", "sae-z", KeyRequest.model_validate({"number": 4}))
        real = got.keys
        hers = Knowledge(one, {Atom("node", OWNED)})
        known = sum(hers.knows(key, ("a", "z")) for key in real)
        says = formula_of_block(block).leaks({Atom("node", OWNED)})
        bits = sum(8 * len(key.value) for key in real)
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
