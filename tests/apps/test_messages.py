"""Messages from end to end: what their length tells, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noclone.apps.messages import TEXT_BYTES_MAX, receive_message, send_message
from noclone.errors import AuthenticationError, InputError, KmeError


def receive(keys: Any, container: bytes, spool: Path, receiver: str = "sae-b") -> Any:
    return receive_message(keys.client(receiver), container, receiver=receiver, spool_folder=spool)


@pytest.mark.parametrize("text", ["", "Grüße aus Wien", "x" * TEXT_BYTES_MAX])
def test_a_message_arrives(keys: Any, tmp_path: Path, text: str) -> None:
    container = send_message(keys.client("sae-a"), text, sender="sae-a", to="sae-b")
    got = receive(keys, container, tmp_path)
    assert (got.sender, got.text, got.simulated) == ("sae-a", text, True)
    assert not list(tmp_path.glob("*.pads"))


def test_the_length_tells_only_its_bucket(keys: Any) -> None:
    sizes = {n: len(send_message(keys.client("a"), "x" * n, sender="a", to="b")) for n in (0, 1, 30, 56, 57, 120, 121)}
    assert sizes[0] == sizes[1] == sizes[30] == sizes[56]
    assert sizes[57] == sizes[120] == sizes[56] + 64
    assert sizes[121] == sizes[57] + 128


def test_the_same_text_twice_looks_different(keys: Any) -> None:
    first, second = (send_message(keys.client("a"), "attack at dawn", sender="a", to="b") for _ in range(2))
    assert first[-80:] != second[-80:]
    assert b"attack" not in first


def test_what_is_no_message_is_refused(keys: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at most"):
        send_message(keys.client("a"), "x" * (TEXT_BYTES_MAX + 1), sender="a", to="b")
    with pytest.raises(InputError, match="no text"):
        send_message(keys.client("a"), "\udcff", sender="a", to="b")
    assert "enc_keys" not in keys.calls
    for garbage in (b"", b"hello", b"NCSEALED", b"NCSEALED" + bytes(100)):
        with pytest.raises(InputError):
            receive(keys, garbage, tmp_path)


def test_a_forged_message_is_refused_and_the_true_one_still_opens(keys: Any, tmp_path: Path) -> None:
    container = send_message(keys.client("sae-a"), "yes", sender="sae-a", to="sae-b")
    forged = bytearray(container)
    forged[-30] ^= 0x40
    with pytest.raises(AuthenticationError):
        receive(keys, bytes(forged), tmp_path)
    assert receive(keys, container, tmp_path).text == "yes"
    with pytest.raises(KmeError, match="cannot be had"):
        receive(keys, container, tmp_path)


def test_a_file_is_no_message(keys: Any, tmp_path: Path) -> None:
    from noclone.apps.files import receive_file, send_file

    (tmp_path / "plain").write_bytes(b"data")
    send_file(keys.client("a"), tmp_path / "plain", sender="a", to="b", out=tmp_path / "sealed")
    with pytest.raises(InputError, match="holds a file"):
        receive(keys, (tmp_path / "sealed").read_bytes(), tmp_path / "spool", "b")
    (tmp_path / "sealed").write_bytes(send_message(keys.client("a"), "hi", sender="a", to="b"))
    with pytest.raises(InputError, match="holds a message"):
        receive_file(
            keys.client("b"), tmp_path / "sealed", receiver="b", out=tmp_path / "o", spool_folder=tmp_path / "s"
        )
