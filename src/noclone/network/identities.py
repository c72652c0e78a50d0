"""Identities as they lie on disk: certificates, private keys and secrets that `pki` made, found and checked.

In: a PKI folder, whole or the part that was carried to a site.  Out: where one party's files are; each is there, is
its own, has not expired, and is closed to everybody else.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from noclone.errors import PkiError
from noclone.io.tls import kme_uri, light_uri, sae_uri
from noclone.kms.files import KmeFiles, PqFiles
from noclone.network.roots import check_roots

OPERATOR_FILE = "operator/token"
SECRET_PAIR_BYTES = 64  # what one block spends: a tag key for each direction
CRL_NAMES = ("kme-ca", "kme-pq-ca", "sae-ca", "sae-pq-ca")
NEW_LIST = ".crl.new"
NAME = re.compile(r"[A-Za-z0-9._~-]{1,64}")  # RFC 3986, unreserved characters


@dataclass(frozen=True, slots=True)
class PostQuantum:
    """The other half of an identity: ML-DSA-65 certificate, key, and the authorities that go with it.

    Args:
        root: Fingerprint of the root that signed the authorities.
    """

    certificate: Path
    key: Path
    kme_ca: Path
    sae_ca: Path | None
    root: str


@dataclass(frozen=True, slots=True)
class KmeIdentity:
    """Where one KME's certificates and secrets lie. Loading has checked that they exist and are private.

    Args:
        pq: None where an earlier release made the folder: `noclone pki` adds what is missing.
        crls: What its authorities have revoked; none, or one for each authority.
    """

    name: str
    certificate: Path
    key: Path
    kme_ca: Path
    sae_ca: Path
    kek: Path
    links: Path
    pq: PostQuantum | None = None
    crls: tuple[Path, ...] = ()

    def files(self) -> KmeFiles:
        """Return what the KME's doors and signatures are made of."""
        pq = None
        if self.pq is not None and self.pq.sae_ca is not None:
            pq = PqFiles(self.pq.certificate, self.pq.key, self.pq.kme_ca, self.pq.sae_ca)
        return KmeFiles(self.certificate, self.key, self.kme_ca, self.sae_ca, pq, self.crls)

    def has_link_secret(self, link: str) -> bool:
        """Say whether the initial secret of a link is here."""
        return self._secret(link).exists()

    def link_secret(self, link: str) -> bytes:
        """Read the initial authentication secret of one of this KME's links.

        Raises:
            PkiError: It is missing, or others can read it.
        """
        return read_private(self._secret(link), f"the initial secret of link {link}")

    def wipe_link_secret(self, link: str, pairs: Sequence[int]) -> None:
        """Overwrite spent pairs of a link's initial secret with zeros, durably, before they are used.

        Should the key store be lost, and the secret be used with a new one, no pair then serves twice.

        Raises:
            PkiError: The file cannot be written, so the pairs must not be used.
        """
        path = self._secret(link)
        try:
            with path.open("r+b") as file:
                for pair in pairs:
                    file.seek(pair * SECRET_PAIR_BYTES)
                    file.write(bytes(SECRET_PAIR_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise PkiError(f"{path}: spent authentication key cannot be wiped ({error.strerror})") from None

    def _secret(self, link: str) -> Path:
        return self.links / f"{plain_name(link)}.secret"


@dataclass(frozen=True, slots=True)
class BorderIdentity:
    """Where the certificate and key lie that a KME shows at borders, and nowhere else."""

    name: str
    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class SaeIdentity:
    """Where one application's certificate and key lie."""

    id: str
    certificate: Path
    key: Path
    kme_ca: Path
    pq: PostQuantum | None = None


@dataclass(frozen=True, slots=True)
class LightIdentity:
    """Where the certificate and key of one simulated link's light lie."""

    link: str
    certificate: Path
    key: Path
    kme_ca: Path


def load_kme(folder: Path, name: str, *, now: dt.datetime | None = None) -> KmeIdentity:
    """Find a KME's certificates and secrets, in a whole PKI folder or in the part that was carried to it.

    Raises:
        PkiError: Something is missing, expired, somebody else's, or readable by others.
    """
    place = _place(folder, "kmes", name, "kme.crt")
    finish_adoption(place)
    identity = KmeIdentity(
        name,
        place / "kme.crt",
        place / "kme.key",
        place / "kme-ca.crt",
        place / "sae-ca.crt",
        place / "kek",
        place / "links",
        _post_quantum(place, "kme", kme_uri(name), now),
        crls_of(place, ("kme", "sae")),
    )
    _check_identity(identity.certificate, identity.key, identity.kme_ca, kme_uri(name), now)
    load_certificate(identity.sae_ca)
    read_private(identity.kek, f"the key-encryption key of {name}")
    return identity


def load_border(folder: Path, name: str, *, now: dt.datetime | None = None) -> BorderIdentity:
    """Find the certificate and key that a KME shows at borders.

    Raises:
        PkiError: Something is missing, expired, somebody else's, or readable by others.
    """
    place = _place(folder, "kmes", name, "kme.crt")
    identity = BorderIdentity(name, place / "border.crt", place / "border.key", place / "border-ca.crt")
    _check_identity(identity.certificate, identity.key, identity.ca, kme_uri(name), now)
    return identity


def load_sae(folder: Path, identifier: str, *, now: dt.datetime | None = None) -> SaeIdentity:
    """Find an application's certificate and key, in a whole PKI folder or in the part that was carried to it.

    Raises:
        PkiError: Something is missing, expired, somebody else's, or readable by others.
    """
    place = _place(folder, "saes", identifier, "sae.crt")
    pq = _post_quantum(place, "sae", sae_uri(identifier), now)
    identity = SaeIdentity(identifier, place / "sae.crt", place / "sae.key", place / "kme-ca.crt", pq)
    _check_identity(identity.certificate, identity.key, None, sae_uri(identifier), now)
    load_certificate(identity.kme_ca)
    return identity


def load_light(folder: Path, link: str, *, now: dt.datetime | None = None) -> LightIdentity:
    """Find the certificate and key of a simulated link's light.

    Raises:
        PkiError: Something is missing, expired, somebody else's, or readable by others.
    """
    place = _place(folder, "lights", link, "light.crt")
    identity = LightIdentity(link, place / "light.crt", place / "light.key", place / "kme-ca.crt")
    _check_identity(identity.certificate, identity.key, identity.kme_ca, light_uri(link), now)
    return identity


def load_operator_token(folder: Path) -> str:
    """Read the token of the operator's door.

    Raises:
        PkiError: It is missing, or others can read it.
    """
    return read_private(folder / OPERATOR_FILE, "the operator's token").decode("ascii", "replace").strip()


def load_link_secret(folder: Path, kme: str, link: str) -> bytes:
    """Read the initial authentication secret of a link, from one end's copy.

    Raises:
        PkiError: It is missing, or others can read it.
    """
    place = _place(folder, "kmes", kme, "links")
    return read_private(place / "links" / f"{plain_name(link)}.secret", f"the initial secret of link {link}")


def crls_of(place: Path, kinds: Sequence[str]) -> tuple[Path, ...]:
    """Return the revocation lists in a folder: none, or one for each of its authorities.

    Raises:
        PkiError: Some are there and some are not, so that nobody knows what was to be revoked.
    """
    paths = [place / f"{kind}{flavour}-ca.crl" for kind in kinds for flavour in ("", "-pq")]
    there = [path for path in paths if path.exists()]
    if there and len(there) < len(paths):
        missing = next(path for path in paths if path not in there)
        raise PkiError(f"the revocation list {missing} is missing", hint="carry what `noclone pki revoke` wrote anew")
    return tuple(there)


def finish_adoption(place: Path) -> None:
    """Put lists that another KME handed on into their places, once all that are needed are here; see `revocation_news`.

    They are written beside the others first, so that a crash between the first and the last leaves no half of a set.
    """
    new = [name for name in CRL_NAMES if (place / f"{name}{NEW_LIST}").exists()]
    if new and all(name in new or (place / f"{name}.crl").exists() for name in CRL_NAMES):
        for name in new:
            (place / f"{name}{NEW_LIST}").replace(place / f"{name}.crl")


def _post_quantum(place: Path, kind: str, uri: str, now: dt.datetime | None) -> PostQuantum | None:
    certificate = place / f"{kind}-pq.crt"
    if not certificate.exists():
        return None
    key, kme_ca = place / f"{kind}-pq.key", place / "kme-pq-ca.crt"
    names = ["kme-ca", "kme-pq-ca"] + (["sae-ca", "sae-pq-ca"] if kind == "kme" else [])
    root = check_roots(place, names)
    _check_identity(certificate, key, kme_ca if kind == "kme" else None, uri, now)
    return PostQuantum(certificate, key, kme_ca, place / "sae-pq-ca.crt" if kind == "kme" else None, root)


def _place(folder: Path, kind: str, name: str, witness: str) -> Path:
    whole = folder / kind / plain_name(name)
    return whole if not (folder / witness).exists() else folder


def _check_identity(certificate: Path, key: Path, ca: Path | None, uri: str, now: dt.datetime | None) -> None:
    found = load_certificate(certificate)
    now = now or dt.datetime.now(dt.UTC)
    if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
        raise PkiError(
            f"{certificate} holds from {found.not_valid_before_utc:%Y-%m-%d} to {found.not_valid_after_utc:%Y-%m-%d}; "
            f"now it is {now:%Y-%m-%d %H:%M} UTC",
            hint="remove it and run `noclone pki` again, or set the clock right",
        )
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if uri not in names.get_values_for_type(x509.UniformResourceIdentifier):
        raise PkiError(f"{certificate} is somebody else's certificate: it does not name {uri}")
    try:
        private = serialization.load_pem_private_key(read_private(key, "a private key"), None)
    except ValueError:
        raise PkiError(f"{key} holds no private key") from None
    if private.public_key() != found.public_key():
        raise PkiError(f"{certificate} and {key} do not belong together")
    if ca is not None:
        try:
            found.verify_directly_issued_by(load_certificate(ca))
        except Exception:
            raise PkiError(f"{certificate} was not issued by {ca}") from None


def _whence(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "`noclone pki SCENARIO -o FOLDER` makes what is missing in its folder; --pki FOLDER says which it is"
    return "these files are for their owner's eyes: run this as whoever made them"


def load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise PkiError(f"{path} cannot be read ({error.strerror})", hint=_whence(error)) from None
    except ValueError:
        raise PkiError(f"{path} holds no certificate") from None


def read_private(path: Path, what: str) -> bytes:
    """Read a secret file: ours, and closed to everybody else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise PkiError(f"{what} cannot be read: {path} ({error.strerror})", hint=_whence(error)) from None
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if stat.S_IMODE(state.st_mode) & 0o077:
            raise PkiError(f"others than its owner can use {what}: {path}", hint=f"chmod 600 {path}")
        if state.st_uid not in (os.geteuid(), 0):
            raise PkiError(f"{what} belongs to another user: {path}")
        return file.read()


def plain_name(name: str) -> str:
    """Return a name that is safe as a file's name and in a URI."""
    if not NAME.fullmatch(name) or name in (".", ".."):
        raise PkiError(f"{name!r} cannot be a name", hint="use 1 to 64 letters, digits, and . _ ~ -")
    return name
