"""Detectors of unequal efficiency: Qi, Fung, Lo, Ma, QIC 7, 73 (2007); Fung et al., ibid. 9, 131 (2009).

Who knows which detector is twice as likely to have clicked leaves h(2/3) = 0.918 of each bit secret, at most; the time
shift of our red team must take what is left to 1.
"""

from __future__ import annotations

from noclone.gallery.result import Result, Row, near, same
from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.flaws import Flaws
from noclone.records import DecoyBB84


def left_secret(mismatch: float) -> float:
    """Return the bits that a time shift of all pulses leaves secret of each sifted one."""
    from noclone.redteam import time_shift

    source = Source(1e9, DecoyBB84((0.5, 0.1), (0.5, 0.5), 0.5, 0.5))
    receiver = Receiver("active", (0.5,) * 2, (0.0,) * 2)
    devices = LinkDevices(source, Fibre(0.0, 0.0), receiver, flaws=Flaws(mismatch=mismatch))
    return 1.0 - time_shift.share_of_bits(devices, 1.0)


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    return (
        near("secret share at a mismatch of 2", left_secret(0.5), 0.9183, 5e-5, "bit"),
        same("secret share without mismatch", left_secret(1.0), 1.0, "bit"),
        same("secret share where one detector is blind", left_secret(0.0), 0.0, "bit"),
    )


RESULT = Result(
    "qi2007",
    "What a time shift leaves secret",
    "Qi, Fung, Lo, Ma, Quantum Inf. Comput. 7, 73 (2007); Fung, Tamaki, Qi, Lo, Ma, ibid. 9, 131 (2009)",
    "secondary",
    "plutoniumm/qkd on GitHub, docs/guide/validation.md (h(2/3) = 0.9183)",
    "values",
    0,
    "",
    rows,
)
