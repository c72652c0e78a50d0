"""Files under AES-256-GCM with delivered keys: identical or refused, rekeyed in time, and labelled as what they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from noclone.apps.hybrid import is_hybrid, open_text, receive_hybrid, seal_text, send_hybrid
from noclone.errors import AuthenticationError, InputError, KmeError, NocloneError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plain").write_bytes(os.urandom(300_000))
    return tmp_path


def send(keys: Any, folder: Path, **options: Any) -> Any:
    return send_hybrid(
        keys.client("sae-a"), folder / "plain", sender="sae-a", to="sae-b", out=folder / "sealed", overwrite=True,
        **options,
    )  # fmt: skip


def receive(keys: Any, folder: Path, who: str = "sae-b", **options: Any) -> Any:
    return receive_hybrid(
        keys.client(who), folder / "sealed", receiver=who, out=folder / "out", spool_folder=folder / "spool", **options
    )


@pytest.mark.parametrize("size", [0, 1, 65_527, 65_528, 65_529, 300_000])
def test_a_file_crosses(keys: Any, folder: Path, size: int) -> None:
    (folder / "plain").write_bytes(os.urandom(size))
    made = send(keys, folder)
    assert (made.bytes, made.key_bits, made.simulated) == (size, 256, True)
    assert made.secrecy.startswith("computational")
    assert is_hybrid(folder / "sealed")
    got = receive(keys, folder)
    assert (got.bytes, got.sender, got.simulated) == (size, "sae-a", True)
    assert (folder / "out").read_bytes() == (folder / "plain").read_bytes()
    assert not list((folder / "spool").glob("*.pads"))


def test_keys_change_by_bytes_and_by_time(keys: Any, folder: Path) -> None:
    assert send(keys, folder, rekey_bytes=2 * 65_536).key_ids == 3
    receive(keys, folder)
    now = iter(range(0, 10_000, 40))
    assert send(keys, folder, now_s=lambda: next(now)).key_ids == 3
    receive(keys, folder, overwrite=True)
    assert (folder / "out").read_bytes() == (folder / "plain").read_bytes()


def test_every_altered_byte_class_is_refused_and_the_true_one_still_opens(keys: Any, folder: Path) -> None:
    send(keys, folder, rekey_bytes=65_536)
    true = (folder / "sealed").read_bytes()
    places = [8, 9, 21, 28, 34, 41, 48, 50, 51, 61, 91, 5_000, len(true) // 2, len(true) - 70_000, len(true) - 1]
    for place in places:
        (folder / "sealed").write_bytes(true[:place] + bytes([true[place] ^ 1]) + true[place + 1 :])
        with pytest.raises(NocloneError):
            receive(keys, folder)
        assert not (folder / "out").exists()
    for wrong in (true[:-1], true + b"x", true[:40], b"", true[: len(true) // 2]):
        (folder / "sealed").write_bytes(wrong)
        with pytest.raises((InputError, AuthenticationError)):
            receive(keys, folder)
    (folder / "sealed").write_bytes(true)
    receive(keys, folder)
    assert (folder / "out").read_bytes() == (folder / "plain").read_bytes()


def test_records_cannot_change_places_even_under_one_key(keys: Any, folder: Path) -> None:
    send(keys, folder)
    true = (folder / "sealed").read_bytes()
    record = 1 + 65_536 + 16
    first = true.index(b"\x02\x24") + 2 + 36 + 65_536 + 16  # behind the first record, which names the key
    second = first + record
    swapped = true[:first] + true[second : second + record] + true[first:second] + true[second + record :]
    assert len(swapped) == len(true)
    (folder / "sealed").write_bytes(swapped)
    with pytest.raises(AuthenticationError, match="record 1"):
        receive(keys, folder)


def test_it_is_opened_once_and_by_its_addressee(keys: Any, folder: Path) -> None:
    send(keys, folder)
    with pytest.raises(InputError, match="for sae-b"):
        receive(keys, folder, "sae-c")
    receive(keys, folder)
    with pytest.raises(KmeError):
        receive(keys, folder, overwrite=True)


def test_the_wrong_name_is_refused(keys: Any, folder: Path) -> None:
    with pytest.raises(InputError, match="knows us as"):
        send_hybrid(keys.client("sae-a"), folder / "plain", sender="sae-x", to="sae-b", out=folder / "sealed")


def test_texts_cross_for_a_key_each_and_say_what_they_are(keys: Any, folder: Path) -> None:
    opened = {"receiver": "sae-b", "spool_folder": folder / "spool"}
    before = len(keys.handed_out)
    for text in ("", "hello \N{SNOWMAN}", "x" * 60_000):
        container = seal_text(keys.client("sae-a"), text, sender="sae-a", to="sae-b").container
        got = open_text(keys.client("sae-b"), container, **opened)
        assert (got.text, got.sender, got.secrecy[:13]) == (text, "sae-a", "computational")
    assert len(keys.handed_out) - before == 3
    lengths = {
        len(seal_text(keys.client("sae-a"), text, sender="sae-a", to="sae-b").container)
        for text in ("yes", "no, never")
    }
    assert len(lengths) == 1
    container = seal_text(keys.client("sae-a"), "true", sender="sae-a", to="sae-b").container
    with pytest.raises(AuthenticationError):
        open_text(keys.client("sae-b"), container[:-1] + bytes([container[-1] ^ 1]), **opened)
    (folder / "sealed").write_bytes(container)
    with pytest.raises(InputError, match="holds no file"):
        receive(keys, folder)
    assert open_text(keys.client("sae-b"), container, **opened).text == "true"
    with pytest.raises(InputError, match="at most"):
        seal_text(keys.client("sae-a"), "x" * 70_000, sender="sae-a", to="sae-b")
