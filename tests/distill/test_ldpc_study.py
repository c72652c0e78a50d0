"""The scripts that made the table of codes: it can be made again, and density evolution gives its thresholds."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from noclone.distill.ldpc_codes import codes

STUDY = Path(__file__).parents[2] / "study"
DEGREES = [json.loads(line) for line in (STUDY / "ldpc_degrees.jsonl").read_text().splitlines()]


def script(name):
    spec = importlib.util.spec_from_file_location(name, STUDY / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_a_code_for_each_line_of_degrees():
    assert [(c.rows, c.circulant, c.threshold) for c in codes()] == [
        (d["rows"], 65_536 // d["columns"], d["threshold"]) for d in DEGREES
    ]
    for code, found in zip(codes(), DEGREES, strict=True):
        degrees = np.bincount(np.bincount(code.column))
        assert {str(d): n for d, n in enumerate(degrees.tolist()) if n} == found["degrees"]


def test_a_code_is_built_again_alike():
    (found,) = (d for d in DEGREES if (d["rows"], d["columns"]) == (17, 128))
    (code,) = (c for c in codes() if (c.rows, c.circulant) == (17, 512))
    made = script("ldpc_codes").entry(found)
    edges = [
        (row, half, column, shift)
        for column, flat in enumerate(made["columns"])
        for row, shift, half in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
    table = np.stack((code.row, code.half, code.column, code.shift), 1)
    assert sorted(edges) == [tuple(edge) for edge in table.tolist()]


@pytest.mark.parametrize(("number", "below"), [(0, 0.99), (6, 1.0), (7, 1.0), (len(DEGREES) - 1, 0.99)])
def test_thresholds(number, below):
    # Of the codes for low error rates the edge is ragged: the largest rate that converges counts.
    found = DEGREES[number]
    ensemble = script("ldpc_evolution").Ensemble({int(d): n for d, n in found["degrees"].items()}, found["rows"])
    assert ensemble.converges(below * found["threshold"])
    assert not ensemble.converges(1.01 * found["threshold"])


def test_density_evolution_finds_a_known_threshold():
    """The regular (3, 6) ensemble: belief propagation gives 0.084 (Richardson and Urbanke 2001).

    Min-sum with a free factor in each iteration must come near it, from below.
    """
    ensemble = script("ldpc_evolution").Ensemble({3: 128}, 64)
    threshold = ensemble.threshold(0.06, 0.10)
    assert 0.078 < threshold < 0.0842
