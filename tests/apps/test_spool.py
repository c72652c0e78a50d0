"""The spool: what it keeps, what it gives back, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from noclone.apps import spool as module
from noclone.apps.spool import Spool, SpooledPad
from noclone.errors import KmeError, StoreError


def pads(*names: str) -> list[SpooledPad]:
    return [SpooledPad(name, os.urandom(100), True) for name in names]


def keep(spool: Spool, some: list[SpooledPad]) -> None:
    spool.keep([(pad.key_id, len(pad.value)) for pad in some], lambda: some)


def test_kept_pads_come_back_after_a_restart(tmp_path: Path) -> None:
    some = pads("k1", "k2")
    with Spool(tmp_path, "sae-a") as spool:
        keep(spool, some)
    with Spool(tmp_path, "sae-a") as spool:
        assert "k1" in spool
        assert "k3" not in spool
        assert spool.pads(["k2"]) == {"k2": some[1]}
        assert spool.pads(["k1", "k2"]) == {"k1": some[0], "k2": some[1]}


def test_erasing_some_keeps_the_others(tmp_path: Path) -> None:
    some = pads("k1", "k2", "k3")
    with Spool(tmp_path, "sae-a") as spool:
        keep(spool, some)
        spool.erase(["k1", "k3", "unknown"])
        assert "k1" not in spool
        assert spool.pads(["k2"]) == {"k2": some[1]}
    with Spool(tmp_path, "sae-a") as spool:
        assert "k3" not in spool
        assert spool.pads(["k2"]) == {"k2": some[1]}
        spool.erase(["k2"])
    assert not list(tmp_path.glob("*.pads"))


def test_keys_of_other_sizes_are_kept_and_said(tmp_path: Path) -> None:
    some = pads("k1")
    with Spool(tmp_path, "sae-a") as spool, pytest.raises(KmeError, match="other sizes"):
        spool.keep([("k1", 99)], lambda: some)
    with Spool(tmp_path, "sae-a") as spool:
        assert spool.pads(["k1"]) == {"k1": some[0]}


def test_an_altered_or_orphaned_spool_does_not_open(tmp_path: Path) -> None:
    with Spool(tmp_path, "sae-a") as spool:
        keep(spool, pads("k1"))
    (path,) = tmp_path.glob("*.pads")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with Spool(tmp_path, "sae-a") as spool, pytest.raises(StoreError, match="does not open"):
        spool.pads(["k1"])
    path.write_bytes(whole[:10])
    with pytest.raises(StoreError, match="damaged"), Spool(tmp_path, "sae-a"):
        pass
    path.write_bytes(whole)
    (tmp_path / module.KEY_FILE).unlink()
    with pytest.raises(StoreError, match="lost their key"), Spool(tmp_path, "sae-a"):
        pass


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with Spool(tmp_path, "sae-a"):
        pass
    (tmp_path / module.KEY_FILE).chmod(0o644)
    with pytest.raises(StoreError, match="others"), Spool(tmp_path, "sae-a"):
        pass


def test_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_WAIT_S", 0.1)
    with Spool(tmp_path, "sae-a"), pytest.raises(StoreError, match="another process"), Spool(tmp_path, "sae-a"):
        pass
    with Spool(tmp_path, "sae-a"):
        pass


def test_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> list[SpooledPad]:
        raise KmeError("no")

    with Spool(tmp_path, "sae-a") as spool, pytest.raises(KmeError):
        spool.keep([("k1", 100)], fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == [module.KEY_FILE, module.LOCK_FILE]


def test_nothing_shows_a_pad(tmp_path: Path) -> None:
    (pad,) = pads("k1")
    assert repr(pad.value) not in repr(pad)


def test_pads_of_one_sender_are_not_there_for_another(tmp_path: Path) -> None:
    some = pads("k1")
    with Spool(tmp_path, "sae-m") as spool:
        keep(spool, some)
    with Spool(tmp_path, "sae-a") as spool:
        assert "k1" not in spool
        spool.erase(["k1"])
    with Spool(tmp_path, "sae-m") as spool:
        assert spool.pads(["k1"]) == {"k1": some[0]}
