"""What stands against a threat in this network, where that depends on the network: one function for each.

In: a `Scene`.  Out: a `Judgement`: a status, the sentence behind it, where it holds, what would help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from noclone.audit.scene import Scene
from noclone.audit.trusted_devices import BETWEEN, OWN_FINITE_STATISTICS

OWN_STATISTICS = "; of twin fields, and of sending or not, by finite statistics of our own, reviewed by nobody else"
Status = Literal["countered", "watched", "assumed", "open", "not-modelled"]


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


def simple(status: Status, why: str, remedy: str = "") -> Callable[[Scene], Judgement]:
    """Return the judge of a threat that does not depend on the scenario."""
    judgement = Judgement(status, why, (), remedy)
    return lambda _scene: judgement


def intercept_resend(scene: Scene) -> Judgement:
    """Judge interception of pulses."""
    if scene.sections and all(link.protocol == "cv" for link in scene.sections):
        return Judgement(
            "countered",
            "whoever measures both quadratures and sends anew adds two shot noises at the line's input; the proof "
            "charges all noise to her",
        )
    bits = [link for link in scene.sections if link.protocol != "cv"]
    loose = tuple(link.name for link in bits if link.distillation.qber_abort > 0.25)
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


def photon_number_splitting(scene: Scene) -> Judgement:
    """Judge what pulses of several photons give away."""
    one = tuple(link.name for link in scene.sections if link.source and len(set(link.source.intensities)) < 2)
    if one:
        return Judgement("open", "one intensity: nothing bounds what pulses of several photons give away", one)
    return Judgement(
        "countered",
        "decoy intensities bound the share of single photons, and only these count for the key's length "
        "(Lim et al. 2014; Rusca et al. 2018)",
    )


def held_middle(scene: Scene) -> Judgement:
    """Judge whoever holds what stands between the ends of a link."""
    untrusted = tuple(link.name for link in scene.sections if link.protocol in BETWEEN)
    own = any(link.protocol in OWN_FINITE_STATISTICS for link in scene.sections)
    if not untrusted:
        return Judgement("countered", "no link here has a source, a station or a repeater between its ends")
    return Judgement(
        "assumed" if own else "countered",
        "the proofs of these links trust nothing between the ends: what a source of separable pairs, or a station or a "
        "repeater that measures and lies, could know shows in the test basis and in the decoys, and is charged to the "
        f"key's length, or the block is refused{OWN_STATISTICS if own else ''}",
        untrusted,
    )


def efficiency_mismatch(scene: Scene) -> Judgement:
    """Judge detectors that are not alike."""
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


def dead_time(scene: Scene) -> Judgement:
    """Judge what a dead detector tells."""
    with_dead_time = tuple(link.name for link in scene.sections if any(r.dead_time_ns > 0 for r in link.receivers))
    if not with_dead_time:
        return Judgement("countered", "no detector here has a dead time")
    return Judgement(
        "assumed",
        "after a bright pulse one detector is dead and the others are not, so that a later click tells which it was",
        with_dead_time,
        "accept a detection only while all detectors are live",
    )


def trusted_nodes(scene: Scene) -> Judgement:
    """Judge the nodes between that know keys."""
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


def fibre_cut(scene: Scene) -> Judgement:
    """Judge the loss of one node or link."""
    pairs = list(zip(scene.demands, scene.isolations, strict=True))
    alone = tuple(demand.name for demand, found in pairs if found.losing)
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


def simulated(scene: Scene) -> Judgement:
    """Judge light that is a program."""
    if not scene.sections:
        return Judgement("countered", "no key here is made of simulated light")
    return Judgement(
        "assumed",
        "the light is simulated: whoever controls the process that makes it knows everything",
        tuple(section.name for section in scene.sections),
        "draw keys from real devices",
    )


def vendors_word(scene: Scene) -> Judgement:
    """Judge keys of which only a vendor knows anything."""
    if not scene.vendors:
        return Judgement("countered", "no key here comes from a vendor's system")
    return Judgement(
        "assumed",
        "the light, devices, proofs and software of a vendor's system are not known here: nothing else in this list "
        "is judged for them, and their keys are as good as the vendor says",
        scene.vendors,
        "cross such a link with shares on other paths as well, or combine its key with post-quantum key",
    )


def another_domain(scene: Scene) -> Judgement:
    """Judge what crosses into the domain of another operator."""
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
