"""Which kernels the jobs of `noclone warmup` call, with which types.

    python tests/list_kernels.py           print them as JSON, those aside that came within a kept one
    python tests/list_kernels.py --write   compile all anew, and write src/noclone/cli/kernels.txt

A process of its own, so that no one else's calls are in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib import import_module
from typing import Any

from numba import njit, types
from numba.core import event
from numba.core.dispatcher import Dispatcher

HEAD = """\
# The kernels that `noclone warmup` compiles: for which job; how many seconds it and the longest chain of its callers
# took where this was written; its name; the types of its arguments. Written by tests/list_kernels.py --write.
"""


@cache
def tokens() -> dict[int, str]:
    """Return the names of this processor's tokens by their length; no other tuple of numbers is as long."""
    from noclone.cli.compiling import TOKENS

    found = {len(getattr(import_module(module), name)): name for name, module in TOKENS.items()}
    assert len(found) == len(TOKENS)
    assert min(found) > 5
    return found


def words(kind: Any) -> str:
    """Write a type as Numba reads it, and as people do."""
    if isinstance(kind, types.Array) and kind.mutable and kind.aligned and kind.layout in "CA":
        last = "::1" if kind.layout == "C" else ":"
        return f"{kind.dtype}[{', '.join([':'] * (kind.ndim - 1) + [last])}]"
    if isinstance(kind, types.UniTuple) and (name := tokens().get(len(kind))):
        return name
    if isinstance(kind, types.Tuple):
        return f"Tuple(({', '.join(map(words, kind))}))"
    return "npy_rng" if isinstance(kind, types.NumPyRandomGeneratorType) else repr(kind)


def kernels() -> dict[str, Any]:
    """Return our kernels by name, those of benches left out."""
    ours = [module for name, module in sys.modules.items() if name.startswith("noclone.")]
    found = {id(one): one for module in ours for one in vars(module).values() if isinstance(one, Dispatcher)}
    named = {f"{one.py_func.__module__}.{one.py_func.__name__}": one for one in found.values()}
    return {name: one for name, one in named.items() if not one.py_func.__module__.endswith("bench")}


def called() -> list[tuple[str, str, str]]:
    """Do every job; return job, name and types of each kernel that it called and no job before it had."""
    from noclone.cli.warmup import JOBS

    lines: dict[tuple[str, str], str] = {}
    for name, job in JOBS.items():
        job()
        for kernel, one in kernels().items():
            for signature in one.signatures:
                lines.setdefault((kernel, f"({', '.join(map(words, signature))},)"), name)
    return [(job, kernel, signature) for (kernel, signature), job in lines.items()]


class Clock(event.Listener):  # type: ignore[misc]
    """Listen to Numba, for how long each kernel took without its callees."""

    def __init__(self) -> None:
        self.own_s: dict[str, float] = {}
        self._open: list[float] = []
        event.register("numba:compile", self)

    def on_start(self, event: Any) -> None:
        """Note when a compilation begins."""
        self._open.append(time.perf_counter())

    def on_end(self, event: Any) -> None:
        """Add how long it took, and take it from the one that it lay within."""
        function = event.data["dispatcher"].py_func
        whole_s = time.perf_counter() - self._open.pop()
        name = f"{function.__module__}.{function.__name__}"
        self.own_s[name] = self.own_s.get(name, 0.0) + whole_s
        self._open = [began + whole_s for began in self._open]

    def paths_s(self) -> dict[str, float]:
        """Return how long each kernel and the longest chain of its callers took."""
        every = kernels()
        names = {id(one): name for name, one in every.items()}
        callers: dict[str, list[str]] = {name: [] for name in every}
        for name, one in every.items():
            function = one.py_func
            for word in function.__code__.co_names:
                if callee := names.get(id(function.__globals__.get(word))):
                    callers[callee].append(name)

        @cache
        def path_s(name: str) -> float:
            return self.own_s.get(name, 0.0) + max(map(path_s, callers[name]), default=0.0)

        return {name: path_s(name) for name in every}


def write() -> None:
    """Do the jobs where nothing is kept, and write what was called and how long it took."""
    from noclone.cli.compiling import LIST

    njit(lambda: 0)()  # what a process's first compilation sets up belongs to no kernel
    clock = Clock()
    lines = called()
    paths_s = clock.paths_s()
    jobs = list(dict.fromkeys(job for job, _, _ in lines))
    lines.sort(key=lambda line: (jobs.index(line[0]), -paths_s[line[1]], line))
    LIST.write_text(HEAD + "".join(f"{job} {paths_s[name]:.1f} {name} {types}\n" for job, name, types in lines))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            subprocess.run([sys.executable, __file__, "--from-nothing"], env=environment, check=True)
    elif sys.argv[1:] == ["--from-nothing"]:
        write()
    else:
        json.dump(called(), sys.stdout)
