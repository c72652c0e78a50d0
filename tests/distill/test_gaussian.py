"""Continuous variables through the block protocol: equal keys within theory's limits, lies and attacks refused."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import replace

import numpy as np
import pytest

from noclone import rng
from noclone.distill.job import BlockAborted, BlockJob, agreed_tag_bits
from noclone.distill.messages import HEADER, Kind
from noclone.distill.session import DistilledBlock, distill_block
from noclone.link.devices import Fibre
from noclone.link.lights import expected, one_block
from noclone.link.quadratures import CoherentDevices
from noclone.proofs.agreement import agree
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.gaussian_key import PIRANDOLA2023
from noclone.proofs.slices import choose_bins, share_told, slice_entropies
from noclone.protocols import GaussianModulation
from noclone.records import QUADRATURE_MAX, QUADRATURE_UNIT, Detections, Origin

LOOSE = Epsilons(1e-4, 1e-6)
ORIGIN = Origin("simulated", seeded=True)
SLOTS = 300_000
SIGNAL = 12.0  # about what the values of `light` have, in noises


def light(detection: str = "homodyne", loss_db: float = 0.2, excess: float = 0.005, **more: object) -> CoherentDevices:
    protocol = GaussianModulation(15.0, detection, 0.9, 0.02, True, 0.25, 100, 5, 3)  # type: ignore[arg-type]
    protocol = replace(protocol, **more)  # type: ignore[arg-type]
    one = CoherentDevices(1e6, Fibre(0.0, 0.2, loss_db), excess, protocol)
    width, slices, told = choose_bins(round(one.gain * protocol.variance / one.noise_variance, 3))
    step = round(width * math.sqrt(one.noise_variance) / QUADRATURE_UNIT)
    return replace(one, protocol=replace(protocol, step=step, slices=slices, told=told))


def job(devices: CoherentDevices, n_slots: int = SLOTS, efficiency: float = 1.2) -> BlockJob:
    tally, protocol = expected(devices, n_slots), devices.protocol
    bits = agreed_tag_bits(n_slots * protocol.values * protocol.slices, LOOSE)
    agreement = agree(tally, protocol, LOOSE, PIRANDOLA2023.name, efficiency=efficiency, confirmation_bits=bits)
    return BlockJob("l", "a", "b", 0, n_slots, protocol, 1e6, LOOSE, PIRANDOLA2023.name, agreement, ORIGIN)


def run(make_pools, agreed: CoherentDevices, real: CoherentDevices | None = None, **more: object) -> DistilledBlock:
    """Distil a block of light, which may be other than what was agreed on."""
    seed = rng.seed_from_int(5)
    settings, detections = one_block(
        real or agreed,
        alice_seed=rng.derive(seed, "alice"),
        physics_seed=rng.derive(seed, "physics"),
        n_slots=SLOTS,
        link="l",
        block=0,
        origin=ORIGIN,
    )
    changed = more.pop("change", None)
    if changed is not None:
        detections = replace(detections, events=changed(detections))  # type: ignore[operator]
    given = {"entropy": lambda n: hashlib.shake_256(b"test").digest(n), **more}
    return distill_block(settings, detections, job(agreed), *make_pools(), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("detection", ["homodyne", "heterodyne"])
def test_both_ends_get_one_key_shorter_than_beta_i_less_chi(make_pools, detection: str) -> None:
    devices = light(detection)
    both = run(make_pools, devices)
    key = both.alice.key
    assert key.n_bits == both.bob.key.n_bits > 10_000
    assert np.array_equal(key.bits, both.bob.key.bits)
    assert key.provenance.protocol == "cv"
    told = both.alice.statistics
    assert told.leak_bits == both.bob.statistics.leak_bits
    assert told.counts == both.bob.statistics.counts
    figures = told.figures
    assert figures == both.bob.statistics.figures
    assert figures is not None
    assert figures.transmittance == pytest.approx(10**-0.02, rel=0.02)
    assert abs(figures.excess) < 0.03
    assert figures.efficiency is not None
    assert 0.8 < figures.efficiency < 1.0
    symbols = told.counts.key_total / devices.protocol.values
    limit = figures.efficiency * figures.information - figures.holevo
    assert key.n_bits + told.refill_bits <= symbols * limit
    assert figures.holevo > devices_holevo(devices)
    assert "not performed" in figures.stated
    assert both.alice.statistics.length.statement == "fixed-length"
    assert "collective" in both.alice.statistics.length.assumptions[0]


def devices_holevo(devices: CoherentDevices) -> float:
    from noclone.proofs.gaussian import Gaussian

    p = devices.protocol
    t = 10 ** (-devices.loss_db / 10)
    return Gaussian(p.variance, t, devices.excess, p.efficiency, p.electronic, p.detection, p.trusted).holevo()


def test_what_crosses_in_slices_is_counted_bit_by_bit(make_pools) -> None:
    """The leak is what both ends say it is: slices as they are, syndromes and reports, by the size of the messages."""
    sizes = {"slices": 0, "answers": 0}

    def carriage(role: str, message: bytes) -> list[bytes]:
        kind = message[0]
        if role == "bob" and kind == Kind.SLICES:
            sizes["slices"] += 8 * (len(message) - 14)
        if role == "bob" and kind == Kind.ANSWER:
            sizes["answers"] += 8 * (len(message) - 14 - 20)
        return [message]

    devices = light()
    both = run(make_pools, devices, carriage=carriage)
    statistics = both.alice.statistics
    reports = statistics.leak_bits - sizes["slices"] - sizes["answers"]
    n = statistics.counts.key_total
    # a report is a bit a frame and stage; slices are told in whole bytes
    assert -8 * devices.protocol.told <= reports <= 6 * (devices.protocol.slices - devices.protocol.told) * (n // 32768)


def test_noise_that_was_not_agreed_on_gives_no_key(make_pools) -> None:
    """Intercept and resend adds two shot noises at the input: chi is above I."""
    with pytest.raises(BlockAborted) as caught:
        run(make_pools, light(), light(excess=2.0))
    assert caught.value.reason in ("no-secret-key", "below-agreed-length", "qber-too-high")
    figures = caught.value.statistics.figures
    assert figures is not None
    assert figures.excess == pytest.approx(2.0, rel=0.05)
    assert figures.stated_bits == 0


def test_a_saturated_converter_gives_no_key(make_pools) -> None:
    def displaced(detections: Detections) -> np.ndarray:
        raw = detections.quadratures.astype(np.int64)
        moved = np.minimum((raw >> 1) + 60 * 256, QUADRATURE_MAX) << 1 | raw & 1
        return moved.astype("<i2").view("<u8").astype(np.uint64)

    with pytest.raises(BlockAborted, match="saturated"):
        run(make_pools, light(), change=displaced)


def test_a_displacement_counts_as_noise(make_pools) -> None:
    """Moments are taken about zero: who displaces the light by two shot noises adds four of variance."""

    def displaced(detections: Detections) -> np.ndarray:
        raw = detections.quadratures.astype(np.int64)
        return (((raw >> 1) + 512) << 1 | raw & 1).astype("<i2").view("<u8").astype(np.uint64)

    with pytest.raises(BlockAborted) as caught:
        run(make_pools, light(), change=displaced)
    assert "wrong signs" in caught.value.message
    figures = caught.value.statistics.figures
    assert figures is not None
    assert figures.excess > 3.0


def test_a_wrong_guess_at_what_nobody_tells_is_found_by_confirmation(make_pools) -> None:
    """The highest slice is told by nobody: a value far beyond what Alice can guess spoils the block; no key is made."""
    devices = light()
    assert (
        share_told(slice_entropies(SIGNAL, 1.0, devices.protocol.step * QUADRATURE_UNIT, devices.protocol.slices)[-1])
        == 0
    )

    def one_is_wrong(detections: Detections) -> np.ndarray:
        raw = detections.quadratures.astype(np.int64).copy()
        places = np.flatnonzero(np.abs(raw >> 1) < 100)[:3]
        raw[places] += (devices.protocol.step << devices.protocol.slices - 1) << 1
        return raw.astype("<i2").view("<u8").astype(np.uint64)

    with pytest.raises(BlockAborted) as caught:
        run(make_pools, devices, change=one_is_wrong)
    assert caught.value.reason == "confirmation-failed"


@pytest.mark.parametrize("entropy", [math.nan, -0.1, 1.5, math.inf])
def test_entropies_that_no_slice_has_are_refused(make_pools, entropy: float) -> None:
    def carriage(role: str, message: bytes) -> list[bytes]:
        return [message[:-8] + struct.pack(">d", entropy) if message[0] == Kind.COUNTS else message]

    with pytest.raises(BlockAborted) as caught:
        run(make_pools, light(), carriage=carriage)
    assert caught.value.verdict == "peer-misbehaved"


@pytest.mark.parametrize(("xx", "xy"), [(None, None), (5e-324, 0.0), (0.0, 0.0), (math.inf, 0.0), (math.nan, 0.0)])
def test_sums_that_no_light_gives_end_the_block_in_order(make_pools, xx: float | None, xy: float | None) -> None:
    """Sums without noise, or without modulation, are refused before anything is computed from them."""

    def carriage(role: str, message: bytes) -> list[bytes]:
        if message[0] != Kind.COUNTS:
            return [message]
        yy = struct.unpack_from(">d", message, HEADER.size + 16)[0]
        sums = (yy, yy) if xx is None else (xx, xy)
        return [message[: HEADER.size] + struct.pack(">2d", *sums) + message[HEADER.size + 16 :]]

    with pytest.raises(BlockAborted) as caught:
        run(make_pools, light(), carriage=carriage)
    assert caught.value.verdict == "peer-misbehaved"


def test_a_shot_noise_that_shrank_gives_no_key(make_pools) -> None:
    """Whoever dims the local oscillator makes all variances look smaller than they are (Jouguet et al. 2013)."""

    def dimmed(detections: Detections) -> np.ndarray:
        raw = detections.quadratures.astype(np.int64)
        smaller = np.round((raw >> 1) * 0.9).astype(np.int64) << 1 | raw & 1
        return smaller.astype("<i2").view("<u8").astype(np.uint64)

    with pytest.raises(BlockAborted, match="below that of vacuum"):
        run(make_pools, light(), change=dimmed)


def test_a_peer_that_tells_other_values_is_found_out(make_pools) -> None:
    """A changed value does not pass both the sums and the tags."""

    def carriage(role: str, message: bytes) -> list[bytes]:
        if role == "bob" and message[0] == Kind.TEST:  # the told values
            return [message[:20] + bytes([message[20] ^ 2]) + message[21:]]
        return [message]

    with pytest.raises(BlockAborted) as caught:
        run(make_pools, light(), carriage=carriage)
    assert caught.value.verdict == "peer-misbehaved"


@pytest.mark.parametrize(
    "kind", [Kind.ANNOUNCE, Kind.SIFT, Kind.TEST, Kind.COUNTS, Kind.SLICES, Kind.ANSWER, Kind.RECONCILED]
)
def test_messages_of_the_wrong_size_are_refused(make_pools, kind: Kind) -> None:
    def carriage(role: str, message: bytes) -> list[bytes]:
        return [message[:-1] if message[0] == kind else message]

    with pytest.raises(BlockAborted):
        run(make_pools, light(), carriage=carriage)
