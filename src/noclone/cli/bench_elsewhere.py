"""What others reach, for the table of `noclone bench`: each figure with who, where, how and from which source.

ON_ZEN5 is what we measured ourselves on another machine; `--compare` measures anew, here and now. Figures of different
machines make no ratio: they say where the field stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ON_ZEN5 = "measured by us on a Zen 5"
ON_ZEN5_IN_FULL = "one core of a 2-core AMD EPYC (Zen 5) at 4.2 GHz, the best of several runs"
PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Somebody's figures.

    Args:
        stage: Which stage of the bench they stand beside.
        who: The program or the paper.
        how: How the figures were obtained.
        source: Where that can be checked.
        text: The figure in words, where it has no place in our rows.
        table: The table within the stage that `cases` belongs to, as `per_qber`.
        unit: Unit of `cases`.
        cases: Figures by row of that table.
    """

    stage: str
    who: str
    how: str
    source: str
    text: str = ""
    table: str = ""
    unit: str = ""
    cases: Mapping[float, float] = field(default_factory=dict)


ELSEWHERE = (
    Elsewhere(
        "link", "SeQUeNCe 0.8.5", ON_ZEN5, "BB84 over fibre at 80 MHz, polarisation; `--compare` runs it",
        text="33 000 to 85 000 photons/s, 1/180 to 1/550 of its own real time",
    ),
    Elsewhere(
        "link", "qkd 0.2.0 (Rust)", ON_ZEN5, "counts only: no bits, no times, no dead time; `--compare` runs it",
        text="26.7 M pulses/s at any loss",
    ),
    Elsewhere(
        "link", "SimQN 0.2.3", ON_ZEN5, "its BB84 example", text="11 000 to 20 000 qubits/s",
    ),
    Elsewhere(
        "reconciliation", "cascade-cpp", ON_ZEN5,
        "Cascade `original`, frames of 10^4 bits, f = 1.14 / 1.16 / 1.17 / 1.19 / 1.22, none of 100 frames wrong",
        table="per_qber", unit="Mb/s", cases={0.01: 29.3, 0.02: 23.4, 0.03: 20.0, 0.05: 16.0, 0.08: 12.2},
    ),
    Elsewhere(
        "reconciliation", "qkd 0.2.0 (Rust)", ON_ZEN5,
        "run_cascade, frames of 2^14 bits, f = 1.041 / 1.035 / 1.034 / 1.038 / 1.055, none of 60 frames wrong; "
        "it simulates the leak and hands out no key",
        table="per_qber", unit="Mb/s", cases={0.01: 24.0, 0.02: 26.7, 0.03: 25.4, 0.05: 24.1, 0.08: 20.6},
    ),
    Elsewhere(
        "reconciliation", "Mao et al. 2021", PUBLISHED,
        "arXiv:2101.12565; a desktop computer, many threads; the error rate of the peak is not in the abstract",
        text="up to 570 Mb/s at f = 1.038",
    ),
    Elsewhere(
        "reconciliation", "Yuan et al. 2018", PUBLISHED, "arXiv:1807.04484, hardware in real time", text="55 Mb/s",
    ),
    Elsewhere(
        "ldpc", "ldpc 2.4.1 (C++)", ON_ZEN5,
        "BpDecoder, product-sum, 60 iterations, frames of 4000 bits, 60 frames a point; `--compare` runs it",
        text="0.27 to 0.49 Mb/s at f = 1.19 to 1.41, 1 to 16 of 60 frames lost",
    ),
    Elsewhere(
        "ldpc", "Sci. Rep. 2020", PUBLISHED,
        "doi:10.1038/s41598-020-71534-5; multi-edge codes on a GPU, another channel (continuous variables)",
        text="64 / 49 / 40 Mb/s at rates 0.1 / 0.05 / 0.02",
    ),
    Elsewhere(
        "amplification", "SciPy FFT", ON_ZEN5, "rfft, binary Toeplitz; `--compare` runs it",
        table="per_size", unit="Mb/s", cases={1 << 20: 16.2, 1 << 22: 12.2},
    ),
    Elsewhere(
        "amplification", "gf2x 1.3.0", ON_ZEN5, "Debian's build, which uses no carry-less multiplication",
        table="per_size", unit="Mb/s", cases={1 << 20: 35.6, 1 << 22: 16.6},
    ),
    Elsewhere(
        "amplification", "bitpolymul (C)", ON_ZEN5, "AVX2 and PCLMUL; Chen et al., arXiv:1708.09746",
        table="per_size", unit="Mb/s", cases={1 << 20: 403.0, 1 << 22: 380.0},
    ),
    Elsewhere(
        "amplification", "Tang et al. 2019", PUBLISHED, "Sci. Rep. 9, 15733; binary Toeplitz by FFT, CPU",
        text="71 Mb/s at 1.3e8 bits, an eighth kept",
    ),
    Elsewhere(
        "amplification", "Yan et al. 2021", PUBLISHED, "arXiv:2105.13678; hybrid of two hashes, CPU",
        text="261 Mb/s at 2.6e8 bits",
    ),
    Elsewhere("amplification", "arXiv:1805.02372", PUBLISHED, "Toeplitz by FFT on a GPU", text="over 1 Gb/s"),
    Elsewhere("amplification", "arXiv:2107.01013", PUBLISHED, "on an FPGA", text="1 Gb/s at 1e8 bits"),
    Elsewhere(
        "chain", "Yuan et al. 2018", PUBLISHED, "arXiv:1807.04484; hardware with FPGAs, 2 dB",
        text="13.72 Mb/s of secret key",
    ),
    Elsewhere(
        "chain", "Li et al. 2023", PUBLISHED, "arXiv:2307.02364; integrated photonics, 10 km, in real time",
        text="115.8 Mb/s of secret key",
    ),
    Elsewhere(
        "kme", "next-door-key simulator", ON_ZEN5,
        "GET enc_keys, one client, a new TLS session each; keys in memory only", text="18 requests/s",
    ),
)  # fmt: skip


def of_stage(stage: str) -> tuple[Elsewhere, ...]:
    """Return the figures that stand beside a stage."""
    return tuple(one for one in ELSEWHERE if one.stage == stage)
