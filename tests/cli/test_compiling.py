"""Kernels are compiled on every core before a command needs them; whatever goes wrong, they still are compiled."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from noclone.cli import compiling, main, warmup

TINY = """
from numba import njit
{}
"""
KERNEL = """
@njit(cache=True)
def {0}(x):
    return x + {1}
"""
NAMES = [f"add_{i}" for i in range(10)]
PREPARE = """
import sys, pathlib
from noclone.cli import compiling
compiling.LIST = pathlib.Path(sys.argv[1])
compiling.KERNELS_EACH = 2
compiling.prepare("adding")
"""
CALL = """
import {module} as tiny
from numba.core import event
with event.install_recorder("numba:compile") as compiled:
    assert [getattr(tiny, name)(1) for name in {names}] == list(range(1, 11))
print(len(compiled.buffer))
"""


def write_list(folder: Path, module: str) -> Path:
    """Write a module of small kernels, and a list of them."""
    (folder / f"{module}.py").write_text(TINY.format("".join(map(KERNEL.format, NAMES, range(10)))))
    listed = folder / "kernels.txt"
    listed.write_text("# a list\n" + "".join(f"adding 0.{i} {module}.add_{i} (int64,)\n" for i in range(10)))
    return listed


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Ten small kernels, listed, and two cores to compile them on."""
    monkeypatch.setattr(compiling, "LIST", write_list(tmp_path, "tiny_kernels"))
    monkeypatch.setattr(compiling, "KERNELS_EACH", 5)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.syspath_prepend(tmp_path)
    import tiny_kernels  # type: ignore[import-not-found]

    yield tiny_kernels
    del sys.modules["tiny_kernels"]


def test_the_list_holds_what_the_jobs_call() -> None:
    """If this fails: python tests/list_kernels.py --write. Of kept kernels only those are seen that Python calls."""
    script = Path(__file__).parents[1] / "list_kernels.py"
    done = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True)
    called = {(name, types) for _, name, types in json.loads(done.stdout)}
    kernels = compiling.listed()
    assert len(called) > 40
    assert called <= {(f"{kernel.module}.{kernel.name}", kernel.types) for kernel in kernels}
    assert {kernel.section for kernel in kernels} == set(warmup.JOBS) >= set(compiling.BLOCKS)
    assert all(hasattr(getattr(import_module(kernel.module), kernel.name), "signatures") for kernel in kernels)
    assert len(kernels) < 256  # one byte tells which
    # Two processes that keep one kernel for different types at once could each take the other's for its own.
    assert len({(kernel.module, kernel.name) for kernel in kernels}) == len(kernels)


def test_what_most_waits_for_comes_first(tiny: Any) -> None:
    paths_s = [kernel.path_s for kernel in compiling.listed("adding")]
    assert len(paths_s) == 10
    assert paths_s == sorted(paths_s, reverse=True)
    assert not compiling.listed("subtracting")


@pytest.mark.parametrize("at_once", [1, 2])
def test_kernels_are_kept_for_every_process(tmp_path: Path, at_once: int) -> None:
    listed = write_list(tmp_path, "kept_kernels")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", PREPARE, str(listed)]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) for _ in range(at_once)]
    told = [process.communicate(timeout=200) for process in running]
    assert [process.returncode for process in running] == [0] * at_once, told
    assert not any(out for out, _ in told)
    assert sum("compiling kernels (first run only" in errors for _, errors in told) == 1, told
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (again.stdout, again.stderr) == ("", "")
    code = CALL.format(module="kept_kernels", names=NAMES)
    used = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert used.stdout == "0\n"  # nothing was compiled


def test_without_helpers_it_is_done_alone_and_tried_again(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for _ in range(2):
        compiling.prepare("adding")
        assert "compiling kernels (first run only" in capfd.readouterr().err
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))  # cannot even be started
    compiling.prepare("adding")
    assert all(len(getattr(tiny, name).signatures) == 1 for name in NAMES)


def test_other_files_are_compiled_anew(tiny: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def told() -> bool:
        compiling.prepare("adding")
        return "compiling kernels" in capfd.readouterr().err

    assert [told(), told()] == [True, False]
    compiling.LIST.write_text(compiling.LIST.read_text().replace("add_3 (int64,)", "add_3 (uint64,)"))
    assert [told(), told()] == [True, False]
    for stamp in (tmp_path / "kept").glob("*.ready"):
        stamp.unlink()
    assert told()


def test_what_cannot_be_compiled_is_left_to_its_caller(tiny: Any) -> None:
    compiling.LIST.write_text("adding 1.0 tiny_kernels.gone (int64,)\nadding 0.5 no_such_module.add (int64,)\n")
    compiling.prepare("adding")


def test_no_helper_outlives_us(tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 300\n")
    sleeper.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    monkeypatch.setattr(compiling, "_PATIENCE_S", 0.1)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*args: Any, **named: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **named))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    compiling.prepare("adding")  # it hangs: we do its part, and end it
    monkeypatch.setattr(compiling.Kernel, "compile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compiling.prepare("adding")
    assert [process.returncode for process in started] == [-9, -9]


def test_ctrl_c_waits_for_the_kernel_at_hand_and_is_not_lost(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compile_and_hear(kernel: compiling.Kernel) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        compiled.append(kernel.name)

    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(compiling.Kernel, "compile", compile_and_hear)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            compiling.prepare("adding")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(compiled) == 1


def interrupted(kernel: compiling.Kernel) -> None:
    """Be interrupted where a kernel should be compiled."""
    raise KeyboardInterrupt


def test_without_a_folder_kernels_are_compiled_where_they_are_called(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "folder"))
    folder = compiling._cache_folder()
    assert folder is None or folder.name == "__pycache__"  # Numba's second choice, too
    monkeypatch.setattr(compiling.noclone, "__file__", str(tmp_path / "file" / "noclone" / "__init__.py"))
    assert compiling._cache_folder() is None
    compiling.prepare("adding")
    assert "cannot be kept" in capfd.readouterr().err
    assert not any(getattr(tiny, name).signatures for name in NAMES)


def test_a_command_that_may_write_nowhere_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tiny: Any
) -> None:
    monkeypatch.setattr(main.noclone, "__file__", str(tmp_path / "file" / "noclone" / "__init__.py"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "folder"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    leaving: list[Callable[[], object]] = []
    monkeypatch.setattr(atexit, "register", lambda what, *args, **named: leaving.append(partial(what, *args, **named)))
    (tmp_path / "file").touch()
    main._place_kernel_cache()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700  # who can write there can have it run
    compiling.prepare("adding")
    assert "cannot be kept" in capfd.readouterr().err
    for one in leaving:
        one()
    assert not folder.exists()


OTHER_PROCESSOR = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}  # as if this one had no vectors to speak of


def test_kernels_are_compiled_for_the_variant_that_runs_here() -> None:
    code = (
        "from noclone.cli.compiling import listed; from noclone.crypto import vectors; "
        "from noclone.link import aes_simd; "
        "from noclone.distill import bit_kernels as bits; "
        "print(vectors.VARIANT, aes_simd.VARIANT, bits.VARIANT); "
        "due = {'SIMD': vectors.SIMD, 'AES': aes_simd.AES, 'BITS': bits.BITS}; "
        "print(sorted({name for k in listed() for name, token in due.items() "
        "if name in k.types and f'UniTuple(int64, {len(token)})' in k.types_here() and name not in k.types_here()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **OTHER_PROCESSOR},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.splitlines() == ["portable portable portable", "['AES', 'BITS', 'SIMD']"]


@pytest.mark.slow
def test_every_kernel_compiles_for_a_processor_without_vectors(tmp_path: Path) -> None:
    """LLVM ends the process where it is asked for instructions that the processor lacks."""
    environment = {**os.environ, **OTHER_PROCESSOR, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "noclone", "warmup"], env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "all kernels are ready" in done.stdout + done.stderr
