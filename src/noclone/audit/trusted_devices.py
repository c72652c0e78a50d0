"""Which devices of a link its protocol makes one trust, and so which threats do not concern it.

In: a `Scene`.  Out: for a threat, the scene with the links that it concerns; a sentence about each protocol.

    decoy-bb84  Alice's transmitter, Bob's detectors
    bbm92       both ends' detectors: the source of pairs may be Eve's (Bennett, Brassard, Mermin 1992); over repeaters
                the ends' memories and what reads them: the repeaters may be Eve's (Lo and Chau 1999); from a
                satellite the two stations' detectors: the satellite is the source (Yin et al. 2020)
    mdi         both ends' transmitters: the station and its detectors may be Eve's (Lo, Curty, Qi 2012)
    twin-field  the same (Curty, Azuma, Lo 2019)
    sns         the same (Wang, Yu, Hu 2018)
    cv          Alice's transmitter, Bob's coherent detector, its local oscillator, the calibration of its shot noise
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from noclone.audit.scene import Scene
from noclone.network.link_sections import LinkSection

LISTED = 8

# What a threat acts on. Light sent in ("trojan-horse") reads a receiver's basis as it reads a transmitter: not listed.
ACTS_ON = {
    "blinding": "detectors",
    "efficiency-mismatch": "detectors",
    "after-gate": "detectors",
    "dead-time": "detectors",
    "photon-number-splitting": "faint pulses",
    "laser-seeding": "transmitter",
    "intensity-correlation": "transmitter",
    "shot-noise-calibration": "quadratures",
    "detector-saturation": "quadratures",
    "coherent-attacks": "collective proof",
}
TRUSTED = {
    "decoy-bb84": ("transmitter", "faint pulses", "detectors"),
    "bbm92": ("detectors",),
    "mdi": ("transmitter", "faint pulses"),
    "twin-field": ("transmitter", "faint pulses"),
    "sns": ("transmitter", "faint pulses"),
    "cv": ("transmitter", "quadratures", "collective proof"),
}
BETWEEN = ("bbm92", "mdi", "twin-field", "sns")  # with something in the middle that may be Eve's
OWN_FINITE_STATISTICS = ("twin-field", "sns")  # whose proofs are ours in part, and published nowhere
WORDS = {
    "decoy-bb84": "trusts Alice's transmitter and Bob's detectors",
    "bbm92": "trusts both ends' detectors, and no source: it may be anybody's",
    "mdi": "trusts both ends' transmitters, and no detector: the station between may be anybody's",
    "twin-field": "trusts both ends' transmitters, and no detector: the station between may be anybody's",
    "sns": "trusts both ends' transmitters, and no detector: the station between may be anybody's",
    "cv": "trusts Alice's transmitter and Bob's coherent detector, its local oscillator and the calibration of its "
    "shot noise; its proof covers collective Gaussian attacks only",
    "bbm92 from a satellite": "trusts both stations' detectors, and not the satellite: its source may be anybody's",
    "bbm92 over repeaters": "trusts both ends' memories and what reads them, and none of the repeaters between",
}
SPARED = {
    "detectors": "no key here trusts a photon counter: those of MDI and twin-field QKD stand in a station that may be "
    "Eve's, continuous variables have none",
    "transmitter": "no key here trusts a transmitter: the source of pairs may be Eve's, and shows as errors",
    "faint pulses": "no key here counts on single photons in faint pulses: a source of pairs shows as errors, and of "
    "coherent states the proof gives all that is lost to Eve",
    "quadratures": "no key here is made of quadratures: there is no local oscillator and no shot noise to calibrate",
    "collective proof": "the proofs here cover attacks on all pulses together",
}


def concerned(threat: str, scene: Scene) -> Scene:
    """Return the scene without the links of simulated light that a threat does not concern."""
    part = ACTS_ON.get(threat)
    if part is None:
        return scene
    spared = {link.name for link in scene.sections if part not in TRUSTED[link.protocol]}
    return replace(scene, links={name: link for name, link in scene.links.items() if name not in spared})


def trusts(links: Iterable[LinkSection]) -> list[str]:
    """Return a sentence for each protocol but the usual one, with the links that have it."""
    by_protocol: dict[str, list[str]] = {}
    for link in links:
        by_protocol.setdefault(_kind(link), []).append(link.name)
    return [
        f"{', '.join(names)} ({protocol}) {WORDS[protocol]}."
        for protocol, names in by_protocol.items()
        if protocol != "decoy-bb84"
    ]


def trusts_of(link: LinkSection) -> str:
    """Return which devices one link trusts, as the end of a sentence."""
    return WORDS[_kind(link)]


def spared_nodes(links: Iterable[LinkSection]) -> list[str]:
    """Return a sentence for each link over repeaters, or with a satellite between: what a relay would change."""
    return [_spared(link) for link in links if link.repeaters or link.ends_on_ground]


def _spared(link: LinkSection) -> str:
    if link.ends_on_ground:
        return (
            f"{link.name}: the satellite sends halves of pairs to both stations; it can stop the link and learns "
            "nothing of its keys, whoever holds it. With a key of its own to either station it would be a relay, and "
            "one more that knows them."
        )
    relays = _listed([f"node:{name}" for name in link.repeaters])
    return (
        f"{link.name}: {_listed(link.repeaters)} can stop the link and learn nothing of its keys, whoever holds them; "
        f"relays there would each be one more that knows them ({relays})."
    )


def _kind(link: LinkSection) -> str:
    if link.ends_on_ground:
        return f"{link.protocol} from a satellite"
    return f"{link.protocol} over repeaters" if link.repeater is not None else link.protocol


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
