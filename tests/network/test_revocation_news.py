"""Revocation lists that KMEs hand on to each other: which are taken, which are not, and how they travel."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from noclone.errors import KmeError, PkiError
from noclone.events import EventLog
from noclone.network.identities import CRL_NAMES, NEW_LIST, finish_adoption, load_certificate, load_kme
from noclone.network.pki import create_pki
from noclone.network.revocation import revoke, revoked_in
from noclone.network.revocation_news import LIST_BYTES_MAX, RevocationList, RevocationNews, checked

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of two KMEs, at three times: before, after one revocation, after two."""
    root = tmp_path_factory.mktemp("pki")
    create_pki(root / "pki", kmes={"ash": [], "oak": []}, saes=["sae-a", "sae-b"])
    for moment in range(3):
        for kme in ("ash", "oak"):
            shutil.copytree(root / "pki/kmes" / kme, root / f"{kme}{moment}")
        if moment < 2:
            revoke(root / "pki", "sae", ("sae-a", "sae-b")[moment])
    return root


def altered(pem: bytes) -> bytes:
    """Return a list whose signature's last bit is another."""
    der = x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)
    body = base64.encodebytes(der[:-1] + bytes([der[-1] ^ 1]))
    return b"-----BEGIN X509 CRL-----\n" + body + b"-----END X509 CRL-----\n"


class Peer:
    """Calls another KME's handler straight, or answers what a test says."""

    connected = ready = True

    def __init__(self, name: str, other: Any) -> None:
        self.name, self._other = name, other

    async def ask(self, operation: str, **fields: Any) -> dict[str, Any]:
        assert operation == "revocations"
        if callable(self._other):
            return dict(self._other(fields))
        return dict(await self._other.on_ask("ash", fields))


def folder(made: Path, kme: str, moment: int, place: Path) -> Path:
    return Path(shutil.copytree(made / f"{kme}{moment}", place / f"{kme}-{moment}"))


def news(place: Path, log: EventLog | None = None) -> RevocationNews:
    return RevocationNews(place, place.name, list, log or EventLog())


def test_lists_travel_to_who_has_none_and_to_who_has_older_ones(made: Path, tmp_path: Path) -> None:
    newest, older, none = (news(folder(made, "ash", moment, tmp_path)) for moment in (2, 1, 0))

    async def story() -> None:
        await none._ask(Peer("older", older))
        await older._ask(Peer("newest", newest))
        await none._ask(Peer("older", older))  # hop by hop
        await newest._ask(Peer("none", none))  # nothing comes back

    asyncio.run(story())
    serials = [revoked_in([one._folder / f"{name}.crl" for name in CRL_NAMES]) for one in (newest, older, none)]
    assert serials[0] == serials[1] == serials[2]
    assert len(serials[0]) == 4, "two applications with two certificates each"
    assert load_kme(none._folder, "ash").files().revoked() == serials[0]


@pytest.mark.parametrize("name", CRL_NAMES)
def test_a_list_is_worth_its_signature_its_number_and_its_memory(made: Path, name: str) -> None:
    lists = [made / f"ash{moment}" / f"{name}.crl" for moment in (1, 2)]
    old, new = (RevocationList.read(path.read_bytes()) for path in lists)
    authority = load_certificate(made / f"ash1/{name}.crt")
    assert checked(new.pem, authority, old, NOW) == new
    assert (old.number, new.number) == (1, 2)
    other = next(each for each in CRL_NAMES if each != name)
    for pem, ca, known, now in (
        (old.pem, authority, new, NOW),  # older
        (new.pem, authority, new, NOW),  # the same
        (new.pem, load_certificate(made / f"ash1/{other}.crt"), old, NOW),  # somebody else's
        (new.pem, authority, RevocationList(b"", 1, frozenset({7})), NOW),  # forgets who was revoked
        (new.pem, authority, old, NOW + dt.timedelta(days=20_000)),
        (new.pem, authority, old, NOW - dt.timedelta(days=2)),
        (altered(new.pem), authority, old, NOW),
        (b"x" * (LIST_BYTES_MAX + 1), authority, old, NOW),
        (b"junk", authority, old, NOW),
    ):
        with pytest.raises(PkiError):
            checked(pem, ca, known, now)


def test_nonsense_is_refused_said_once_and_changes_nothing(made: Path, tmp_path: Path) -> None:
    place, log = folder(made, "ash", 0, tmp_path), EventLog()
    ours = news(place, log)
    good = {name: (made / f"ash1/{name}.crl").read_text() for name in CRL_NAMES}
    for lists in (
        ["x"],
        {"../../kek": "x"},
        {"kme-ca": 7},
        {"kme-ca": good["kme-ca"]},
        {**good, "sae-ca": good["kme-ca"]},
    ):
        for _ in range(2):
            asyncio.run(ours._ask(Peer(str(lists)[:60], lambda _, lists=lists: {"lists": lists})))
    assert [event.kind for event in log.since(0)] == ["revocations.refused"] * 5
    assert not list(place.glob("*.crl*"))
    for numbers in (None, [], dict.fromkeys("abcde", 1)):
        with pytest.raises(ValueError, match="numbers"):
            asyncio.run(ours.on_ask("oak", {"numbers": numbers}))

    def gone(_: Any) -> Any:
        raise KmeError("gone")

    asyncio.run(ours._ask(Peer("gone", gone)))


def test_a_crash_between_the_first_and_the_last_leaves_no_half_of_a_set(made: Path, tmp_path: Path) -> None:
    place = folder(made, "ash", 0, tmp_path)
    for name in CRL_NAMES[:3]:
        shutil.copy(made / f"ash1/{name}.crl", place / f"{name}{NEW_LIST}")
    assert load_kme(place, "ash").crls == (), "a set that is not whole is no set"
    shutil.copy(made / f"ash1/{CRL_NAMES[3]}.crl", place / f"{CRL_NAMES[3]}{NEW_LIST}")
    (place / f"{CRL_NAMES[0]}{NEW_LIST}").replace(place / f"{CRL_NAMES[0]}.crl")  # and here it died
    finish_adoption(place)
    assert len(load_kme(place, "ash").crls) == 4
    assert not list(place.glob(f"*{NEW_LIST}"))
