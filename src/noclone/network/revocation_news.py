"""Revocation lists, handed on from KME to KME, so that one that is carried to one site reaches them all.

In: the lists in our folder, and those of KMEs that we call.  Out: newer ones in our folder, where `identity_watch`
finds them as if somebody had carried them. A list is worth its signature: it is taken if our own copy of its authority
signed it, its number (RFC 5280, section 5.2.3) is above that of ours, and it leaves out nobody whom ours has. So who
hands one on can be anybody, and can do no more than not to. Each KME asks, with the numbers of what it has; an answer
is four lists at most, of bounded size.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from noclone.errors import NocloneError, PkiError
from noclone.events import EventLog
from noclone.kms.calls import PeerCalls
from noclone.network.identities import CRL_NAMES, NEW_LIST, finish_adoption, load_certificate

OPERATION = "revocations"
INTERVAL_S = 30.0
LIST_BYTES_MAX = 1 << 18
AHEAD = dt.timedelta(hours=1)  # how far our clock may be behind that of the authority


@dataclass(frozen=True, slots=True)
class RevocationList:
    """An authority's list, as text and read."""

    pem: bytes
    number: int
    serial_numbers: frozenset[int]

    @classmethod
    def read(cls, pem: bytes) -> RevocationList:
        """Read a list; one without a number, of an earlier release, has the number 0.

        Raises:
            PkiError: It is none.
        """
        try:
            found = x509.load_pem_x509_crl(pem)
            numbers = [e.value.crl_number for e in found.extensions if isinstance(e.value, x509.CRLNumber)]
            return cls(pem, numbers[0] if numbers else 0, frozenset(one.serial_number for one in found))
        except ValueError:
            raise PkiError("a revocation list is none") from None


def checked(pem: bytes, authority: x509.Certificate, known: RevocationList | None, now: dt.datetime) -> RevocationList:
    """Return a list that may take the place of the one that we have.

    Raises:
        PkiError: It may not.
    """
    if len(pem) > LIST_BYTES_MAX:
        raise PkiError("a revocation list is too long")
    offered = RevocationList.read(pem)
    parsed = x509.load_pem_x509_crl(pem)
    try:
        signed = parsed.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # ML-DSA works as well
    except (TypeError, ValueError):
        signed = False
    if parsed.issuer != authority.subject or not signed:
        raise PkiError("a revocation list is not signed by its authority")
    until = parsed.next_update_utc
    if until is None or not parsed.last_update_utc - AHEAD <= now <= until:
        raise PkiError("a revocation list is not of now")
    if known is not None and (offered.number <= known.number or not known.serial_numbers <= offered.serial_numbers):
        raise PkiError("a revocation list is older than ours, or leaves out who was revoked")
    return RevocationList(parsed.public_bytes(Encoding.PEM), offered.number, offered.serial_numbers)


class RevocationNews:
    """Keeps the lists of one KME's folder as new as those of the KMEs that it calls.

    Args:
        folder: Where its certificates and lists lie.
        name: Of the KME.
        peers: Those that it calls.
        log: Where to say what came, and what was refused.
    """

    def __init__(
        self, folder: Path, name: str, peers: Callable[[], Iterable[PeerCalls]], log: EventLog,
        interval_s: float = INTERVAL_S,
    ) -> None:  # fmt: skip
        self._folder, self._name, self._peers, self._log = folder, name, peers, log
        self._interval_s = interval_s
        self._lists: dict[str, RevocationList] = {}
        self._refused: dict[str, str] = {}
        self.reload()

    def reload(self) -> None:
        """Read our lists anew: somebody may have carried others here."""
        paths = {name: self._folder / f"{name}.crl" for name in CRL_NAMES}
        self._lists = {name: RevocationList.read(path.read_bytes()) for name, path in paths.items() if path.exists()}

    async def run(self) -> None:
        """Ask those that we call now and then, for ever."""
        while True:
            await asyncio.sleep(self._interval_s)
            for calls in tuple(self._peers()):
                if calls.connected:
                    await self._ask(calls)

    async def on_ask(self, _peer: str, data: dict[str, Any]) -> dict[str, Any]:
        """Give a KME the lists of which we have newer ones.

        Raises:
            ValueError: It does not say what it has.
        """
        numbers = data.get("numbers")
        if not isinstance(numbers, dict) or len(numbers) > len(CRL_NAMES):
            raise ValueError("numbers of lists are a few")
        ours = self._lists
        newer = {name: one for name, one in ours.items() if _number(numbers.get(name)) < one.number}
        return {"lists": {name: one.pem.decode("ascii") for name, one in newer.items()}}

    async def _ask(self, calls: PeerCalls) -> None:
        numbers = {name: one.number for name, one in self._lists.items()}
        try:
            answer = await calls.ask(OPERATION, numbers=numbers)
            if answer.get("lists"):
                await asyncio.to_thread(self._take, answer["lists"])
                self._log.add("revocations.taken", f"kme:{self._name}", peer=calls.name, lists=sorted(answer["lists"]))
            self._refused.pop(calls.name, None)
        except PkiError as error:  # said once, not each time that it is offered
            if self._refused.get(calls.name) != error.message:
                self._refused[calls.name] = error.message
                self._log.add("revocations.refused", f"kme:{self._name}", peer=calls.name, reason=error.message)
        except (NocloneError, OSError):
            return  # it is gone, or does not know this call: an earlier release

    def _take(self, offered: Any) -> None:
        """Check lists and put them into our folder, all of them or none.

        Raises:
            PkiError: One may not be taken, or they cannot be written.
        """
        if not isinstance(offered, dict) or not set(offered) <= set(CRL_NAMES):
            raise PkiError("what was offered are no revocation lists")
        now, found = dt.datetime.now(dt.UTC), {}
        for name, text in offered.items():
            if not isinstance(text, str):
                raise PkiError("what was offered is no revocation list")
            authority = load_certificate(self._folder / f"{name}.crt")
            found[name] = checked(text.encode("ascii", "replace"), authority, self._lists.get(name), now)
        if set(CRL_NAMES) - set(found) - set(self._lists):
            raise PkiError("only some authorities' revocation lists were offered, and we have none of the others")
        try:
            for name, one in found.items():
                _write_durably(self._folder / f"{name}{NEW_LIST}", one.pem)
            finish_adoption(self._folder)
        except OSError as error:
            raise PkiError(f"newer revocation lists cannot be written to {self._folder} ({error.strerror})") from None
        self._lists = {**self._lists, **found}


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
