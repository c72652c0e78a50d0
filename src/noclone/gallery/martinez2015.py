"""Cascade's leak: Martinez-Mateo et al., Quantum Inf. Comput. 15, 453 (2015), Table 3: f from 1.04 to 1.06.

Ours is another Cascade, of frames of 2^16 bits: every parity that it tells is counted, on random keys with independent
errors, and divided by n h(errors / n) with the errors that were drawn.
"""

from __future__ import annotations

from noclone.gallery.result import Result, Row, share

TABLE = {0.01: 1.04219, 0.02: 1.04006, 0.03: 1.03902, 0.05: 1.04313, 0.08: 1.05465}  # error rate: f
N_BITS = 1 << 20


def efficiency(error_rate: float) -> float:
    """Return the leak over Shannon's limit of one run with a fixed seed; both keys must be equal after it."""
    import numpy as np

    from noclone.distill.cascade_bench import Case, reconcile

    case = Case(np.random.default_rng(round(1e6 * error_rate)), N_BITS, error_rate)
    alice, bob = case.parties()
    reconcile(alice, bob)
    if not np.array_equal(bob.words, case.alice):
        return float("nan")  # outside every tolerance
    return alice.leak_bits / case.ideal_bits


def rows() -> tuple[Row, ...]:
    """Compute the rows."""
    return tuple(share(f"f at {100 * e:.0f} % errors", efficiency(e), f, 0.01) for e, f in TABLE.items())


RESULT = Result(
    "martinez2015",
    "How much Cascade tells",
    "Martinez-Mateo, Pacher, Peev, Ciurana, Martin, Quantum Inf. Comput. 15, 453 (2015), Table 3",
    "secondary",
    "qkd 0.2.0 on PyPI, reconcile.CASCADE_TABLE",
    "values",
    0,
    "Their frames have 2^14 bits, ours 2^16; one run of 2^20 bits at each error rate.",
    rows,
    slow=True,
)
