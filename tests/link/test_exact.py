"""Dead time and afterpulses against exact theory, detector by detector, from no loss to 20 dB.

One detector sees light in every slot with the same law, so its clicks are a renewal process: everything about them is
known in closed form, at any rate, with no first-order terms. Each comparison fails by chance with probability 1e-9 at
most (Bernstein's bound), or stands at 6 standard deviations.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

LOSSES_DB = [0, 5, 10, 20]


def click_probabilities(devices):
    """Return each detector's probability of a click in a slot, were it alive, worked out by hand."""
    source, receiver, found = devices.source.protocol, devices.receiver, []
    through = 10 ** (-devices.fibre.loss_db / 10)
    for d, efficiency in enumerate(receiver.efficiency):
        p = 0.0
        for p_mu, mu in zip(source.probabilities, source.intensities, strict=True):
            for p_basis, sent in ((source.p_key_alice, 0), (1 - source.p_key_alice, 1)):
                for value in (0, 1):
                    p_bob = (source.p_key_bob, 1 - source.p_key_bob)
                    right = 1 - receiver.misalignment if value == d % 2 else receiver.misalignment
                    if receiver.scheme == "passive":
                        parts = [(1.0, p_bob[d // 2] * (right if d // 2 == sent else 0.5))]
                    else:
                        parts = [(p_bob[sent], right), (p_bob[1 - sent], 0.5)]
                    for weight, share in parts:
                        p += p_mu * p_basis / 2 * weight * -math.expm1(-mu * through * share * efficiency)
        found.append(p)
    return found


def slots_of(events, d):
    return (events[(events >> np.uint64(4 + d)) & np.uint64(1) == 1] >> np.uint64(16)).astype(np.int64)


@pytest.mark.parametrize("scheme", ["active", "passive"])
@pytest.mark.parametrize("loss_db", LOSSES_DB)
@pytest.mark.parametrize("dead_time_ns", [1.0, 7.0, 30.0])
def test_dead_time_is_a_renewal_process(make_devices, send, allowed, scheme, loss_db, dead_time_ns):
    # Whole slots of dead time, every click at its slot's centre: D - 1 slots are lost after a click.
    devices = make_devices(
        loss_db, scheme, dead_time_ns=dead_time_ns, dark_count_hz=(0.0,) * (2 if scheme == "active" else 4)
    )
    n_slots = 2_000_000 * max(1, round(10 ** (loss_db / 20)))
    events, lost = send(devices, n_slots).events, round(dead_time_ns) - 1
    for d, p in enumerate(click_probabilities(devices)):
        slots = slots_of(events, d)
        waits = np.diff(slots) - lost
        assert waits.min() >= 1
        # The waits are geometric: their mean, each of the first values, and no memory from one to the next.
        assert abs(waits.mean() * p - 1) < 6 * math.sqrt((1 - p) / len(waits))
        for k in (1, 2, 3, 10):
            expected = len(waits) * p * (1 - p) ** (k - 1)
            assert abs(int((waits == k).sum()) - expected) <= allowed(expected)
        centred = waits - waits.mean()
        correlation = float((centred[1:] * centred[:-1]).mean() / centred.var())
        assert abs(correlation) < 6 / math.sqrt(len(waits))
        # And so many renewals fall into the block, Gaussian with the renewal theorem's variance.
        mean, spread = 1 / p + lost, math.sqrt(1 - p) / p
        assert abs(len(slots) - n_slots / mean) < 6 * spread * math.sqrt(n_slots / mean**3) + 2


def afterpulse_waits(p, probability, lifetime, n):
    """Return the law of the slots from a click to the next one of the same detector, the first one after its revival 1.

    A click is followed by an afterpulse with a probability, due the dead time and an exponential delay later; the
    detector clicks at the first slot from its revival on that has light (p), or at the afterpulse, if that comes first.
    """
    k = np.arange(1, n + 1)
    # The afterpulse falls at the centre plus its delay: into slot k after the revival if the delay lies within half a
    # slot of k - 1. Light clicks at the centre, so the afterpulse is first if it falls before the centre of its slot.
    edge = np.exp(-np.maximum(0.0, k - 1.5) / lifetime)
    before_centre = edge - np.exp(-(k - 1.0) / lifetime)
    after_centre = np.exp(-(k - 1.0) / lifetime) - np.exp(-(k - 0.5) / lifetime)
    dark = (1 - p) ** (k - 1)  # no light before slot k
    pulse_late = np.exp(-(k - 1.0) / lifetime)  # not before slot k's centre
    with_one = p * pulse_late + before_centre + (1 - p) * after_centre
    return dark * ((1 - probability) * p + probability * with_one)


@pytest.mark.parametrize("scheme", ["active", "passive"])
@pytest.mark.parametrize("loss_db", LOSSES_DB)
@pytest.mark.parametrize(("probability", "lifetime_ns", "dead"), [(0.05, 3.0, 90), (0.3, 12.0, 300)])
def test_the_wait_after_a_click_from_light(
    make_devices, send, allowed, scheme, loss_db, probability, lifetime_ns, dead
):
    # Clicks from light lie at the centre of their slots and can be told from afterpulses by the arrival that events
    # carry. After one, the law of the next click of that detector is known exactly: an afterpulse that a later click
    # overtook is lost in that one's dead time, but for exp(-25) of them.
    detectors = 2 if scheme == "active" else 4
    devices = make_devices(
        loss_db,
        scheme,
        dead_time_ns=float(dead),
        dark_count_hz=(0.0,) * detectors,
        afterpulse_probability=probability,
        afterpulse_lifetime_ns=lifetime_ns,
    )
    n_slots = 2_000_000 * max(1, round(10 ** (loss_db / 20)))
    events = send(devices, n_slots).events
    for d, p in enumerate(click_probabilities(devices)):
        own = events[(events >> np.uint64(4 + d)) & np.uint64(1) == 1]
        # An event has the arrival of its first click alone: leave out those of several detectors at the start.
        single = own >> np.uint64(4) & np.uint64(15) == np.uint64(1 << d)
        central = own >> np.uint64(8) & np.uint64(0xFF) == 0
        slots = (own >> np.uint64(16)).astype(np.int64)
        gaps = (np.diff(slots) - (dead - 1))[(single & central)[:-1]]
        assert gaps.min() >= 1
        law = afterpulse_waits(p, probability, lifetime_ns, 60)
        for k in (1, 2, 3, 5, 10, 25, 60):
            expected = len(gaps) * law[k - 1]
            assert abs(int((gaps == k).sum()) - expected) <= allowed(expected), (d, k)
        expected = len(gaps) * (1 - law.sum())
        assert abs(int((gaps > 60).sum()) - expected) <= allowed(expected)
