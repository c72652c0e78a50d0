"""Pairs against density matrices: waiting, swapping and purifying, by gates and measurements on 4 x 4 and 16 x 16."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noclone.errors import InputError
from noclone.repeater.pairs import BellPair, Memory, bbpssw, dejmps

I2, X, Y, Z = np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1.0, -1.0])
PHI = np.array([1, 0, 0, 1]) / math.sqrt(2)

weights = st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4).map(lambda w: [x / sum(w) for x in w])


def matrix(pair: BellPair) -> np.ndarray:
    """The density matrix: Phi+ with I, XZ, X or Z on the first qubit, by weight (Phi+, Psi-, Psi+, Phi-)."""
    rho = np.zeros((4, 4), complex)
    for weight, pauli in zip(pair.weights, (I2, X @ Z, X, Z), strict=True):
        state = np.kron(pauli, I2) @ PHI
        rho += weight * np.outer(state, state.conj())
    return rho


def read(rho: np.ndarray) -> tuple[float, float, float]:
    """x, y and z of two qubits."""
    return tuple(float(np.real(np.trace(rho @ s))) for s in (np.kron(X, X), -np.kron(Y, Y), np.kron(Z, Z)))


def on(gate: np.ndarray, place: int, qubits: int) -> np.ndarray:
    """A gate of one qubit among several."""
    return np.kron(np.kron(np.eye(2**place), gate), np.eye(2 ** (qubits - place - 1)))


def cnot(control: int, target: int, qubits: int) -> np.ndarray:
    zero, one = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    return on(zero, control, qubits) + on(one, control, qubits) @ on(X, target, qubits)


def without(rho: np.ndarray, places: tuple[int, ...], qubits: int) -> np.ndarray:
    """The partial trace over some qubits."""
    tensor = rho.reshape([2] * (2 * qubits))
    for done, place in enumerate(sorted(places, reverse=True)):
        left = qubits - done
        tensor = np.trace(tensor, axis1=place, axis2=place + left)
    side = 2 ** (qubits - len(places))
    return tensor.reshape(side, side)


def assert_same(pair: BellPair, rho: np.ndarray) -> None:
    assert read(rho) == pytest.approx((pair.x, pair.y, pair.z), abs=1e-12)
    assert np.real(PHI @ rho @ PHI) == pytest.approx(pair.fidelity, abs=1e-12)


@settings(deadline=None, derandomize=True)
@given(weights)
def test_correlations_and_weights_are_those_of_the_matrix(w: list[float]) -> None:
    pair = BellPair.of_weights(*w)
    assert pair.weights == pytest.approx(w)
    assert_same(pair, matrix(pair))
    agree = np.real(np.trace(matrix(pair) @ (np.eye(4) + np.kron(Z, Z)) / 2))
    assert pair.error_z == pytest.approx(1 - agree)


@settings(deadline=None, derandomize=True)
@given(weights, st.floats(0, 3), st.floats(0, 3))
def test_waiting_is_a_pauli_channel(w: list[float], phase: float, noise: float) -> None:
    pair = BellPair.of_weights(*w)
    rho = matrix(pair)
    p, q = (1 - math.exp(-phase)) / 2, (1 - math.exp(-noise)) * 3 / 4
    rho = (1 - p) * rho + p * on(Z, 1, 2) @ rho @ on(Z, 1, 2)
    rho = (1 - q) * rho + q / 3 * sum(on(s, 1, 2) @ rho @ on(s, 1, 2).conj().T for s in (X, Y, Z))
    assert_same(pair.waited(2.0, Memory(2 / phase if phase else math.inf, 2 / noise if noise else math.inf)), rho)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(weights, weights)
def test_a_swap_is_a_bell_measurement_with_a_correction(first: list[float], second: list[float]) -> None:
    a, b = BellPair.of_weights(*first), BellPair.of_weights(*second)
    rho = np.kron(matrix(a), matrix(b))  # qubits 0, 1, 2, 3: the node holds 1 and 2
    circuit = on((X + Z) / math.sqrt(2), 1, 4) @ cnot(1, 2, 4)
    rho = circuit @ rho @ circuit.conj().T
    total = np.zeros((4, 4), complex)
    for m, n in itertools.product((0, 1), repeat=2):
        seen = on(np.diag([1 - m, m]), 1, 4) @ on(np.diag([1 - n, n]), 2, 4)
        fix = np.linalg.matrix_power(Z, m) @ np.linalg.matrix_power(X, n)
        left = without(seen @ rho @ seen, (1, 2), 4)
        total += on(fix, 1, 2) @ left @ on(fix, 1, 2).conj().T
    assert_same(a.swapped(b), total)


@settings(deadline=None, derandomize=True)
@given(st.floats(0.25, 1), st.floats(0.25, 1))
def test_a_swap_of_werner_pairs_has_its_textbook_fidelity(f: float, g: float) -> None:
    found = BellPair.werner(f).swapped(BellPair.werner(g))
    assert found.fidelity == pytest.approx(f * g + (1 - f) * (1 - g) / 3)
    assert BellPair.werner(f).swapped(BellPair.werner(g), 0.0).fidelity == pytest.approx(0.25)


def compared(rho: np.ndarray) -> tuple[np.ndarray, float]:
    """Both sides' gates from qubits 0 and 1 to 2 and 3, which are measured and agree."""
    gates = cnot(0, 2, 4) @ cnot(1, 3, 4)
    rho = gates @ rho @ gates.conj().T
    kept = np.zeros((4, 4), complex)
    for m in (0, 1):
        seen = on(np.diag([1 - m, m]), 2, 4) @ on(np.diag([1 - m, m]), 3, 4)
        kept += without(seen @ rho @ seen, (2, 3), 4)
    success = float(np.real(np.trace(kept)))
    return kept / success, success


@settings(max_examples=20, deadline=None, derandomize=True)
@given(weights, weights)
def test_dejmps_is_two_rotations_two_gates_and_a_comparison(first: list[float], second: list[float]) -> None:
    a, b = BellPair.of_weights(*first), BellPair.of_weights(*second)
    turn, back = (I2 - 1j * X) / math.sqrt(2), (I2 + 1j * X) / math.sqrt(2)
    rotate = on(turn, 0, 4) @ on(back, 1, 4) @ on(turn, 2, 4) @ on(back, 3, 4)
    rho, success = compared(rotate @ np.kron(matrix(a), matrix(b)) @ rotate.conj().T)
    found = dejmps(a, b)
    assert found.success == pytest.approx(success)
    assert_same(found.pair, rho)


@settings(deadline=None, derandomize=True)
@given(weights)
def test_dejmps_has_the_weights_of_the_paper(w: list[float]) -> None:
    a, b, c, d = w
    norm = (a + b) ** 2 + (c + d) ** 2
    found = dejmps(BellPair.of_weights(*w), BellPair.of_weights(*w))
    expected = ((a * a + b * b) / norm, 2 * c * d / norm, (c * c + d * d) / norm, 2 * a * b / norm)
    assert found.pair.weights == pytest.approx(expected)
    assert found.success == pytest.approx(norm)


@settings(deadline=None, derandomize=True)
@given(st.floats(0.25, 1))
def test_bbpssw_of_werner_pairs(f: float) -> None:
    pair, a = BellPair.werner(f), (1 - f) / 3
    found = bbpssw(pair, pair)
    p = f * f + 2 * f * a + 5 * a * a
    assert found.success == pytest.approx(p)
    assert found.pair.fidelity == pytest.approx((f * f + a * a) / p)
    rho, success = compared(np.kron(matrix(pair), matrix(pair)))
    assert success == pytest.approx(p)
    assert np.real(PHI @ rho @ PHI) == pytest.approx(found.pair.fidelity)
    if 0.51 < f < 0.99:
        assert found.pair.fidelity > f


def test_what_is_no_pair_is_refused() -> None:
    for wrong in (lambda: BellPair(1, -1, 1), lambda: BellPair.werner(1.2), lambda: BellPair.of_weights(1, 1, 0, 0)):
        with pytest.raises(InputError):
            wrong()
    with pytest.raises(InputError):
        Memory(0.0)
    with pytest.raises(InputError):
        dejmps(BellPair(0, 1, 0), BellPair(0, -1, 0))
