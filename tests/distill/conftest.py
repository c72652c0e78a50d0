"""A small block that gives key in a few milliseconds, and what breaks it."""

import pytest

from noclone.distill.chain_bench import ModelBlock, model_block, pools
from noclone.proofs.epsilon import Epsilons
from noclone.records import DecoyBB84

SMALL = DecoyBB84(intensities=(0.5, 0.1), probabilities=(0.6, 0.4), p_key_alice=0.7, p_key_bob=0.7)
LOOSE = Epsilons(secrecy=1e-6, correctness=1e-9)  # a small block gives no key at serious ones


@pytest.fixture(scope="session")
def case() -> ModelBlock:
    """One block of 200,000 detections at 0.5 % errors."""
    return small_block()


def small_block(**changes) -> ModelBlock:
    return model_block(**{"n_detections": 200_000, "protocol": SMALL, "epsilons": LOOSE, "qber": 0.005, **changes})


@pytest.fixture
def make_block():
    """Make blocks like `case`, with changes."""
    return small_block


@pytest.fixture
def make_pools():
    """Make two pools that share a secret: always the same one, so that ends made apart still fit."""
    return lambda secret=b"\x5a" * 4096: pools(secret)


@pytest.fixture
def blocks(make_block):
    """Make so many blocks, numbered from 0, with changes."""
    return lambda n, **changes: [make_block(block=block, seed=block, **changes) for block in range(n)]
