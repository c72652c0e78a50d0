"""A vendor's QKD system that tests play: the same keys at two doors, each once, in a file, so that it outlives us."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noclone.client import Key, KeyContainer, Refusal, Status
from noclone.kms.vendor_messages import VendorLink

LINK = VendorLink("acme", "a", "b", "Acme", "kms-a", "kms-b", epsilon=1e-12, block_bytes=1024)


class Vendor:
    """Both ends of the system."""

    def __init__(self, folder: Path, stock: int = 10_000, key_bytes: int = 32, at_once: int = 16) -> None:
        self._file = folder / "vendor.json"
        self.stock, self.key_bytes, self.at_once = stock, key_bytes, at_once
        self.waiting: dict[str, str] = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.extension: dict[str, Any] = {}
        self.other_extension: dict[str, Any] | None = None
        self.refusals: list[Refusal] = []
        self.altered = False
        self.repeats = False
        self.made: list[Key] = []

    async def status(self, slave: str) -> Status:
        return Status("v1", "v2", "x", slave, 8 * self.key_bytes, self.stock, 99, self.at_once, 1024, 64, 0)

    async def enc_keys(self, slave: str, number: int = 1, size: int | None = None) -> KeyContainer:
        assert slave == "kms-b"
        assert number <= self.at_once
        if self.refusals:
            raise self.refusals.pop(0)
        if self.repeats and self.made:
            return KeyContainer(tuple(self.made[:number]))
        self.stock -= number
        keys = tuple(Key(str(uuid.uuid4()), os.urandom(self.key_bytes), self.extension) for _ in range(number))
        self.made += keys
        self.waiting |= {key.key_id: key.value.hex() for key in keys}
        self._keep()
        return KeyContainer(keys)

    async def dec_keys(self, master: str, key_ids: Sequence[str]) -> KeyContainer:
        assert master == "kms-a"
        if self.refusals:
            raise self.refusals.pop(0)
        if any(key_id not in self.waiting for key_id in key_ids):
            raise Refusal(400, "one or more keys specified are not found on KME", [])
        values = [bytes.fromhex(self.waiting.pop(key_id)) for key_id in key_ids]
        self._keep()
        if self.altered:
            values[0] = bytes([values[0][0] ^ 1]) + values[0][1:]
        extension = self.extension if self.other_extension is None else self.other_extension
        return KeyContainer(tuple(Key(i, value, extension) for i, value in zip(key_ids, values, strict=True)))

    def _keep(self) -> None:
        self._file.write_text(json.dumps(self.waiting))


class Shop:
    """The vendor, two KMEs (and a third behind b), and their ends of the vendor's link."""

    def __init__(self, folder: Path, pki: Path, link: VendorLink = LINK) -> None:
        import sys

        self.folder, self.link = folder, link
        self.vendor = Vendor(folder)
        self.web = sys.modules["relay_web"].Web(folder, pki, ["ab", "bz"])
        self.bits: dict[str, int] = {"a": 0, "b": 0}
        self.alice: Any = None
        self.bob: Any = None
        self.start()

    def start(self) -> None:
        from noclone.kms.vendor_draws import AliceDraws
        from noclone.kms.vendor_fetches import BobDraws, VendorHandlers

        def adder(end: str) -> Any:
            return lambda bits: self.bits.__setitem__(end, self.bits[end] + bits)

        self.alice = AliceDraws(self.web.kmes["a"], self.link, self.vendor, adder("a"), (0.01, 0.02))
        self.bob = BobDraws(self.web.kmes["b"], self.link, self.vendor, adder("b"))
        VendorHandlers(self.web.kmes["b"]).add(self.bob)

    def close(self) -> None:
        for kme in self.web.kmes.values():
            kme.store.close()

    async def keys(self, number: int = 4, master: str = "a", slave: str = "b") -> list[Any]:
        """Get keys as two applications do."""
        from noclone.kms.requests import KeyRequest

        request = KeyRequest.model_validate({"number": number})
        got = await self.web.kmes[master].enc_keys(f"sae-{master}", f"sae-{slave}", request)
        ids = [key.key_id for key in got.keys]
        same = await self.web.kmes[slave].dec_keys(f"sae-{slave}", f"sae-{master}", ids)
        assert [key.value for key in got.keys] == [key.value for key in same.keys]
        return got.to_json()["keys"]
