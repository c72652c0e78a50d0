"""The published proofs for decoy-state BB84: what each covers, what it assumes, and its arithmetic.

In: counts, protocol, failure probabilities.  Out: `Evaluation`, the parts of a key length that differ between proofs.
Sources stand at each function; where a print is wrong or silent, the docstring says what stands here instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from noclone.proofs.decoy_bounds import PhotonBounds, Tally, one_decoy, two_decoys
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.proof import Evaluation, Proof
from noclone.proofs.sampling import hoeffding, hoeffding_two_sided, sampling_excess, serfling
from noclone.records import DecoyBB84

_COMMON = (
    "Alice's pulses are phase-randomised, with exactly the stated mean photon numbers, independent of each other.",
    "Alice prepares ideal BB84 states; nothing but the bit, basis and intensity that she means leaves her lab.",
    "Whether Bob detects a signal does not depend on the basis that he measures in.",
    "Double clicks are kept and given a random value; both parties' choices are random and unknown to Eve.",
    "The public channel is authenticated.",
)
FIXED = (
    "Fixed length: valid only if this length (or a smaller one, which is then used) and the most that may leak "
    "were agreed before the block, which is accepted or aborted as a whole."
)
ALL_SIFTED = (
    "All sifted bits of a fixed number of pulses are used, and their number is announced; the paper instead fixes the "
    "number of sifted bits."
)
_VARIABLE = (
    "Variable length: the proof covers a length that follows the counts; the most that may leak was agreed before."
)
_FLAWED = (
    "Kept for comparison: Wiesemann et al. (arXiv:2405.16578) report technical flaws in this proof's fixed-length "
    "treatment, and its sampling term (Fung et al. 2010) is an approximation that is a little too small."
)
_TWO_DECOY_COUNT = (
    "Two decoys: the constant 21 (failure events of Lim et al. 2014) covers the 17 that the argument of "
    "wiesemann2024 needs by our own count; the paper's own two-decoy constant was not compared."
)


def _phase_error(bounds: PhotonBounds, excess: Callable[[float], float]) -> float:
    """Return the phase error bound: the single-photon error rate seen in the test basis, plus the sampling excess."""
    if bounds.single_key <= 0 or bounds.single_test <= 0:
        return 0.5
    rate = bounds.single_errors / bounds.single_test
    if rate >= 0.5:
        return 0.5
    return min(rate + excess(rate), 0.5)


def _with_fung(bounds: PhotonBounds, epsilon: float, terms: int, secrecy: float) -> Evaluation:
    """Return what Lim's and Rusca's key-length formulas share: Eqs. (1) and (5), with 21 or 19 failure terms.

    Where there are few errors the published gamma is too small; then a proved bound stands in its place. Without
    single photons in both bases there is no key, for then nothing is known of the phase error.
    """
    phase_error = _phase_error(bounds, partial(_gamma, bounds=bounds, epsilon=epsilon))
    return Evaluation(
        vacuum=bounds.vacuum_key,
        vacuum_counted=bounds.vacuum_key if min(bounds.single_key, bounds.single_test) > 0 else 0.0,
        single=bounds.single_key,
        single_test=bounds.single_test,
        phase_error=phase_error,
        overhead=6.0 * (math.log2(terms) - math.log2(secrecy)),
    )


def lim2014(tally: Tally, protocol: DecoyBB84, epsilons: Epsilons) -> Evaluation:
    """Return Lim et al. 2014, Eqs. (1)-(5): eps_sec = 21 eps."""
    epsilon = epsilons.secrecy / 21.0
    bounds = two_decoys(tally, protocol, partial(_hoeffding, epsilon=epsilon))
    return _with_fung(bounds, epsilon, 21, epsilons.secrecy)


def rusca2018(tally: Tally, protocol: DecoyBB84, epsilons: Epsilons) -> Evaluation:
    """Return Rusca et al. 2018, (A16)-(A25): eps_sec = 19 eps.

    (A16) prints eps1 where eps2 is meant; all are equal here.
    """
    epsilon = epsilons.secrecy / 19.0
    bounds = one_decoy(tally, protocol, partial(_hoeffding, epsilon=epsilon), clip=False)
    return _with_fung(bounds, epsilon, 19, epsilons.secrecy)


def wiesemann2024(tally: Tally, protocol: DecoyBB84, epsilons: Epsilons) -> Evaluation:
    """Return Wiesemann et al., arXiv:2405.16578, as in the authors' code: eps_sec = 15 eps with one decoy.

    The empty pulses are not added to the key (one chain-rule step less). The authors' code has (c + 1) / c with c the
    key-basis count in Serfling's term; Serfling's inequality has the test sample there, and so have we.
    With two decoys: docs/proofs.md counts the terms.
    """
    one = len(protocol.intensities) == 2
    terms = 15 if one else 21
    epsilon = epsilons.secrecy / terms
    deviation = partial(_hoeffding, epsilon=epsilon)
    bounds = one_decoy(tally, protocol, deviation, clip=True) if one else two_decoys(tally, protocol, deviation)
    return Evaluation(
        vacuum=bounds.vacuum_key,
        vacuum_counted=0.0,
        single=bounds.single_key,
        single_test=bounds.single_test,
        phase_error=_phase_error(bounds, lambda _: serfling(bounds.single_key, bounds.single_test, epsilon)),
        overhead=4.0 * (math.log2(terms) - 0.25 - math.log2(epsilons.secrecy)),
    )


def tupkary2024(tally: Tally, protocol: DecoyBB84, epsilons: Epsilons) -> Evaluation:
    """Return Tupkary et al., arXiv:2408.17349, for detectors without basis-efficiency mismatch (their delta = 0).

    eps_sec = 2 eps_AT + eps_PA, where eps_AT^2 sums nine decoy estimates and one sampling step, all with the same eps
    here, as in the authors' presets: eps_sec = (2 sqrt(10) + 1) eps. The price is 2 log2(1 / (2 eps_PA)).
    """
    epsilon = epsilons.secrecy / (2.0 * math.sqrt(10.0) + 1.0)
    bounds = two_decoys(tally, protocol, partial(_hoeffding_two_sided, epsilon=epsilon))
    return Evaluation(
        vacuum=bounds.vacuum_key,
        vacuum_counted=0.0,
        single=bounds.single_key,
        single_test=bounds.single_test,
        phase_error=_phase_error(bounds, lambda _: serfling(bounds.single_key, bounds.single_test, epsilon)),
        overhead=-2.0 - 2.0 * math.log2(epsilon),
    )


def _gamma(rate: float, *, bounds: PhotonBounds, epsilon: float) -> float:
    return sampling_excess(rate, bounds.single_test, bounds.single_key, epsilon)


def _hoeffding(n: float, *, epsilon: float) -> float:
    return hoeffding(n, epsilon)


def _hoeffding_two_sided(n: float, *, epsilon: float) -> float:
    return hoeffding_two_sided(n, epsilon)


DECOY_BB84 = (
    Proof(
        "lim2014",
        "Phys. Rev. A 89, 022307 (2014)",
        DecoyBB84.NAME,
        (3,),
        "fixed-length",
        lim2014,
        (*_COMMON, FIXED, ALL_SIFTED, _FLAWED),
    ),
    Proof(
        "rusca2018",
        "Appl. Phys. Lett. 112, 171104 (2018)",
        DecoyBB84.NAME,
        (2,),
        "fixed-length",
        rusca2018,
        (*_COMMON, FIXED, ALL_SIFTED, _FLAWED),
    ),
    Proof(
        "wiesemann2024",
        "Quantum 10, 2037 (2026), arXiv:2405.16578",
        DecoyBB84.NAME,
        (2, 3),
        "fixed-length",
        wiesemann2024,
        (*_COMMON, FIXED, ALL_SIFTED),
        {3: (_TWO_DECOY_COUNT,)},
    ),
    Proof(
        "tupkary2024",
        "Quantum 9, 1937 (2025), arXiv:2408.17349",
        DecoyBB84.NAME,
        (3,),
        "variable-length",
        tupkary2024,
        (*_COMMON, _VARIABLE),
    ),
)
