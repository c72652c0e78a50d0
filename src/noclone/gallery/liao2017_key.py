"""Micius: the key of a pass, 0.3 Mbit in 273 s: Liao et al., Nature 549, 43 (2017)."""

from __future__ import annotations

from noclone.gallery.liao2017 import ALTITUDE_KM
from noclone.gallery.result import Result, Row, order
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.satellite import Downlink, Pass
from noclone.network.satellite_pass import PassKey, key_of_pass
from noclone.proofs.epsilon import Epsilons
from noclone.records import DecoyBB84

SIFTED_BITS, SECRET_BITS, SECONDS = 1_671_072, 300_939, 273.0
PROTOCOL = DecoyBB84((0.8, 0.1, 1e-6), (0.5, 0.25, 0.25), 0.5, 0.5)
STEP_S = 10.0
FIXED_DB = 12.0


def key_at(highest_deg: float, *, step_s: float = STEP_S, gain_db: float = 0.0) -> PassKey:
    """Return the key of a pass that rises so high, one block; a gain makes the light that arrives stronger."""
    receiver = Receiver("passive", (0.5,) * 4, (25.0,) * 4, gate_ps=2000.0, misalignment=0.008)
    return key_of_pass(
        Pass(ALTITUDE_KM, highest_deg, 15.0),
        Downlink(10.0, 1.0, 0.6, 2.0, FIXED_DB - gain_db),
        LinkDevices(Source(1e8, PROTOCOL), Fibre(0.0, 0.0), receiver),
        Epsilons(1e-9, 1e-15),
        proof="lim2014",
        step_s=step_s,
    )


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    found = key_at(49.0)
    return (
        order("sifted bits, both bases", 2 * found.sifted_bits, SIFTED_BITS, 3, "bit"),
        order("secret bits", found.secret_bits, SECRET_BITS, 3, "bit"),
        order("length of the pass", found.seconds, SECONDS, 1.5, "s"),
    )


RESULT = Result(
    "liao2017_key",
    "Micius: the key of one pass",
    "Liao et al., Nature 549, 43 (2017)",
    "secondary",
    "W1Adri/QuOSS on GitHub, which quotes the preprint (arXiv:1707.00542)",
    "outcome only",
    1,
    "Fitted: 12 dB of fixed loss, to the measured loss. Pass, pointing and air are assumed.",
    rows,
)
