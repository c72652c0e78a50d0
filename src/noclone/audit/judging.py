"""Holding the catalogue of threats against a network: each by the links whose devices it acts on.

In: a `Scene`.  Out: a `Finding` for each threat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from noclone.audit.device_flaws import flawed
from noclone.audit.judges import Judgement
from noclone.audit.scene import Scene
from noclone.audit.threats import THREATS, Finding, Threat
from noclone.audit.trusted_devices import ACTS_ON, SPARED, concerned


def judge_threats(scene: Scene, threats: Sequence[Threat] = THREATS) -> list[Finding]:
    """Hold every threat of the catalogue against the network."""
    return [Finding(threat, _judge(threat, scene)) for threat in threats]


def _judge(threat: Threat, scene: Scene) -> Judgement:
    """Judge a threat by the links that it concerns."""
    rest = concerned(threat.name, scene)
    if scene.sections and not rest.sections:
        return Judgement("countered", SPARED[ACTS_ON[threat.name]])
    found = _of_devices(threat.name, rest) or threat.judge(rest)
    if len(rest.links) < len(scene.links) and not found.where and found.status != "countered":
        return replace(found, where=tuple(link.name for link in rest.sections))
    return found


def _of_devices(threat: str, scene: Scene) -> Judgement | None:
    """Return the judgement where a scenario says that its devices have the flaw."""
    found = flawed(threat, scene.sections)
    if found is None:
        return None
    return Judgement("open" if found.loose else "watched", found.why, found.loose or found.links, found.remedy)
