"""What would change the verdict most: each a change of the scenario, tried out, with what it would improve.

In: a `Scene` and its findings.  Out: `Recommendation`s, ranked by how many pairs of applications gain. A change to the
network is tried on the graph before it is recommended; advice about devices comes after, for nothing here can try it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noclone.audit.levels import pairs
from noclone.audit.scene import Scene
from noclone.audit.threats import Finding

LISTED = 8


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A change, what it would change, and the command that shows it.

    Args:
        gain: How many pairs of applications it helps; 0 for advice that cannot be tried here.
    """

    text: str
    gain: int
    command: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"text": self.text, "pairs_helped": self.gain, "command": self.command}


def recommend(scene: Scene, findings: Sequence[Finding]) -> list[Recommendation]:
    """Return what to change, the most useful first."""
    tried = [*_disjoint_paths(scene), *_missing_link(scene)]
    tried.sort(key=lambda one: -one.gain)
    advice = [
        Recommendation(
            f"{finding.threat.title}: {finding.judgement.remedy}.",
            0,
            f"noclone audit {scene.scenario.name} --what-if 'link:* compromised'",
        )
        for finding in findings
        if finding.judgement.remedy and finding.status in ("open", "assumed") and finding.threat.level == "in transit"
    ]
    return [*tried, *advice][:LISTED]


def _disjoint_paths(scene: Scene) -> list[Recommendation]:
    """Ask for two paths that share no node, wherever one node knows a key and there are two."""
    import networkx

    graph = networkx.Graph([link.hops[0] for link in scene.links.values() if link.block is not None])
    # Two nodes have two paths that share no node where some part of the network that no single loss divides holds both
    # (Menger 1927); a part of two nodes is a lone link.
    meshes = [part for part in networkx.biconnected_components(graph) if len(part) > 2]
    stated = any(demand.stated for demand in scene.demands)
    weak = [demand for demand in scene.demands if demand.nodes_alone and (demand.stated or not stated)]
    helped = [demand for demand in weak if any(part.issuperset(demand.sites) for part in meshes)]
    no_way = [demand for demand in weak if not any(part.issuperset(demand.sites) for part in meshes)]
    out = []
    if helped:
        out.append(
            Recommendation(
                f"Set disjoint_paths = 2 in the policies of {pairs(len(helped))}, such as {helped[0].name}: no single "
                "node would know their keys.",
                len(helped),
                f"noclone audit {scene.scenario.name} --what-if 'node:* compromised'",
            )
        )
    if no_way:
        out.append(
            Recommendation(
                f"Join post-quantum cryptography end to end for {pairs(len(no_way))}, such as {no_way[0].name}: one "
                "node knows their keys, and there are no two paths that share none.",
                len(no_way),
                f"noclone audit {scene.scenario.name} --what-if 'node:{no_way[0].nodes_alone[0]} compromised'",
            )
        )
    return out


def _missing_link(scene: Scene) -> list[Recommendation]:
    """A second way round what isolates most pairs."""
    cuts: dict[str, int] = {}
    for found in scene.isolations:
        for name in (*(f"node:{node}" for node in found.nodes), *(f"link:{link}" for link in found.links)):
            cuts[name] = cuts.get(name, 0) + 1
    if not cuts:
        return []
    name, count = max(cuts.items(), key=lambda item: (item[1], item[0]))
    state = "down" if name.startswith("node:") else "cut"
    return [
        Recommendation(
            f"Add a link that leads round {name.replace(':', ' ')}: without it {pairs(count)} would have no key.",
            count,
            f"noclone audit {scene.scenario.name} --what-if '{name} {state}'",
        )
    ]
