"""Blocks that an honest link would count, for one and for two decoys."""

from collections.abc import Callable

import pytest

from noclone.counts import Counts
from noclone.proofs.epsilon import Epsilons
from noclone.proofs.models import DecoyChannel, ExpectedTally
from noclone.records import DecoyBB84

ONE = DecoyBB84((0.51, 0.15), (0.7, 0.3), 0.9, 0.9)
TWO = DecoyBB84((0.5, 0.1, 2e-4), (0.7, 0.2, 0.1), 0.9, 0.9)


@pytest.fixture(scope="session")
def epsilons() -> Epsilons:
    return Epsilons(1e-9, 1e-15)


@pytest.fixture(scope="session")
def protocols() -> dict[str, DecoyBB84]:
    """The settings that each proof is tried with."""
    return {
        "lim2014": TWO,
        "rusca2018": ONE,
        "wiesemann2024": ONE,
        "wiesemann2024/two": TWO,
        "tupkary2024": TWO,
    }


def expected_block(
    protocol: DecoyBB84, key_total: float, misalignment: float = 0.01, transmittance: float = 0.01
) -> ExpectedTally:
    """Return the counts that an honest link leads us to expect."""
    link = DecoyChannel(transmittance, 1e-7, misalignment)
    return link.tally(protocol, 10**12).scaled_to(key_total)


def whole(tally: ExpectedTally) -> Counts:
    """Round expected counts to whole ones."""

    def ints(values: tuple[float, ...]) -> tuple[int, ...]:
        return tuple(round(v) for v in values)

    return Counts(tally.n_slots, ints(tally.n_key), ints(tally.n_test), ints(tally.m_test), ints(tally.m_key))


@pytest.fixture(scope="session")
def expected() -> Callable[..., ExpectedTally]:
    return expected_block


@pytest.fixture(scope="session")
def block() -> Callable[..., Counts]:
    return lambda *args, **kwargs: whole(expected_block(*args, **kwargs))
