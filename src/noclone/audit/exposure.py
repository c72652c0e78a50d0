"""Recorded now, decrypted later: what is exposed of data that must stay secret for years.

In: demands with the years that their data must stay secret.  Out: an `Exposure` for each. What crosses the fibre or the
public channel can be kept by anybody; it helps him later only where a key rests on something that can be broken later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noclone.audit.demands import Demand
from noclone.trust.formula import Atom
from noclone.trust.provenance import SESSION


@dataclass(frozen=True, slots=True)
class Exposure:
    """What who records today gains later.

    Args:
        exposed: Whether there is one algorithm whose break gives him the keys.
        algorithms: These.
    """

    demand: Demand
    exposed: bool
    algorithms: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The same as a sentence."""
        demand = self.demand
        head = f"{demand.name}"
        head += f", {demand.secret_years:g} years" if demand.secret_years is not None else ", no number of years stated"
        if demand.formula is None:
            return f"{head}: no key is made ({demand.problem})."
        if self.exposed:
            return f"{head}: EXPOSED. Who records today reads it once {' or '.join(self.algorithms)} is broken."
        lasting = [name for name in demand.algorithms if not name.endswith(SESSION)]
        if lasting:
            return (
                f"{head}: not exposed to the break of one algorithm; {', '.join(lasting)} stands beside something else."
            )
        return (
            f"{head}: no algorithm protects these keys on their way, so none can be broken later. What the application "
            "does with a key is another matter: only a one-time pad keeps it."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "between": list(self.demand.saes),
            "secret_years": self.demand.secret_years,
            "exposed": self.exposed,
            "algorithms": list(self.algorithms),
            "sentence": self.sentence,
        }


def exposures(demands: Sequence[Demand]) -> list[Exposure]:
    """Return the exposure of every demand with a policy, and of others that are exposed."""
    out = []
    for demand in demands:
        algorithms = tuple(
            name
            for name in demand.algorithms
            if not name.endswith(SESSION) and demand.leaks(frozenset({Atom("alg", name)}))
        )
        if demand.stated or algorithms:
            out.append(Exposure(demand, bool(algorithms), algorithms))
    return out
