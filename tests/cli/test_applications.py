"""Pads, sealed files and the chat as a user types them, over KMEs that are served."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)  # the first to come waits for kernels to compile
NOCLONE = [sys.executable, "-m", "noclone"]


def application(served: Any, sae: str) -> list[str]:
    return ["--scenario", str(served.scenario), "--pki", str(served.pki), "--as", sae]


Run = Callable[..., Any]


@pytest.fixture
def noclone(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process; return its JSON, or what it complains of."""
    from noclone.cli.main import run_command

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")

    def run(*words: str | Path, code: int = 0) -> Any:
        capfd.readouterr()
        try:
            ended = run_command([str(word) for word in words])
        except SystemExit as leaving:
            ended = leaving.code if isinstance(leaving.code, int) else 1
        out, errors = capfd.readouterr()
        assert ended == code, errors
        if code:
            assert out == ""
            return errors
        return json.loads(out) if "--json" in words else out

    return run


class Process:
    """A command that runs, and the lines that it prints."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [*NOCLONE, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def line(self) -> Any:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, self.process.communicate()
        return json.loads(text)

    def complaint(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end(self, number: int | None = signal.SIGINT) -> tuple[int, str]:
        if number is not None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=120)
        return self.process.returncode, errors


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    running: list[Process] = []

    def begin(*words: str) -> Process:
        running.append(Process(*words))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def wait_for_keys(noclone: Run, served: Any, number: int) -> None:
    for _ in range(300):
        found = noclone("key", "status", "--to", "sae-ben", *application(served, "sae-ada"), "--json")
        if found["stored_key_count"] >= number:
            return
        time.sleep(0.1)
    raise AssertionError("no key came in")


def test_a_book_is_filled_and_used(noclone: Run, served: Any, start: Callable[..., Process], tmp_path: Path) -> None:
    ada, ben = application(served, "sae-ada"), application(served, "sae-ben")
    wait_for_keys(noclone, served, 200)
    server = start("pad", "serve", "--listen", "127.0.0.1:0", "--from", "sae-ada", *ben, "--json")
    where = server.line()["listens"]
    assert noclone("pad", "status", *ada, "--json") == {"pads": []}
    refused = noclone("message", "send", "x", "--to", "sae-ben", "-o", tmp_path / "m", "--pads", where, *ada, code=1)
    assert "too little" in refused or "this takes" in refused
    filled = noclone("pad", "fill", "--to", "sae-ben", "--call", where, "--bytes", "1", *ada, "--json")
    assert filled["stock"] == filled["added"] >= 1
    assert server.line()["message"].startswith("kept")
    sent = noclone("message", "send", "hi", "--to", "sae-ben", "-o", tmp_path / "m", "--pads", where, *ada, "--json")
    assert sent["bytes"] > 64
    assert "granted" in server.line()["message"]
    got = noclone("message", "receive", tmp_path / "m", "--pads", *ben, "--json")
    assert (got["text"], got["simulated"]) == ("hi", True)
    assert "opened before" in noclone("message", "receive", tmp_path / "m", "--pads", *ben, code=2)
    assert server.end() == (0, "")


def test_a_file_under_aes_is_called_that(noclone: Run, served: Any, tmp_path: Path) -> None:
    ada, ben = application(served, "sae-ada"), application(served, "sae-ben")
    wait_for_keys(noclone, served, 10)
    plain = tmp_path / "plain"
    plain.write_bytes(os.urandom(500_000))
    cipher = ("--cipher", "aes-256-gcm")
    sent = noclone("file", "send", plain, "--to", "sae-ben", "-o", tmp_path / "s", *cipher, *ada, "--json")
    assert (sent["key_bits"], sent["secrecy"][:13]) == (256, "computational")
    assert "not on a one-time pad" in noclone("file", "receive", tmp_path / "s", "-o", tmp_path / "out", *ben)
    assert (tmp_path / "out").read_bytes() == plain.read_bytes()
    noclone("message", "send", "hello", "--to", "sae-ben", "-o", tmp_path / "t", *cipher, *ada)
    told = noclone("message", "receive", tmp_path / "t", *ben, "--json")
    assert (told["text"], told["secrecy"][:13]) == ("hello", "computational")
    words = ("file", "send", plain, "--to", "sae-ben", "-o", tmp_path / "x", *cipher, "--resume", *ada)
    assert "one-time pads" in noclone(*words, code=2)


@pytest.mark.parametrize("leave", ["end of input", signal.SIGINT, signal.SIGTERM])
def test_two_sites_chat(noclone: Run, served: Any, start: Callable[..., Process], leave: Any) -> None:
    wait_for_keys(noclone, served, 150)
    ben = start("chat", "--to", "sae-ada", "--listen", "127.0.0.1:0", *application(served, "sae-ben"), "--json")
    where = ben.complaint().split(" at ")[1].split(";")[0]
    ada = start("chat", "--to", "sae-ben", "--call", where, *application(served, "sae-ada"), "--json")
    assert "is there" in ada.complaint()
    ada.type("hello \N{SNOWMAN}")
    assert ada.line()["from"] == "sae-ada"
    heard = ben.line()
    assert (heard["from"], heard["text"]) == ("sae-ada", "hello \N{SNOWMAN}")
    assert heard["stands_on"].startswith("SIMULATED LIGHT, protects nothing")
    assert "site ada" in heard["stands_on"]
    ben.type("hello yourself")
    ben.line()
    assert ada.line()["text"] == "hello yourself"
    if leave == "end of input":
        assert ada.process.stdin is not None
        ada.process.stdin.close()
        ada.process.stdin = None
        assert ada.process.wait(20) == 0
    else:
        assert ada.end(leave)[0] == 0
    code, errors = ben.end(None)
    assert code == 0
    assert "sae-ada has left" in errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chat"], "--to"),
        (["chat", "--to", "b", "--as", "a"], "--listen"),
        (["chat", "--to", "b", "--as", "a", "--call", "h:1", "--listen", "h:1"], "one who calls"),
        (["pad", "fill", "--to", "b", "--call", "x", "--bytes", "1"], "no address"),
        (["pad", "fill", "--to", "b", "--call", "h:1", "--bytes", "0"], "bytes"),
        (["pad", "serve", "--listen", "h:1"], "--from"),
        (["pad", "status"], "--scenario"),
    ],
)
def test_bad_input_is_said(noclone: Run, words: list[str], said: str) -> None:
    assert said in noclone(*words, code=2).lower()
