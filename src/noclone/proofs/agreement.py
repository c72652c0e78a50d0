"""What both parties fix before a block, and whether the block then keeps to it.

In: the counts that a model, or the last block, leads us to expect.  Out: `Agreement`; after the block, `KeyLength`.
A fixed-length proof holds for a length chosen beforehand: the block is accepted or aborted as a whole. Choosing the
length from the counts afterwards is another protocol, which needs another proof (docs/decisions/003 and 010).
For a variable-length proof the agreement fixes the most that may leak, and the length follows the counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from noclone.counts import Counts, Moments, Paired
from noclone.errors import Aborted, InputError
from noclone.proofs.decoy_bounds import Tally
from noclone.proofs.entropy import QBER_MIN, error_entropy
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.gaussian_key import gain_and_noise, line_quality, most_told, moved
from noclone.proofs.keylength import (
    DEFAULT_PROOF,
    KeyLength,
    choose_proof,
    correctness_bits,
    expected_length,
    secret_length,
)
from noclone.protocols import GaussianModulation, LinkProtocol

DEFAULT_SIGMAS = 4.0


class Expected(Tally, Protocol):
    """Counts that a model expects of a block, in floats; `counts.Counts` of an earlier block serves as well."""

    @property
    def n_slots(self) -> int: ...

    @property
    def moments(self) -> Moments | None: ...


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was agreed before a block, all of it public.

    Args:
        length_bits: The key's length for a fixed-length proof, 0 where no key is to be expected; for a
            variable-length proof the length that is expected at least, for information only.
        leak_bits_max: The most that reconciliation may tell the world; it is charged in full.
        n_slots: Slots in the block.
        confirmation_bits: Length of the confirmation tag.
        qber_max: Test-basis error rate above which a block is not worth reconciling.
        sigmas: How many standard deviations of bad luck an honest block survives.
        refusal_probability: How often an honest block, as it was expected, is refused by chance, at most.
        reason: Why `length_bits` is 0, else empty.
    """

    length_bits: int
    leak_bits_max: int
    n_slots: int
    protocol: LinkProtocol
    epsilons: Epsilons
    proof: str
    confirmation_bits: int
    qber_max: float
    sigmas: float
    refusal_probability: float
    reason: str = ""

    def __post_init__(self) -> None:
        assert self.length_bits >= 0
        assert self.leak_bits_max >= 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, the same at both ends: both hash them before the block."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Tally:
    """Counts in floats, to be moved about."""

    n_key: tuple[float, ...]
    n_test: tuple[float, ...]
    m_test: tuple[float, ...]
    m_key: tuple[float, ...]
    moments: Moments | None = None
    paired: Paired | None = None


def agree(
    expected: Expected,
    protocol: LinkProtocol,
    epsilons: Epsilons,
    proof: str = DEFAULT_PROOF,
    *,
    efficiency: float,
    qber: float | None = None,
    sigmas: float = DEFAULT_SIGMAS,
    confirmation_bits: int | None = None,
) -> Agreement:
    """Return what to agree on before a block, so that an honest block is rarely refused.

    The length is the proof's at the expected counts, less `sigmas` standard deviations of what their Poisson
    fluctuations do to it (first order, each count by itself).

    Args:
        expected: Of the whole block.
        efficiency: The most that reconciliation may leak, over Shannon's limit n h(qber); of continuous variables, over
            the entropy of the slices that codes are for.
        qber: Error rate in the key basis; None takes it from `expected`.
        confirmation_bits: Length of the tag; None is the shortest that `epsilons` allows, in whole bytes.
    """
    choose_proof(proof, protocol)
    if not math.isfinite(efficiency) or efficiency < 1:
        raise InputError(f"a reconciliation efficiency of {efficiency} beats Shannon's limit", hint="use 1 or more")
    if confirmation_bits is None:
        confirmation_bits = 8 * math.ceil((1.0 - math.log2(epsilons.correctness)) / 8)
    correctness_bits(epsilons, confirmation_bits)  # refuses a tag that is too short
    tally = _floats(expected, qber)
    if isinstance(protocol, GaussianModulation):
        leak_max = most_told(protocol, tally, efficiency, sigmas)
    else:
        leak_max = _leak_max(tally, efficiency, sigmas)

    def length(t: _Tally) -> float:
        return expected_length(
            t,
            protocol,
            epsilons,
            leak_bits=leak_max,
            confirmation_bits=confirmation_bits,
            proof=proof,
            two_way=True,  # reconciliation is Cascade, where the proof has nothing against it
        )

    agreed, reason = 0, "nothing is expected to be detected"
    if sum(tally.n_key) > 0 and sum(tally.n_test) > 0:
        middle = length(tally)
        agreed = max(math.floor(middle - sigmas * _spread(tally, length)), 0)
        reason = "" if agreed else _no_length(protocol, tally, middle)
    return Agreement(
        length_bits=agreed,
        leak_bits_max=leak_max,
        n_slots=expected.n_slots,
        protocol=protocol,
        epsilons=epsilons,
        proof=proof,
        confirmation_bits=confirmation_bits,
        qber_max=_upper_rate(sum(tally.m_test), sum(tally.n_test), sigmas),
        sigmas=sigmas,
        refusal_probability=refusal_probability(sigmas),
        reason=reason,
    )


def _no_length(protocol: LinkProtocol, tally: _Tally, middle: float) -> str:
    would = f"the expected counts would give {math.floor(middle)} bits, and less by bad luck"
    if isinstance(protocol, GaussianModulation) and tally.moments is not None:
        excess, ratio = line_quality(protocol, *gain_and_noise(tally.moments, sum(tally.n_test)))
        return f"{would}; excess noise is {excess:.4f} shot noises at the line's input, signal to noise {ratio:.3g}"
    test, key = (sum(m) / sum(n) for m, n in ((tally.m_test, tally.n_test), (tally.m_key, tally.n_key)))
    return f"{would}; they have {test:.1%} of errors in the test basis and {key:.1%} in the key basis"


def screen(agreement: Agreement, counts: Counts) -> None:
    """Abort before reconciliation if the counts already say that it is not worth it.

    Raises:
        Aborted: "no-secret-key", "too-few-detections" or "qber-too-high".
    """
    fixed = choose_proof(agreement.proof, agreement.protocol).statement == "fixed-length"
    if fixed and agreement.length_bits == 0:  # not Eve's doing: the devices themselves promise nothing
        raise Aborted("no-secret-key", f"no length was agreed before the block: {agreement.reason}")
    for name, total in (("key", counts.key_total), ("test", counts.test_total)):
        if total == 0:
            raise Aborted("too-few-detections", f"nothing was detected in the {name} basis")
    if counts.qber_test > agreement.qber_max:
        raise Aborted("qber-too-high", _qber_message(agreement, counts), hint="look for an eavesdropper or a fault")


def settle(agreement: Agreement, counts: Counts, leak_bits: int, confirmation_bits: int | None = None) -> KeyLength:
    """Accept a block or abort it: the key has the agreed length, or there is none.

    Both parties call this with the same numbers. The leak is charged at its agreed maximum, whatever it was.

    Raises:
        Aborted: With the numbers.
        InputError: The counts are not those of the block that was agreed on.
    """
    _check_same_block(agreement, counts, confirmation_bits)
    if counts.key_total == 0 or counts.test_total == 0:
        screen(agreement, counts)
    if leak_bits > agreement.leak_bits_max:
        if counts.qber_test > agreement.qber_max:
            raise Aborted("qber-too-high", _qber_message(agreement, counts))
        raise Aborted(
            "leak-above-agreed",
            f"reconciliation leaked {leak_bits} bits, at most {agreement.leak_bits_max} were agreed",
            hint="agree on a higher efficiency f, or look why there are more errors than expected",
        )
    found = secret_length(
        counts,
        agreement.protocol,
        agreement.epsilons,
        leak_bits=agreement.leak_bits_max,
        confirmation_bits=agreement.confirmation_bits,
        proof=agreement.proof,
        two_way=True,
    )
    variable = found.statement == "variable-length"
    if found.bits > 0 and (variable or found.bits >= agreement.length_bits > 0):
        return found if variable else found.shortened(agreement.length_bits)
    raise _refusal(agreement, counts, found)


def _refusal(agreement: Agreement, counts: Counts, found: KeyLength) -> Aborted:
    """Return the abort that names the first cause."""
    if counts.qber_test > agreement.qber_max:
        return Aborted("qber-too-high", _qber_message(agreement, counts), hint="look for an eavesdropper or a fault")
    if found.bits == 0:
        return Aborted("no-secret-key", found.reason)
    if agreement.length_bits == 0:
        return Aborted("no-secret-key", f"no length was agreed before the block: {agreement.reason}")
    return Aborted(
        "below-agreed-length",
        f"the counts allow {found.bits} secret bits, {agreement.length_bits} were agreed before the block",
        hint="if this repeats, the link is worse than its model: agree on less, or on longer blocks",
    )


def _check_same_block(agreement: Agreement, counts: Counts, confirmation_bits: int | None) -> None:
    if counts.n_slots != agreement.n_slots:
        raise InputError(
            f"the agreement is for a block of {agreement.n_slots} slots, the counts are of {counts.n_slots}",
            hint="agree on a length for blocks of this size before the light is sent",
        )
    if confirmation_bits is not None and confirmation_bits > agreement.confirmation_bits:
        raise InputError(
            f"a tag of {confirmation_bits} bits was told to the world, {agreement.confirmation_bits} were agreed"
        )


def _qber_message(agreement: Agreement, counts: Counts) -> str:
    what = f"errors in {counts.test_total} test bits"
    if counts.moments is not None:
        what = f"wrong signs in {counts.test_total} values that were told"
    return f"{100 * counts.qber_test:.2f} % {what}, at most {100 * agreement.qber_max:.2f} % were expected"


def _floats(expected: Expected, qber: float | None) -> _Tally:
    """Return the expected counts, with key-basis errors from `qber` where it is given."""
    n_key = tuple(float(n) for n in expected.n_key)
    if qber is not None:
        if not 0 <= qber <= 1:
            raise InputError(f"{qber} is no error rate")
        m_key = _spread_errors(expected, n_key, qber)
    elif expected.m_key is not None:
        m_key = tuple(float(m) for m in expected.m_key)
    else:
        raise InputError("the errors expected in the key basis are not known", hint="give `qber`, or counts with m_key")
    n_test, m_test = (tuple(map(float, row)) for row in (expected.n_test, expected.m_test))
    return _Tally(n_key, n_test, m_test, m_key, expected.moments, expected.paired)


def _spread_errors(expected: Expected, n_key: tuple[float, ...], qber: float) -> tuple[float, ...]:
    """Return key-basis errors that add up to `qber`, spread over the intensities as they are in the test basis."""
    rates = [m / n if n else 0.0 for m, n in zip(expected.m_test, expected.n_test, strict=True)]
    weight = sum(r * n for r, n in zip(rates, n_key, strict=True))
    if weight <= 0:
        return tuple(qber * n for n in n_key)
    factor = qber * sum(n_key) / weight
    return tuple(min(factor * r * n, n) for r, n in zip(rates, n_key, strict=True))


def _leak_max(tally: _Tally, efficiency: float, sigmas: float) -> int:
    """Return f n h(q) for as many bits and errors as `sigmas` of bad luck bring, and as reconciliation plans for."""
    n, m = sum(tally.n_key), sum(tally.m_key)
    n_upper = n + sigmas * math.sqrt(n)
    return math.ceil(efficiency * n_upper * error_entropy(max(_upper_rate(m, n, sigmas), QBER_MIN)))


def _upper_rate(m: float, n: float, sigmas: float) -> float:
    """Return the Wilson score bound on a rate of m in n: it stays honest where m is a handful or none.

    Wilson, J. Am. Stat. Assoc. 22, 209 (1927).
    """
    if n <= 0:
        return 0.5
    rate, z2 = m / n, sigmas * sigmas
    middle = rate + z2 / (2 * n)
    width = sigmas * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return min((middle + width) / (1 + z2 / n), 0.5)


def _spread(tally: _Tally, length: Callable[[_Tally], float]) -> float:
    """Return the standard deviation of `length` when each count, right and wrong bits apart, is Poisson."""
    middle = length(tally)
    squares: list[float] = []
    if tally.moments is not None:
        for pair in moved(tally.moments, sum(tally.n_test)):
            squares.append(max((middle - length(replace(tally, moments=one))) ** 2 for one in pair))
    for basis, errors in (("n_key", "m_key"), ("n_test", "m_test")):
        for i in range(len(tally.n_key)):
            n, m = getattr(tally, basis)[i], getattr(tally, errors)[i]
            right, wrong = math.sqrt(max(n - m, 1.0)), math.sqrt(max(m, 1.0))
            moves = [
                [_moved(tally, basis, errors, i, s * right, 0.0) for s in (1.0, -1.0)],
                [_moved(tally, basis, errors, i, s * wrong, s * wrong) for s in (1.0, -1.0)],
            ]
            squares.extend(max((middle - length(t)) ** 2 for t in pair) for pair in moves)
    return math.sqrt(math.fsum(squares))


def _moved(tally: _Tally, basis: str, errors: str, index: int, more: float, more_wrong: float) -> _Tally:
    """Return the tally with so many more bits and errors at one intensity, never below zero."""
    n, m = list(getattr(tally, basis)), list(getattr(tally, errors))
    m[index] = max(m[index] + more_wrong, 0.0)
    n[index] = max(n[index] + more, m[index])
    fields = {name: getattr(tally, name) for name in ("n_key", "n_test", "m_test", "m_key")}
    return _Tally(**{**fields, basis: tuple(n), errors: tuple(m)}, moments=tally.moments, paired=tally.paired)


def refusal_probability(sigmas: float) -> float:
    """Return how often an honest block is refused by chance, at most.

    Too short, too much leak (too many bits, or too many errors), or too many errors in the test basis.
    """
    return min(4.0 * 0.5 * math.erfc(sigmas / math.sqrt(2.0)), 1.0)
