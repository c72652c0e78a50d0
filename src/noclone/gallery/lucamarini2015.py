"""A Trojan horse against 170 dB: Lucamarini et al., Phys. Rev. X 5, 031030 (2015): 10^-6 photons come back."""

from __future__ import annotations

from noclone.gallery.result import Result, Row, same
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.flaws import Flaws
from noclone.records import DecoyBB84

CLOCK_HZ, PROBE_LOSS_DB = 1e9, 170.0


def photons_out(probe_loss_db: float) -> float:
    """Return the photons a slot that come back of the brightest light that a fibre carries."""
    from noclone.redteam import trojan_horse

    source = Source(CLOCK_HZ, DecoyBB84((0.5, 0.1), (0.5, 0.5), 0.5, 0.5))
    receiver = Receiver("active", (0.5,) * 2, (0.0,) * 2)
    devices = LinkDevices(source, Fibre(0.0, 0.0), receiver, flaws=Flaws(probe_loss_db=probe_loss_db))
    return trojan_horse.photons_out(devices, 1.0)


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    return (same("photons a pulse behind 170 dB", photons_out(PROBE_LOSS_DB), 1e-6),)


RESULT = Result(
    "lucamarini2015",
    "What a Trojan horse brings back",
    "Lucamarini, Choi, Ward, Dynes, Yuan, Shields, Phys. Rev. X 5, 031030 (2015), Table I",
    "secondary",
    "plutoniumm/qkd on GitHub, test/attacks.py, commit 266260f",
    "values",
    0,
    "10²⁰ photons a second, a clock of 1 GHz.",
    rows,
)
