"""Sealed files that are interrupted and gone on with: nothing is sealed twice, and what comes out is what went in."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from noclone.apps.files import receive_file, send_file
from noclone.apps.sealed import read_header, records
from noclone.errors import InputError, KeysExhausted


class Killed(BaseException):
    """The process is gone."""


def send(keys: Any, folder: Path, *, kill_after: int | None = None, to: str = "sae-b") -> None:
    done = [0]

    def progress(n_bytes: int, total: int) -> None:
        done[0] += 1
        if done[0] == kill_after:
            raise Killed

    send_file(
        keys.client("sae-a"), folder / "plain", sender="sae-a", to=to, out=folder / "sealed", resume=True,
        on_progress=progress,
    )  # fmt: skip


def places(keys: Any, container: bytes) -> list[int]:
    stream = io.BytesIO(container)
    header, head = read_header(stream)
    out: list[int] = []
    try:
        for record in records(stream, header, len(head), max(len(container), header.stream_bytes)):
            if record.offset + record.sealed_bytes > len(container):
                break
            out += [place for key in record.keys for place in keys.places[key.key_id]]
    except InputError:
        pass
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plain").write_bytes(os.urandom(400_000))
    return tmp_path


def opened(keys: Any, folder: Path) -> bytes:
    receive_file(
        keys.client("sae-b"), folder / "sealed", receiver="sae-b", out=folder / "out", spool_folder=folder / "spool"
    )
    return (folder / "out").read_bytes()


@pytest.mark.parametrize("kill_after", [1, 3, 6])
def test_an_interrupted_file_is_gone_on_with(keys: Any, folder: Path, kill_after: int) -> None:
    with pytest.raises(Killed):
        send(keys, folder, kill_after=kill_after)
    part = (folder / "sealed.unfinished").read_bytes()
    assert not (folder / "sealed").exists()
    before = len(keys.handed_out)
    send(keys, folder)
    whole = (folder / "sealed").read_bytes()
    assert whole.startswith(part), "what was sealed stays as it was"
    used = places(keys, whole)
    assert len(used) == len(set(used))
    assert len(keys.handed_out) - before < 9 * 7, "only the rest took key"
    assert opened(keys, folder) == (folder / "plain").read_bytes()
    assert not list(folder.glob("sealed.unfinished*"))


def test_every_length_of_what_is_left_can_be_gone_on_with(keys: Any, folder: Path) -> None:
    """A power cut keeps any part of the container. What is lost gets fresh key: no two ciphertexts share a byte."""
    keys.fill(1 << 22)
    with pytest.raises(Killed):
        send(keys, folder, kill_after=3)
    part, note = folder / "sealed.unfinished", folder / "sealed.unfinished.json"
    sealed, said = part.read_bytes(), note.read_text()
    first = set(places(keys, sealed))
    for length in (0, 5, 60, 100, len(sealed) // 3, len(sealed) // 2, len(sealed) - 1, len(sealed)):
        part.write_bytes(sealed[:length])
        note.write_text(said)
        kept = set(places(keys, sealed[:length])) if length > 60 else set()
        send(keys, folder)
        whole = (folder / "sealed").read_bytes()
        assert len(places(keys, whole)) == len(set(places(keys, whole)))
        assert set(places(keys, whole)) & first == kept
        (folder / "sealed").rename(folder / f"sealed-{length}")
    (folder / f"sealed-{len(sealed) // 2}").rename(folder / "sealed")
    assert opened(keys, folder) == (folder / "plain").read_bytes()


def test_it_ends_by_itself_when_key_comes_in(make_keys: Any, folder: Path) -> None:
    keys = make_keys()
    keys.fill(150_000)
    real = keys.client("sae-a").status("sae-b").stored_key_count
    assert real * 32 < 400_000
    with pytest.raises(KeysExhausted, match="bits of key"):
        send(keys, folder)
    keys.fill(1 << 20)
    send(keys, folder)
    assert opened(keys, folder) == (folder / "plain").read_bytes()


def test_another_file_or_another_addressee_is_refused(keys: Any, folder: Path) -> None:
    with pytest.raises(Killed):
        send(keys, folder, kill_after=2)
    with pytest.raises(InputError, match="somebody else"):
        send(keys, folder, to="sae-c")
    os.utime(folder / "plain", (1, 1))
    with pytest.raises(InputError, match="another file"):
        send(keys, folder)


def test_without_being_asked_nothing_is_left_behind(keys: Any, folder: Path) -> None:
    def killed(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        send_file(
            keys.client("sae-a"),
            folder / "plain",
            sender="sae-a",
            to="sae-b",
            out=folder / "sealed",
            on_progress=killed,
        )
    assert [path.name for path in folder.iterdir()] == ["plain"]
