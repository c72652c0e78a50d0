"""The graphics card: asked for by name, refused in plain words, and its kernels against the processor's bit for bit.

Without a card the kernels run in Numba's simulator, in a process of their own: see cuda_twins.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from noclone import gpu
from noclone.cli.main import run_command
from noclone.errors import InputError, NocloneError

TWINS = Path(__file__).with_name("cuda_twins.py")
MISSING = gpu.why_not()
STAGES = ("amplification", "ldpc", "light", "switch")


def run_twins(*arguments: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("NOCLONE_DEVICE", "NUMBA_ENABLE_CUDASIM")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(TWINS), *arguments], env=kept | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(600)  # simulated threads take turns
@pytest.mark.parametrize("stage", ["amplification", "ldpc", pytest.param("light", marks=pytest.mark.slow), "switch"])
def test_simulated_card_gives_the_processors_bits(stage: str) -> None:
    assert stage in run_twins(stage, NUMBA_ENABLE_CUDASIM="1")


@pytest.mark.slow
@pytest.mark.skipif(MISSING is not None, reason=f"needs an NVIDIA GPU: {MISSING and MISSING[0]}")
@pytest.mark.parametrize("stage", STAGES)
def test_card_gives_the_processors_bits(stage: str) -> None:
    assert stage in run_twins(stage, "--large")


def test_the_processor_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, "", "cpu"):
        monkeypatch.delenv("NOCLONE_DEVICE", raising=False)
        if value is not None:
            monkeypatch.setenv("NOCLONE_DEVICE", value)
        assert not gpu.wanted()


def test_an_unknown_device_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NOCLONE_DEVICE", "abacus")
    with pytest.raises(InputError, match="abacus"):
        gpu.wanted()
    assert run_command(["keylength", "nowhere.toml"]) == 2
    told = capsys.readouterr().err
    assert "NOCLONE_DEVICE='abacus'" in told
    assert "cpu, gpu" in told


@pytest.mark.parametrize("missing", [("numba-cuda is not installed", "install it"), ("no NVIDIA GPU (why)", "use one")])
def test_a_missing_card_is_refused_before_any_work(
    missing: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOCLONE_DEVICE", "gpu")
    monkeypatch.setattr(gpu, "why_not", lambda: missing)
    assert run_command(["keylength", "nowhere.toml"]) == 2
    told = capsys.readouterr().err
    assert missing[0] in told
    assert missing[1] in told
    assert "nowhere.toml" not in told


@pytest.mark.skipif(MISSING is None, reason="there is a card")
def test_says_what_is_missing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCLONE_DEVICE", "gpu")
    with pytest.raises(InputError, match="cannot be had here") as caught:
        gpu.wanted()
    assert MISSING is not None
    assert MISSING[1] in caught.value.hint


def test_what_a_driver_complains_of_is_said_in_plain_words() -> None:
    complaint = type("CudaAPIError", (Exception,), {"__module__": "numba.cuda.cudadrv.driver"})
    with pytest.raises(NocloneError, match="results in out of memory") as caught, gpu.in_plain_words():
        raise complaint("[2] Call\nresults in out of\n  memory")
    assert "NOCLONE_DEVICE" in caught.value.hint
    with pytest.raises(ZeroDivisionError), gpu.in_plain_words():
        raise ZeroDivisionError  # our own bugs stay ours


def test_using_a_device_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCLONE_DEVICE", "abacus")
    with gpu.using("cpu"):
        assert not gpu.wanted()
    assert os.environ["NOCLONE_DEVICE"] == "abacus"
    monkeypatch.delenv("NOCLONE_DEVICE")
    with gpu.using("cpu"):
        pass
    assert "NOCLONE_DEVICE" not in os.environ
