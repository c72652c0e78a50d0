"""The catalogue of threats, and what stands against each in this network: a countermeasure, a watch, or nothing.

In: a `Scene`: the scenario with what it promises.  Out: a `Finding` for each threat.

    countered     a proof pays for it, or the protocol makes it fail; a test of the red team shows it
    watched       it works for a while, and a monitor raises an alarm
    assumed       nothing here stands against it: it is an atom of the trust formula, and must not happen
    open          it works, and nothing would show it
    not-modelled  this software cannot say: real devices have to be evaluated

The classes of threats follow the ETSI White Paper 27, "Implementation Security of Quantum Cryptography" (2018), and
Makarov et al., "Preparing a commercial quantum key distribution system for certification against implementation
loopholes" (arXiv:2310.20107), a published worked example. ISO/IEC 23837-1 and -2:2023 and the BSI's study of
implementation attacks (2023) ask for the same evaluation; noclone has been evaluated against none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from noclone.audit.scene import Scene

Status = Literal["countered", "watched", "assumed", "open", "not-modelled"]
Level = Literal["in transit", "end to end", "across the network"]
STATUSES: tuple[Status, ...] = ("open", "not-modelled", "assumed", "watched", "countered")  # worst first


@dataclass(frozen=True, slots=True)
class Judgement:
    """What stands against a threat.

    Args:
        why: A sentence.
        where: Names of links, nodes or pairs that it is said of; empty: all.
        remedy: What would make it better, or empty.
    """

    status: Status
    why: str
    where: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Threat:
    """One way to attack.

    Args:
        name: As the red team names it, where it has the attack.
        level: Which of the verdict's three levels it bears on.
        source: Where it is published.
    """

    name: str
    title: str
    level: Level
    source: str
    judge: Callable[[Scene], Judgement]


@dataclass(frozen=True, slots=True)
class Finding:
    """A threat, judged."""

    threat: Threat
    judgement: Judgement

    @property
    def status(self) -> Status:
        """The judgement's status."""
        return self.judgement.status

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "threat": self.threat.name,
            "title": self.threat.title,
            "level": self.threat.level,
            "status": self.status,
            "why": self.judgement.why,
            "where": list(self.judgement.where),
            "remedy": self.judgement.remedy,
            "source": self.threat.source,
        }


def simple(status: Status, why: str, remedy: str = "") -> Callable[[Scene], Judgement]:
    """Return the judge of a threat that does not depend on the scenario."""
    judgement = Judgement(status, why, (), remedy)
    return lambda _scene: judgement


def _intercept_resend(scene: Scene) -> Judgement:
    loose = tuple(link.name for link in scene.sections if link.distillation.qber_abort > 0.25)
    if loose:
        return Judgement(
            "watched",
            "full interception makes a quarter of the bits wrong, and these links abort only above that; the key's "
            "length still pays for every error",
            loose,
            "set distillation.qber_abort to 0.11 or less",
        )
    return Judgement(
        "countered",
        "the error rate rises by a quarter of the share that she measures; the proof charges every error to her, and a "
        "block above the threshold is refused",
    )


def _photon_number_splitting(scene: Scene) -> Judgement:
    one = tuple(link.name for link in scene.sections if link.source and len(set(link.source.intensities)) < 2)
    if one:
        return Judgement("open", "one intensity: nothing bounds what pulses of several photons give away", one)
    return Judgement(
        "countered",
        "decoy intensities bound the share of single photons, and only these count for the key's length "
        "(Lim et al. 2014; Rusca et al. 2018)",
    )


def _efficiency_mismatch(scene: Scene) -> Judgement:
    unequal = tuple(
        link.name
        for link in scene.sections
        if any(isinstance(r.efficiency, list) and len(set(r.efficiency)) > 1 for r in link.receivers)
    )
    if unequal:
        return Judgement(
            "open",
            "the detectors of these links differ in efficiency, and the proofs here take them as equal",
            unequal,
            "equalise the detectors, or discard detections at random until they are equal",
        )
    return Judgement(
        "assumed",
        "all detectors of a receiver have one efficiency at all times of arrival; nothing in the model tests it",
        (),
        "narrow the gate (receiver.gate_ps) and measure the efficiency over time",
    )


def _dead_time(scene: Scene) -> Judgement:
    with_dead_time = tuple(link.name for link in scene.sections if any(r.dead_time_ns > 0 for r in link.receivers))
    if not with_dead_time:
        return Judgement("countered", "no detector here has a dead time")
    return Judgement(
        "assumed",
        "after a bright pulse one detector is dead and the others are not, so that a later click tells which it was",
        with_dead_time,
        "accept a detection only while all detectors are live",
    )


def _trusted_nodes(scene: Scene) -> Judgement:
    alone = {node: None for demand in scene.demands for node in demand.nodes_alone}
    if not alone:
        relayed = any(len(route) > 2 for demand in scene.demands for route in demand.routes)
        why = (
            "no single node between knows a key: shares travel over paths that share no node"
            if relayed
            else "no key is relayed: no node is between"
        )
        return Judgement("countered", why)
    return Judgement(
        "assumed",
        f"{len(alone)} {'node' if len(alone) == 1 else 'nodes'} between know keys that pass",
        tuple(alone),
        "ask for disjoint_paths = 2 in the policy, or for a hybrid with post-quantum cryptography end to end",
    )


def _fibre_cut(scene: Scene) -> Judgement:
    pairs = list(zip(scene.demands, scene.isolations, strict=True))
    alone = tuple(demand.name for demand, found in pairs if found.links or found.nodes)
    if not pairs:
        return Judgement("countered", "nobody asks for keys")
    if not alone:
        return Judgement("countered", "no single cut leaves a pair of applications without key")
    return Judgement(
        "open",
        f"a single cut leaves {len(alone)} of {len(pairs)} pairs of applications without key; what is stored lasts a "
        "while",
        alone,
        "add a link, so that two paths remain",
    )


def _simulated(scene: Scene) -> Judgement:
    if not scene.sections:
        return Judgement("countered", "no key here is made of simulated light")
    return Judgement(
        "assumed",
        "the light is simulated: whoever controls the process that makes it knows everything",
        tuple(section.name for section in scene.sections),
        "draw keys from real devices",
    )


def _vendors_word(scene: Scene) -> Judgement:
    if not scene.vendors:
        return Judgement("countered", "no key here comes from a vendor's system")
    return Judgement(
        "assumed",
        "the light, devices, proofs and software of a vendor's system are not known here: nothing else in this list "
        "is judged for them, and their keys are as good as the vendor says",
        scene.vendors,
        "cross such a link with shares on other paths as well, or combine its key with post-quantum key",
    )


def _another_domain(scene: Scene) -> Judgement:
    borders = scene.scenario.borders
    if not borders:
        return Judgement("countered", "no key leaves for another operator's domain")
    return Judgement(
        "assumed",
        "keys that cross a border are in the clear at both KMEs there, and what the other domain does with them is not "
        "known here: no pair of applications across a border is judged",
        tuple(f"{border.node} ({border.domain})" for border in borders),
        "let the two applications combine such a key with a post-quantum one of their own",
    )


THREATS: tuple[Threat, ...] = (
    Threat("another-domain", "Another operator knows some keys", "end to end", "ETSI GS QKD 020", _another_domain),
    Threat("vendors-word", "A vendor's keys are taken on his word", "in transit", "noclone's own", _vendors_word),
    Threat("simulated-light", "The light is a program", "in transit", "noclone's own", _simulated),
    Threat(
        "intercept-resend",
        "Intercept and resend",
        "in transit",
        "Bennett and Brassard 1984; Bennett et al., J. Cryptol. 5, 3 (1992)",
        _intercept_resend,
    ),
    Threat(
        "photon-number-splitting",
        "Photon-number splitting, beam splitting",
        "in transit",
        "Brassard et al., Phys. Rev. Lett. 85, 1330 (2000)",
        _photon_number_splitting,
    ),
    Threat(
        "blinding",
        "Bright-light blinding with faked states",
        "in transit",
        "Lydersen et al., Nat. Photonics 4, 686 (2010)",
        simple(
            "assumed",
            "the detectors count photons as the model says; a blinded one obeys Eve and shows no errors",
            "watch the detectors' photocurrent and their coincidences, or use MDI-QKD, which trusts no detector",
        ),
    ),
    Threat(
        "trojan-horse",
        "Trojan horse: light sent in, reflections read",
        "in transit",
        "Lucamarini et al., Phys. Rev. X 5, 031030 (2015)",
        simple(
            "assumed",
            "no light that is sent in comes back with Alice's settings: her isolation is part of the model",
            "state the isolation and charge what is reflected to the key's length",
        ),
    ),
    Threat(
        "efficiency-mismatch",
        "Time shift, efficiency mismatch",
        "in transit",
        "Zhao et al., Phys. Rev. A 78, 042333 (2008)",
        _efficiency_mismatch,
    ),
    Threat(
        "after-gate",
        "After-gate and superlinear detectors",
        "in transit",
        "Wiechers et al., New J. Phys. 13, 013043 (2011)",
        simple("not-modelled", "detectors here do not answer bright light; real ones have to be tested"),
    ),
    Threat(
        "dead-time",
        "Dead time: which detector cannot click",
        "in transit",
        "Weier et al., New J. Phys. 13, 073024 (2011)",
        _dead_time,
    ),
    Threat(
        "laser-seeding",
        "Laser seeding and damage",
        "in transit",
        "Huang et al., Phys. Rev. Applied 12, 064043 (2019)",
        simple(
            "assumed",
            "the intensities are those of the scenario; a seeded laser or a burnt attenuator sends more",
            "watch the power that leaves Alice, behind a fuse or limiter",
        ),
    ),
    Threat(
        "intensity-correlation",
        "Pulses that remember the setting before",
        "in transit",
        "Zapatero et al., Quantum 5, 602 (2021)",
        simple("not-modelled", "pulses here are independent; a fast real source has to be characterised"),
    ),
    Threat(
        "man-in-the-middle",
        "Man in the middle on the public channel",
        "in transit",
        "Wegman and Carter, J. Comput. Syst. Sci. 22, 265 (1981)",
        simple(
            "countered",
            "both transcripts are tagged with one-time keys; a changed, replayed, reordered or cut one fails, but for "
            "the probability that is in epsilon",
        ),
    ),
    Threat(
        "authentication-exhaustion",
        "Exhaustion of the authentication pool",
        "across the network",
        "noclone's own",
        simple(
            "watched",
            "each attempt costs one tag's key, whoever spoils it; a link whose pool runs out stops and needs a new "
            "initial secret. No key is weakened",
        ),
    ),
    Threat(
        "bootstrap-theft",
        "The initial secret known to an attacker while it is in use",
        "in transit",
        "noclone's own",
        simple(
            "assumed",
            "the first block is authenticated by a secret that people carry to both ends; an attacker who has it then, "
            "and sits in the middle, has everything after",
            "carry it by two people; a later theft harms nothing",
        ),
    ),
    Threat(
        "compromised-node",
        "A trusted node that tells",
        "end to end",
        "Salvail et al., J. Comput. Secur. 18, 61 (2010)",
        _trusted_nodes,
    ),
    Threat(
        "compromised-site",
        "An end that tells: KME, store, applications, people",
        "end to end",
        "noclone's own",
        simple("assumed", "both ends have the key by design; nothing helps where one of them is lost"),
    ),
    Threat(
        "stolen-database",
        "A stolen key store",
        "end to end",
        "noclone's own",
        simple(
            "countered",
            "keys at rest are sealed (AES-256-GCM) under a key-encryption key that lies elsewhere, and erased once "
            "delivered; who takes both has what is stored",
        ),
    ),
    Threat(
        "stolen-sae-certificate",
        "A stolen certificate of an application",
        "end to end",
        "ETSI GS QKD 014 V1.1.1, clause 5",
        simple(
            "assumed",
            "the thief gets the keys that this application would get, until the certificate is revoked; each key is "
            "delivered once, so that the owner misses it",
            "keep the private key in hardware; watch the demand of each application",
        ),
    ),
    Threat(
        "rogue-authority",
        "A certificate authority that mis-issues",
        "end to end",
        "noclone's own",
        simple(
            "assumed",
            "who holds the authority of a site can name himself any of its applications; applications and KMEs have "
            "separate ones, so that he is no KME",
            "keep the authority off line, and one for each site",
        ),
    ),
    Threat(
        "restored-backup",
        "An old backup restored",
        "end to end",
        "noclone's own",
        simple(
            "countered",
            "`noclone kms restore` voids what may have been delivered since. Both ends put back by other means, "
            "initial secrets too, would repeat keys: see SECURITY.md",
        ),
    ),
    Threat(
        "weak-randomness",
        "Weak random numbers",
        "in transit",
        "NIST SP 800-90B",
        simple("assumed", "every secret comes from the operating system's generator, which is trusted"),
    ),
    Threat(
        "key-id-swap",
        "Key ids swapped between sessions",
        "end to end",
        "noclone's own",
        simple(
            "countered",
            "ids name places in a store of one pair of sites; only the named application gets a key, and another's id "
            "is refused with 401",
        ),
    ),
    Threat(
        "fibre-cut",
        "A fibre cut, a node lost",
        "across the network",
        'NSA, "Quantum Key Distribution (QKD) and Quantum Cryptography (QC)", point 5',
        _fibre_cut,
    ),
    Threat(
        "jamming",
        "Jamming: errors on purpose",
        "across the network",
        "NSA, as above",
        simple(
            "watched",
            "any light on the fibre stops a link's key; refused blocks and error rates show which link, and relays go "
            "round it where there is a way",
        ),
    ),
    Threat(
        "request-flood",
        "Floods of requests, slow clients",
        "across the network",
        "noclone's own",
        simple(
            "countered",
            "only certificates of the network's authority are heard; bodies, times and keys per request are bounded, "
            "and an empty store answers 503",
        ),
    ),
)
