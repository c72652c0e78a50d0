"""What both ends know of a block once it is sifted: how many bits there are of which kind, and how many are wrong.

In: two parties' sieves, or a model.  Out: `Counts`, from which the proofs draw the key's length. All of it is public.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paired:
    """What became of bits that were paired before they were compared (`distill.pairing`): numbers known to all.

    Args:
        raw: Bits before.
        pairs: How many pairs Bob made, of one zero and one one each: as many as he could.
    """

    raw: float
    pairs: float

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.pairs <= self.raw:
            raise ValueError("there cannot be more pairs than half of the bits")


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over the values of quadratures that were told: Alice's amplitude x and Bob's value y, in shot noises."""

    xx: float
    xy: float
    yy: float

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.xx + other.xx, self.xy + other.xy, self.yy + other.yy)


@dataclass(frozen=True, slots=True)
class Counts:
    """What both parties know of a block after sifting: one number per intensity, brightest first.

    Where both send, one per pair of intensities: Alice's index times the number of Bob's, and his index.

    Args:
        n_slots: Pulses sent in the block.
        n_key: Detections where both chose the key basis.
        n_test: Detections where both chose the test basis.
        m_test: Errors among `n_test`.
        m_key: Errors among `n_key`; known only after reconciliation, None before.
        moments: Of continuous variables: over the `n_test` values that were told. There, an error is a wrong sign.
        paired: Where bits were paired before: then `n_key` are the pairs that were kept.
    """

    n_slots: int
    n_key: tuple[int, ...]
    n_test: tuple[int, ...]
    m_test: tuple[int, ...]
    m_key: tuple[int, ...] | None = None
    moments: Moments | None = None
    paired: Paired | None = None

    def __post_init__(self) -> None:
        if not len(self.n_key) == len(self.n_test) == len(self.m_test):
            raise ValueError("counts need one number for each intensity")
        if any(m > n or m < 0 for n, m in zip(self.n_test, self.m_test, strict=True)):
            raise ValueError("there cannot be more errors than detections in the test basis")
        if self.m_key is not None and any(m > n or m < 0 for n, m in zip(self.n_key, self.m_key, strict=True)):
            raise ValueError("there cannot be more errors than detections in the key basis")
        if self.paired is not None and sum(self.n_key) > self.paired.pairs:
            raise ValueError("there cannot be more pairs kept than made")

    @property
    def key_total(self) -> int:
        return sum(self.n_key)

    @property
    def test_total(self) -> int:
        return sum(self.n_test)

    @property
    def qber_test(self) -> float:
        """Error rate in the test basis, 0 when nothing was detected."""
        return sum(self.m_test) / self.test_total if self.test_total else 0.0

    @property
    def qber_key(self) -> float | None:
        """Error rate in the key basis, None while it is not known."""
        if self.m_key is None:
            return None
        return sum(self.m_key) / self.key_total if self.key_total else 0.0

    def __add__(self, other: Counts) -> Counts:
        def add(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(x + y for x, y in zip(a, b, strict=True))

        m_key = None if self.m_key is None or other.m_key is None else add(self.m_key, other.m_key)
        paired = None
        if self.paired is not None and other.paired is not None:
            paired = Paired(self.paired.raw + other.paired.raw, self.paired.pairs + other.paired.pairs)
        return Counts(
            self.n_slots + other.n_slots,
            add(self.n_key, other.n_key),
            add(self.n_test, other.n_test),
            add(self.m_test, other.m_test),
            m_key,
            None if self.moments is None or other.moments is None else self.moments + other.moments,
            paired,
        )
