"""What an audit looks at: a scenario, with what its links and demands promise and what isolates them.

In: `demands` and `availability`.  Out: a `Scene`, which threats, levels and requirements are held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from noclone.audit.availability import Isolation
from noclone.audit.demands import Demand, PlannedLink
from noclone.network.link_sections import LinkSection
from noclone.network.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Scene:
    """A network as it is planned."""

    scenario: Scenario
    links: dict[str, PlannedLink]
    demands: Sequence[Demand]
    isolations: Sequence[Isolation]

    @property
    def sections(self) -> list[LinkSection]:
        """The links of simulated light that give key."""
        found = [link.section for link in self.links.values() if link.block is not None]
        return [section for section in found if isinstance(section, LinkSection)]

    @property
    def vendors(self) -> tuple[str, ...]:
        """Names of the links whose key is on a vendor's word."""
        return tuple(name for name, link in self.links.items() if link.vendor is not None)
