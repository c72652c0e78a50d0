"""What a scenario promises before it runs: its links' proof figures, and for each demand the key that it would get.

In: a `Scenario`.  Out: `PlannedLink`s, and a `Demand` for each pair of applications, with the formula that its
keys would carry. The formula comes from the same records and the same rules as a delivered key's (`trust.provenance`);
only the blocks are planned instead of distilled, and every link is taken to be stocked alike, so that routes are the
shortest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from typing import Any

from noclone.combined import POST_QUANTUM_ONLY, CombinedProvenance, Part, inner_profile, suite_of
from noclone.crypto.combiners import KDF_NAME
from noclone.crypto.kems import suite
from noclone.crypto.transcript_hash import transcript_forgery_bound
from noclone.errors import ScenarioError
from noclone.kms.policies import nodes_knowing
from noclone.kms.vendor_messages import record_of
from noclone.network.blocks import LinkPlan, error_rate, plan_link
from noclone.network.link_sections import LinkSection
from noclone.network.relay_sections import PolicySection, shape_of
from noclone.network.routing import HOP_COST, NoRoute, find_routes
from noclone.network.scenario import Scenario
from noclone.network.simulate import origin_of
from noclone.network.vendor_sections import VendorLinkSection
from noclone.proofs.keylength import choose_proof
from noclone.records import LINK_PROFILE, BlockProvenance, Origin, Provenance
from noclone.relayed import RelayHop, RelayProvenance, relay_profile
from noclone.trust.formula import Atom, Formula, any_of, cheapest_coalition
from noclone.trust.provenance import PRE_SHARED_KEY, claim, formula_of_key, signed_bootstrap

BYTES_PER_DETECTION = 16  # a generous bound on what one detection adds to the transcript that a tag covers
NEVER_WORTH = 1e6  # weight of what is no node, where only nodes are counted


@dataclass(frozen=True, slots=True)
class PlannedLink:
    """What a link's devices promise by their model, or its vendor on his word: then no rate and no error rate.

    Args:
        block: Provenance that its first block would have; None where no key is to be expected.
        secret_bps: Secret bits per second of light, agreed before a block.
        qber: Error rate that the model expects; see `network.blocks.error_rate`.
        epsilon_per_year: Failure probabilities of all blocks of a year of light, added up; 1 for a vendor's link, for
            nobody says how many keys it gives.
        problem: Why no key is to be expected, else empty.
    """

    section: LinkSection | VendorLinkSection
    block: BlockProvenance | None
    secret_bps: float = 0.0
    qber: float = 0.0
    epsilon_per_year: float = 0.0
    problem: str = ""

    @property
    def hops(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """The link in both directions."""
        a, b = self.section.alice, self.section.bob
        return (a, b), (b, a)

    @property
    def length_km(self) -> float | None:
        """How long its fibre is; a vendor's is not known here."""
        return self.section.length_km if isinstance(self.section, LinkSection) else None

    @property
    def repeaters(self) -> list[str]:
        """The stations that pass entanglement on between its ends; a vendor's are not known here."""
        return self.section.repeaters if isinstance(self.section, LinkSection) else []

    @property
    def vendor(self) -> str | None:
        """Whose word is all that is known of its key."""
        return self.section.vendor if isinstance(self.section, VendorLinkSection) else None

    @property
    def gives(self) -> str:
        """What key comes of it, in words."""
        if self.block is None:
            return f"no key: {self.problem}"
        return f"{self.secret_bps:,.0f} b/s" if self.vendor is None else f"key on the word of {self.vendor}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        block = self.block
        return {
            "link": self.section.name,
            "between": [self.section.alice, self.section.bob],
            "length_km": self.length_km,
            "vendor": self.vendor,
            "repeaters": self.repeaters,
            "protocol": self.section.protocol if isinstance(self.section, LinkSection) else "vendor",
            "proof": self.section.proof if isinstance(self.section, LinkSection) else "none",
            "statement": None if block is None else block.statement,
            "origin": None if block is None else block.origin.kind,
            "bootstrap": None if block is None else block.bootstrap,
            "secret_bps": self.secret_bps if self.vendor is None else None,
            "qber_expected": self.qber if self.vendor is None else None,
            "epsilon_per_block": None if block is None else block.epsilon,
            "epsilon_per_year": self.epsilon_per_year,
            "problem": self.problem,
        }


def plan_links(scenario: Scenario, on_link: Callable[[], None] = lambda: None) -> dict[str, PlannedLink]:
    """Return what every link promises, by its name.

    Args:
        on_link: Called after each of the scenario's links, vendors' apart.
    """
    pqc = scenario.pqc
    kems = [kem.name for kem in suite(pqc.suites[0])]
    signed = signed_bootstrap(pqc.signatures, kems, KDF_NAME, 1)
    planned = []
    for link in scenario.links:
        planned.append(_plan(link, signed if link.bootstrap == "signatures" else PRE_SHARED_KEY))
        on_link()
    return {link.section.name: link for link in [*planned, *map(_of_vendor, scenario.vendor_links)]}


def _of_vendor(section: VendorLinkSection) -> PlannedLink:
    """Plan a vendor's link as real devices; should its system say later that it is not, its keys will say so."""
    block = record_of(section.link(), 0, Origin("hardware"), ("planned",), 0.0, 0.0)
    origin = Origin("hardware", detail=section.vendor)
    return PlannedLink(section, replace(block, origin=origin), epsilon_per_year=1.0)


def _plan(link: LinkSection, bootstrap: str) -> PlannedLink:
    try:
        plan = plan_link(link)
    except ScenarioError as error:
        return PlannedLink(link, None, problem=error.message)
    qber = error_rate(plan.expected) or 0.0
    if not plan.agreement.length_bits:
        return PlannedLink(link, None, qber=qber, problem=plan.agreement.reason)
    block = _block(link, plan, bootstrap)
    return PlannedLink(link, block, plan.secret_bps, qber, block.epsilon * plan.blocks_per_year)


def _block(link: LinkSection, plan: LinkPlan, bootstrap: str) -> BlockProvenance:
    authentication = 2 * transcript_forgery_bound(BYTES_PER_DETECTION * max(one.detections_max for one in plan.all))
    epsilon = link.epsilons().total + authentication
    return BlockProvenance(
        link=link.name,
        alice=link.alice,
        bob=link.bob,
        block=0,
        protocol=link.protocol,
        origin=origin_of(seeded=False),
        proof=plan.agreement.proof,
        statement=choose_proof(plan.agreement.proof, plan.agreement.protocol).statement,
        epsilon=epsilon,
        cumulative_epsilon=epsilon,
        bootstrap=bootstrap,
        time_s=0.0,
    )


@dataclass(frozen=True, slots=True)
class Demand:
    """Two applications that want keys, and what these keys would stand on.

    Args:
        routes: The paths that shares would take, of the policy's profile; a fibre's own key has the one of two nodes.
        blocks: Planned provenance, that of the policy's fallback included.
        formula: When a key leaks. Where a fallback may be used, when either kind of key does.
        atoms: Those of the formula.
        nodes_alone: The nodes between that would know a key, each by itself.
        secret_years: How long the data must stay secret, if the policy says so.
        problem: Why there would be no key, else empty.
    """

    saes: tuple[str, str]
    sites: tuple[str, str]
    profile: str
    stated: bool
    routes: tuple[tuple[str, ...], ...] = ()
    blocks: tuple[Provenance, ...] = field(default=(), repr=False)
    formula: Formula | None = field(default=None, repr=False)
    atoms: frozenset[Atom] = field(default=frozenset(), repr=False)
    nodes_alone: tuple[str, ...] = ()
    secret_years: float | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """Both applications, in a form to be read."""
        return " and ".join(self.saes)

    @property
    def shares(self) -> tuple[int, int]:
        """How many shares are needed, and how many there are."""
        return shape_of(inner_profile(self.profile)) or (1, 1)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Algorithms that the keys rest on, alone or beside something else."""
        return tuple(sorted(atom.name for atom in self.atoms if atom.kind == "alg"))

    @property
    def claim(self) -> str:
        """Which kind of secrecy the keys may claim."""
        return claim(self.blocks) if self.blocks else f"no key: {self.problem}"

    def leaks(self, compromised: frozenset[Atom]) -> bool:
        """Tell whether a coalition would know the keys."""
        return self.formula is not None and self.formula.leaks(compromised)

    def nodes_together(self) -> int | None:
        """Return how many nodes between must join before they know a key; None where all of them do not."""
        if self.nodes_alone:
            return 1
        if self.formula is None or not any(atom.kind == "node" for atom in self.atoms):
            return None
        found = cheapest_coalition(self.formula, lambda atom: 1.0 if atom.kind == "node" else NEVER_WORTH)
        return None if found is None or found.cost >= NEVER_WORTH else round(found.cost)


@dataclass(frozen=True, slots=True)
class Exchanges:
    """The algorithms that KMEs combine key with: those of [pqc], where it begins."""

    suite: str = "mlkem768-x25519"
    signatures: tuple[str, ...] = ("ECDSA-P256", "ML-DSA-65")

    def combine(self, profile: str, sites: tuple[str, str], parts: tuple[Part, ...]) -> CombinedProvenance:
        """Return the provenance that a combined block of QKD blocks would have."""
        name = self.suite if suite_of(profile) == "*" else suite_of(profile) or self.suite
        link, mode = "+".join(sorted(sites)), profile.partition(":")[0]
        kems = tuple(kem.name for kem in suite(name))
        return CombinedProvenance(
            link, 0, *sites, "planned", mode, name, kems, self.signatures, KDF_NAME, "planned", parts, 0, 0.0, 0.0
        )


class Routes:
    """Shortest routes over the links that give key; those of one source are found once."""

    def __init__(
        self, links: Mapping[str, PlannedLink], gone: frozenset[Atom] = frozenset(), exchanges: Exchanges | None = None
    ) -> None:
        """Args:
        gone: Nodes, links and repeaters that are not there: `node:a`, `link:a-b`, `repeater:c`.
        exchanges: The algorithms of combined key.
        """
        self.exchanges = exchanges or Exchanges()
        lost = {atom.name for atom in gone if atom.kind == "node"}
        cut = {atom.name for atom in gone if atom.kind == "link"}
        stopped = {atom.name for atom in gone if atom.kind == "repeater"}
        usable = [link for link in links.values() if link.block is not None and link.section.name not in cut]
        if stopped:
            usable = [link for link in usable if not stopped.intersection(link.repeaters)]
        self.prices = {hop: HOP_COST for link in usable for hop in link.hops if not lost.intersection(hop)}
        self.blocks = {hop: link.block for link in usable for hop in link.hops if link.block is not None}
        self.hops = {(a, b): RelayHop(a, b, (block,)) for (a, b), block in self.blocks.items()}
        self._trees: dict[str, dict[str, list[str]]] = {}

    def find(self, a: str, b: str, count: int) -> tuple[tuple[str, ...], ...]:
        """Return `count` paths that share no node between.

        Raises:
            NoRoute: There are not as many.
        """
        if count > 1:
            return tuple(find_routes(self.prices, a, b, count))
        path = self._tree(a).get(b)
        if path is None:
            raise NoRoute(f"no path of links that give key joins {a} and {b}", 0)
        return (tuple(path),)

    def _tree(self, source: str) -> dict[str, list[str]]:
        import networkx

        if source not in self._trees:
            graph = networkx.Graph(list(self.prices))
            self._trees[source] = networkx.single_source_shortest_path(graph, source) if source in graph else {}
        return self._trees[source]


def demands_of(scenario: Scenario, links: Mapping[str, PlannedLink]) -> list[Demand]:
    """Return every demand: the pairs with a policy first, then all others, which state nothing."""
    routes = Routes(links, exchanges=Exchanges(scenario.pqc.suites[0], tuple(scenario.pqc.signatures)))
    stated = {frozenset(policy.between): policy for policy in scenario.policies}
    pairs = [(policy.between[0], policy.between[1]) for policy in scenario.policies]
    site = {sae.id: sae.node for sae in scenario.saes}
    others = [
        pair for pair in combinations(site, 2) if frozenset(pair) not in stated and site[pair[0]] != site[pair[1]]
    ]
    edges = list(scenario.edges().all)
    joined = {frozenset(edge) for edge in edges}
    out = []
    for a, b in pairs + others:
        policy = stated.get(frozenset((a, b)))
        if policy is not None:
            profiles = _profiles(policy, site, edges)
        elif not edges:
            profiles = (f"{POST_QUANTUM_ONLY}:*",)
        else:
            profiles = (LINK_PROFILE if frozenset((site[a], site[b])) in joined else relay_profile(1, 1),)
        years = None if policy is None else policy.secret_years
        out.append(_demand((a, b), (site[a], site[b]), profiles, routes, stated=policy is not None, years=years))
    return out


def _profiles(policy: PolicySection, site: Mapping[str, str], edges: list[tuple[str, str]]) -> tuple[str, ...]:
    found = policy.policy(site, edges)
    fallback = found.on_exhaustion.profile
    return (found.profile, fallback) if fallback else (found.profile,)


def _demand(
    saes: tuple[str, str],
    sites: tuple[str, str],
    profiles: tuple[str, ...],
    routes: Routes,
    *,
    stated: bool,
    years: float | None,
) -> Demand:
    found: list[tuple[tuple[str, ...], ...]] = []
    try:
        for profile in profiles:
            found.append(routes_of(profile, sites, routes))
    except NoRoute as error:
        return Demand(saes, sites, profiles[0], stated, secret_years=years, problem=error.message)
    blocks = tuple(_provenance(profile, sites, paths, routes) for profile, paths in zip(profiles, found, strict=True))
    formula = any_of(*(formula_of_key([block], master_site=sites[0], slave_site=sites[1]) for block in blocks))
    return Demand(
        saes, sites, profiles[0], stated, found[0], blocks, formula, formula.atoms(), nodes_knowing(formula), years
    )


def routes_of(profile: str, sites: tuple[str, str], routes: Routes) -> tuple[tuple[str, ...], ...]:
    """Return the paths that keys of a profile would take.

    Raises:
        NoRoute: There are not enough.
    """
    profile = inner_profile(profile)
    if not profile:
        return ()
    shape = shape_of(profile)
    if shape is None:
        if sites not in routes.prices:
            raise NoRoute(f"the link between {sites[0]} and {sites[1]} gives no key", 0)
        return (sites,)
    return routes.find(*sites, shape[1])


def _provenance(profile: str, sites: tuple[str, str], paths: tuple[tuple[str, ...], ...], routes: Routes) -> Provenance:
    if suite_of(profile) is None:
        return _qkd_provenance(profile, paths, routes)
    inner = inner_profile(profile)
    return routes.exchanges.combine(profile, sites, (_qkd_provenance(inner, paths, routes),) if inner else ())


def _qkd_provenance(profile: str, paths: tuple[tuple[str, ...], ...], routes: Routes) -> Part:
    shape = shape_of(profile)
    if shape is None:
        return routes.blocks[(paths[0][0], paths[0][1])]
    initiator, target = paths[0][0], paths[0][-1]
    shares = tuple(tuple(routes.hops[hop] for hop in pairwise(path)) for path in paths)
    name = "~".join(sorted((initiator, target)))
    return RelayProvenance(name, 0, initiator, target, "planned", shape[0], shares, 0, 0.0, 0.0)
