"""The public criticisms of QKD by national agencies, point by point, with this network's answer.

In: a `Scene`.  Out: `Answer`s, which say what is true of the criticism here, in the network's own numbers.

The five limitations are those of the NSA's page "Quantum Key Distribution (QKD) and Quantum Cryptography (QC)". The
United Kingdom's NCSC ("Quantum networking technologies"), the ANSSI ("Should Quantum Key Distribution be Used for
Secure Communications?"), and the position paper of BSI, ANSSI, NLNCSA and the Swedish agency (2024) say the same in
other words, and add the sixth and the seventh point; Aquina et al., "A Critical Analysis of Deployed Use Cases for
Quantum Key Distribution and Comparison with Post-Quantum Cryptography" (arXiv:2502.04009), work the sixth out.
"""

from __future__ import annotations

from dataclasses import dataclass

from noclone.audit.scene import Scene


@dataclass(frozen=True, slots=True)
class Answer:
    """A criticism and what this network answers.

    Args:
        holds: Whether the criticism holds of this network: "yes", "in part" or "no".
    """

    criticism: str
    by: str
    holds: str
    answer: str

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return {"criticism": self.criticism, "by": self.by, "holds": self.holds, "answer": self.answer}


def answers(scene: Scene) -> list[Answer]:
    """Answer every point for a network."""
    return [
        _authentication(scene),
        _equipment(scene),
        _trusted_relays(scene),
        _validation(scene),
        _denial_of_service(scene),
        _use_of_keys(),
        _priority(scene),
    ]


def _authentication(scene: Scene) -> Answer:
    kinds = sorted({link.block.bootstrap for link in scene.links.values() if link.block is not None})
    return Answer(
        "QKD does not authenticate the source of its transmission; it needs asymmetric cryptography or preplaced keys.",
        "NSA, point 1; NCSC; ANSSI",
        "yes",
        f"True. What authenticates each link's first block here: {', '.join(kinds) or 'nothing: no link gives key'}. "
        "Every block after it is authenticated by one-time keys from the block before, and every key's formula names "
        "its bootstrap.",
    )


def _equipment(scene: Scene) -> Answer:
    return Answer(
        "QKD needs special purpose equipment, which cannot be changed easily.",
        "NSA, point 2",
        "yes",
        f"The {len(scene.sections)} links of this scenario are simulated: they show what such equipment would do, and "
        "protect nothing by themselves. Everything above the light is software.",
    )


def _trusted_relays(scene: Scene) -> Answer:
    relayed = [demand for demand in scene.demands if any(len(route) > 2 for route in demand.routes)]
    alone = [demand for demand in relayed if demand.nodes_alone]
    if not relayed:
        return Answer(
            "Relays have to be trusted: insiders become a threat.",
            "NSA, point 3; ANSSI",
            "no",
            "No key of this network is relayed.",
        )
    least = [count for demand in relayed if not demand.nodes_alone and (count := demand.nodes_together())]
    text = f"{len(alone)} of {len(relayed)} pairs of applications that need relays have keys that a single node knows."
    if least:
        text += f" For the other pairs at least {min(least)} nodes must join."
    return Answer(
        "Relays have to be trusted: insiders become a threat.",
        "NSA, point 3; ANSSI",
        "yes" if alone else "in part",
        text + " Every key carries the exact coalitions that know it.",
    )


def _validation(scene: Scene) -> Answer:
    proofs = sorted(
        {link.block.proof for link in scene.links.values() if link.block is not None and link.vendor is None}
    )
    return Answer(
        "Real devices are not the proofs' devices: securing and validating them is a challenge.",
        "NSA, point 4; BSI and others 2024",
        "yes",
        f"True. The proofs ({', '.join(proofs) or 'none'}) hold for the model. The catalogue of threats says which "
        "side channels are countered, watched, assumed away or not modelled. Nothing here has been evaluated against "
        "ISO/IEC 23837, ETSI GS QKD 016 or by anybody.",
    )


def _denial_of_service(scene: Scene) -> Answer:
    pairs = list(zip(scene.demands, scene.isolations, strict=True))
    single = [demand for demand, found in pairs if found.losing]
    return Answer(
        "An eavesdropper that is seen stops the link: QKD makes denial of service easier.",
        "NSA, point 5",
        "yes" if single else "in part",
        f"True of a link. Of {len(pairs)} pairs of applications, {len(single)} lose their key's supply with a single "
        "cut; stored keys last a while, and an empty store answers 503 and never a weaker key.",
    )


def _use_of_keys() -> Answer:
    return Answer(
        "The keys end in symmetric ciphers, so that no everlasting secrecy is left; one-time pads need too much key.",
        "ANSSI; Aquina et al. 2025",
        "in part",
        "What an application does with a key is its own: a one-time pad with a one-time tag keeps the secrecy of the "
        "key, AES does not. noclone's messages and files are one-time pads, and say so.",
    )


def _priority(scene: Scene) -> Answer:
    rest = sorted({name for demand in scene.demands for name in demand.algorithms})
    how = (
        f"Keys of this network rest, alone or beside QKD, on {', '.join(rest)}."
        if rest
        else "No key of this network rests on post-quantum cryptography; it would cover the nodes that relays trust."
    )
    return Answer(
        "Post-quantum cryptography is the cheaper answer and comes first; the NCSC does not support QKD for government "
        "or military use.",
        "NSA; NCSC; BSI and others 2024",
        "yes",
        how + " Nothing here is certified for any such use.",
    )
