"""What one request demands of its keys by `extension_mandatory` of ETSI GS QKD 014, beside what policies say.

In: a request's extensions.  Out: `Demands`, or `Refused` with 400 and the standard's own words: one for a name that is
not known here, another for a demand that cannot be met. A key is held against them before anybody gets it.

    noclone_profile            "link", "paths-2", "shares-2-3": which key it is cut from
    noclone_max_nodes_knowing  how many KMEs on the way may know it, each by itself
    noclone_max_age_s          no older blocks
    noclone_max_epsilon        at most this failure probability
    noclone_origin             "hardware": no simulated light, no recording, no seed, nothing unknown
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from noclone.kms.keys import Refused
from noclone.kms.policies import Exhaustion, Want, nodes_knowing
from noclone.kms.requests import EXTENSIONS_UNSUPPORTED, KeyRequest, bad_request
from noclone.kms.store import Store
from noclone.records import Provenance
from noclone.trust.provenance import formula_of_key

UNMET = "not all extension_mandatory request options could be met"
PROFILE = re.compile(r"link|paths-[1-9][0-9]?|shares-[1-9]-[1-9][0-9]?")
HARDWARE = "hardware"


@dataclass(frozen=True, slots=True)
class Demands:
    """What a request demands; None: nothing of that kind."""

    profile: str | None = None
    max_nodes_knowing: int | None = None
    max_age_s: float | None = None
    max_epsilon: float | None = None
    origin: str | None = None

    def __bool__(self) -> bool:
        return self != Demands()

    def want(self, policy: Want | None) -> Want | None:
        """Return what keys shall be cut from, so that policy and demands are met.

        Raises:
            Refused: 400, they contradict each other.
        """
        if policy is None:
            if self.profile is None and self.max_age_s is None:
                return None
            return Want(None if self.profile is None else (self.profile,), self.max_age_s, Exhaustion())
        profiles = policy.profiles
        if self.profile is not None:
            if profiles is not None and self.profile not in profiles:
                raise unmet("the policy of these SAEs demands another profile")
            profiles = (self.profile,)
        ages = [age for age in (policy.max_age_s, self.max_age_s) if age is not None]
        exhaustion = _strict(policy, self)
        return replace(policy, profiles=profiles, max_age_s=min(ages, default=None), on_exhaustion=exhaustion)

    def violation(self, blocks: Sequence[Provenance], sites: tuple[str, str], now_s: float) -> str | None:
        """Say which demand a key does not meet, or None."""
        if self.profile is not None and any(block.profile != self.profile for block in blocks):
            return "noclone_profile"
        if self.max_age_s is not None and any(now_s - block.time_s > self.max_age_s for block in blocks):
            return "noclone_max_age_s"
        if self.max_epsilon is not None and math.fsum(block.epsilon for block in blocks) > self.max_epsilon:
            return "noclone_max_epsilon"
        if self.origin is not None and any(block.origin.kind != HARDWARE or block.origin.seeded for block in blocks):
            return "noclone_origin"
        if self.max_nodes_knowing is not None:
            knowing = nodes_knowing(formula_of_key(blocks, master_site=sites[0], slave_site=sites[1]))
            if len(knowing) > self.max_nodes_knowing:
                return "noclone_max_nodes_knowing"
        return None

    def check(self, blocks: Sequence[Provenance], sites: tuple[str, str], now_s: float) -> None:
        """Hold a key against the demands.

        Raises:
            Refused: 400, it does not meet one. It must not be delivered.
        """
        problem = self.violation(blocks, sites, now_s)
        if problem is not None:
            raise unmet(problem)


def demands_of(request: KeyRequest) -> Demands:
    """Read a request's demands.

    Raises:
        Refused: 400, one is not known here, or makes no sense.
    """
    found: dict[str, Any] = {}
    for entry in request.extension_mandatory:
        for name, value in entry.items():
            if name not in READERS:
                raise bad_request(EXTENSIONS_UNSUPPORTED, "unsupported-extension", detail=name[:64])
            if name in found or not READERS[name](value):
                raise unmet(name)
            found[name] = value
    return Demands(**{name.removeprefix("noclone_"): value for name, value in found.items()})


async def can_meet(store: Store, peer: str, demands: Demands, want: Want | None) -> None:
    """Refuse demands that the key at hand cannot meet, before any of it is taken.

    Raises:
        Refused: 400.
    """
    if not demands:
        return
    now_s = store.clock.now_s()
    oldest_s = None if want is None else want.max_age_s
    for block in await store.next_up(peer, None if want is None else want.profiles):
        if oldest_s is None or now_s - block.time_s <= oldest_s:
            demands.check((block,), (store.name, peer), now_s)


def unmet(detail: str) -> Refused:
    """Return the answer to a demand that is known and cannot be met."""
    return bad_request(UNMET, "demand-unmet", detail=detail)


def _strict(policy: Want, demands: Demands) -> Exhaustion:
    """Return what happens when no key is left: a demand for a profile leaves no other to fall back to."""
    if demands.profile is not None and policy.on_exhaustion.kind == "fallback":
        return Exhaustion()
    return policy.on_exhaustion


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


READERS: Mapping[str, Any] = {
    "noclone_profile": lambda value: isinstance(value, str) and PROFILE.fullmatch(value) is not None,
    "noclone_max_nodes_knowing": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "noclone_max_age_s": lambda value: _is_number(value) and value > 0,
    "noclone_max_epsilon": lambda value: _is_number(value) and value > 0,
    "noclone_origin": lambda value: value == HARDWARE,
}
