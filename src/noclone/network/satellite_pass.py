"""How much key one pass of a satellite gives: a finite block whose loss changes from second to second.

In: a pass, a downlink, a link's devices.  Out: a `PassKey`. The expected counts of every second are added up, by the
same theory as a fibre's (`link.theory`), and the whole pass is one block of the proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from noclone.link.devices import Fibre, LinkDevices
from noclone.link.satellite import Downlink, Pass
from noclone.link.theory import ExpectedCounts, expected_counts
from noclone.proofs.agreement import agree
from noclone.proofs.epsilon import Epsilons


@dataclass(frozen=True, slots=True)
class PassKey:
    """What a pass gives.

    Args:
        sifted_bits: In the key basis.
        qber: In the test basis.
        losses_db: Least and most.
        reason: Why there is no key, else empty.
    """

    secret_bits: int
    sifted_bits: int
    qber: float
    seconds: float
    losses_db: tuple[float, float]
    reason: str


def key_of_pass(
    over: Pass,
    downlink: Downlink,
    devices: LinkDevices,
    epsilons: Epsilons,
    *,
    proof: str,
    efficiency: float = 1.16,
    step_s: float = 1.0,
) -> PassKey:
    """Return the key of one pass, as one block.

    Args:
        devices: Of the satellite's source and the station's receiver; their fibre is not looked at.
    """
    times = list(over.seconds(step_s))
    width_s = over.duration_s / len(times)
    n_slots = round(width_s * devices.source.clock_hz)
    losses = [downlink.loss_db(over.range_km(t), over.elevation_deg(t)) for t in times]
    counts = [expected_counts(replace(devices, fibre=Fibre(0.0, 0.0, loss)), n_slots) for loss in losses]
    total = _total(counts)
    agreed = agree(total, devices.source.protocol, epsilons, proof, efficiency=efficiency)
    tested = sum(total.n_test)
    return PassKey(
        agreed.length_bits,
        round(sum(total.n_key)),
        sum(total.m_test) / tested if tested else 0.0,
        over.duration_s,
        (min(losses), max(losses)),
        agreed.reason,
    )


def _total(counts: Sequence[ExpectedCounts]) -> ExpectedCounts:
    def add(name: str) -> tuple[float, ...]:
        return tuple(map(sum, zip(*(getattr(one, name) for one in counts), strict=True)))

    return ExpectedCounts(
        sum(one.n_slots for one in counts),
        add("n_key"),
        add("n_test"),
        add("m_key"),
        add("m_test"),
        sum(one.click_rate_hz for one in counts) / len(counts),
    )
