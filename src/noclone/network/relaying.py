"""What a node does for keys between any two nodes: it tells of its links, hears of all others, and keeps its pools.

In: a scenario, a node's KME.  Out: relays, as long as it runs. `goals_of` says which pools a node keeps.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from noclone.clock import Clock
from noclone.combined import inner_profile
from noclone.kms.calls import PeerCalls
from noclone.kms.policies import Policies
from noclone.kms.relay_calls import RelaySettings
from noclone.kms.relay_shares import warm_up
from noclone.kms.service import KmeService
from noclone.network.combining import WITHOUT_QKD, CombinedGoal, CombinedKeeper, is_combined
from noclone.network.keeper import Goal, Keeper
from noclone.network.link_sections import LinkSection
from noclone.network.link_state import LinkReport, LinkStates
from noclone.network.relay_sections import shape_of
from noclone.network.scenario import Scenario
from noclone.network.spreading import OPERATION, Spreader
from noclone.records import LINK_PROFILE
from noclone.relayed import relay_profile

MINUTE_S = 60.0
COMBINED_POOLS_MAX = 64  # of one node
NODES_PER_SECOND = 5  # reports that one machine can check, when it runs all nodes


class Meter:
    """How fast key comes: what came in the last minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._came: deque[tuple[float, int]] = deque()

    def add(self, bits: int) -> None:
        """Note that key came."""
        self._came.append((self._clock.now_s(), bits))

    def rate_bps(self) -> float:
        """Return how fast it comes."""
        since_s = self._clock.now_s() - MINUTE_S
        while self._came and self._came[0][0] < since_s:
            self._came.popleft()
        return sum(bits for _, bits in self._came) / MINUTE_S


def _is_signed(link: LinkSection, name: str) -> bool:
    return link.bootstrap == "signatures" and name in (link.alice, link.bob)


def edges_of(scenario: Scenario) -> list[tuple[str, str]]:
    """Return which nodes a link joins."""
    return list(scenario.edges().all)


def neighbours_of(scenario: Scenario) -> dict[str, set[str]]:
    """Return the nodes next to each node."""
    out: dict[str, set[str]] = {node.name: set() for node in scenario.nodes}
    for a, b in edges_of(scenario):
        out[a].add(b)
        out[b].add(a)
    return out


def policies_of(scenario: Scenario) -> Policies:
    """Return the policies of a scenario as the KMEs go by them."""
    nodes = {sae.id: sae.node for sae in scenario.saes}
    policies = [section.policy(nodes, edges_of(scenario)) for section in scenario.policies]
    return Policies(policies, scenario.pqc.in_force())


def combined_goals_of(scenario: Scenario, name: str) -> list[CombinedGoal]:
    """Return the pools of combined key that a node keeps: those that policies name.

    In a network without any link, also one for every other node with an application, without QKD.
    """
    nodes = {sae.id: sae.node for sae in scenario.saes}
    goals = []
    for section in scenario.policies:
        policy = section.policy(nodes, edges_of(scenario))
        ends = {nodes[sae] for sae in policy.saes}
        for profile in (policy.profile, policy.on_exhaustion.profile):
            if name in ends and is_combined(profile):
                goals.append(CombinedGoal(min(ends - {name}), profile))
    if not edges_of(scenario) and name in nodes.values():
        named = {frozenset(section.between) for section in scenario.policies}
        ours = [sae for sae, node in nodes.items() if node == name]
        far = {node for sae, node in nodes.items() if node != name and {frozenset((sae, own)) for own in ours} - named}
        goals += [CombinedGoal(node, WITHOUT_QKD) for node in sorted(far)]
    return list(dict.fromkeys(goals))[:COMBINED_POOLS_MAX]


def goals_of(scenario: Scenario, name: str) -> list[Goal]:
    """Return the pools of relayed key that a node keeps, whether somebody asks for key or not.

    They are those that a policy between two applications names, and one for every other node that is no neighbour and
    has an application without a policy with one of ours, or that a border needs. If that is more than [relay] allows,
    the latter are kept for those who ask: see `on_demand_of`.
    """
    named, others = _goals(scenario, name)
    return named if on_demand_of(scenario, name) else [*named, *others]


def on_demand_of(scenario: Scenario, name: str) -> list[Goal]:
    """Return the pools of relayed key that a node keeps while applications ask for them: none where all have room."""
    named, others = _goals(scenario, name)
    return others if len(named) + len(others) > scenario.relay.pools_max else []


def _goals(scenario: Scenario, name: str) -> tuple[list[Goal], list[Goal]]:
    """Return the pools that policies name, and those that nothing is said about: of pairs, and for borders."""
    nodes = {sae.id: sae.node for sae in scenario.saes}
    strictest: dict[tuple[str, str], int | None] = {}
    for section in scenario.policies:
        policy = section.policy(nodes, edges_of(scenario))
        ends = {nodes[sae] for sae in policy.saes}
        if name not in ends:
            continue
        (peer,) = ends - {name}
        own = None if is_combined(policy.profile) else policy.max_nodes_knowing
        limits = {inner_profile(policy.profile): own, inner_profile(policy.on_exhaustion.profile): None}
        for profile, limit in limits.items():
            if profile and profile != LINK_PROFILE:
                known = strictest.get((peer, profile))
                strictest[peer, profile] = limit if known is None else known if limit is None else min(known, limit)
    if not scenario.edges().all:
        return [], []
    named = {frozenset(section.between) for section in scenario.policies}
    ours = [sae for sae, node in nodes.items() if node == name]
    beyond = {name, *neighbours_of(scenario)[name]}
    far = {sae: node for sae, node in nodes.items() if node not in beyond}
    partners = {node for sae, node in far.items() for own in ours if frozenset((own, sae)) not in named}
    partners |= _border_partners(scenario, name)
    plain = relay_profile(1, 1)
    goals = [Goal(peer, profile, limit) for (peer, profile), limit in strictest.items() if shape_of(profile)]
    return goals, [Goal(peer, plain) for peer in sorted(partners) if (peer, plain) not in strictest]


def _border_partners(scenario: Scenario, name: str) -> set[str]:
    """Return the nodes with which a node needs a pool for what crosses borders: gates, and those that they serve."""
    gates = {border.node for border in scenario.borders}
    serving = {sae.node for sae in scenario.saes}
    found = gates if name in serving else set()
    if name in gates:
        found = found | serving
    return found - {name, *neighbours_of(scenario)[name]}


def relay_settings(scenario: Scenario) -> RelaySettings:
    """Return how the KMEs of a scenario relay."""
    return RelaySettings(timeout_s=scenario.relay.timeout_s)


class Relaying:
    """The part of a node that relays. Start it when the KME's doors are open."""

    def __init__(self, scenario: Scenario, name: str, service: KmeService, meters: dict[str, Meter]) -> None:
        assert service.relay is not None
        neighbours = neighbours_of(scenario)
        interval_s = max(1.0, len(scenario.nodes) / NODES_PER_SECOND)
        kme = service.kme
        self._service = service
        self._meters = meters
        self._neighbours = sorted(neighbours[name])
        self.states = LinkStates(service.notary, neighbours, 5 * interval_s)
        calls: Callable[[str], PeerCalls | None] = kme.peers.get
        self._spreader = Spreader(self.states, self._neighbours, calls, self._describe, kme.store.clock, interval_s)
        kme.handlers[OPERATION] = self._spreader.on_state
        goals, edges = goals_of(scenario, name), scenario.edges().all
        self.keeper = Keeper(
            service.relay,
            kme.store,
            self.states,
            goals,
            scenario.relay,
            service.reach,
            kme.events,
            edges,
            on_demand_of(scenario, name),
            max(1, scenario.relay.pools_max - len(goals)),
        )
        kme.asked = self.keeper.asked
        signed = {link.bob if link.alice == name else link.alice for link in scenario.links if _is_signed(link, name)}
        self.combined = CombinedKeeper(service, combined_goals_of(scenario, name), scenario.pqc, signed)
        self._relays = bool(edges)  # without, there is nothing to relay, and no hash to compile for it
        self._start: asyncio.Task[None] | None = None
        self._drained = False
        self._avoided: frozenset[str] = frozenset()
        self.settles_s = scenario.relay.timeout_s + 2 * interval_s  # until all have heard, and what they began is over

    def start(self) -> None:
        """Begin to tell of our links, and to fill our pools."""
        self._spreader.start()
        self.combined.start()
        if self._relays:
            self._start = asyncio.create_task(self._warm_up())

    async def stop(self) -> None:
        """Begin nothing more."""
        if self._start is not None:
            self._start.cancel()
            await asyncio.gather(self._start, return_exceptions=True)
        await self.combined.stop()
        await self.keeper.stop()
        await self._spreader.stop()

    def hold(self, *, drained: bool, avoided: frozenset[str]) -> None:
        """Say what all KMEs hear of us from the next report on.

        Args:
            drained: Begin no relays and exchanges, and tell all others to lead none through here; else go on with both.
            avoided: Neighbours to whom the link counts as down for relays.
        """
        self._avoided = avoided
        self._drained = drained
        self.keeper.pause(drained)
        self.combined.pause(drained)

    async def _warm_up(self) -> None:
        await asyncio.to_thread(warm_up)
        self.keeper.start()

    async def _describe(self) -> list[LinkReport]:
        out = []
        for peer in self._neighbours:
            calls = self._service.kme.peers.get(peer)
            pool = await self._service.kme.store.pool(peer, (LINK_PROFILE,))
            rate_bps = self._meters[peer].rate_bps() if peer in self._meters else 0.0
            ready = calls is not None and calls.ready
            up = ready and not self._drained and peer not in self._avoided
            out.append(LinkReport(peer, up, pool.ready_out_bits, rate_bps))
        return out
