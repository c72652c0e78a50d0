"""Heralded links against photons counted one by one, the papers' limits, and Humphreys' measured rates."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from noclone.errors import InputError
from noclone.repeater.links import Emitters, Link, one_click, two_clicks
from noclone.repeater.pairs import BellPair

A, B = np.kron([[0, 1], [0, 0]], np.eye(2)), np.kron(np.eye(2), [[0, 1], [0, 0]])  # two modes, one photon each at most


def fock(levels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Annihilation of two modes with up to two photons each."""
    lower = np.diag(np.sqrt(np.arange(1, levels)), 1)
    return np.kron(lower, np.eye(levels)), np.kron(np.eye(levels), lower)


def click_operators(dark: float) -> list[np.ndarray]:
    """ "Exactly this one of two threshold detectors clicks", on two modes with up to two photons each."""
    silent = np.diag([1 - dark, 0, 0])
    loud = np.eye(3) - silent
    return [np.kron(loud, silent), np.kron(silent, loud)]


def splitter() -> np.ndarray:
    """A balanced beam splitter on the two modes, as exp(-i pi/4 (a^ b + b^ a))."""
    a, b = fock()
    values, vectors = np.linalg.eigh(a.conj().T @ b + b.conj().T @ a)
    return (vectors * np.exp(-1j * np.pi / 4 * values)) @ vectors.conj().T


def lossy(rho: np.ndarray, eta: tuple[float, float], levels: int = 3) -> np.ndarray:
    """Lose photons of the two modes, which are the last of memory 2 x memory 2 x mode x mode."""
    for mode in range(2):
        out = np.zeros_like(rho)
        lower = np.diag(np.sqrt(np.arange(1, levels)), 1)
        for lost in range(levels):
            damp = np.diag(np.sqrt(eta[mode]) ** np.arange(levels))
            kraus = math.sqrt((1 - eta[mode]) ** lost / math.factorial(lost))
            operator = kraus * damp @ np.linalg.matrix_power(lower, lost)
            whole = np.kron(operator, np.eye(levels)) if mode == 0 else np.kron(np.eye(levels), operator)
            whole = np.kron(np.eye(4), whole)
            out += whole @ rho @ whole.conj().T
        rho = out
    return rho


def one_round(memories: np.ndarray, eta: tuple[float, float], dark: float, emits: int) -> list[np.ndarray]:
    """Memories (unnormalised) after a round in which state `emits` sends a photon and one detector clicked."""
    basis = {0: np.array([1, 0, 0]), 1: np.array([0, 1, 0])}
    send = np.zeros((4 * 9, 4))
    for m, n in itertools.product((0, 1), repeat=2):
        light = np.kron(basis[int(m == emits)], basis[int(n == emits)])
        send[:, 2 * m + n] = np.kron(np.eye(4)[2 * m + n], light)
    rho = lossy(send @ memories @ send.T, eta)
    mix = np.kron(np.eye(4), splitter())
    rho = mix @ rho @ mix.conj().T
    found = []
    for seen in click_operators(dark):
        whole = (np.kron(np.eye(4), seen) @ rho).reshape(4, 9, 4, 9)
        found.append(np.trace(whole, axis1=1, axis2=3))
    return found


def corrected(parts: list[np.ndarray]) -> tuple[float, BellPair]:
    """Success and pair, the phase of each pattern of clicks corrected, turned from Psi to Phi."""
    different = sum(float(np.real(rho[1, 1] + rho[2, 2])) for rho in parts)
    alike = sum(float(np.real(rho[0, 0] + rho[3, 3])) for rho in parts)
    coherence = sum(2 * abs(rho[1, 2]) for rho in parts)
    total = different + alike
    return total, BellPair(coherence / total, coherence / total, (different - alike) / total)


@pytest.mark.parametrize("dark", [0.0, 0.01])
@pytest.mark.parametrize("skew", [0.5, 0.2])
@pytest.mark.parametrize("bright", [0.05, 0.3])
def test_one_click_is_what_photons_on_a_beam_splitter_do(bright: float, skew: float, dark: float) -> None:
    emitters = Emitters(0.8, detector=0.7, dark=dark, skew=skew)
    state = np.array([math.sqrt(1 - bright), math.sqrt(bright)])
    pure = np.kron(state, state)
    success, pair = corrected(one_round(np.outer(pure, pure), emitters.arms(20.0), dark, emits=1))
    link = one_click(20.0, emitters, bright)
    assert link.success == pytest.approx(success, rel=1e-9)
    assert (link.pair.x, link.pair.y, link.pair.z) == pytest.approx((pair.x, pair.y, pair.z), rel=1e-9)


@pytest.mark.parametrize("dark", [0.0, 0.02])
@pytest.mark.parametrize("skew", [0.5, 0.1])
def test_two_clicks_are_two_rounds_of_it(skew: float, dark: float) -> None:
    emitters = Emitters(0.9, detector=0.8, dark=dark, skew=skew)
    pure = np.full(4, 0.5)
    first = one_round(np.outer(pure, pure), emitters.arms(10.0), dark, emits=1)
    second = [rho for half in first for rho in one_round(half, emitters.arms(10.0), dark, emits=0)]
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
