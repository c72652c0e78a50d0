"""Tables of counts: the shipped example, and every way to get one wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from noclone.errors import CountsError
from noclone.proofs.counts_file import load_counts, report

EXAMPLE = Path(__file__).parents[2] / "examples" / "counts.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")

TWO_DECOYS = """
[epsilons]
secrecy = 1e-9
correctness = 1e-15
[reconciliation]
efficiency = 1.16
qber = 0.01
[[intensity]]
mean_photons = 0.5
key = { detections = 70_000_000, sent = 14_000_000_000 }
test = { detections = 900_000, errors = 9_000, sent = 180_000_000 }
[[intensity]]
mean_photons = 0.1
key = { detections = 4_000_000, sent = 4_000_000_000 }
test = { detections = 51_000, errors = 520, sent = 51_430_000 }
[[intensity]]
mean_photons = 0.0
key = { detections = 400, sent = 2_000_000_000 }
test = { detections = 5, errors = 2, sent = 25_710_000 }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "counts.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_example_gives_the_formally_verified_length() -> None:
    lengths = {k.proof: k for k in report(load_counts(EXAMPLE))}
    assert list(lengths) == ["wiesemann2024", "rusca2018"]
    assert lengths["rusca2018"].bits == 1464719
    assert all(k.statement == "fixed-length" for k in lengths.values())
    assert all(any("agreed before the block" in a for a in k.assumptions) for k in lengths.values())


def test_two_decoys_with_pulses_sent_and_a_modelled_leak(tmp_path: Path) -> None:
    file = load_counts(write(tmp_path, TWO_DECOYS))
    assert file.protocol.probabilities == pytest.approx((0.7, 0.2, 0.1), rel=1e-3)
    assert file.counts.n_slots == 14_000_000_000 + 180_000_000 + 4_000_000_000 + 51_430_000 + 2_000_000_000 + 25_710_000
    assert file.counts.m_key is None
    assert file.leak_bits == pytest.approx(1.16 * 74_000_400 * 0.0807931, rel=1e-5)
    lengths = {k.proof: k for k in report(file)}
    assert set(lengths) == {"wiesemann2024", "lim2014", "tupkary2024"}
    assert all(k.bits > 10**6 for k in lengths.values())
    assert lengths["tupkary2024"].statement == "variable-length"


def test_leak_is_modelled_from_the_errors_when_no_rate_is_given(tmp_path: Path) -> None:
    text = TEXT.replace("leak_bits = 1_776_924", "efficiency = 1.2 #")
    file = load_counts(write(tmp_path, text))
    q = (185856 + 26055) / 10**7
    assert file.counts.qber_key == pytest.approx(q)
    assert file.leak_bits == pytest.approx(1.2e7 * 0.148079, rel=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "say"),
    [
        ("mean_photons = 0.51", "mean_photon = 0.51", "mean_photons"),
        ("errors = 3_456", "error = 3_456", "errors"),
        ("secrecy = 1e-9 ", "secrecy = 0.0 ", "secrecy"),
        ("secrecy = 1e-9 ", "secrecy = nan ", "secrecy"),
        ("correctness = 1e-15", "correctness = 2", "correctness"),
        ("detections = 165_048", "detections = -1", "detections"),
        ("detections = 165_048", "detections = 1.5", "detections"),
        ("detections = 165_048", 'detections = "many"', "detections"),
        ("errors = 3_456", "errors = 200_000", "cannot be"),
        (", errors = 3_456", "", "errors"),
        (", errors = 185_856", "", "errors"),
        ("probability = 0.7", "probability = 0.8", "add up to 1.1"),
        ("probability = 0.7\n", "", "either 'probability'"),
        ("mean_photons = 0.51", "mean_photons = 0.1", "must fall"),
        ("mean_photons = 0.15", "mean_photons = 0.0", "not vacuum"),
        ("mean_photons = 0.51", "mean_photons = inf", "mean_photons"),
        ("leak_bits = 1_776_924", "leak_bits = -5", "leak_bits"),
        ("leak_bits = 1_776_924", "# none", "leak_bits"),
        ("leak_bits = 1_776_924", "leak_bits = 1\nefficiency = 1.1", "either 'leak_bits'"),
        ("leak_bits = 1_776_924", "leak_bits = 1\nconfirmation_bits = 8", "tag of 8 bits"),
        ("[epsilons]", "[epsilon]", "epsilons"),
        ("[epsilons]", "[epsilons", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, say: str) -> None:
    assert old in TEXT
    with pytest.raises(CountsError) as caught:
        report(load_counts(write(tmp_path, TEXT.replace(old, new))))
    assert say in caught.value.message
    assert "counts.toml" in caught.value.message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CountsError, match="cannot be read"):
        load_counts(tmp_path / "nowhere.toml")


def test_bases_sent_with_different_probabilities_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CountsError, match="different probabilities"):
        load_counts(write(tmp_path, TWO_DECOYS.replace("sent = 51_430_000", "sent = 71_430_000")))


def test_four_intensities_have_no_proof(tmp_path: Path) -> None:
    more = TWO_DECOYS.replace("mean_photons = 0.0\n", "mean_photons = 0.01\n") + (
        "[[intensity]]\nmean_photons = 0.0\nkey = { detections = 4, sent = 2_000_000 }\n"
        "test = { detections = 0, errors = 0, sent = 25_710 }\n"
    )
    with pytest.raises(CountsError, match="no proof fits"):
        report(load_counts(write(tmp_path, more)))
