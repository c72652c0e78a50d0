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

from noclone.audit import judges
from noclone.audit.judges import Judgement, Status, simple
from noclone.audit.scene import Scene

Level = Literal["in transit", "end to end", "across the network"]
STATUSES: tuple[Status, ...] = ("open", "not-modelled", "assumed", "watched", "countered")  # worst first


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


THREATS: tuple[Threat, ...] = (
    Threat(
        "another-domain", "Another operator knows some keys", "end to end", "ETSI GS QKD 020", judges.another_domain
    ),
    Threat("vendors-word", "A vendor's keys are taken on his word", "in transit", "noclone's own", judges.vendors_word),
    Threat("simulated-light", "The light is a program", "in transit", "noclone's own", judges.simulated),
    Threat(
        "intercept-resend",
        "Intercept and resend",
        "in transit",
        "Bennett and Brassard 1984; Bennett et al., J. Cryptol. 5, 3 (1992)",
        judges.intercept_resend,
    ),
    Threat(
        "photon-number-splitting",
        "Photon-number splitting, beam splitting",
        "in transit",
        "Brassard et al., Phys. Rev. Lett. 85, 1330 (2000)",
        judges.photon_number_splitting,
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
        judges.efficiency_mismatch,
    ),
    Threat(
        "after-gate",
        "After-gate and superlinear detectors",
        "in transit",
        "Wiechers et al., New J. Phys. 13, 013043 (2011)",
        simple(
            "assumed",
            "the detectors do not answer bright light, for the scenario states no such flaw; real ones have to be "
            "tested",
            "test the detectors, and say what they do in [link.flaws]",
        ),
    ),
    Threat(
        "dead-time",
        "Dead time: which detector cannot click",
        "in transit",
        "Weier et al., New J. Phys. 13, 073024 (2011)",
        judges.dead_time,
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
        simple(
            "assumed",
            "pulses are independent of each other, for the scenario states no such flaw; a fast real source has to be "
            "characterised",
            "characterise the source, and say what it does in [link.flaws]",
        ),
    ),
    Threat(
        "held-middle",
        "Who holds the source, station or repeater in the middle",
        "in transit",
        "Bennett et al., PRL 68, 557 (1992); Lo et al., PRL 108, 130503 (2012); Curty et al., npj Quantum Inf. 5, 64 "
        "(2019)",
        judges.held_middle,
    ),
    Threat(
        "shot-noise-calibration",
        "Local oscillator changed: shot noise calibrated wrongly",
        "in transit",
        "Jouguet, Kunz-Jacques, Diamanti, Phys. Rev. A 87, 062313 (2013)",
        simple(
            "assumed",
            "all noise is in units of the shot noise as Bob calibrated it: who changes his local oscillator hides "
            "excess noise. A block whose noise is below that of vacuum and electronics is refused, and no more is seen",
            "measure the shot noise while light comes, at random times, or make the local oscillator at Bob's",
        ),
    ),
    Threat(
        "detector-saturation",
        "Coherent detector driven into saturation",
        "in transit",
        "Qin, Kumar, Alleaume, Phys. Rev. A 94, 012325 (2016)",
        simple(
            "assumed",
            "a block with a value at the end of the converter's range is refused, and a displacement counts as noise; "
            "an amplifier that saturates before the converter would not show",
            "test over which range the detector is linear, and how large its values get",
        ),
    ),
    Threat(
        "coherent-attacks",
        "Attacks on many symbols together",
        "in transit",
        "Leverrier, Phys. Rev. Lett. 118, 200501 (2017)",
        simple(
            "assumed",
            "the proof of these links covers attacks that are the same on every symbol, and Gaussian",
            "use a protocol whose proof covers all attacks",
        ),
    ),
    Threat(
        "other-side-channels",
        "Side channels that nothing here plays",
        "in transit",
        "Fung et al., PRA 75, 032314 (2007); Li et al., PRA 84, 062308 (2011); Meda et al., Light Sci. Appl. 6, e16261 "
        "(2017)",
        simple(
            "not-modelled",
            "there is no phase remapping (two-way systems), no beam splitter that depends on wavelength (passive "
            "receivers), no light that detectors send back, no state that differs in more than it should: none of "
            "these is played here",
        ),
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
        judges.trusted_nodes,
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
        "operator",
        "A malicious or careless operator",
        "end to end",
        "noclone's own; NSA, point 3, as below",
        simple(
            "assumed",
            "who holds the operator's token sees names, counts and events, stops links, and in a lab attacks, but no "
            "key crosses that door; who runs a site's machine has its keys. Secrets that others can read are refused "
            "at the start",
            "give the machine and the token to different people",
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
        judges.fibre_cut,
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
