"""Failure probabilities are probabilities."""

import math

import pytest

from noclone.proofs.epsilon import Epsilons


@pytest.mark.parametrize("bad", [0.0, 1.0, -1e-9, math.nan, math.inf])
def test_only_probabilities(bad: float) -> None:
    with pytest.raises(ValueError, match="secrecy"):
        Epsilons(bad, 1e-15)
    with pytest.raises(ValueError, match="correctness"):
        Epsilons(1e-9, bad)


def test_total() -> None:
    assert Epsilons(1e-9, 1e-10).total == pytest.approx(1.1e-9, rel=1e-15)
