"""Intercept and resend: a quarter of the sifted bits are wrong (Bennett et al., J. Cryptology 5, 3 (1992)).

Enzer et al., New J. Phys. 4, 45 (2002), print 25 % for BB84 beside their measured six-state protocol. Here the whole
light is simulated, with Eve's tap in it, and Bob's bits are counted.
"""

from __future__ import annotations

import math

from noclone.gallery.result import Result, Row, near
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.records import DecoyBB84, Origin

PROTOCOL = DecoyBB84((0.2, 0.1), (0.5, 0.5), 0.5, 0.5)
N_SLOTS = 4_000_000
SEEDS = (bytes(range(32)), bytes(range(32, 64)))


def counted(fraction: float) -> tuple[int, int]:
    """Return sifted bits and wrong ones of a link without darkness or misalignment, some of whose pulses Eve reads."""
    from noclone.link.light import transmit
    from noclone.link.settings import SeededSettings
    from noclone.redteam.intercept_resend import intercept_resend

    receiver = Receiver("active", (1.0,) * 2, (0.0,) * 2)
    devices = LinkDevices(Source(1e9, PROTOCOL), Fibre(0.0, 0.2, 5.0), receiver)
    seen = transmit(
        devices,
        alice_seed=SEEDS[0],
        physics_seed=SEEDS[1],
        n_slots=N_SLOTS,
        link="a-b",
        block=0,
        origin=Origin("simulated", seeded=True),
        tap=intercept_resend(devices, fraction),
    )
    codes = SeededSettings(SEEDS[0], PROTOCOL).at(seen.slots)
    sifted = ((codes >> 1) & 1) == seen.bases
    return int(sifted.sum()), int((sifted & ((codes & 1) != seen.values)).sum())


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    out = []
    for fraction in (1.0, 0.2):
        sifted, wrong = counted(fraction)
        slack = 100 * 6 * math.sqrt(0.25 * 0.75 / sifted)  # six standard errors
        out.append(
            near(f"errors, {100 * fraction:.0f} % intercepted", 100 * wrong / sifted, 25.0 * fraction, slack, "%")
        )
    return tuple(out)


RESULT = Result(
    "bennett1992",
    "Intercept and resend costs 25 %",
    "Bennett, Bessette, Brassard, Salvail, Smolin, J. Cryptology 5, 3 (1992); Enzer et al., New J. Phys. 4, 45 (2002)",
    "secondary",
    "plutoniumm/qkd on GitHub, test/expqubit.py, commit 266260f, which quotes Enzer et al.",
    "values",
    0,
    "Simulated photon by photon; the tolerance is six standard errors.",
    rows,
    slow=True,
)
