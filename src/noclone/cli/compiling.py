"""Compile kernels before a command needs them: on every core at once, and kept on disk for every process after.

Numba compiles on one thread of a process. So the first command after an installation starts helpers, one for every
further core; they and the command's own process take kernels off one queue, a pipe that holds their numbers.
`kernels.txt` lists them with the types that they are called with. Nothing depends on it: a kernel that is not listed,
or whose helper died, is compiled where it is called, as everything is where no folder can be written to.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import noclone
from noclone.cli.main import FLEETING
from noclone.cli.terminal import progress, say
from noclone.process import cores, held_interrupts

LIST = Path(__file__).with_name("kernels.txt")
# What names the processor's variant to kernels, by how the list writes it, and where it stands.
TOKENS = {"SIMD": "noclone.crypto.vectors", "AES": "noclone.link.aes_simd", "BITS": "noclone.distill.bit_kernels"}
BLOCKS = ("light", "cascade", "chain")  # the sections that a link's blocks need, from the light to the secret key
NOT_KEPT = "compiling kernels (they cannot be kept: NUMBA_CACHE_DIR may name a folder that can be written to) ..."
MOST_PROCESSES = 6  # each takes some 300 MB, and the longest chain of callers takes as long as a sixth of the whole
KERNELS_EACH = 8  # fewer are compiled sooner than a process has started
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of the list.

    Args:
        path_s: How long this kernel and the longest chain of its callers took to compile, where the list was written.
        types: Its arguments, as Numba reads them, but for the names of `TOKENS`.
    """

    section: str
    path_s: float
    module: str
    name: str
    types: str

    def compile(self) -> None:
        """Compile it, or find that it is kept."""
        from numba.core.sigutils import normalize_signature

        # Given as words, Numba would keep it under these words, where no call looks.
        with contextlib.suppress(Exception):  # whoever calls it compiles it, and will hear what is wrong
            types, _ = normalize_signature(self.types_here())  # type: ignore[no-untyped-call]
            getattr(import_module(self.module), self.name).compile(types)

    def types_here(self) -> str:
        """Return its arguments with this machine's tokens: those of another would have LLVM end the process."""
        types = self.types
        for name, module in TOKENS.items():
            if name in types:
                types = types.replace(name, f"UniTuple(int64, {len(getattr(import_module(module), name))})")
        return types


@dataclass(frozen=True, slots=True)
class _Stamp:
    """A small file that says that a section's kernels were compiled and kept."""

    file: Path
    state: str


def prepare(*sections: str) -> None:
    """Compile what these sections of the list hold, or all of it, unless this machine has done so; tell the user."""
    kernels = listed(*sections)
    if (folder := _cache_folder()) is None:
        say(NOT_KEPT)
        return
    stamps = _stamps(folder, kernels)
    if not _missing(stamps):
        return
    with _alone(folder):
        if not (missing := _missing(stamps)):
            return
        say(NOT_KEPT if folder.name.startswith(FLEETING) else "compiling kernels (first run only, some seconds) ...")
        if _compile_together([kernel for kernel in kernels if kernel.section in missing], missing):
            for section in missing:
                with contextlib.suppress(OSError):
                    stamps[section].file.write_text(stamps[section].state)


def listed(*sections: str, path: Path | None = None) -> list[Kernel]:
    """Return the kernels of these sections, or of all: those first that most waits for, callees before callers."""
    kernels = []
    for line in (path or LIST).read_text().splitlines():
        if line and not line.startswith("#"):
            section, path_s, place, types = line.split(" ", 3)
            module, _, name = place.rpartition(".")
            kernels.append(Kernel(section, float(path_s), module, name, types))
    some = [kernel for kernel in kernels if not sections or kernel.section in sections]
    return sorted(some, key=lambda kernel: -kernel.path_s)


def _compile_together(kernels: list[Kernel], sections: list[str]) -> bool:
    """Compile them with as many helpers as there are cores to spare; say whether every helper did its part."""
    queue, fill = os.pipe()
    os.write(fill, bytes(range(len(kernels))))
    os.close(fill)
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        with contextlib.suppress(OSError):  # there may be no more processes: we do it alone
            for _ in range(min(cores(), MOST_PROCESSES, len(kernels) // KERNELS_EACH) - 1):
                command = [sys.executable, "-P", "-m", "noclone.cli.compiling", str(LIST), *sections]
                quiet = subprocess.DEVNULL
                helpers.append(subprocess.Popen(command, stdin=queue, stdout=quiet, stderr=quiet))  # noqa: S603
        with held_interrupts() as interrupted, progress() as bar:
            task = bar.add_task("compiling kernels", total=len(kernels))
            for number in _take(queue):
                bar.update(task, completed=number)  # the others have taken those before
                kernels[number].compile()
                if interrupted():
                    raise KeyboardInterrupt
            return all(helper.wait(_PATIENCE_S) == 0 for helper in helpers)
    except subprocess.TimeoutExpired:
        return False
    finally:
        os.close(queue)
        for helper in helpers:
            helper.kill()
            helper.wait()


def _take(queue: int) -> Iterator[int]:
    """Take numbers off a pipe that several processes read: one byte is never torn."""
    while byte := os.read(queue, 1):
        yield byte[0]


def _help() -> None:
    """Compile what the queue on stdin gives, until it is empty or who asked is gone."""
    gc.disable()  # half of what a compilation makes refers to itself, and lives until its end
    path, *sections = sys.argv[1:]
    kernels, parent = listed(*sections, path=Path(path)), os.getppid()
    for number in _take(0):
        if os.getppid() != parent:
            return
        kernels[number].compile()


def _cache_folder() -> Path | None:
    """Return the folder that Numba keeps kernels in or beside, or None if there is none to write to."""
    told = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(told)] if told else []
    for place in (*places, Path(noclone.__file__).parent / "__pycache__"):
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            if os.access(place, os.W_OK):
                return place
    return None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait while another process compiles into this folder, so that two that start at once share the work."""
    try:
        import fcntl

        lock = os.open(folder / "kernels.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except (ImportError, OSError):  # no such locks here: both do it all, which does no harm
        yield
        return
    try:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another noclone compiles kernels; waiting for it ...")
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _stamps(folder: Path, kernels: list[Kernel]) -> dict[str, _Stamp]:
    """Return one stamp per section: its name says what is compiled for, its text from what."""
    package = Path(noclone.__file__).parent.parent
    compilers = [Path(spec.origin) for name in ("numba", "llvmlite") if (spec := find_spec(name)) and spec.origin]
    processor = _processor()
    stamps = {}
    for section in {kernel.section: None for kernel in kernels}:
        own = [kernel for kernel in kernels if kernel.section == section]
        modules = sorted({kernel.module for kernel in own})
        files = [package / (module.replace(".", "/") + ".py") for module in modules]
        state = _digest(*map(str, own), *map(_state, files + compilers))
        stamps[section] = _Stamp(folder / f"kernels-{section}-{_digest(processor)}.ready", state)
    return stamps


def _missing(stamps: dict[str, _Stamp]) -> list[str]:
    """Return the sections that were never compiled here, or from other files."""
    return [section for section, stamp in stamps.items() if _read(stamp.file) != stamp.state]


def _state(file: Path) -> str:
    try:
        state = file.stat()
    except OSError:
        return str(file)
    return f"{file} {state.st_mtime_ns} {state.st_size}"


def _processor() -> str:
    """Say what Numba compiles for: this processor, this Python, and whatever it was told."""
    told = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("NUMBA_")]
    lines: list[str] = []
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open("rb", buffering=0) as cpuinfo:
        first = cpuinfo.read(8192).decode(errors="replace").split("\n\n")[0]  # all cores are alike
        lines = [line for line in first.splitlines() if not line.startswith(("cpu MHz", "bogomips"))]
    return "\n".join((sys.version, *told, *lines))


def _read(stamp: Path) -> str:
    try:
        return stamp.read_text()
    except OSError:
        return ""


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


if __name__ == "__main__":
    _help()
