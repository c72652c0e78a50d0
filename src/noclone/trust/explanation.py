"""A key explained: in words, as a formula, as its minimal cut sets, as the cheapest coalition, block by block.

In: the blocks that a key was cut from, the two sites that hold it.  Out: plain JSON values, and lines for people. Works
for keys of any number of paths and hops: the decision diagrams count what nobody could list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from noclone.combined import EVERLASTING, CombinedProvenance
from noclone.records import LOCAL_PROTOCOL, VENDOR_PROTOCOL, BlockProvenance, Provenance
from noclone.relayed import BorderProvenance, RelayHop, RelayProvenance
from noclone.trust.contributions import contributions
from noclone.trust.formula import Atom, cheapest_coalition, minimal_cut_sets
from noclone.trust.provenance import claim, explain, formula_of_key

# What it takes to corrupt one of these, relative to the others: an order of magnitude to argue about, no measurement.
WEIGHTS = {
    "seed": 1.0,
    "recording": 1.0,
    "fibre": 2.0,
    "alg": 3.0,
    "node": 5.0,
    "border": 5.0,
    "domain": 5.0,
    "bootstrap": 8.0,
    "coherent": 8.0,
    "link": 8.0,
    "vendor": 8.0,
    "site": 10.0,
}
CUT_SETS_READ = 10_000
TEXT_MAX = 2000


def explanation(
    blocks: Sequence[Provenance],
    *,
    master_site: str,
    slave_site: str,
    listed: int = 20,
    weights: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return everything that can be said about who could read a key.

    Args:
        blocks: Those that the key was cut from.
        master_site: The KME of its master.
        slave_site: The KME of its slaves.
        listed: How many minimal cut sets to list, the smallest first.
        weights: What it takes to corrupt an atom, by its kind; for those that are not named, `WEIGHTS`.
    """
    prices = {**WEIGHTS, **(weights or {})}
    formula = formula_of_key(blocks, master_site=master_site, slave_site=slave_site)
    cuts = minimal_cut_sets(formula, CUT_SETS_READ)
    cheapest = cheapest_coalition(formula, lambda atom: prices.get(atom.kind, 1.0))
    return {
        "sites": [master_site, slave_site],
        "claim": claim(blocks),
        "words": [_words(block) for block in blocks],
        "formula": str(formula),
        "formula_json": formula.to_json(),
        "formula_sha256": formula.sha256(),
        "atoms": {str(atom): explain(atom) for atom in sorted(formula.atoms())},
        "minimal_cut_sets": {
            "order": cuts.order,
            "total": cuts.total,
            "by_order": {str(order): count for order, count in cuts.by_order.items()},
            "listed": [_names(cut) for cut in cuts.sets[:listed]],
        },
        "cheapest_coalition": None if cheapest is None else {"atoms": _names(cheapest.atoms), "cost": cheapest.cost},
        "weights": prices,
        "contributions": contributions(formula),
        "epsilon": math.fsum(block.epsilon for block in blocks),
        "blocks": [_block(block) for block in blocks],
    }


def lines(told: dict[str, Any]) -> list[str]:
    """Return an explanation as text, for people."""
    cuts, cheapest = told["minimal_cut_sets"], told["cheapest_coalition"]
    out = [f"claim: {told['claim']}", *told["words"]]
    text = told["formula"] if len(told["formula"]) <= TEXT_MAX else f"{told['formula'][:TEXT_MAX]} ..."
    out += [f"leaks if: {text}", f"  sha256 {told['formula_sha256']}"]
    out += [f"  {atom}: {sentence}" for atom, sentence in list(told["atoms"].items())[:40]]
    counts = ", ".join(f"{count:,} of {order}" for order, count in cuts["by_order"].items())
    out.append(f"smallest coalitions that learn it ({cuts['total']:,} in all: {counts}):")
    out += [f"  {' + '.join(cut)}" for cut in cuts["listed"]]
    if len(cuts["listed"]) < cuts["total"]:
        out.append("  ...")
    if cheapest is not None:
        out.append(
            f"the cheapest: {' + '.join(cheapest['atoms'])}, at {cheapest['cost']:g} by the weights that were given"
        )
    out += _contributions(told["contributions"])
    for block in told["blocks"]:
        out.append(
            f"{block['link']}, block {block['block']}: {block['profile']}, {block['origin']}, {block['epsilon']:.2g}"
        )
        for number, share in enumerate(block.get("shares", ()), 1):
            out.append(f"  share {number}: {' -> '.join(share['path'])}{'' if share['arrived'] else ' (lost)'}")
            out += [f"    {hop['from']} -> {hop['to']}: pad of {', '.join(hop['pad'])}" for hop in share["hops"]]
    return out


def _contributions(told: dict[str, Any]) -> list[str]:
    """Return in words what each half of a key adds."""
    suppositions = {
        "without_qkd": "if all of QKD fell (fibres, devices, nodes)",
        "without_post_quantum": "if every algorithm for exchanging and signing were broken",
        "with_a_quantum_computer": "if somebody had a quantum computer",
    }
    out = []
    for name, words in suppositions.items():
        found = told[name]
        what = (
            f"it would take one of {found['coalitions']:,} coalitions, the smallest of {found['order']}"
            if found["secret"]
            else "anybody who listens would have it"
        )
        out.append(f"{words}: {what}")
    return out


def _words(block: Provenance) -> str:
    if isinstance(block, CombinedProvenance):
        return _words_of_combined(block)
    if isinstance(block, BorderProvenance):
        return (
            f"It is shared with the domain {block.domain}: both KMEs at the border, {block.gate} and {block.peer}, "
            "know it, and it crossed between them in the clear but for TLS. What it stands on beyond is not told."
            + "".join(f" {_words(inner)}" for inner in block.own)
        )
    if isinstance(block, BlockProvenance) and block.protocol == LOCAL_PROTOCOL:
        return f"It was made by the KME {block.alice}, for its own applications, and never left its site."
    if isinstance(block, BlockProvenance) and block.protocol == VENDOR_PROTOCOL:
        return (
            f"Part of it was drawn from the QKD system of link {block.link} ({block.origin.detail}), on its vendor's "
            "word; the two ends have compared it."
        )
    if not isinstance(block, RelayProvenance):
        return f"Part of it was made by the fibre {block.link} itself; no node between the two knows that part."
    total, needed = len(block.shares), block.threshold
    if total == 1:
        nodes = ", ".join(block.nodes)
        return (
            f"Part of it was relayed over one path: each of {nodes} knows that part." if nodes else "No node knows it."
        )
    how = "the sum of" if needed == total else f"any {needed} of"
    return (
        f"Part of it is {how} {total} shares, relayed over paths that share no node: it takes somebody on "
        f"{needed} of them at least."
    )


def _words_of_combined(block: CombinedProvenance) -> str:
    kems, signatures = " and ".join(block.kems), " and ".join(block.signatures)
    agreed = f"{block.initiator} and {block.target} agreed on by {kems}, authenticated by {signatures}"
    if not block.parts:
        return f"Part of it is what {agreed}; no QKD is in it."
    how = "the sum (XOR)" if block.mode == EVERLASTING else f"what {block.kdf} made ({block.mode})"
    inner = " ".join(dict.fromkeys(map(_words, block.parts)))
    return f"Part of it is {how} of a QKD key and of what {agreed}. Of the QKD key: {inner}"


def _block(block: Provenance) -> dict[str, Any]:
    out: dict[str, Any] = {
        "link": block.link,
        "block": block.block,
        "profile": block.profile,
        "origin": block.origin.kind + (", seeded" if block.origin.seeded else ""),
        "epsilon": block.epsilon,
    }
    if isinstance(block, BorderProvenance):
        out["own"] = [_block(inner) for inner in block.own]
    if isinstance(block, CombinedProvenance):
        out["exchange"], out["transcript"] = block.exchange, block.transcript
        out["parts"] = [_block(part) for part in block.parts]
    if isinstance(block, RelayProvenance):
        out["transfer"] = block.transfer
        out["shares"] = [_share(hops, block) for hops in block.shares]
    return out


def _share(hops: Sequence[RelayHop], block: RelayProvenance) -> dict[str, Any]:
    return {
        "path": [block.initiator, *(hop.receiver for hop in hops)],
        "arrived": bool(hops) and hops[-1].receiver == block.target,
        "hops": [
            {"from": hop.sender, "to": hop.receiver, "pad": [f"{one.link} #{one.block}" for one in hop.blocks]}
            for hop in hops
        ],
    }


def _names(atoms: frozenset[Atom]) -> list[str]:
    return sorted(map(str, atoms))
