"""Settings of the whole process, tried in processes of their own."""

import subprocess
import sys

CHECK = """
import gc, sys
from noclone.process import prepare_to_compute
before = gc.get_threshold()
prepare_to_compute()
assert abs(sys.getswitchinterval() - 1e-4) < 1e-9
assert gc.get_threshold() == (50_000, *before[1:])
sys.setswitchinterval(1e-2)
prepare_to_compute()
assert sys.getswitchinterval() > 5e-3  # whoever changes it later has the last word
"""

SHORTER = """
import gc, sys
from noclone.process import prepare_to_compute
sys.setswitchinterval(1e-5)
gc.set_threshold(90_000, 5, 5)
prepare_to_compute()
assert sys.getswitchinterval() < 2e-5
assert gc.get_threshold() == (90_000, 5, 5)
"""

ELSEWHERE = """
import ctypes, sys
from noclone import process
ctypes.CDLL = lambda name: object()  # a C library without mallopt
process.prepare_to_compute()
assert sys.getswitchinterval() < 1e-3
"""


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_threads_take_turns_quickly_and_garbage_is_looked_for_seldom() -> None:
    run(CHECK)


def test_who_asked_for_more_keeps_it() -> None:
    run(SHORTER)


def test_other_c_libraries_are_left_alone() -> None:
    run(ELSEWHERE)
