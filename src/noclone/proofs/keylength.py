"""How long the secret key of a block may be, by published proofs.

In: the counts of a block after sifting, what was told to the world, the failure probabilities.
Out: `KeyLength`, which says how many bits, by which kind of statement, on which assumptions, or why none.

    lim2014        two decoys   Lim, Curty, Walenta, Xu, Zbinden, Phys. Rev. A 89, 022307 (2014)
    rusca2018      one decoy    Rusca, Boaron, Grünenfelder, Martin, Zbinden, Appl. Phys. Lett. 112, 171104 (2018)
    wiesemann2024  one or two   Wiesemann, Krause, Tupkary, Lütkenhaus, Rusca, Walenta, Quantum 10, 2037 (2026)
    tupkary2024    two decoys   Tupkary, Nahar, Sinha, Lütkenhaus, Quantum 9, 1937 (2025); variable length
    tomamichel2012  pairs       Tomamichel, Lim, Gisin, Renner, Nat. Commun. 3, 634 (2012), for BBM92
    curty2014      MDI          Curty, Xu, Cui, Lim, Tamaki, Lo, Nat. Commun. 5, 3732 (2014)
    cal2019        twin-field   Curty, Azuma, Lo, npj Quantum Inf. 5, 64 (2019); finite statistics of our own
    jiang2019      SNS          Jiang, Yu, Hu, Wang, Phys. Rev. Applied 12, 024061 (2019); with pairs, and these our own
    pirandola2023  cv           Pirandola, Papanastasiou, arXiv:2301.10270; collective Gaussian attacks only

All but tupkary2024 are fixed-length statements: see `agreement`. Plain float arithmetic in one fixed order, floored
last, so that both parties compute the same number from the same counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from noclone.counts import Counts
from noclone.errors import InputError
from noclone.proofs.decoy_bounds import Tally
from noclone.proofs.entangled import TOMAMICHEL2012
from noclone.proofs.entropy import error_entropy
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.gaussian_key import PIRANDOLA2023
from noclone.proofs.mdi import CURTY2014
from noclone.proofs.proof import Evaluation, Proof, Term
from noclone.proofs.published import DECOY_BB84
from noclone.proofs.sns import JIANG2019
from noclone.proofs.twin_field import CAL2019
from noclone.protocols import LinkProtocol
from noclone.records import DecoyBB84
from noclone.spelling import choices

__all__ = ["DEFAULT_PROOF", "PROOFS", "KeyLength", "Term", "choose_proof", "expected_length", "secret_length"]

DEFAULT_PROOF = "wiesemann2024"
OTHERS = (TOMAMICHEL2012, CURTY2014, CAL2019, JIANG2019, PIRANDOLA2023)  # one for each protocol
PROOFS: dict[str, Proof] = {proof.name: proof for proof in (*DECOY_BB84, *OTHERS)}
DEFAULT_PROOFS = {DecoyBB84.NAME: DEFAULT_PROOF, **{proof.protocol: proof.name for proof in OTHERS}}


@dataclass(frozen=True, slots=True)
class KeyLength:
    """How many secret bits a block gives, and what that number stands on.

    Args:
        bits: The length; never negative.
        proof: Name in `PROOFS`.
        statement: Fixed-length: valid only if this length, or a smaller one that is used, was agreed before the block.
        vacuum: Lower bound s0 on key-basis detections from empty pulses.
        single: Lower bound s1 on key-basis detections from single photons.
        phase_error: Upper bound on the phase error rate of the latter, at most one half.
        leak_bits: Charged for reconciliation.
        confirmation_bits: Charged for confirmation, never less than the tag that was told to the world.
        epsilons: Failure probabilities that the length is stated for.
        assumptions: What must be true of devices and protocol.
        reason: Empty when there is key, else a sentence that says why not.
        terms: The funnel, first the sifted bits, then what each step took; they add up to `bits` before flooring.
    """

    bits: int
    proof: str
    statement: Literal["fixed-length", "variable-length"]
    vacuum: float
    single: float
    phase_error: float
    leak_bits: int
    confirmation_bits: int
    epsilons: Epsilons
    assumptions: tuple[str, ...]
    reason: str
    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        assert self.bits >= 0
        assert (self.bits > 0) == (self.reason == "")

    def shortened(self, bits: int) -> KeyLength:
        """Return the same with `bits`, the agreed length, in place of what the counts would have allowed."""
        assert 0 < bits <= self.bits
        rest = bits - math.fsum(t.bits for t in self.terms)
        return replace(self, bits=bits, terms=(*self.terms, Term("kept back: the length was agreed before", rest)))


def secret_length(
    counts: Counts,
    protocol: LinkProtocol,
    epsilons: Epsilons,
    *,
    leak_bits: int,
    confirmation_bits: int | None = None,
    proof: str = DEFAULT_PROOF,
    two_way: bool = False,
) -> KeyLength:
    """Return how long the secret key of a block may be.

    Args:
        counts: What both parties know after sifting; one-decoy proofs need `m_key` as well.
        leak_bits: Everything that reconciliation told the world.
        confirmation_bits: Length of the confirmation tag told to the world; None charges what the proof says.
        two_way: Reconciliation told where the errors are, as Cascade does; see `without_vacuum`.

    Raises:
        InputError: The proof does not exist, or does not fit the number of intensities, the counts or the tag.
    """
    chosen = choose_proof(proof, protocol)
    classes = protocol.levels * protocol.peer_levels
    if len(counts.n_key) != classes:
        raise InputError(f"the counts are for {len(counts.n_key)} intensities, the protocol has {classes}")
    if leak_bits < 0:
        raise InputError(f"the leak of reconciliation cannot be negative (given: {leak_bits})")
    if chosen.needs_key_errors(protocol) and counts.m_key is None:
        raise InputError(
            f"{proof} needs the errors in the key basis for each intensity",
            hint="they are known after reconciliation; give them as m_key",
        )
    tag_bits = correctness_bits(epsilons, confirmation_bits)
    evaluation = chosen.evaluate(counts, protocol, epsilons)
    if two_way:
        evaluation = without_vacuum(evaluation)
    terms = funnel(counts, evaluation, leak_bits, tag_bits)
    length = math.floor(math.fsum(t.bits for t in terms))
    reason = "" if length > 0 else why_zero(counts, evaluation, terms)
    return KeyLength(
        bits=0 if reason else length,
        proof=proof,
        statement=chosen.statement,
        vacuum=evaluation.vacuum,
        single=evaluation.single,
        phase_error=evaluation.phase_error,
        leak_bits=leak_bits,
        confirmation_bits=math.ceil(tag_bits),
        epsilons=epsilons,
        assumptions=(*chosen.assumptions_for(protocol), *((_TWO_WAY,) if two_way and not chosen.one_way else ())),
        reason=reason,
        terms=terms,
    )


_TWO_WAY = (
    "Reconciliation goes both ways and tells where the errors are; each of Alice's parities is counted once, which is "
    "right for single photons, and pulses without a photon earn nothing."
)


def without_vacuum(evaluation: Evaluation) -> Evaluation:
    """Return the evaluation with nothing earned by pulses without a photon.

    Where nobody's photon was detected, Eve may have chosen Bob's bit; once the places of the errors are public, she
    knows Alice's bit as well (docs/decisions/011).
    """
    return replace(evaluation, vacuum_counted=0.0)


def expected_length(
    tally: Tally,
    protocol: LinkProtocol,
    epsilons: Epsilons,
    *,
    leak_bits: float,
    confirmation_bits: int | None = None,
    proof: str = DEFAULT_PROOF,
    two_way: bool = False,
) -> float:
    """Return the length for counts that a model expects: not floored, and below zero where there is no key.

    For plans, figures and agreements, which need to know by how much a block misses; never for a key.
    """
    evaluation = choose_proof(proof, protocol).evaluate(tally, protocol, epsilons)
    if two_way:
        evaluation = without_vacuum(evaluation)
    tag_bits = correctness_bits(epsilons, confirmation_bits)
    return math.fsum(t.bits for t in funnel(tally, evaluation, leak_bits, tag_bits))


def choose_proof(name: str, protocol: LinkProtocol) -> Proof:
    """Return the proof of that name, or say which to use instead."""
    if name not in PROOFS:
        raise InputError(f"there is no proof called '{name}'", hint=choices(name, sorted(PROOFS)))
    proof = PROOFS[name]
    fitting = [p.name for p in PROOFS.values() if p.protocol == protocol.NAME]
    if proof.protocol != protocol.NAME:
        raise InputError(
            f"{name} is a proof for {proof.protocol}, and not for {protocol.NAME}", hint=f"use {' or '.join(fitting)}"
        )
    if protocol.levels not in proof.intensities:
        fitting = [p for p in fitting if protocol.levels in PROOFS[p].intensities]
        wanted = " or ".join(str(n) for n in proof.intensities)
        raise InputError(
            f"{name} is a proof for {wanted} intensities, but {protocol.levels} are sent",
            hint=f"use {' or '.join(fitting)}" if fitting else "send two or three intensities",
        )
    if isinstance(protocol, DecoyBB84):
        _check_decoys(name, protocol)
    return proof


def _check_decoys(name: str, protocol: DecoyBB84) -> None:
    """Refuse intensities that the proofs' bounds do not hold for."""
    count = protocol.levels
    if count == 3 and protocol.intensities[0] <= protocol.intensities[1] + protocol.intensities[2]:
        raise InputError(
            f"{name} needs a brightest intensity above the sum of the other two (Lim et al. 2014, Sec. II)",
            hint="raise the brightest or lower the decoys",
        )
    if count == 2 and protocol.intensities[1] <= 0:
        raise InputError(
            f"{name} needs a decoy that is not vacuum: with one decoy both intensities must be above zero",
            hint="give the decoy a mean photon number, or send three intensities",
        )


def correctness_bits(epsilons: Epsilons, confirmation_bits: int | None) -> float:
    """Return what confirmation costs: log2(2/eps_cor) by every proof here, and never less than the tag disclosed."""
    by_proof = 1.0 - math.log2(epsilons.correctness)
    if confirmation_bits is None:
        return by_proof
    if confirmation_bits < -math.log2(epsilons.correctness):
        raise InputError(
            f"a confirmation tag of {confirmation_bits} bits cannot keep errors below {epsilons.correctness:g}",
            hint=f"use at least {math.ceil(-math.log2(epsilons.correctness))} bits",
        )
    return max(float(confirmation_bits), by_proof)


def funnel(tally: Tally, evaluation: Evaluation, leak_bits: float, tag_bits: float) -> tuple[Term, ...]:
    """Return the way from sifted bits to secret ones, step by step."""
    told = (
        Term("told to the world by reconciliation", -float(leak_bits)),
        Term("told to the world by confirmation", -tag_bits),
        Term("price of the stated secrecy", -evaluation.overhead),
    )
    if evaluation.steps:
        return (*evaluation.steps, *told)
    sifted = float(sum(tally.n_key))
    counted = evaluation.vacuum_counted + evaluation.single
    return (
        Term("sifted bits in the key basis", sifted),
        Term("pulses of several photons, and what the decoy bounds cannot vouch for", counted - sifted),
        Term(
            "phase errors: what Eve may know of single photons",
            -evaluation.single * error_entropy(evaluation.phase_error),
        ),
        *told,
    )


def no_bits_left(terms: tuple[Term, ...]) -> str:
    """Return the sentence that says where they went."""
    *before, told, tag, price = (term.bits for term in terms)
    return (
        f"{math.fsum(before):.0f} bits were secret before reconciliation, which may tell the world {-told:.0f}; "
        f"confirmation and the stated secrecy cost {-tag - price:.0f}"
    )


def why_zero(tally: Tally, evaluation: Evaluation, terms: tuple[Term, ...]) -> str:
    """Return the sentence that explains a length of zero."""
    if sum(tally.n_key) == 0 or sum(tally.n_test) == 0:
        empty = "key" if sum(tally.n_key) == 0 else "test"
        return f"nothing was detected in the {empty} basis"
    if evaluation.steps:
        return evaluation.reason or no_bits_left(terms)
    sifted, tested = sum(tally.n_key), sum(tally.n_test)
    if evaluation.single <= 0 or evaluation.single_test <= 0:
        empty = "key" if evaluation.single <= 0 else "test"
        return (
            f"the block is too small or too noisy: no detection in the {empty} basis "
            f"can be vouched to come from a single photon ({sifted:.0f} sifted, {tested:.0f} tested)"
        )
    qber = sum(tally.m_test) / tested
    if evaluation.phase_error >= 0.5:
        return f"with {100 * qber:.2f} % errors in {tested:.0f} test bits, Eve may know every bit"
    before = math.fsum(t.bits for t in terms[:3])
    if before <= -terms[3].bits:
        return (
            f"reconciliation told the world {-terms[3].bits:.0f} bits, "
            f"and only {max(before, 0):.0f} were secret before it "
            f"(test-basis errors {100 * qber:.2f} %, phase errors at most {100 * evaluation.phase_error:.2f} %)"
        )
    return (
        f"the block is too small: {before + terms[3].bits:.0f} bits are left after reconciliation, "
        f"confirmation and the stated secrecy cost {-terms[4].bits - terms[5].bits:.0f}"
    )
