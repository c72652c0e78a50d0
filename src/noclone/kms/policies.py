"""Policies: what a pair of applications demands of its keys, and whether a key meets it.

In: a policy of the scenario, the blocks that a key was cut from.  Out: which profiles to cut keys from, in which order;
what a key violates, if anything. Keys are chosen by profile, and every key is held against its own formula once more
before anybody gets it: a violation is never delivered, whatever chose it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from noclone.combined import CombinedProvenance
from noclone.kms.allowances import Limit
from noclone.kms.keys import Refused
from noclone.kms.suites import Suites
from noclone.records import Provenance
from noclone.relayed import RelayProvenance
from noclone.trust.contributions import algorithms, broken_by_quantum_computers, physical
from noclone.trust.formula import Atom, Formula
from noclone.trust.provenance import SESSION, formula_of_key

WAIT_STEP_S = 0.1
Require = Literal["information-theoretic", "hybrid", "post-quantum"]

T = TypeVar("T", covariant=True)


class Attempt(Protocol[T]):
    """Gets keys of some profiles, from blocks that are not older than that."""

    def __call__(self, profiles: tuple[str, ...] | None, max_age_s: float | None) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """What happens when no key is left: refuse at once, wait so long, or cut keys from another profile, and say so."""

    kind: Literal["refuse", "wait", "fallback"] = "refuse"
    wait_s: float = 0.0
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """What two applications demand of the keys between them, in either direction.

    Args:
        saes: The pair.
        profile: Which blocks their keys are cut from: "link", "paths-2", "shares-2-3", "catkdf:*:paths-2", "kem:*".
        max_nodes_knowing: How many KMEs between may know a key, each by itself; None: any number.
        simulated: Whether simulated light, recordings and seeded randomness will do. Key without light is neither.
        lifetime_s: No key is made of blocks older than this; None: the store's own lifetime.
        quota_bits: At most so much in any 24 hours; None: no limit.
        rate_bps: At most so much a second, with bursts of one second or one key; None: no limit.
        on_exhaustion: What happens when none is left.
        require: What must hold of the key's formula; see `unmet`.
    """

    saes: tuple[str, str]
    profile: str
    max_nodes_knowing: int | None = None
    simulated: bool = True
    lifetime_s: float | None = None
    quota_bits: int | None = None
    rate_bps: float | None = None
    on_exhaustion: Exhaustion = Exhaustion()
    require: Require = "information-theoretic"

    def violation(
        self, blocks: Sequence[Provenance], sites: tuple[str, str], now_s: float, suites: Suites
    ) -> str | None:
        """Say what a key violates, or None if nothing.

        A fallback that the policy names frees key of that profile from the rule about nodes, and from no other.
        """
        problem = unmet(self.require, formula_of_key(blocks, master_site=sites[0], slave_site=sites[1]))
        if problem is not None:
            return problem
        if any(block.epsilon >= 1 for block in blocks):
            return "nobody states how probably it fails: its epsilon is 1"
        if not self.simulated and any(
            block.origin.kind not in ("hardware", "computed") or block.origin.seeded for block in blocks
        ):
            return "it comes from no live hardware"
        if self.lifetime_s is not None and any(now_s - block.time_s > self.lifetime_s for block in blocks):
            return "it is too old"
        if not all(suites.allows(block.profile) for block in blocks):
            return "it was made with algorithms that are not accepted, or not any more"
        wanted = [self.profile] + ([self.on_exhaustion.profile] if self.on_exhaustion.kind == "fallback" else [])
        if not all(any(suites.fits(block.profile, profile) for profile in wanted) for block in blocks):
            return "it was made in another way than the policy says"
        strict = [block for block in blocks if suites.fits(block.profile, self.profile)]
        if self.max_nodes_knowing is not None and strict:
            knowing = nodes_knowing(formula_of_key(strict, master_site=sites[0], slave_site=sites[1]))
            if len(knowing) > self.max_nodes_knowing:
                return f"{len(knowing)} nodes between know it"
        return None


def unmet(require: Require, formula: Formula) -> str | None:
    """Say what a requirement misses in a formula, or None.

    Nobody who controls neither site shall learn the key, who

        information-theoretic    breaks every algorithm, at any time;
        post-quantum             has a quantum computer, and all of QKD: every fibre, device and node;
        hybrid                   is one of these two, but for hash functions and KDFs, and for signatures that were
                                 forged while they mattered: the algorithms are broken later.
    """
    if require == "information-theoretic":
        return "it rests on an algorithm" if formula.leaks(algorithms(formula, kdfs=True)) else None
    if formula.leaks(physical(formula) | broken_by_quantum_computers(formula)):
        return "no post-quantum algorithm protects it"
    lasting = {atom for atom in algorithms(formula, kdfs=False) if not atom.name.endswith(SESSION)}
    if require == "hybrid" and formula.leaks(lasting):
        return "no QKD protects it"
    return None


def nodes_knowing(formula: Formula) -> tuple[str, ...]:
    """Return the KMEs between two sites that know a key, each by itself."""
    parts = formula.parts if formula.k == 1 else (formula,)  # of an OR, each part by itself
    found: set[str] = set()
    for part in parts:
        if isinstance(part, Atom):
            found.update([part.name] if part.kind == "node" else [])
        else:
            nodes = {atom for atom in part.atoms() if atom.kind == "node"}
            found.update(node.name for node in nodes if part.leaks({node}))
    return tuple(sorted(found))


def nodes_of(blocks: Sequence[Provenance]) -> tuple[str, ...]:
    """Return the KMEs between that handled any part of blocks."""
    relayed = [block for block in blocks if isinstance(block, RelayProvenance | CombinedProvenance)]
    return tuple(sorted({node for block in relayed for node in block.nodes}))


class Policies:
    """The policies of a network, by pair of applications, and the suites in force."""

    def __init__(self, policies: Sequence[Policy] = (), suites: Suites | None = None) -> None:
        self.suites = suites or Suites()
        self._by_pair = {frozenset(policy.saes): policy for policy in policies}

    def of(self, master: str, slave: str) -> Policy | None:
        """Return the policy of a pair; None if it has none."""
        return self._by_pair.get(frozenset((master, slave)))

    def want(self, master: str, slaves: Sequence[str]) -> Want | None:
        """Return what a request's keys shall be cut from, so that every slave's policy is met; None: from anything.

        Raises:
            Refused: 503, for the policies contradict each other.
        """
        found = [policy for slave in slaves if (policy := self.of(master, slave)) is not None]
        if not found:
            return None
        if len({(policy.profile, policy.on_exhaustion) for policy in found}) != 1:
            text = "the slaves of this request have policies that one key cannot meet"
            raise Refused(503, "key data access error", "policies-differ", detail=text)
        ages = [policy.lifetime_s for policy in found if policy.lifetime_s is not None]
        fallback = found[0].on_exhaustion.profile
        return Want(
            self.suites.profiles(found[0].profile),
            min(ages, default=None),
            found[0].on_exhaustion,
            self.suites.profiles(fallback) if fallback else (),
        )

    def limits(self, master: str, slaves: Sequence[str]) -> tuple[Limit, ...]:
        """Return what the pairs of a request may have, where their policies say how much that is."""
        found = [policy for slave in slaves if (policy := self.of(master, slave)) is not None]
        return tuple(
            Limit((min(policy.saes), max(policy.saes)), policy.quota_bits, policy.rate_bps)
            for policy in found
            if policy.quota_bits is not None or policy.rate_bps is not None
        )

    def check(
        self, master: str, slaves: Sequence[str], blocks: Sequence[Provenance], sites: tuple[str, str], now_s: float
    ) -> None:
        """Hold a key against the suites in force, and against the policies of all who get it.

        Raises:
            Refused: 503, it violates one. It must not be delivered.
        """
        if not all(self.suites.allows(block.profile) for block in blocks):
            text = "it was made with algorithms that are not accepted, or not any more"
            raise Refused(503, "key data access error", "policy-violated", detail=text)
        for slave in slaves:
            policy = self.of(master, slave)
            problem = policy.violation(blocks, sites, now_s, self.suites) if policy is not None else None
            if problem is not None:
                raise Refused(503, "key data access error", "policy-violated", detail=problem)


@dataclass(frozen=True, slots=True)
class Want:
    """What keys shall be cut from.

    Args:
        profiles: Of their blocks, the best first; None: any.
        max_age_s: Blocks are not older; None: any.
        fallback: Profiles to turn to when there is none of these, where the policy says so.
    """

    profiles: tuple[str, ...] | None
    max_age_s: float | None
    on_exhaustion: Exhaustion
    fallback: tuple[str, ...] = ()


async def obtain(want: Want | None, attempt: Attempt[T], fell_back: Callable[[str], None]) -> T:
    """Get keys as a policy wants them, and do what it says when there are none.

    Args:
        want: None: from anything.
        attempt: Gets keys of some profiles that are not too old, or raises `Refused`.
        fell_back: Told when key of another profile is used, so that it is never done silently.
    """
    if want is None:
        return await attempt(None, None)
    exhaustion, waited_s = want.on_exhaustion, 0.0
    while True:
        try:
            return await attempt(want.profiles, want.max_age_s)
        except Refused as refused:
            if refused.reason not in ("keys-exhausted", "pool-void"):
                raise
            if exhaustion.kind == "fallback":
                break
            if exhaustion.kind == "refuse" or waited_s >= exhaustion.wait_s:
                raise
        await asyncio.sleep(WAIT_STEP_S)
        waited_s += WAIT_STEP_S
    fell_back(exhaustion.profile)
    return await attempt(want.fallback, want.max_age_s)
