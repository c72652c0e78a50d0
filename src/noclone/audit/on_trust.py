"""Threats from those whose word is taken: who makes the light, who sold the devices, who runs the network beyond.

In: a `Scene`.  Out: a `Judgement` of each.
"""

from __future__ import annotations

from noclone.audit.judgement import Judgement
from noclone.audit.scene import Scene


def simulated(scene: Scene) -> Judgement:
    """Judge light that a program makes."""
    if not scene.sections:
        return Judgement("countered", "no key here is made of simulated light")
    return Judgement(
        "assumed",
        "the light is simulated: whoever controls the process that makes it knows everything",
        tuple(section.name for section in scene.sections),
        "draw keys from real devices",
    )


def vendors_word(scene: Scene) -> Judgement:
    """Judge keys that a vendor's system gave."""
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
        "keys for applications in another operator's domain are in the clear at the KME on our side of the border, at "
        "the one on theirs, and in TLS between the two; what that domain does with them is not known here, and no pair "
        "of applications across a border is judged",
        tuple(f"{border.node} ({border.domain})" for border in borders),
        "let the two applications combine such a key with a post-quantum one of their own",
    )
