"""Settings of the whole process, tried in processes of their own."""

import signal
import subprocess
import sys
import threading

import pytest

from noclone.process import held_interrupts, uninterrupted_children

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


def test_ctrl_c_waits_until_a_block_has_ended():
    reached = []

    def hold():
        with held_interrupts() as heard:
            assert not heard()
            signal.raise_signal(signal.SIGINT)
            assert heard()
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        hold()
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_ignores_ctrl_c_goes_on_ignoring_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_interrupts() as heard:
            signal.raise_signal(signal.SIGINT)
            assert not heard()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_hold_nothing():
    told = []

    def work():
        with held_interrupts() as heard, uninterrupted_children():
            told.append(heard())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == [False]


def test_children_do_not_hear_ctrl_c():
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    with uninterrupted_children():
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.communicate(timeout=60)[0].strip() == "True"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
