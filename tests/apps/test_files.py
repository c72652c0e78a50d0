"""Files from end to end, with KMEs of the test's own: identical or refused, and why."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from noclone.apps import files
from noclone.apps.files import receive_file, send_file
from noclone.apps.sealed import Header, KeyRef, padded_length, read_header, record_head, seal_record
from noclone.client import Key, KeyContainer, Refusal, Status
from noclone.errors import AuthenticationError, InputError, KeysExhausted, KmeError, StoreError

SIZES = [0, 1, 56, 57, 1000, 65_527, 65_528, 65_529, 65_536, 200_000]


@pytest.fixture
def site(tmp_path: Path, keys: Any) -> Any:
    class Site:
        plain, sealed, out, spool = (tmp_path / name for name in ("plain", "sealed", "out", "spool"))

        def send(self, data: bytes = b"", **more: Any) -> files.SealedFile:
            if data:
                self.plain.write_bytes(data)
            more = {"out": self.sealed, **more}
            return send_file(keys.client("sae-a"), self.plain, sender="sae-a", to="sae-b", **more)

        def receive(self, **more: Any) -> files.ReceivedFile:
            more = {"out": self.out, "receiver": "sae-b", **more}
            return receive_file(keys.client(more["receiver"]), self.sealed, spool_folder=self.spool, **more)

        def spooled(self) -> list[str]:
            return sorted(path.suffix for path in self.spool.iterdir() if path.suffix in (".pads", ".new"))

        def leftovers(self) -> list[str]:
            return [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")]

    return Site()


@pytest.mark.parametrize("size", SIZES)
def test_a_file_arrives_identical(site: Any, size: int) -> None:
    data = os.urandom(size)
    site.plain.write_bytes(data)
    seen: list[tuple[int, int]] = []
    made = site.send(on_progress=lambda done, total: seen.append((done, total)))
    assert (made.path, made.bytes, made.simulated) == (site.sealed, size, True)
    assert seen[-1] == (size, size)
    stream = padded_length(8 + size)
    assert made.pad_bits >= 8 * (stream + 32 * -(-stream // 65_536))
    got = site.receive()
    assert site.out.read_bytes() == data
    assert (got.sender, got.bytes, got.sha256) == ("sae-a", size, hashlib.sha256(data).hexdigest())
    assert got.simulated
    assert site.spooled() == []
    assert site.out.stat().st_mode & 0o777 == 0o600


def test_a_large_file_streams_in_few_requests(site: Any, keys: Any) -> None:
    keys.fill(1 << 21)
    data = os.urandom(2_000_000)
    made = site.send(data)
    site.receive()
    assert site.out.read_bytes() == data
    assert keys.calls.count("enc_keys") <= 4
    assert keys.calls.count("dec_keys") <= 4
    assert made.pad_bits < 1.13 * 8 * (len(data) + 65_536)


@pytest.mark.parametrize(
    ("bits", "number", "least"), [(1024, 10, 64), (2048, 1, 256), (65_536, 1, 64), (8_192, 7, 8_192)]
)
def test_any_kmes_limits_do(make_keys: Any, tmp_path: Path, bits: int, number: int, least: int) -> None:
    keys = make_keys(key_bits_max=bits, per_request=number, key_bits_min=least)
    keys.fill(1 << 17)
    data = os.urandom(70_000)
    (tmp_path / "plain").write_bytes(data)
    send_file(keys.client("a"), tmp_path / "plain", sender="a", to="b", out=tmp_path / "sealed")
    receive_file(
        keys.client("b"), tmp_path / "sealed", receiver="b", out=tmp_path / "out", spool_folder=tmp_path / "spool"
    )
    assert (tmp_path / "out").read_bytes() == data


def test_hardware_keys_are_not_called_simulated(site: Any, keys: Any) -> None:
    keys.origin = "hardware"
    assert not site.send(b"data").simulated
    assert not site.receive().simulated


def test_neither_end_overwrites_unless_told(site: Any, keys: Any) -> None:
    site.sealed.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists"):
        site.send(b"data")
    assert keys.calls == []
    assert site.sealed.read_bytes() == b"mine"
    site.send(b"data", overwrite=True)
    site.out.write_bytes(b"mine too")
    with pytest.raises(InputError, match="exists"):
        site.receive()
    assert "dec_keys" not in keys.calls
    site.receive(overwrite=True)
    assert site.out.read_bytes() == b"data"


def test_a_file_that_appears_meanwhile_is_not_replaced(site: Any) -> None:
    def somebody_writes(done: int, total: int) -> None:
        site.sealed.write_bytes(b"theirs")

    with pytest.raises(InputError, match="exists"):
        site.send(b"data", on_progress=somebody_writes)
    assert site.sealed.read_bytes() == b"theirs"
    assert site.leftovers() == []


def test_too_little_key_is_said_before_any_is_taken(site: Any, keys: Any) -> None:
    before = len(keys.master.atoms)
    with pytest.raises(KeysExhausted, match="bits of key"):
        site.send(os.urandom(1 << 20))
    assert len(keys.master.atoms) == before
    assert not site.sealed.exists()


def test_a_wrong_name_is_refused(site: Any, keys: Any, tmp_path: Path) -> None:
    site.plain.write_bytes(b"data")
    with pytest.raises(InputError, match="knows us as sae-a"):
        send_file(keys.client("sae-a"), site.plain, sender="sae-x", to="sae-b", out=site.sealed)
    assert "enc_keys" not in keys.calls


@pytest.mark.parametrize("place", ["missing", "folder"])
def test_what_cannot_be_read_is_refused(site: Any, place: str, tmp_path: Path) -> None:
    if place == "folder":
        site.plain.mkdir()
    with pytest.raises(InputError):
        site.send()


def test_a_file_that_changes_meanwhile_is_not_sent(site: Any) -> None:
    data = os.urandom(200_000)

    def grow(done: int, total: int) -> None:
        with site.plain.open("ab") as file:
            file.write(b"more")

    with pytest.raises(InputError, match="changed"):
        site.send(data, on_progress=grow)
    site.plain.write_bytes(data)
    with pytest.raises(InputError, match="changed"):
        site.send(on_progress=lambda done, total: os.truncate(site.plain, 70_000))
    assert not site.sealed.exists()
    assert site.leftovers() == []


def test_a_truncated_container_costs_no_key(site: Any, keys: Any) -> None:
    site.send(os.urandom(100_000))
    whole = site.sealed.read_bytes()
    for size in (0, 5, 20, 40, 60, 500, 66_000, 70_000, len(whole) - 1):
        site.sealed.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"truncated|no sealed"):
            site.receive()
    site.sealed.write_bytes(whole + b"x")
    with pytest.raises(InputError, match="follows"):
        site.receive()
    assert "dec_keys" not in keys.calls
    assert not site.out.exists()


def test_altered_bytes_are_refused_and_the_true_file_still_opens(site: Any) -> None:
    data = os.urandom(150_000)
    site.send(data)
    whole = site.sealed.read_bytes()
    with site.sealed.open("rb") as file:
        front = len(read_header(file)[1])
    for place in (20, front + 100_000 - 5_000, len(whole) - 1, len(whole) - 20_000):
        altered = bytearray(whole)
        altered[place] ^= 1
        site.sealed.write_bytes(altered)
        with pytest.raises(AuthenticationError, match="altered"):
            site.receive()
        assert not site.out.exists()
        assert site.leftovers() == []
    site.sealed.write_bytes(whole)
    site.receive()
    assert site.out.read_bytes() == data
    assert site.spooled() == []


def test_every_altered_byte_of_a_small_container_is_refused(site: Any, keys: Any) -> None:
    site.send(b"data")
    whole = site.sealed.read_bytes()
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 1
        site.sealed.write_bytes(altered)
        with pytest.raises((InputError, AuthenticationError, KmeError)):
            site.receive()
        assert not site.out.exists()
    site.sealed.write_bytes(whole)
    site.receive()
    assert site.out.read_bytes() == b"data"


def test_a_record_of_another_file_does_not_fit(site: Any, tmp_path: Path) -> None:
    site.send(os.urandom(65_528 + 65_536))
    first = site.sealed.read_bytes()
    site.send(os.urandom(65_528 + 65_536), out=tmp_path / "second")
    second = (tmp_path / "second").read_bytes()
    with site.sealed.open("rb") as file:
        front = len(read_header(file)[1])
    cut = front + (len(first) - front) // 2
    site.sealed.write_bytes(first[:cut] + second[cut:])
    with pytest.raises(AuthenticationError, match="record 1"):
        site.receive()


def test_only_the_addressee_may_ask(site: Any, keys: Any) -> None:
    site.send(b"data")
    with pytest.raises(InputError, match="for sae-b, not for sae-c"):
        site.receive(receiver="sae-c")
    assert "dec_keys" not in keys.calls


def test_a_file_is_received_once(site: Any, tmp_path: Path) -> None:
    site.send(b"data")
    site.receive()
    with pytest.raises(KmeError, match="cannot be had"):
        site.receive(out=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_receiver_that_crashed_goes_on(site: Any, keys: Any) -> None:
    data = os.urandom(300_000)
    site.send(data)
    keys.per_request = 20

    class Crash(BaseException):
        pass

    def crash(done: int, total: int) -> None:
        if done > 150_000:
            raise Crash

    with pytest.raises(Crash):
        site.receive(on_progress=crash)
    assert not site.out.exists()
    assert ".pads" in site.spooled()
    site.receive()
    assert site.out.read_bytes() == data
    assert site.spooled() == []


def test_the_spool_shows_no_pad(site: Any, keys: Any) -> None:
    site.send(os.urandom(5_000))
    values = [value for _, _, value in keys.slave.promised.values()]

    def stop(done: int, total: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        site.receive(on_progress=stop)
    kept = b"".join(path.read_bytes() for path in site.spool.iterdir())
    assert values
    assert not any(value[:16] in kept for value in values)
    assert all(path.stat().st_mode & 0o077 == 0 for path in site.spool.iterdir())
    assert site.spool.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("broken", ["posix_fallocate", "fsync"])
def test_a_full_disk_is_said_and_costs_nothing(
    site: Any, keys: Any, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.send(os.urandom(5_000))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, full)
        with pytest.raises(StoreError, match="No space left"):
            site.receive()
    assert "dec_keys" not in keys.calls
    assert site.receive().bytes == 5_000
    assert site.leftovers() == []


def test_a_disk_that_fills_up_late_keeps_the_pads(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.send(os.urandom(5_000))
    with monkeypatch.context() as patch:

        def fill_up(done: int, total: int) -> None:
            def full(*_: Any) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(os, "fsync", full)

        with pytest.raises(StoreError, match="No space left"):
            site.receive(on_progress=fill_up)
    assert site.spooled() == [".pads"]
    assert not site.out.exists()
    site.receive()
    assert site.out.stat().st_size == 5_000


def test_ctrl_c_in_the_middle_of_a_fetch_loses_no_key(site: Any, keys: Any) -> None:
    site.send(b"data")
    keys.before_answer = lambda call: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        site.receive()
    keys.before_answer = lambda call: None
    assert keys.slave.promised == {}
    site.receive()
    assert site.out.read_bytes() == b"data"


def killed(act: Any) -> int:
    """Do something in a process of its own; return the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def kill_me(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_kill_9_of_the_receiver_loses_no_fetched_key(site: Any, keys: Any) -> None:
    data = os.urandom(150_000)
    site.send(data)
    assert killed(lambda: site.receive(on_progress=kill_me)) == signal.SIGKILL
    assert not site.out.exists()
    keys.slave.promised.clear()  # the KME has handed them out: all that follows comes from the spool
    site.receive()
    assert site.out.read_bytes() == data
    assert site.spooled() == []


def test_kill_9_between_the_answer_and_the_spool_is_said_and_cleaned_up(site: Any, keys: Any) -> None:
    site.send(b"data")
    keys.before_answer = kill_me
    assert killed(site.receive) == signal.SIGKILL
    assert site.spooled() == [".new"]
    keys.before_answer = lambda call: None
    keys.slave.promised.clear()
    with pytest.raises(KmeError, match="cannot be had"):
        site.receive()
    assert site.spooled() == []
    assert not site.out.exists()


def test_kill_9_of_the_sender_leaves_no_container(site: Any, keys: Any) -> None:
    site.plain.write_bytes(os.urandom(150_000))
    assert killed(lambda: site.send(on_progress=kill_me)) == signal.SIGKILL
    assert not site.sealed.exists()
    site.send()
    site.receive()
    assert site.out.read_bytes() == site.plain.read_bytes()


def test_a_key_that_waits_in_the_spool_speaks_for_its_own_master_alone(tmp_path: Path) -> None:
    """Impersonation: sae-m leaves its key in the receiver's spool, then names that key in a container "from sae-a"."""
    value = os.urandom(200)

    class Kme:
        def status(self, slave: str) -> Any:
            return Status("kme-a", "kme-b", "sae-b", slave, 256, 10, 10, 128, 65_536, 64, 0)

        def enc_keys(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("a receiver takes no new keys")

        def dec_keys(self, master: str, key_ids: Any) -> KeyContainer:
            if master != "sae-m":
                raise Refusal(400, "one or more keys specified are not found on KME", [])
            return KeyContainer(tuple(Key(key_id, value) for key_id in key_ids))

    def container(sender: str, *, good: bool) -> Path:
        text = b"pay mallory"
        stream = (len(text).to_bytes(8, "big") + text).ljust(padded_length(8 + len(text)), b"\0")
        head = Header("file", os.urandom(16), sender, "sae-b", len(stream)).encode()
        front = record_head(0, (KeyRef("kid-1", len(value)),), final=True)
        record = bytearray(seal_record(head, front, bytearray(value), stream))
        record[-1] ^= not good
        path = tmp_path / f"{sender}-{good}.otp"
        path.write_bytes(head + record)
        return path

    def receive(path: Path) -> None:
        receive_file(Kme(), path, receiver="sae-b", out=tmp_path / "out", spool_folder=tmp_path / "spool")

    with pytest.raises(AuthenticationError):
        receive(container("sae-m", good=False))
    assert list((tmp_path / "spool").glob("*.pads")), "the key of the spoiled container waits"
    with pytest.raises(KmeError, match="cannot be had"):
        receive(container("sae-a", good=True))
    assert not (tmp_path / "out").exists()
    receive(container("sae-m", good=True))
    assert (tmp_path / "out").read_bytes() == b"pay mallory"
