"""From what a key was made of to what it stands on: its trust formula, and what it may claim.

In: the provenance of the blocks that a key was cut from.  Out: a `Formula`, sentences, a claim.

    a block in transit    link:a-b OR bootstrap:a-b   (where it applies: OR fibre:a-b, seed:a-b, coherent:a-b ...)
    a vendor's block      link:a-b OR vendor:a-b      (the same where they apply; the vendor saw to the bootstrap)
    a relayed share       any block that its pads were cut from OR node:... for each KME between the two ends
    a relayed block       as many of its shares as give it: all of them (XOR), or k of n (Shamir)
    keys over a border    those of our own part OR border:... OR node:... for both KMEs at the border OR domain:...
    an exchange           all of its KEMs (alg:ML-KEM-768 AND alg:X25519) OR all of its signatures, while it lasts
    catkdf, caskdf        (its QKD blocks AND the exchange) OR alg:HKDF-SHA384
    everlasting           its QKD blocks AND (the exchange OR alg:HKDF-SHA384): XOR keeps what QKD gave
    without QKD           the exchange OR alg:HKDF-SHA384
    a key, end to end     any of its blocks OR site:master OR site:slave OR node:... for each end that is neither site

The weakest block speaks for the whole key: who knows a part of a key is said to have it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from noclone.combined import EVERLASTING, CombinedProvenance, fibre_blocks, unbordered
from noclone.errors import InputError
from noclone.records import COLLECTIVE, LOCAL_PROTOCOL, VENDOR_PROTOCOL, BlockProvenance, Provenance
from noclone.relayed import DOMAIN, BorderProvenance, RelayHop, RelayProvenance
from noclone.trust.formula import NEVER, Atom, Formula, all_of, any_of, at_least

PRE_SHARED_KEY = "pre-shared-key"
SESSION = "@session"  # ends the name of an algorithm whose break matters only while the session lasts

SIGNED = re.compile(r"signatures:([^,]+),kems:([^,]+),kdf:([^,#]+)#([0-9]+)")


def signed_bootstrap(signatures: Sequence[str], kems: Sequence[str], kdf: str, number: int) -> str:
    """Return how a block says that its link was bootstrapped by signatures, for the `number`th time."""
    return f"signatures:{'+'.join(signatures)},kems:{'+'.join(kems)},kdf:{kdf}#{number}"


def bootstrap_formula(bootstrap: str) -> Formula:
    """Return when what authenticated a link's first block did not hold: while that mattered, or ever.

    By signatures: all of them forged, or all KEMs of the exchange broken, or its KDF, before the first blocks were
    authenticated. By a pre-shared key: nothing but the key itself, which has an atom of its own.
    """
    if bootstrap == PRE_SHARED_KEY:
        return NEVER
    found = SIGNED.fullmatch(bootstrap)
    if found is None:
        return any_of(Atom("alg", bootstrap))
    signatures, kems, kdf = (found[i].split("+") for i in (1, 2, 3))
    groups = [all_of(*(Atom("alg", f"{name}{SESSION}") for name in names)) for names in (signatures, kems, kdf)]
    return any_of(*groups)


SENTENCES = {
    "link": "The devices of link {name} betray it: source or detectors tell more than the proof allows for.",
    "bootstrap": "What authenticated the first block of link {name} was known to an attacker while it was in use, "
    "so that he could sit in the middle.",
    "vendor": "The vendor of the QKD system of link {name}, whose word is all that is known of its key, was wrong or "
    "lied: its key management, its software or its protocol give the key away.",
    "coherent": "An attack on many symbols of link {name} together, which its proof says nothing of: it covers "
    "collective Gaussian attacks only.",
    "fibre": "The process that simulates the light of link {name} knows everything: who controls it has the key.",
    "seed": "The randomness of link {name} came from a number that is written down: who has it computes the key again.",
    "recording": "The detections of link {name} came from a file that holds both parties' secrets: "
    "who reads it has the key.",
    "site": "Site {name} holds the key by design (KME, key store, key-encryption key, applications and the "
    "ETSI 014 hop between them): who controls it has the key.",
    "node": "Node {name} handled the key in the clear: who controls it has the key.",
    "domain": "Somebody in the domain {name}, another operator's, has the key: one of its KMEs, links or applications. "
    "What it stands on there is not told here.",
    "border": "The way between the two KMEs {name}, inside the site where two operators' domains meet: the key crosses "
    "it in the clear but for TLS.",
    "alg": "{name} is broken, today or at any time later, by somebody who recorded what it protected.",
}
SENTENCE_OF_A_SESSION = (
    "{name} was broken while it authenticated the session, so that an attacker could sit in the middle; "
    "a break afterwards harms nothing."
)


def formula_of_block(block: Provenance) -> Formula:
    """Return when a block leaks in transit, between its two ends."""
    if isinstance(block, BorderProvenance):
        theirs = f"{block.domain}/{block.peer}"
        meeting = Atom("border", f"{block.gate}+{theirs}"), Atom("node", theirs), Atom("domain", block.domain)
        return any_of(*map(formula_of_block, block.own), *meeting)
    if isinstance(block, CombinedProvenance):
        return _formula_of_combined(block)
    if isinstance(block, RelayProvenance):
        return at_least(block.threshold, [formula_of_share(hops, block.target) for hops in block.shares])
    assert isinstance(block, BlockProvenance)
    return _formula_of_fibre(block)


def formula_of_share(hops: Sequence[RelayHop], target: str) -> Formula:
    """Return when one share of a relayed block leaks between the two ends.

    A share is sealed with a one-time pad on each hop: it leaks with a block that a pad was cut from, and with each KME
    on the way, which opens it and seals it anew.
    """
    between = [_node(hop.receiver) for hop in hops if hop.receiver != target]
    return any_of(*(_formula_of_fibre(block) for hop in hops for block in hop.blocks), *between)


@lru_cache(maxsize=4096)  # a node is on many routes
def _node(name: str) -> Atom:
    return Atom("node", name)


def _formula_of_combined(block: CombinedProvenance) -> Formula:
    broken = all_of(*(Atom("alg", name) for name in block.kems))
    forged = all_of(*(Atom("alg", f"{name}{SESSION}") for name in block.signatures))
    exchange, kdf = any_of(broken, forged), Atom("alg", block.kdf)
    if not block.parts:
        return any_of(exchange, kdf)
    qkd = any_of(*map(formula_of_block, block.parts))
    if block.mode == EVERLASTING:
        return all_of(qkd, any_of(exchange, kdf))
    return any_of(all_of(qkd, exchange), kdf)


@lru_cache(maxsize=2048)  # a block is in many keys, and a link in many routes
def _formula_of_fibre(block: BlockProvenance) -> Formula:
    if block.protocol == LOCAL_PROTOCOL:
        return any_of()  # it never leaves its site
    kinds = ["link", "vendor" if block.protocol == VENDOR_PROTOCOL else "bootstrap"]
    if block.protocol in COLLECTIVE:
        kinds.append("coherent")
    if block.origin.kind == "simulated":
        kinds.append("fibre")
    if block.origin.kind == "recorded":
        kinds.append("recording")
    if block.origin.seeded:
        kinds.append("seed")
    atoms = [Atom(kind, block.link) for kind in kinds]
    bootstrap = NEVER if block.protocol == VENDOR_PROTOCOL else bootstrap_formula(block.bootstrap)
    return any_of(*atoms, bootstrap)


def formula_of_key(blocks: Sequence[Provenance], *, master_site: str, slave_site: str) -> Formula:
    """Return when a key leaks end to end, the two sites included.

    Args:
        blocks: Those that the key was cut from.
        master_site: Name of the node that serves the master SAE.
        slave_site: Name of the node that serves the slave SAE.
    """
    _refuse_none(blocks)
    sites = {master_site, slave_site}
    nodes = {node for block in blocks for node in _ends(block)} - sites
    return any_of(
        *(formula_of_block(block) for block in blocks),
        *(_site(site) for site in sites),
        *map(_node, nodes),
    )


def _site(name: str) -> Atom:
    return Atom("domain", name.removeprefix(DOMAIN)) if name.startswith(DOMAIN) else Atom("site", name)


def _ends(block: Provenance) -> tuple[str, str]:
    assert isinstance(block, BlockProvenance | RelayProvenance | CombinedProvenance | BorderProvenance)
    return block.alice, block.bob


def explain(atom: Atom) -> str:
    """Say in one plain sentence what it means that this atom betrays the key."""
    if atom.kind == "alg" and atom.name.endswith(SESSION):
        return SENTENCE_OF_A_SESSION.format(name=atom.name.removesuffix(SESSION))
    return SENTENCES.get(atom.kind, "{kind}:{name} is compromised.").format(kind=atom.kind, name=atom.name)


def claim(keys_blocks: Sequence[Provenance]) -> str:
    """Say which kind of secrecy a key may claim, part by part where they differ; what lessens it comes first.

    "information-theoretic" alone needs live hardware, unseeded randomness and pre-shared keys for every block, and a
    proof: of what a vendor's system delivers there is the vendor's word. One-time pads and one-time tags need no
    assumption, so a relay lessens nothing but the number of those who must be honest, which the formula says.
    """
    _refuse_none(keys_blocks)
    domains = sorted({block.domain for block in keys_blocks if isinstance(block, BorderProvenance)})
    word = f"on the word of another operator's domain ({', '.join(domains)}): " if domains else ""
    inner = tuple(unbordered(keys_blocks))
    combined = [block for block in inner if isinstance(block, CombinedProvenance)]
    plain = fibre_blocks(block for block in inner if not isinstance(block, CombinedProvenance))
    claims = [_claim_of_fibres(plain, word)] if plain or not combined else []
    claims += [word + _claim_of_combined(block) for block in combined]
    return "; and in part: ".join(dict.fromkeys(claims))


def _claim_of_combined(block: CombinedProvenance) -> str:
    kems, signatures = " and ".join(block.kems), " and ".join(block.signatures)
    if not block.parts:
        return (
            f"computational: it takes {kems} to be broken, today or later, or {block.kdf}; "
            f"or {signatures} to be forged during the exchange"
        )
    qkd = _claim_of_fibres(fibre_blocks([block]))
    if block.mode == EVERLASTING:
        return f"{qkd}; should QKD fail, computational ({kems}, {block.kdf})"
    return f"computational ({block.kdf}), and it takes both {kems} and QKD to fall; of its QKD key: {qkd}"


def _claim_of_fibres(blocks: Sequence[BlockProvenance], word: str = "") -> str:
    if any(block.origin.seeded for block in blocks):
        return "no secret: seeded randomness can be run again from a number that is written down"
    kinds = {block.origin.kind for block in blocks}
    own = [block for block in blocks if block.protocol != VENDOR_PROTOCOL]
    algorithms = {atom.name for block in own for atom in bootstrap_formula(block.bootstrap).atoms()}
    lasting = sorted(name for name in algorithms if not name.endswith(SESSION))
    passing = sorted(name.removesuffix(SESSION) for name in algorithms if name.endswith(SESSION))
    secrecy = "information-theoretic"
    if passing:
        secrecy = f"computational only until the first session ended ({', '.join(passing)}), everlasting afterwards"
    if lasting:
        secrecy = f"computational ({', '.join(lasting)})"
    if any(block.protocol in COLLECTIVE for block in blocks):
        secrecy += ", against collective Gaussian attacks only"
    if any(block.protocol == VENDOR_PROTOCOL for block in blocks):
        silent = any(block.epsilon >= 1 for block in blocks)
        secrecy = f"on the vendor's word{', who states no epsilon' if silent else ''}: {secrecy}"
    if any(block.protocol == LOCAL_PROTOCOL for block in blocks):
        return "no QKD: made by one KME for its own applications, as good as its system's generator"
    secrecy = word + secrecy
    if "recorded" in kinds:
        return f"no secret: made of past data; with live devices it would be {secrecy}"
    if "simulated" in kinds:
        return f"about the model only, for the light is simulated: {secrecy}"
    return secrecy


def _refuse_none(blocks: Sequence[Provenance]) -> None:
    if not blocks:
        raise InputError(
            "a key without provenance has no trust formula: nothing is known of what it stands on",
            hint="give the blocks that it was cut from",
        )
