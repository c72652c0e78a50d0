"""The parts of a scenario that say how keys are relayed, and what pairs of applications demand: [relay], [[policy]].

In: tables of the file.  Out: `kms.policies.Policy`s, or the reason why no path of the network can satisfy one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from noclone.combined import ANY_SUITE, POST_QUANTUM_ONLY, combined_profile, inner_profile, suite_of
from noclone.kms.policies import Exhaustion, Policy
from noclone.network.fields import NonNegative, Positive, SaeId, Section
from noclone.network.routing import count_disjoint, fewest_between
from noclone.records import LINK_PROFILE
from noclone.relayed import relay_profile
from noclone.spelling import did_you_mean

SHARES = re.compile(r"([1-9][0-9]?)-of-([1-9][0-9]?)")
ON_EXHAUSTION = re.compile(
    r"refuse|wait:[0-9]{1,3}(\.[0-9]+)?|fallback:(kem|link|paths-[1-9][0-9]?|shares-[1-9]-[1-9])"
)
SHARES_MAX = 16


@dataclass(frozen=True, slots=True)
class Edges:
    """Which pairs of nodes a link joins.

    Args:
        simulated: By simulated light.
        vendor: By a vendor's QKD system.
        unstated: Names of vendors' links for which nobody states an epsilon.
    """

    simulated: tuple[tuple[str, str], ...]
    vendor: tuple[tuple[str, str], ...] = ()
    unstated: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[tuple[str, str], ...]:
        """All of them."""
        return self.simulated + self.vendor


class RelaySection(Section):
    """How keys are relayed between nodes that no link joins."""

    block_bytes: Annotated[int, Field(ge=256, le=1 << 20, multiple_of=64)] = Field(
        default=16_384, description="key that one relay makes"
    )
    low_bits: Annotated[int, Field(ge=0)] = Field(
        default=262_144, description="a pool of relayed key below this is filled up"
    )
    high_bits: Annotated[int, Field(ge=1)] = Field(default=524_288, description="until it holds this")
    reserve_bits: Annotated[int, Field(ge=0)] = Field(
        default=16_384, description="key that relays leave on every link, for the neighbours themselves"
    )
    timeout_s: Positive = Field(default=15.0, description="a relay that is not done after this has failed")
    pools_max: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=16,
        description="pools of relayed key that one node keeps; where it has more partners, for those who ask",
    )


class PolicySection(Section):
    """What two applications demand of the keys between them, in both directions."""

    between: Annotated[list[SaeId], Field(min_length=2, max_length=2)]
    require: Literal["information-theoretic", "hybrid", "post-quantum"] = Field(
        default="information-theoretic",
        description="what must hold of every key's trust formula; see docs/post-quantum.md",
    )
    combiner: Literal["everlasting", "catkdf", "caskdf"] | None = Field(
        default=None,
        description="how QKD key is joined with post-quantum key; not given: catkdf for hybrid, none for the others",
    )
    max_nodes_knowing: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="how many nodes on the way may know a key, each by itself"
    )
    disjoint_paths: Annotated[int, Field(ge=1, le=SHARES_MAX)] | None = Field(
        default=None, description="paths that share no node; the key is the XOR of one share on each"
    )
    shares: Annotated[str, Field(pattern=r"^[1-9][0-9]?-of-[1-9][0-9]?$")] | None = Field(
        default=None, description='such as "2-of-3": any two of three paths give the key, one alone says nothing'
    )
    simulated: bool = Field(default=True, description="whether simulated light will do")
    lifetime_s: Positive | None = Field(default=None, description="no key is made of older blocks")
    secret_years: Positive | None = Field(
        default=None, description="how long the data under these keys must stay secret; the audit answers it"
    )
    quota_bits: Annotated[int, Field(ge=1)] | None = Field(default=None, description="at most so much in 24 hours")
    rate_bps: NonNegative | None = None
    on_exhaustion: Annotated[str, Field(pattern=f"^({ON_EXHAUSTION.pattern})$")] = Field(
        default="refuse", description='"refuse", "wait:S" (seconds), or "fallback:PROFILE", such as "fallback:paths-1"'
    )

    @property
    def shape(self) -> tuple[int, int] | None:
        """How many shares are needed, and how many there are; None where the policy does not say."""
        if self.shares is not None:
            needed, _, total = self.shares.partition("-of-")
            return int(needed), int(total)
        return None if self.disjoint_paths is None else (self.disjoint_paths, self.disjoint_paths)

    def policy(self, nodes: Mapping[str, str], edges: Sequence[tuple[str, str]]) -> Policy:
        """Return what the KMEs go by."""
        a, b = (nodes[sae] for sae in self.between)
        kind, _, detail = self.on_exhaustion.partition(":")
        exhaustion = Exhaustion()
        if kind == "wait":
            exhaustion = Exhaustion("wait", wait_s=float(detail))
        elif kind == "fallback":
            profile = combined_profile(POST_QUANTUM_ONLY, ANY_SUITE, "") if detail == POST_QUANTUM_ONLY else detail
            exhaustion = Exhaustion("fallback", profile=profile)
        return Policy(
            (self.between[0], self.between[1]),
            self._profile(a, b, edges),
            self.max_nodes_knowing,
            self.simulated,
            self.lifetime_s,
            self.quota_bits,
            self.rate_bps,
            exhaustion,
            self.require,
        )

    @property
    def mode(self) -> str | None:
        """Which combiner makes the keys; None where they are QKD's own."""
        if self.combiner is not None:
            return self.combiner
        return {"hybrid": "catkdf", "post-quantum": POST_QUANTUM_ONLY}.get(self.require)

    def _profile(self, a: str, b: str, edges: Sequence[tuple[str, str]]) -> str:
        mode = self.mode
        if mode is None:
            return self._qkd_profile(a, b, edges)
        inner = "" if mode == POST_QUANTUM_ONLY else self._qkd_profile(a, b, edges)
        return combined_profile(mode, ANY_SUITE, inner)

    def _qkd_profile(self, a: str, b: str, edges: Sequence[tuple[str, str]]) -> str:
        if self.shape is not None:
            return relay_profile(*self.shape)
        if {a, b} in [set(edge) for edge in edges]:
            return LINK_PROFILE
        return relay_profile(2, 2) if self.max_nodes_knowing == 0 and self.mode is None else relay_profile(1, 1)


def shape_of(profile: str) -> tuple[int, int] | None:
    """Return how many shares a relayed profile needs and has; None for a fibre's own."""
    kind, *numbers = profile.split("-")
    if kind == "paths":
        return int(numbers[0]), int(numbers[0])
    return (int(numbers[0]), int(numbers[1])) if kind == "shares" else None


def check_policies(
    policies: Sequence[PolicySection],
    nodes: Mapping[str, str],
    edges: Edges,
    relay: RelaySection,
) -> None:
    """Refuse what no path of the network can satisfy, with the reason.

    Raises:
        ValueError: A policy cannot be met.
    """
    if relay.high_bits < relay.low_bits:
        raise ValueError("[relay]: high_bits is below low_bits")
    if edges.unstated and any(section.mode != POST_QUANTUM_ONLY for section in policies):
        raise ValueError(
            f"vendor_link '{edges.unstated[0]}' states no epsilon, so no key that crosses it can be what policies "
            "require: state the vendor's, or remove the policies"
        )
    seen = set()
    for section in policies:
        where = f"policy between {' and '.join(section.between)}"
        if frozenset(section.between) in seen or section.between[0] == section.between[1]:
            raise ValueError(f"{where}: each pair of applications has one policy")
        seen.add(frozenset(section.between))
        for sae in section.between:
            if sae not in nodes:
                raise ValueError(f"{where}: there is no application '{sae}'{did_you_mean(sae, nodes)}")
        problem = _problem(section, nodes[section.between[0]], nodes[section.between[1]], edges)
        if problem:
            raise ValueError(f"{where}: {problem}")


def _problem(section: PolicySection, a: str, b: str, edges: Edges) -> str | None:
    """Say why a policy between applications at two nodes cannot be met, or None."""
    if a == b:
        return f"both applications are at {a}; no key is made for them"
    problem = _combiner_problem(section)
    if problem:
        return problem
    if not section.simulated and section.mode != POST_QUANTUM_ONLY and edges.simulated:
        direct = section.shape is None and {a, b} in [set(edge) for edge in edges.vendor]
        if not edges.vendor:
            return "simulated = false cannot be met: the light of every link of a scenario is simulated"
        if not direct:
            return "simulated = false: no vendor_link joins the two nodes, and a relay may cross simulated light"
    if section.shares is not None and section.disjoint_paths is not None:
        return "give either shares or disjoint_paths"
    if section.shape is not None and not section.shape[0] <= section.shape[1] <= SHARES_MAX:
        return f"shares = '{section.shares}': at most {SHARES_MAX} shares, and no more needed than there are"
    policy = section.policy({section.between[0]: a, section.between[1]: b}, edges.all)
    fallback = policy.on_exhaustion.profile
    for profile in (policy.profile, *([fallback] if fallback else [])):
        problem = _profile_problem(profile, section, a, b, edges.all, strict=profile == policy.profile)
        if problem:
            return problem
    return None


def _combiner_problem(section: PolicySection) -> str | None:
    """Say why what is required cannot come of the combiner and the fallback, or None."""
    fallback = section.on_exhaustion.removeprefix("fallback:") if section.on_exhaustion.startswith("fallback") else ""
    if section.require == "information-theoretic" and section.combiner in ("catkdf", "caskdf"):
        return (
            f'combiner = "{section.combiner}" ends in a KDF, and no key of it is information-theoretic: everlasting is'
        )
    if section.mode == POST_QUANTUM_ONLY and section.shape is not None:
        return 'require = "post-quantum" takes no QKD by itself: name a combiner, or leave paths and shares out'
    if section.require == "post-quantum" and fallback not in ("", POST_QUANTUM_ONLY):
        return f'keys of "{fallback}" alone are not post-quantum: the only fallback here is "fallback:kem"'
    if section.require == "hybrid" and fallback:
        return f'keys of "{fallback}" alone are not hybrid: there is no fallback'
    if section.require == "information-theoretic" and fallback == POST_QUANTUM_ONLY:
        return "keys made by algorithms alone are not information-theoretic"
    return None


def _profile_problem(
    profile: str, section: PolicySection, a: str, b: str, edges: Sequence[tuple[str, str]], *, strict: bool
) -> str | None:
    hops = [hop for one, other in edges for hop in ((one, other), (other, one))]
    combined = suite_of(profile) is not None
    profile = inner_profile(profile)
    if not profile:
        return None
    shape = shape_of(profile)
    if shape is None:
        return None if (a, b) in hops else f"no link joins {a} and {b}, so none of its keys can be had"
    needed, total = shape
    if needed > total:
        return f"'{profile}' needs more shares than there are"
    found = count_disjoint(hops, a, b)
    if found < total:
        return f"there are {found} paths between {a} and {b} that share no node; it takes {total}"
    allowed = section.max_nodes_knowing
    if needed == 1 and strict and allowed is not None and not combined:
        fewest = fewest_between(hops, a, b) if total == 1 else None
        if fewest is None or fewest > allowed:
            what = "every node on every share's path" if fewest is None else f"{fewest} or more"
            return f"{what} would know a key between {a} and {b}; at most {allowed} may: ask for more paths"
    return None
