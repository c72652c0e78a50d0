"""Devices that cannot exist are refused, with the field's name."""

from __future__ import annotations

import math

import pytest

from noclone.link.devices import Fibre, LinkDevices, Receiver, Source
from noclone.link.tap import PASS, Outcome, Tap


def test_loss_adds_up(make_devices):
    assert Fibre(50, 0.2, 1.5).loss_db == pytest.approx(11.5)
    assert make_devices(clock_hz=3e9, gate_ps=1000 / 3).gate_fraction == pytest.approx(1)
    assert make_devices(clock_hz=2.5e9, dead_time_ns=30).dead_time_periods == pytest.approx(75)


@pytest.mark.parametrize("field", ["length_km", "attenuation_db_per_km", "extra_loss_db"])
@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf])
def test_fibre(field, value):
    with pytest.raises(ValueError, match=field):
        Fibre(**{"length_km": 1.0, "attenuation_db_per_km": 0.2} | {field: value})


@pytest.mark.parametrize("clock_hz", [0.0, -1e9, math.nan, 1e15])
def test_source(clock_hz, make_devices):
    with pytest.raises(ValueError, match="clock_hz"):
        make_devices(clock_hz=clock_hz)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("efficiency", (0.5, 1.01)),
        ("efficiency", (0.5,)),
        ("dark_count_hz", (-1.0, 0.0)),
        ("dark_count_hz", (1.0, 1.0, 1.0, 1.0)),
        ("dead_time_ns", -1.0),
        ("afterpulse_probability", 1.0),
        ("afterpulse_probability", -0.1),
        ("afterpulse_lifetime_ns", -1.0),
        ("jitter_ps", -1.0),
        ("jitter_ps", 1e6),
        ("gate_ps", -1.0),
        ("gate_ps", 1001.0),
        ("misalignment", 1.5),
        ("loss_db", -0.1),
    ],
)
def test_receiver(make_devices, field, value):
    with pytest.raises(ValueError, match=field):
        make_devices(**{field: value})


def test_scheme(make_devices):
    with pytest.raises(ValueError, match="scheme"):
        Receiver("lazy", (0.5, 0.5), (0.0, 0.0))  # type: ignore[arg-type]
    assert isinstance(make_devices(scheme="passive"), LinkDevices)
    assert isinstance(make_devices().source, Source)


def test_tap():
    with pytest.raises(ValueError, match="add up"):
        Tap((PASS,), ((0.9,),) * 16)
    with pytest.raises(ValueError, match="16"):
        Tap((PASS,), ((1.0,),) * 15)
    with pytest.raises(ValueError, match="first outcome"):
        Tap((Outcome("stop"),), ((1.0,),) * 16)
    with pytest.raises(ValueError, match="mean photon number"):
        Outcome("resend", -1.0)
