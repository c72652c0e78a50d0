"""Light of continuous variables: coherent states of Gaussian amplitudes, and what Bob's detector reads of them.

In: `CoherentDevices` and seeds.  Out: Alice's amplitudes, slot by slot, and Bob's values as `records.Detections` has
them. All variances in shot-noise units (vacuum: 1).

The line passes a share T of the light and adds excess noise xi, counted **at its input**; the detector passes eta and
adds electronic noise v. With homodyne detection y = sqrt(eta T) x + z, with z of variance 1 + v + eta T xi (Lodewyck
et al., Phys. Rev. A 76, 042305 (2007)); heterodyne detection has half the light for either quadrature, eta T / 2 in
place of eta T. Nobody sits on this light: what an attack does is a T and a xi.

Alice's amplitudes are one block of AES-256 in counter mode for each slot, by Box and Muller's method, so whoever does
not hold her seed cannot predict any; Bob's choices of a quadrature are his, the noise is nature's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from noclone.counts import Moments
from noclone.kernels import kernel
from noclone.link.aes import aes256_keys
from noclone.link.aes_simd import AES, aes256
from noclone.link.choices import BATCH
from noclone.link.devices import Fibre
from noclone.link.light import physics_key
from noclone.link.theory import ExpectedCounts
from noclone.protocols import GaussianModulation
from noclone.records import F32, MAX_SLOTS, QUADRATURE_MAX, QUADRATURE_UNIT, U64
from noclone.units import transmittance

PIECE = 1 << 18  # slots worked on in one go: a multiple of four
SIGMAS_MIN = 7.0  # of Bob's values that his converter must show: a Gaussian is beyond in 3 of 10^12
UNIFORM = 2.0**-53


@dataclass(frozen=True, slots=True)
class CoherentDevices:
    """Everything that the light meets on a link of continuous variables.

    Args:
        clock_hz: Coherent states a second.
        excess: Excess noise of line and lasers, at the line's input.
    """

    clock_hz: float
    fibre: Fibre
    excess: float
    protocol: GaussianModulation

    def __post_init__(self) -> None:
        if not 1.0 <= self.clock_hz <= 1e12:
            raise ValueError(f"clock_hz must be between 1 and 1e12, and is {self.clock_hz!r}")
        if not 0 <= self.excess <= 10:
            raise ValueError(f"excess noise must be between 0 and 10 shot-noise units, and is {self.excess!r}")
        widest = SIGMAS_MIN * math.sqrt(self.value_variance)
        if widest > QUADRATURE_MAX * QUADRATURE_UNIT:
            raise ValueError(
                f"Bob's values have a standard deviation of {math.sqrt(self.value_variance):.2f} shot noises, and his "
                f"converter ends at {QUADRATURE_MAX * QUADRATURE_UNIT:.0f}: it would be saturated"
            )

    @property
    def loss_db(self) -> float:
        """Loss of the line; the detector's is its own."""
        return self.fibre.loss_db

    @property
    def gain(self) -> float:
        """How much of the variance of Alice's amplitudes stands in Bob's values."""
        return transmittance(self.loss_db) * self.protocol.efficiency / self.protocol.values

    @property
    def noise_variance(self) -> float:
        """Variance of Bob's values where Alice's amplitude is known."""
        return 1.0 + self.protocol.electronic + self.gain * self.excess

    @property
    def value_variance(self) -> float:
        """Variance of Bob's values."""
        return self.gain * self.protocol.variance + self.noise_variance


@dataclass(frozen=True, slots=True)
class SeededAmplitudes:
    """What Alice sends in every slot of one block.

    Args:
        seed: 32 bytes, her secret. Never use one for two blocks: see `settings.SeededSettings`.
    """

    seed: bytes = field(repr=False)
    protocol: GaussianModulation
    _keys: U64 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.seed) != 32:
            raise ValueError("a seed has 32 bytes")
        object.__setattr__(self, "_keys", aes256_keys(self.seed))

    def quadratures(self, first: int, count: int) -> F32:
        """Return x and p of `count` slots from `first` on, one row each."""
        out = np.empty((count, 2), np.float32)
        amplitudes(AES, self._keys, np.int64(first), math.sqrt(self.protocol.variance), out)
        return out


def transmit_quadratures(
    devices: CoherentDevices,
    *,
    alice_seed: bytes,
    physics_seed: bytes,
    n_slots: int,
    link: str,
    block: int,
    threads: int = 2,
) -> Iterator[U64]:
    """Yield Bob's values of one block in order, a bounded number at a time; see `records.Detections.quadratures`.

    Args:
        threads: How many pieces are worked out side by side; the result does not depend on it.
    """
    if not 0 < n_slots <= MAX_SLOTS:
        raise ValueError(f"n_slots must lie between 1 and {MAX_SLOTS}, and is {n_slots}")
    keys = np.stack([aes256_keys(key) for key in (alice_seed, physics_key(physics_seed, link, block, "detectors"))])
    protocol = devices.protocol
    signal = math.sqrt(protocol.variance * devices.gain) / QUADRATURE_UNIT
    noise = math.sqrt(devices.noise_variance) / QUADRATURE_UNIT

    def piece(first: int) -> U64:
        count = min(PIECE, n_slots - first)
        values = np.zeros(-(-count * protocol.values // 4) * 4, np.int16)
        read_quadratures(AES, keys, np.int64(first), np.int64(count), signal, noise, protocol.values == 2, values)
        return values.astype("<i2", copy=False).view("<u8").astype(np.uint64, copy=False)

    ahead: deque[Future[U64]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="light") as pool:
        for first in range(0, n_slots, PIECE):
            ahead.append(pool.submit(piece, first))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def expected_quadratures(devices: CoherentDevices, n_slots: int) -> ExpectedCounts:
    """Return the counts and moments that a block gives on average; errors are signs that differ in what is told."""
    protocol = devices.protocol
    values = n_slots * protocol.values
    key, test = values * (1 - protocol.p_test), values * protocol.p_test
    signal = devices.gain * protocol.variance
    wrong = math.acos(math.sqrt(signal / devices.value_variance)) / math.pi
    moments = Moments(
        test * protocol.variance,
        test * math.sqrt(devices.gain) * protocol.variance,
        test * devices.value_variance,
    )
    return ExpectedCounts(n_slots, (key,), (test,), (wrong * key,), (wrong * test,), devices.clock_hz, moments)


@kernel
def normal_pair(low, high):  # type: ignore[no-untyped-def]
    """Return two independent standard normal numbers of two uniform words (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log((np.float64(low >> np.uint64(11)) + 0.5) * UNIFORM))
    angle = 2.0 * math.pi * UNIFORM * np.float64(high >> np.uint64(11))
    return radius * math.cos(angle), radius * math.sin(angle)


@kernel
def amplitudes(simd, keys, first, scale, out):  # type: ignore[no-untyped-def]
    """Set out[:, 0] and out[:, 1] to Alice's amplitudes from slot `first` on."""
    counters, lows, highs = np.empty(BATCH, np.uint64), np.empty(BATCH, np.uint64), np.empty(BATCH, np.uint64)
    at = keys.ctypes.data
    for start in range(0, len(out), BATCH):
        for j in range(BATCH):
            counters[j] = np.uint64(first + start + j)
        aes256(simd, at, counters.ctypes.data, np.uint64(0), lows.ctypes.data, highs.ctypes.data, np.int64(BATCH))
        for j in range(min(BATCH, len(out) - start)):
            x, p = normal_pair(lows[j], highs[j])
            out[start + j, 0], out[start + j, 1] = np.float32(scale * x), np.float32(scale * p)


@kernel
def read_quadratures(simd, keys, first, count, signal, noise, both, out):  # type: ignore[no-untyped-def]
    """Set out to Bob's values of `count` slots from `first` on.

    Args:
        keys: uint64[2, 30]: round keys of Alice's amplitudes, and of Bob's choices and nature's noise.
        signal, noise: Standard deviations of what Alice's amplitudes leave in a value, and of all else, in its unit.
        both: Whether x and p are measured, or one of the two.
    """
    counters = np.empty(BATCH, np.uint64)
    words = np.empty((4, BATCH), np.uint64)
    address = counters.ctypes.data
    for start in range(0, count, BATCH):
        for j in range(BATCH):
            counters[j] = np.uint64(first + start + j)
        for who in range(2):
            aes256(
                simd, keys[who].ctypes.data, address, np.uint64(0), words[2 * who].ctypes.data,
                words[2 * who + 1].ctypes.data, np.int64(BATCH),
            )  # fmt: skip
        for j in range(min(BATCH, count - start)):
            x, p = normal_pair(words[0, j], words[1, j])
            z, w = normal_pair(words[2, j], words[3, j])
            at = start + j
            if both:
                out[2 * at] = reading(signal * x + noise * z) << 1
                out[2 * at + 1] = reading(signal * p + noise * w) << 1 | 1
            else:  # the lowest bit of a word is no part of its normal numbers
                which = np.int64(words[3, j] & np.uint64(1))
                out[at] = reading(signal * (p if which else x) + noise * z) << 1 | which


@kernel
def reading(value):  # type: ignore[no-untyped-def]
    """Return the whole number that the converter shows."""
    return np.int64(math.floor(min(max(value, -QUADRATURE_MAX), QUADRATURE_MAX) + 0.5))
