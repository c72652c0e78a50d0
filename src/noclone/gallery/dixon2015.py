"""Tokyo, Koganei to Otemachi: 45 km, 14.5 dB, 300 kb/s over 34 days (Dixon et al., Opt. Express 23, 7583 (2015))."""

from __future__ import annotations

from noclone.gallery.result import Result, Row, order
from noclone.network.blocks import plan_link
from noclone.network.scenario import load_scenario

KEY_BPS = 300e3


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    (link,) = load_scenario("metro").links
    plan = plan_link(link)
    bps = plan.agreement.length_bits / plan.seconds_per_block
    return (order("secret key of the shipped scenario metro", bps, KEY_BPS, 5, "b/s"),)


RESULT = Result(
    "dixon2015",
    "Tokyo, 45 km, for a month",
    "Dixon et al., Opt. Express 23, 7583 (2015); Sasaki et al., Opt. Express 19, 10387 (2011)",
    "secondary",
    "Toshiba Research Europe's page on its record bit rates, as `network/scenarios/metro.toml` quotes it",
    "outcome only",
    0,
    "The scenario's detectors are superconducting ones of today, the published system had avalanche "
    "diodes: the order is all that can agree.",
    rows,
)
