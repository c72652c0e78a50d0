"""Certificates that end before their time: revocation lists, and fresh certificates for who goes on.

In: a PKI folder with its authorities.  Out: revocation lists (RFC 5280, section 5) beside every copy of an authority's
certificate; new keys and certificates in the place of old ones. Carry what changed to whom it belongs: a running node
sees it within seconds, and takes it up without closing a port. Lists need to reach one running node only: KMEs hand
them on to each other (`revocation_news`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from noclone.errors import PkiError
from noclone.network.identities import load_certificate, plain_name
from noclone.network.pki import (
    BACKDATE,
    CERTIFICATE_DAYS,
    FLAVOURS,
    KINDS,
    PrivateKey,
    authority,
    digest_of,
    issue,
    key_pem,
    new_key,
)
from noclone.network.private_files import Writer
from noclone.spelling import choices

Who = Literal["kme", "sae"]
LISTS_HOLD = dt.timedelta(days=3650)  # they are carried by hand: an old list shall not stop a network


@dataclass(frozen=True, slots=True)
class Change:
    """What was written, as paths below the folder, and what is revoked now, as serial numbers by authority."""

    written: tuple[str, ...]
    revoked: dict[str, list[int]]


def revoke(folder: Path, kind: Who, name: str, *, now: dt.datetime | None = None) -> Change:
    """Revoke the certificates that an application or a KME has now.

    Raises:
        PkiError: There are none, or the authorities are not in this folder.
    """
    place = _place(folder, kind, name)
    serials = {f: [load_certificate(place / f"{kind}{f}.crt").serial_number] for f in FLAVOURS}
    return _revoke(folder, kind, serials, now or dt.datetime.now(dt.UTC))


def rotate(folder: Path, kind: Who, name: str, *, revoke_old: bool = False, now: dt.datetime | None = None) -> Change:
    """Give an application or a KME new keys and certificates; the old ones hold on until they expire or are revoked.

    Raises:
        PkiError: There is nobody of that name, or the authorities are not in this folder.
    """
    now, place = now or dt.datetime.now(dt.UTC), _place(folder, kind, name)
    writer, serials = Writer(folder, overwrite=False), {}
    for flavour in FLAVOURS:
        old, base = load_certificate(place / f"{kind}{flavour}.crt"), f"{kind}s/{name}/{kind}{flavour}"
        serials[flavour] = [old.serial_number]
        key = new_key(flavour)
        chain = (folder / "authority" / "kme-pq-ca.cross.crt").read_bytes() if flavour and kind == "kme" else b""
        certificate = _again(writer, kind, flavour, old, key, now) + chain
        writer.write_pair(f"{base}.key", key_pem(key), f"{base}.crt", certificate)
    change = _revoke(folder, kind, serials, now) if revoke_old else Change((), {})
    return Change((*writer.created, *change.written), change.revoked)


def _again(writer: Writer, kind: str, flavour: str, old: x509.Certificate, key: PrivateKey, now: dt.datetime) -> bytes:
    """Return a certificate that says of a new key what the old one said of the old key."""
    names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usages = old.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    common = str(old.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    signer = authority(writer, kind, flavour, now)
    return issue(key, signer, common, list(names), list(usages), now, now + dt.timedelta(days=CERTIFICATE_DAYS))


def _place(folder: Path, kind: Who, name: str) -> Path:
    place = folder / f"{kind}s" / plain_name(name)
    if not (place / f"{kind}.crt").exists() or not (place / f"{kind}-pq.crt").exists():
        made = sorted(one.name for one in place.parent.glob("*"))
        hint = choices(name, made) if made else "give the whole folder that `noclone pki` made"
        raise PkiError(f"{place} holds no certificates", hint=hint)
    if not (folder / "authority" / f"{kind}-ca.key").exists():
        raise PkiError(f"{folder} holds no authority", hint="this is done where authority/ is kept")
    return place


def _revoke(folder: Path, kind: Who, serials: dict[str, list[int]], now: dt.datetime) -> Change:
    """Write the lists of all authorities, with more in those of one kind, to everybody who trusts them."""
    writer = Writer(folder, overwrite=False)
    revoked = {}
    for each in KINDS:
        for flavour in FLAVOURS:
            name = f"{each}{flavour}-ca"
            more = serials[flavour] if each == kind else []
            known = revoked_in([folder / "authority" / f"{name}.crl"])
            revoked[name] = sorted(known | set(more))
            number = _last_number(folder / "authority" / f"{name}.crl") + 1
            data = _list(authority(writer, each, flavour, now), revoked[name], number, now)
            for place in _who_trusts(folder, f"{name}.crt"):
                writer.write(f"{place}/{name}.crl", data)
    return Change(tuple(writer.created), revoked)


def _last_number(path: Path) -> int:
    """Return the number of an authority's last list, by which who has an older one knows it; 0: there is none."""
    if not path.exists():
        return 0
    found = x509.load_pem_x509_crl(path.read_bytes())
    return next((one.value.crl_number for one in found.extensions if isinstance(one.value, x509.CRLNumber)), 0)


def _list(signer: tuple[x509.Certificate, PrivateKey], serials: Iterable[int], number: int, now: dt.datetime) -> bytes:
    certificate, key = signer
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(certificate.subject)
        .last_update(now - BACKDATE)
        .next_update(now + LISTS_HOLD)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial in serials:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - BACKDATE).build()
        builder = builder.add_revoked_certificate(one)
    return builder.sign(key, digest_of(key)).public_bytes(Encoding.PEM)


def _who_trusts(folder: Path, name: str) -> list[str]:
    return sorted(str(path.parent.relative_to(folder)) for path in folder.rglob(name))


def revoked_in(paths: Iterable[Path]) -> frozenset[int]:
    """Return the serial numbers in revocation lists; a list that does not exist has none.

    Raises:
        PkiError: One is no list.
    """
    found: set[int] = set()
    for path in paths:
        if path.exists():
            try:
                found.update(one.serial_number for one in x509.load_pem_x509_crl(path.read_bytes()))
            except (OSError, ValueError):
                raise PkiError(f"{path} holds no revocation list") from None
    return frozenset(found)
