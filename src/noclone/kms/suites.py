"""Suites in force: which KEMs this KME offers, which it still accepts, and which it refuses. Changed while it runs.

In: names from the scenario, later those that the operator says.  Out: answers to whoever makes or delivers key.
A change overlaps by itself: the new suite is offered as soon as it is preferred, the old one is accepted, and its key
delivered, until it is no longer among those accepted; from then on it is refused in exchanges, in claims, and at the
last check before delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from noclone.combined import ANY_SUITE, generic_profile, suite_of
from noclone.crypto.kems import DEFAULT_SUITE, suite
from noclone.errors import InputError


class Suites:
    """The suites in force at one KME.

    Args:
        accepted: Their names; the first is offered.
        deprecated: Those that are refused although their names are known.
    """

    def __init__(self, accepted: Sequence[str] = (DEFAULT_SUITE,), deprecated: Sequence[str] = ()) -> None:
        self._listeners: list[Callable[[], None]] = []
        self._set(accepted, deprecated)

    @property
    def preferred(self) -> str:
        """The one that new exchanges are offered in."""
        return self._accepted[0]

    @property
    def accepted(self) -> tuple[str, ...]:
        """Those whose exchanges are answered, and whose key is delivered."""
        return self._accepted

    @property
    def deprecated(self) -> tuple[str, ...]:
        """Those that are refused, whatever else is said."""
        return self._deprecated

    def change(self, accepted: Sequence[str], deprecated: Sequence[str] = ()) -> None:
        """Put other suites into force.

        Raises:
            InputError: A name is not known, none is left, or one is accepted and deprecated. Nothing has changed.
        """
        self._set(accepted, deprecated)
        for tell in tuple(self._listeners):
            tell()

    def listen(self, tell: Callable[[], None]) -> None:
        """Have a function called after every change."""
        self._listeners.append(tell)

    def allows(self, profile: str) -> bool:
        """Say whether key of a profile may be used: it needs no suite, or one that is accepted."""
        name = suite_of(profile)
        return name is None or name in self._accepted

    def profiles(self, profile: str) -> tuple[str, ...]:
        """Return the profiles that key may have for one that leaves the suite open, the preferred suite's first."""
        if suite_of(profile) != ANY_SUITE:
            return (profile,)
        head, _, tail = profile.partition(ANY_SUITE)
        return tuple(f"{head}{name}{tail}" for name in self._accepted)

    def fits(self, profile: str, wanted: str) -> bool:
        """Say whether key of a profile is what a policy wants, in a suite that may be used."""
        return self.allows(profile) and wanted in (profile, generic_profile(profile))

    def _set(self, accepted: Sequence[str], deprecated: Sequence[str]) -> None:
        for name in (*accepted, *deprecated):
            suite(name)
        if not accepted:
            raise InputError("no suite would be left", hint="accept the new one before the old one is deprecated")
        both = sorted(set(accepted) & set(deprecated))
        if both:
            raise InputError(f"the suite '{both[0]}' cannot be both accepted and deprecated")
        self._accepted, self._deprecated = tuple(dict.fromkeys(accepted)), tuple(dict.fromkeys(deprecated))
