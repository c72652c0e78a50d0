"""The key of a finite block of continuous variables: composable, against collective Gaussian attacks.

In: the moments of the values that were told.  Out: `Evaluation`, and what the block's numbers mean.

Pirandola and Papanastasiou, arXiv:2301.10270, for reverse reconciliation of n
symbols in bins of d bits (heterodyne detection: 2 d):

    ell = n [H(bins) - chi] - sqrt(n) 4 log2(sqrt(2^d) + 2) sqrt(log2(2 / eps_s^2)) - leak - tag - 2 log2(1 / eps_h) + 1

chi is the most that Eve may know of a symbol, by `gaussian.Gaussian.holevo`, over all channels that the told values do
not exclude: Leverrier, Grosshans, Grangier, Phys. Rev. A 81, 062343 (2010), estimate the same two numbers, amplitude
gain t and noise, by the same sums. Ours, on the side of less key: bounds that hold for any number of values instead of
large ones (Laurent and Massart, Ann. Stat. 28, 1302 (2000), for the noise; a Gaussian's tail for t); the worst of 33
t from one bound to the other, for chi is no monotonic function of it; entropies of bins at the smaller of both ends of
Bob's variance; a smoothing that counts twice. Failures: 2 eps_s + eps_h + three bounds, each a sixth of eps_sec.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from noclone.counts import Moments
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.gaussian import Gaussian
from noclone.proofs.proof import Evaluation, Proof, Term
from noclone.proofs.published import FIXED
from noclone.proofs.slices import ALMOST, LEAST, NOTHING, bin_entropy, slice_entropies
from noclone.protocols import GaussianModulation
from noclone.records import QUADRATURE_UNIT

PARTS = 6.0  # of eps_sec, all alike
FRAME, MARGIN = 1 << 16, 1.03  # values of a code's frame; a bit of report for each, and more frames than it takes
GAINS = 33  # between both bounds of t at which chi is computed; it is smooth, and bounds are near each other
STATED_EFFICIENCY = 0.95  # of multidimensional reconciliation: Jouguet, Kunz-Jacques, Leverrier, PRA 84, 062317 (2011)
NOT_PERFORMED = "stated, not performed: no key was made by it"


class Sums(Protocol):
    """Counts of continuous variables, whole or expected."""

    @property
    def n_key(self) -> tuple[float, ...]: ...

    @property
    def n_test(self) -> tuple[float, ...]: ...

    @property
    def moments(self) -> Moments | None: ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """Gain of amplitudes and variance of noise behind the detector, as the told values have them, and their bounds."""

    gain: float
    noise: float
    gains: tuple[float, float]
    noises: tuple[float, float]


def estimate(moments: Moments, n_test: float, epsilon: float) -> Estimate | None:
    """Return the estimate and bounds that fail with probability `epsilon` each; None where there are too few values."""
    u = math.log(1.0 / epsilon)
    free = n_test - 1.0
    if moments.xx <= 0 or free - 2.0 * math.sqrt(free * u if free > 0 else 0.0) <= 0:
        return None
    gain = moments.xy / moments.xx
    rest = max(moments.yy - moments.xy * gain, 0.0)
    most = rest / (free - 2.0 * math.sqrt(free * u))
    least = rest / (free + 2.0 * math.sqrt(free * u) + 2.0 * u)
    width = math.sqrt(2.0 * u * most / moments.xx)
    return Estimate(gain, rest / n_test, (gain - width, gain + width), (least, most))


def channel(protocol: GaussianModulation, gain: float, noise: float) -> Gaussian:
    """Return Eve's channel that has this gain of amplitudes and this noise behind Bob's detector.

    An untrusted receiver's loss and noise are hers. A channel that amplifies has the noise that nature asks of it
    (Caves, Phys. Rev. D 26, 1817 (1982)), at least: one without is not among those that Eve can have.
    """
    efficiency, electronic = (protocol.efficiency, protocol.electronic) if protocol.trusted else (1.0, 0.0)
    passed = gain * gain
    transmittance = passed * protocol.values / efficiency
    excess = max(noise - 1.0 - electronic, 0.0) / passed
    if transmittance > 1.0:
        excess = max(excess, 2.0 * (transmittance - 1.0) / transmittance)
    return Gaussian(protocol.variance, transmittance, excess, efficiency, electronic, protocol.detection)


def line_quality(protocol: GaussianModulation, gain: float, noise: float) -> tuple[float, float]:
    """Return excess noise at the line's input, in shot-noise units, and signal to noise of one of Bob's values.

    The estimates themselves, also where they go beyond what can be by chance: no key hangs on these.
    """
    passed = gain * gain
    return (noise - 1.0 - protocol.electronic) / passed if passed else math.inf, passed * protocol.variance / noise


def worst_holevo(protocol: GaussianModulation, found: Estimate) -> float:
    """Return the most that Eve may know of a symbol, by the channels within the bounds: at `GAINS` of them."""
    low, high = found.gains
    between = (low + (high - low) * i / (GAINS - 1) for i in range(GAINS))
    return max(channel(protocol, gain, found.noises[1]).holevo() for gain in between)


def pirandola2023(tally: Sums, protocol: GaussianModulation, epsilons: Epsilons) -> Evaluation:
    """Return the parts of the key length; see the head of this file."""
    values, part = float(sum(tally.n_key)), epsilons.secrecy / PARTS
    symbols = values / protocol.values
    found = estimate(tally.moments, float(sum(tally.n_test)), part) if tally.moments else None
    if found is None or found.gains[0] <= 0:
        return _nothing(values, "too few values were told, or too little light arrived, to bound the channel")
    if found.noises[1] < 1.0 + protocol.electronic:
        return _nothing(
            values,
            f"Bob's noise is {found.noise:.4f} shot noises, below that of vacuum and electronics: "
            "his shot noise is calibrated wrongly, or somebody changed it",
        )
    variance = [gain * gain * protocol.variance + noise for gain, noise in zip(found.gains, found.noises, strict=True)]
    entropy = min(bin_entropy(v, protocol.step, protocol.slices) for v in variance)
    holevo = worst_holevo(protocol, found)
    alphabet = math.sqrt(2.0 ** (protocol.slices * protocol.values)) + 2.0
    smoothing = 4.0 * math.log2(alphabet) * math.sqrt(symbols * math.log2(2.0 / part**2))
    return _evaluation(
        part,
        (
            Term("entropy of the bins of Bob's values", values * entropy),
            Term("what Eve may know of them, by the worst channel", -symbols * holevo),
            Term("smoothing: blocks are finite", -smoothing),
        ),
    )


def _evaluation(part: float, steps: tuple[Term, ...], reason: str = "") -> Evaluation:
    return Evaluation(0.0, 0.0, 0.0, 0.0, 0.0, 2.0 * math.log2(1.0 / part) - 1.0, steps, reason)


def _nothing(values: float, reason: str) -> Evaluation:
    """Return that no bit can be vouched for."""
    return _evaluation(0.5, (Term("Bob's values", values), Term("nothing of them is vouched for", -values)), reason)


def most_told(protocol: GaussianModulation, tally: Sums, efficiency: float, sigmas: float) -> int:
    """Return the most that reconciliation may tell: slices as they are, and codes for the others.

    Args:
        efficiency: What codes may tell over the slices' entropy.
    """
    assert tally.moments is not None
    n = float(sum(tally.n_key))
    told = float(protocol.told)
    least = MARGIN * LEAST * FRAME * math.ceil(n / FRAME) / n
    for entropy in expected_slices(protocol, tally.moments, float(sum(tally.n_test)))[protocol.told :]:
        told += max(efficiency * entropy, least) if entropy > ALMOST * NOTHING else 0.0
    return math.ceil((n + sigmas * math.sqrt(n)) * told)


def gain_and_noise(moments: Moments, n_test: float) -> tuple[float, float]:
    """Return the gain of amplitudes and the variance of noise behind the detector that moments say."""
    gain = moments.xy / moments.xx
    return gain, max(moments.yy - moments.xy * gain, 0.0) / n_test


def expected_slices(protocol: GaussianModulation, moments: Moments, n_test: float) -> tuple[float, ...]:
    """Return the entropy of each slice for whoever knows Alice's amplitudes."""
    gain, noise = gain_and_noise(moments, n_test)
    variance = gain * gain * protocol.variance + noise
    return slice_entropies(variance, noise, protocol.step * QUADRATURE_UNIT, protocol.slices)


def moved(moments: Moments, n_test: float) -> list[list[Moments]]:
    """Return the moments with gain and noise each a standard deviation up and down."""
    gain = moments.xy / moments.xx
    rest = moments.yy - moments.xy * gain
    found = []
    for step in (math.sqrt(rest / n_test * moments.xx), -math.sqrt(rest / n_test * moments.xx)):
        xy = moments.xy + step
        found.append(Moments(moments.xx, xy, rest + xy * xy / moments.xx))
    more = rest * math.sqrt(2.0 / n_test)
    return [found, [Moments(moments.xx, moments.xy, moments.yy + sign * more) for sign in (1.0, -1.0)]]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a block's numbers mean, for people.

    Args:
        transmittance, excess: Of the line; excess noise at its input, in shot-noise units.
        signal_to_noise: Of one of Bob's values.
        information: What Alice and Bob share, bits a symbol; holevo: what Eve may know, at worst.
        efficiency: beta that reconciliation reached, each bit told counted; None where it did not come to that.
        stated_efficiency, stated_bits: What a reconciliation of that stated beta would leave.
        stated: What that number is worth.
    """

    transmittance: float
    excess: float
    signal_to_noise: float
    information: float
    holevo: float
    efficiency: float | None
    stated_efficiency: float
    stated_bits: int
    stated: str = NOT_PERFORMED


def figures(
    tally: Sums, protocol: GaussianModulation, epsilons: Epsilons, leak_bits: int | None, tag_bits: float
) -> Figures | None:
    """Return what a block's numbers mean; None where they mean nothing."""
    values, part = float(sum(tally.n_key)), epsilons.secrecy / PARTS
    found = estimate(tally.moments, float(sum(tally.n_test)), part) if tally.moments else None
    if found is None or found.gains[0] <= 0 or found.noise <= 0:
        return None
    passed = found.gain * found.gain
    excess, ratio = line_quality(protocol, found.gain, found.noise)
    information, symbols = channel(protocol, found.gain, found.noise).mutual_information(), values / protocol.values
    variance = passed * protocol.variance + found.noise
    entropy = bin_entropy(variance, protocol.step, protocol.slices)
    evaluation = pirandola2023(tally, protocol, epsilons)
    before = math.fsum(term.bits for term in evaluation.steps)
    stated_leak = values * entropy - STATED_EFFICIENCY * symbols * information
    stated = before - stated_leak - evaluation.overhead - tag_bits
    return Figures(
        passed * protocol.values / protocol.efficiency,
        excess,
        ratio,
        information,
        worst_holevo(protocol, found),
        None if leak_bits is None else (values * entropy - leak_bits) / (symbols * information),
        STATED_EFFICIENCY,
        max(0, math.floor(stated)),
    )


PIRANDOLA2023 = Proof(
    "pirandola2023",
    "arXiv:2301.10270, with bounds on the channel of our own",
    GaussianModulation.NAME,
    (1,),
    "fixed-length",
    pirandola2023,
    (
        "Eve's attack is collective and Gaussian: the same on every symbol, with Gaussian noise, alike in both "
        "quadratures. Nothing is claimed against coherent attacks.",
        "Alice sends coherent states; their amplitudes are Gaussian, of the stated variance, and nobody else's.",
        "Bob's shot noise is calibrated, and his local oscillator is not in Eve's hands: variances are in units of it.",
        "Where the receiver is trusted, its efficiency and electronic noise are those stated; else Eve may have both.",
        "Bob alone tells what reconciliation needs; each bit that either side tells is counted.",
        "The public channel is authenticated.",
        FIXED,
    ),
    one_way=True,
)
