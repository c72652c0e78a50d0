"""What a request to repeaters came to: rate, fidelity, key, beside what was published; as data and as lines.

In: a brief, deliveries, what the ends measured.  Out: `RepeaterResult`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from noclone.io import published
from noclone.io.origins import origin_lines, with_origins
from noclone.proofs.capacity import repeaterless_bound
from noclone.proofs.epsilon import Epsilons
from noclone.repeater.brief import RepeaterBrief
from noclone.repeater.chain import Deliveries, sample
from noclone.repeater.key import MeasuredBlock, best_p_key, key_fraction, measure
from noclone.rng import stream
from noclone.trust.formula import Atom, Formula, any_of
from noclone.units import transmittance

TRUST = "the two ends' own devices and rooms; no node between, and here also the simulation"


def leaks(path: Sequence[str]) -> Formula:
    """Return when a key over repeaters leaks. No node between is in it: what they do to pairs shows as errors."""
    return any_of(*_ends(path), *_hop(path[0], path[-1]))


def leaks_over_relays(path: Sequence[str]) -> Formula:
    """Return when a key leaks that trusted nodes relay along the same path: every hop and every node can betray it."""
    hops = (atom for a, b in pairwise(path) for atom in _hop(a, b))
    return any_of(*_ends(path), *hops, *(Atom("node", node) for node in path[1:-1]))


def _ends(path: Sequence[str]) -> tuple[Atom, ...]:
    return Atom("site", path[0]), Atom("site", path[-1])


def _hop(a: str, b: str) -> tuple[Atom, ...]:
    """A simulated link: its ends' devices, what authenticated it first, who runs its light, who has its seed."""
    return tuple(Atom(kind, f"{a}-{b}") for kind in ("link", "bootstrap", "fibre", "seed"))


@dataclass(frozen=True, slots=True)
class RepeaterResult:
    """A request and what came of it."""

    brief: RepeaterBrief
    path: tuple[str, ...]
    length_km: float
    deliveries: Deliveries
    block: MeasuredBlock
    epsilons: Epsilons

    @property
    def fraction(self) -> float:
        """Secret bits a pair, in the limit of long blocks."""
        return key_fraction(self.deliveries.pair)

    def ours(self) -> dict[str, float]:
        """Return what can stand beside a published number."""
        found = {
            "rate_hz": self.deliveries.rate_hz,
            "fidelity": self.deliveries.pair.fidelity,
            "secret_bps": self.fraction * self.deliveries.rate_hz,
        }
        clocked = self.brief.clocked()
        return found if clocked is None else found | clocked.figures()

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        found, pair = self.deliveries, self.deliveries.pair
        ours = self.ours()
        return {
            "name": self.brief.name,
            "simulated": True,
            "path": list(self.path),
            "length_km": self.length_km,
            "pairs": len(found),
            "mean_s": found.mean_s,
            "error_z": pair.error_z,
            "error_x": pair.error_x,
            "fidelity_standard_error": found.fidelity_error if math.isfinite(found.fidelity_error) else None,
            **ours,
            "asymptotic_key_fraction": self.fraction,
            "bbm92": {
                **asdict(self.block),
                "eps_secrecy": self.epsilons.secrecy,
                "eps_correctness": self.epsilons.correctness,
            },
            "trusted": TRUST,
            "leaks": str(leaks(self.path)),
            "leaks_over_trusted_relays": str(leaks_over_relays(self.path)),
            "counted": found.counted,
            "published": published.beside(self.brief.published, ours),
            "origins": with_origins(self.brief.numbers(), self.brief.origins),
        }

    def lines(self) -> list[str]:
        """Return what a person wants to read."""
        found, pair, ours = self.deliveries, self.deliveries.pair, self.ours()
        lines = [
            f"{self.brief.title or self.brief.name}: {' - '.join(_shown(self.path))}, {self.length_km:g} km",
            f"  {len(found)} pairs, {found.rate_hz:.4g} a second, one every {found.mean_s:.4g} s on average",
            f"  mean fidelity {pair.fidelity:.4f}, errors {pair.error_z:.2%} in Z and {pair.error_x:.2%} in X",
            f"  BBM92, long blocks: {self.fraction:.4f} secret bits a pair, {ours['secret_bps']:.4g} a second"
            if self.fraction
            else "  BBM92: NO KEY from pairs like these",
            self._block_line(),
            f"  who must be trusted: {TRUST}",
            *_spared(self.path),
            f"  without repeaters no protocol gets more than {_alone(self.length_km):.3g} secret bits a pulse through "
            f"{self.length_km:g} km at 0.2 dB/km",
        ]
        if "clocked_fidelity" in ours:
            lines.append(
                f"  on demand: every {1 / ours['clocked_rate_hz']:g} s a pair of mean fidelity "
                f"{ours['clocked_fidelity']:.3f}; {ours['clocked_success']:.1%} of ticks have one"
            )
        lines += published.lines(published.beside(self.brief.published, ours))
        lines += origin_lines(self.brief.numbers(), self.brief.origins, "simulated")
        if self.brief.source:
            lines.append(f"  {self.brief.source}")
        return lines

    def _block_line(self) -> str:
        """Say what this block gave; where long ones would give key, that it is too short."""
        block = self.block
        gave = f"{block.secret_bits} secret bits (secrecy {self.epsilons.secrecy:g})"
        if not block.secret_bits:
            gave = "NO KEY: too few pairs (--pairs asks for more)" if self.fraction else "NO KEY"
        return f"  this block: {block.n_key} pairs for key and {block.n_test} for the test: {gave}"


def _spared(path: tuple[str, ...]) -> list[str]:
    """Say which nodes a relay along the same path would have to trust besides."""
    nodes = sorted(atom.name for atom in leaks_over_relays(path).atoms() - leaks(path).atoms() if atom.kind == "node")
    if not nodes:
        return []
    shown = ", ".join(nodes) if len(nodes) <= 6 else f"{len(nodes)} nodes"
    return [f"  and not, as a relay along the same path would need: {shown}"]


def _alone(length_km: float) -> float:
    return repeaterless_bound(transmittance(0.2 * length_km))


def _shown(path: tuple[str, ...]) -> tuple[str, ...]:
    return path if len(path) <= 8 else (*path[:3], f"({len(path) - 5} more)", *path[-2:])


def serve(
    brief: RepeaterBrief, pairs: int, seed: bytes, epsilons: Epsilons, tell: Callable[[int], None] | None = None
) -> RepeaterResult:
    """Let the repeaters deliver so many pairs, and the far ends measure them."""
    chain = brief.chain()
    brief.clocked()  # refuses before the work what cannot be
    deliveries = sample(chain, pairs, seed, tell)
    p_key = best_p_key(pairs, deliveries.pair, epsilons)
    block = measure(deliveries, stream(seed, "repeater/ends"), epsilons, p_key=p_key)
    return RepeaterResult(brief, tuple(brief.path()), chain.length_km, deliveries, block, epsilons)
