"""How this process treats threads, memory and Ctrl-C, once it computes block after block.

In: nothing.  Out: the number of cores, and Ctrl-C at a moment that suits. The rest are settings of the whole process
that cannot change a result; a library that imported us and never distils is left alone.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SWITCH_INTERVAL_S = 1e-4
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES = 1 << 30
_GARBAGE = 50_000  # objects, before Python looks for those that only refer to each other


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C wait until the block has ended: where it would cost something, or be lost in a finaliser.

    Yields what says whether it was heard, for blocks that may take long. Whoever ignores Ctrl-C, as a shell's
    background jobs do, goes on ignoring it; only the main thread ever hears it.
    """
    usual = signal.getsignal(signal.SIGINT)
    if not callable(usual) or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    heard: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *arguments: heard.append(arguments))
    try:
        yield lambda: bool(heard)
    finally:
        signal.signal(signal.SIGINT, usual)
        if heard:
            usual(*heard[0])


@contextmanager
def uninterrupted_children() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach, not even while they start: whoever starts them ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is started ignores what we ignore
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


@functools.cache
def prepare_to_compute() -> None:
    """Let threads take turns quickly, keep memory that was freed, look for garbage seldom; once is enough.

    A thread whose kernel has ended waits for Python's lock until the other one gives it up: by default 5 ms, several
    hundred rounds of Cascade. And memory given back after each block is fetched again for the next, page by page: this
    took a sixth of a block's time. The allocator keeps at most what the process has had in use at one time.
    Nothing that a block makes refers to itself, yet the search for such things took a twentieth.
    """
    gc.set_threshold(max(gc.get_threshold()[0], _GARBAGE), *gc.get_threshold()[1:])
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # no glibc: whatever allocates there has its own way
    for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        mallopt(option, _KEPT_BYTES)
