"""The part of a link that says which repeaters deliver its pairs: [link.repeater].

In: the tables of `noclone repeater`, or the name of a shipped file that has them.  Out: the link's light; what
the model gives of that which may have been published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from noclone.protocols import EntangledPairs
from noclone.repeater.brief import shipped_tables
from noclone.repeater.tables import RepeaterTables

if TYPE_CHECKING:
    from noclone.link.heralded import HeraldedPairs


class RepeaterSection(RepeaterTables):
    """Repeaters between the two ends of a link, which nobody has to trust."""

    shipped: str | None = Field(
        default=None, description="a file of noclone repeater whose tables these are, but for what is given here"
    )
    p_key: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.7, description="probability, at either end, of measuring in the key basis"
    )
    p_chsh: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="how often Bob measures in one of two further bases, for the CHSH value (E91)"
    )
    readout_error: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0, description="how often a memory is read wrongly, at either end"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_shipped(cls, data: Any) -> Any:
        """Take what is not given here from a shipped file, field by field; lists and texts as a whole."""
        match data:
            case {"shipped": str(name)}:
                return _filled(shipped_tables(name), data)
        return data

    def stations(self, a: str, b: str) -> list[str]:
        """Return the nodes between the ends: who holds one can stop the link, and learns nothing."""
        return self.path_between(a, b)[1:-1]

    def length_km(self, a: str, b: str) -> float:
        """Return how much fibre lies between the ends."""
        return self.chain_between(a, b).length_km

    def light(self, a: str, b: str) -> HeraldedPairs:
        """Return the light of the link between two of the chain's nodes."""
        from noclone.link.heralded import HeraldedPairs  # numba: only where it is needed

        chain = self.chain_between(a, b)
        return HeraldedPairs(
            self.clocked_between(a, b) or chain,
            EntangledPairs(self.p_key, self.p_key, self.p_chsh),
            chain.length_km,
            self.loss_db(chain.length_km),
            self.readout_error,
        )

    def ours(self, a: str, b: str) -> dict[str, float]:
        """Return what the model gives of that which may have been published."""
        from noclone.repeater.expected import expected_pairs

        free = expected_pairs(self.chain_between(a, b))
        found = {"rate_hz": free.rate_hz, "fidelity": free.pair.fidelity}
        clocked = self.clocked_between(a, b)
        return found if clocked is None else found | clocked.figures()


def _filled(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the one with the other in place; origins of numbers that were replaced are gone."""
    filled: dict[str, Any] = dict(common)
    replaced: set[str] = set()
    for name, value in own.items():
        there = common.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            filled[name] = {**there, **value}
            replaced |= {f"{name}.{field}" for field in value}
        else:
            filled[name] = value
            replaced.add(name)
    origins = common.get("origins", {})
    kept = {place: origin for place, origin in origins.items() if not _under(place, replaced)}
    own_origins = own.get("origins", {})
    return {**filled, "origins": {**kept, **own_origins} if isinstance(own_origins, dict) else own_origins}


def _under(place: str, replaced: set[str]) -> bool:
    return any(place == one or place.startswith(f"{one}.") for one in replaced)
