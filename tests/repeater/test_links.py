"""Heralded links against photons counted one by one, the papers' limits, and Humphreys' measured rates."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from noclone.errors import InputError
from noclone.repeater.links import Emitters, Link, one_click, two_clicks
from noclone.repeater.pairs import BellPair

LEVELS = 3  # up to two photons in a mode
LOWER = np.diag(np.sqrt(np.arange(1, LEVELS)), 1)
MODES = 4  # two arms, and in each the mode of the first node's photons and another


def on_mode(operator: np.ndarray, mode: int) -> np.ndarray:
    """An operator of one mode, on all modes."""
    return np.kron(np.eye(LEVELS**mode), np.kron(operator, np.eye(LEVELS ** (MODES - mode - 1))))


def on_light(operator: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """An operator of all modes on both sides of memories x modes x memories x modes."""
    return np.einsum("ij,ajbk,lk->aibl", operator, rho, operator.conj(), optimize=True)


def splitter() -> np.ndarray:
    """A balanced beam splitter between the arms, for both modes alike: exp(-i pi/4 (a^ b + b^ a))."""
    whole = np.eye(LEVELS**MODES)
    for a, b in ((0, 2), (1, 3)):
        lower_a, lower_b = on_mode(LOWER, a), on_mode(LOWER, b)
        values, vectors = np.linalg.eigh(lower_a.T @ lower_b + lower_b.T @ lower_a)
        whole = (vectors * np.exp(-1j * np.pi / 4 * values)) @ vectors.T @ whole
    return whole


MIX = splitter()


def lossy(rho: np.ndarray, eta: tuple[float, float]) -> np.ndarray:
    """Lose photons of the two arms."""
    for mode in range(MODES):
        share = eta[mode // 2]
        parts = rho.reshape([4, *[LEVELS] * MODES, 4, *[LEVELS] * MODES])
        out = np.zeros_like(parts)
        for lost in range(LEVELS):
            kraus = math.sqrt((1 - share) ** lost / math.factorial(lost))
            operator = kraus * np.diag(np.sqrt(share) ** np.arange(LEVELS)) @ np.linalg.matrix_power(LOWER, lost)
            left = np.moveaxis(np.tensordot(operator, parts, (1, 1 + mode)), 0, 1 + mode)
            out += np.moveaxis(np.tensordot(operator, left, (1, 2 + MODES + mode)), 0, 2 + MODES + mode)
        rho = out.reshape(rho.shape)
    return rho


def one_round(
    memories: np.ndarray, eta: tuple[float, float], dark: float, emits: int, visibility: float
) -> list[np.ndarray]:
    """Memories (unnormalised) after a round in which state `emits` sends a photon and one detector clicked.

    The second node's photon overlaps the first's by `visibility`.
    """
    vacuum = np.zeros(LEVELS**MODES)
    vacuum[0] = 1
    first, second = on_mode(LOWER.T, 0), math.sqrt(visibility) * on_mode(LOWER.T, 2)
    second = second + math.sqrt(1 - visibility) * on_mode(LOWER.T, 3)
    sent = np.zeros((4, LEVELS**MODES))
    for m, n in itertools.product((0, 1), repeat=2):
        light = first @ vacuum if m == emits else vacuum
        sent[2 * m + n] = second @ light if n == emits else light
    rho = on_light(MIX, lossy(np.einsum("ab,ai,bj->aibj", memories, sent, sent), eta))
    quiet = np.diag([1.0, 0.0, 0.0])
    silent = [(1 - dark) * on_mode(quiet, arm) @ on_mode(quiet, arm + 1) for arm in (0, 2)]
    seen = [(np.eye(LEVELS**MODES) - silent[loud]) @ silent[still] for loud, still in ((0, 1), (1, 0))]
    return [np.einsum("ij,ajbi->ab", operator, rho) for operator in seen]


def corrected(parts: list[np.ndarray]) -> tuple[float, BellPair]:
    """Success and pair, the phase of each pattern of clicks corrected, turned from Psi to Phi."""
    different = sum(float(np.real(rho[1, 1] + rho[2, 2])) for rho in parts)
    alike = sum(float(np.real(rho[0, 0] + rho[3, 3])) for rho in parts)
    coherence = sum(2 * abs(rho[1, 2]) for rho in parts)
    total = different + alike
    return total, BellPair(coherence / total, coherence / total, (different - alike) / total)


@pytest.mark.parametrize(("dark", "visibility"), [(0.0, 1.0), (0.01, 0.7)])
@pytest.mark.parametrize("skew", [0.5, 0.2])
@pytest.mark.parametrize("bright", [0.05, 0.3])
def test_one_click_is_what_photons_on_a_beam_splitter_do(
    bright: float, skew: float, dark: float, visibility: float
) -> None:
    emitters = Emitters(0.8, detector=0.7, dark=dark, visibility=visibility, skew=skew)
    state = np.array([math.sqrt(1 - bright), math.sqrt(bright)])
    pure = np.kron(state, state)
    success, pair = corrected(one_round(np.outer(pure, pure), emitters.arms(20.0), dark, 1, visibility))
    link = one_click(20.0, emitters, bright)
    assert link.success == pytest.approx(success, rel=1e-9)
    assert (link.pair.x, link.pair.y, link.pair.z) == pytest.approx((pair.x, pair.y, pair.z), rel=1e-9)


@pytest.mark.parametrize(("dark", "visibility"), [(0.0, 0.8), (0.02, 0.9)])
@pytest.mark.parametrize("skew", [0.5, 0.1])
def test_two_clicks_are_two_rounds_of_it(skew: float, dark: float, visibility: float) -> None:
    emitters = Emitters(0.9, detector=0.8, dark=dark, visibility=visibility, skew=skew)
    pure = np.full(4, 0.5)
    arms = emitters.arms(10.0)
    first = one_round(np.outer(pure, pure), arms, dark, 1, visibility)
    second = [rho for half in first for rho in one_round(half, arms, dark, 0, visibility)]
    success, pair = corrected(second)
    link = two_clicks(10.0, emitters)
    assert link.success == pytest.approx(success, rel=1e-9)
    assert (link.pair.x, link.pair.y, link.pair.z) == pytest.approx((pair.x, pair.y, pair.z), rel=1e-9)


def test_the_limits_that_papers_quote() -> None:
    faint = one_click(0.0, Emitters(1e-4, detector=1.0), 0.1)
    assert faint.pair.fidelity == pytest.approx(0.9, abs=1e-4)  # 1 - alpha
    assert faint.success == pytest.approx(2 * 0.1 * 1e-4, rel=1e-3)  # 2 alpha eta
    pair = two_clicks(50.0, Emitters(0.3, detector=0.5, visibility=0.9))
    arm = 0.3 * 0.5 * 10**-0.5
    assert pair.success == pytest.approx(arm**2 / 2)
    assert pair.pair.fidelity == pytest.approx(0.95)  # (1 + V) / 2


def test_modes_side_by_side_and_the_time_of_an_attempt() -> None:
    emitters = Emitters(0.5, modes=10)
    one, ten = two_clicks(20.0, Emitters(0.5)), two_clicks(20.0, emitters)
    assert ten.success == pytest.approx(1 - (1 - one.success) ** 10)
    assert one.attempt_s == pytest.approx(20 / 204_218, rel=1e-4)  # to the middle and back, at c / 1.468
    assert two_clicks(20.0, Emitters(0.5, skew=0.0)).attempt_s == pytest.approx(2 * one.attempt_s)


def test_impossible_links_are_refused() -> None:
    for wrong in (
        lambda: one_click(10.0, Emitters(0.5), 0.0),
        lambda: two_clicks(2000.0, Emitters(0.5)),
        lambda: Emitters(1.5),
        lambda: Emitters(0.5, modes=0),
        lambda: Link(1.0, 0.5, 0.0, BellPair(1, 1, 1)),
        lambda: Link(math.nan, 0.5, 1.0, BellPair(1, 1, 1)),
    ):
        with pytest.raises(InputError):
            wrong()
