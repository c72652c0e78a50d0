"""What a network needs before its first photon: authorities, certificates, and the secrets that are carried by hand.

In: names of KMEs with their hosts, ids of SAEs, links.  Out: a folder, private to its owner:

    authority/kme-ca.crt .key       signs KMEs: what SAEs and other KMEs trust
    authority/sae-ca.crt .key       signs SAEs: what KMEs trust at the ETSI 014 door, and nowhere else
    kmes/NAME/kme.crt .key          that KME's identity, for SAEs and for other KMEs
    kmes/NAME/kek                   its key-encryption key, outside run folders and databases
    kmes/NAME/links/LINK.secret     what authenticates the first block of each of its links; the other end has a copy
    saes/ID/sae.crt .key            that application's identity
    lights/LINK/light.crt .key      identity of the process that simulates that light; its ends trust it with seeds
    operator/token                  opens the operator's door of a served network
    .../kme-ca.crt, .../sae-ca.crt  copies of what the owner of that folder must trust

Carry kmes/NAME to NAME and saes/ID to ID, out of band; keep authority/ offline. Two authorities, so that no SAE can
pass for a KME or the other way round. X.509 as RFC 5280 says; identities are URI names, spiffe://noclone/sae/ID and
spiffe://noclone/kme/NAME.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from noclone.errors import PkiError
from noclone.io.tls import kme_uri, light_uri, sae_uri

LINK_SECRET_BYTES = 65_536  # 1,024 blocks can be authenticated, or aborted by Eve, before any key comes in
KEK_BYTES = 32
TOKEN_BYTES = 32
OPERATOR_FILE = "operator/token"
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
BACKDATE = dt.timedelta(minutes=10)  # for hosts whose clock is behind
NAME = re.compile(r"[A-Za-z0-9._~-]{1,64}")  # RFC 3986, unreserved characters

PrivateKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class KmeIdentity:
    """Where one KME's certificates and secrets lie. Loading has checked that they exist and are private."""

    name: str
    certificate: Path
    key: Path
    kme_ca: Path
    sae_ca: Path
    kek: Path
    links: Path

    def link_secret(self, link: str) -> bytes:
        """Read the initial authentication secret of one of this KME's links.

        Raises:
            PkiError: It is missing, or others can read it.
        """
        return _read_private(self.links / f"{_plain(link)}.secret", f"the initial secret of link {link}")


@dataclass(frozen=True, slots=True)
class SaeIdentity:
    """Where one application's certificate and key lie."""

    id: str
    certificate: Path
    key: Path
    kme_ca: Path


@dataclass(frozen=True, slots=True)
class LightIdentity:
    """Where the certificate and key of one simulated link's light lie."""

    link: str
    certificate: Path
    key: Path
    kme_ca: Path


@dataclass(frozen=True, slots=True)
class PkiReport:
    """What `create_pki` made and what it found there already, as paths below the folder."""

    folder: Path
    created: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(slots=True)
class _Writer:
    """Write files whole and private, or not at all; keep what is there."""

    folder: Path
    overwrite: bool
    created: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def missing(self, name: str) -> bool:
        """Say whether a file is to be made."""
        if name in self.created or ((self.folder / name).exists() and not self.overwrite):
            if name not in self.created and name not in self.kept:
                self.kept.append(name)
            return False
        return True

    def write(self, name: str, data: bytes) -> None:
        """Make a file appear under its name when all of it is on the disk."""
        path = self.folder / name
        try:
            _make_folders(self.folder, path.parent)
            temporary = path.with_name(f".{path.name}.new")
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise PkiError(f"{path} cannot be written ({error.strerror})") from None
        self.created.append(name)


def create_pki(
    folder: Path,
    *,
    kmes: Mapping[str, Sequence[str]],
    saes: Sequence[str] = (),
    links: Mapping[str, tuple[str, str]] | None = None,
    lights: Mapping[str, Sequence[str]] | None = None,
    operator: bool = False,
    overwrite: bool = False,
    now: dt.datetime | None = None,
    days: int = CERTIFICATE_DAYS,
) -> PkiReport:
    """Make certificates and secrets for a network; a second call adds what is missing and changes nothing else.

    Args:
        folder: Where; it becomes readable by its owner alone.
        kmes: Names of KMEs, each with the host names and addresses that it is reached by (localhost is added).
        saes: Ids of applications.
        links: Names of links, each with the two KMEs at its ends.
        lights: Names of simulated links, each with the host names and addresses that its light is reached by.
        operator: Whether to make a token for the operator's door.
        overwrite: Make everything anew. Certificates and secrets that are in use then no longer fit.
        now: The time, for tests.
        days: How long certificates hold.

    Raises:
        PkiError: A name is unsafe, a link ends nowhere, or the folder cannot be written.
    """
    links = links or {}
    for name in (*kmes, *saes, *links):
        _plain(name)
    for link, ends in links.items():
        if not set(ends) <= set(kmes) or ends[0] == ends[1]:
            raise PkiError(f"link {link} does not join two of the KMEs: {', '.join(ends)}")
    now = now or dt.datetime.now(dt.UTC)
    until = now + dt.timedelta(days=days)
    _make_folders(folder, folder)
    writer = _Writer(folder, overwrite)
    kme_ca = _authority(writer, "kme", now)
    sae_ca = _authority(writer, "sae", now)
    for name, hosts in kmes.items():
        place = f"kmes/{name}"
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = [x509.UniformResourceIdentifier(kme_uri(name)), *_host_names(hosts)]
        _certify(writer, f"{place}/kme", kme_ca, name, names, usages, now, until)
        _copy_authorities(writer, place, ("kme", "sae"))
        if writer.missing(f"{place}/kek"):
            writer.write(f"{place}/kek", os.urandom(KEK_BYTES).hex().encode() + b"\n")
    for sae in saes:
        names = [x509.UniformResourceIdentifier(sae_uri(sae))]
        _certify(writer, f"saes/{sae}/sae", sae_ca, sae, names, [ExtendedKeyUsageOID.CLIENT_AUTH], now, until)
        _copy_authorities(writer, f"saes/{sae}", ("kme",))
    for link, ends in links.items():
        _link_secret(writer, link, ends)
    for link, hosts in (lights or {}).items():
        names = [x509.UniformResourceIdentifier(light_uri(_plain(link))), *_host_names(hosts)]
        _certify(writer, f"lights/{link}/light", kme_ca, link, names, [ExtendedKeyUsageOID.SERVER_AUTH], now, until)
        _copy_authorities(writer, f"lights/{link}", ("kme",))
    if operator and writer.missing(OPERATOR_FILE):
        writer.write(OPERATOR_FILE, os.urandom(TOKEN_BYTES).hex().encode() + b"\n")
    return PkiReport(folder, tuple(writer.created), tuple(writer.kept))


def _authority(writer: _Writer, kind: str, now: dt.datetime) -> tuple[x509.Certificate, PrivateKey]:
    name = f"authority/{kind}-ca"
    key = _private_key(writer, f"{name}.key")
    if writer.missing(f"{name}.crt"):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"noclone {kind.upper()} authority")])
        builder = _certificate(subject, subject, key, key, now, now + dt.timedelta(days=AUTHORITY_DAYS))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(authority=True), critical=True)
        writer.write(f"{name}.crt", _pem(builder.sign(key, hashes.SHA256())))
    certificate = _load_certificate(writer.folder / f"{name}.crt")
    if certificate.public_key() != key.public_key():
        raise PkiError(f"{name}.crt and {name}.key do not belong together", hint="remove both, or pass --overwrite")
    return certificate, key


def _certify(
    writer: _Writer,
    name: str,
    authority: tuple[x509.Certificate, PrivateKey],
    common_name: str,
    names: Sequence[x509.GeneralName],
    usages: Sequence[x509.ObjectIdentifier],
    now: dt.datetime,
    until: dt.datetime,
) -> None:
    key = _private_key(writer, f"{name}.key")
    if not writer.missing(f"{name}.crt"):
        return
    ca, ca_key = authority
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _certificate(subject, ca.subject, key, ca_key, now, min(until, ca.not_valid_after_utc))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    writer.write(f"{name}.crt", _pem(builder.sign(ca_key, hashes.SHA256())))


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    issuer_key: PrivateKey,
    now: dt.datetime,
    until: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_key(writer: _Writer, name: str) -> PrivateKey:
    if writer.missing(name):
        key = ec.generate_private_key(ec.SECP256R1())
        writer.write(
            name,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
    try:
        loaded = serialization.load_pem_private_key(_read_private(writer.folder / name, "a private key"), None)
    except ValueError:
        raise PkiError(f"{writer.folder / name} holds no private key") from None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{writer.folder / name} is no P-256 key")
    return loaded


def _link_secret(writer: _Writer, link: str, ends: tuple[str, str]) -> None:
    """Make both copies of a link's secret; if a crash left one, the other becomes its copy."""
    names = [f"kmes/{end}/links/{link}.secret" for end in ends]
    missing = [name for name in names if writer.missing(name)]
    if len(missing) == 1:
        there = next(name for name in names if name not in missing)
        secret = _read_private(writer.folder / there, f"the initial secret of link {link}")
    else:
        secret = os.urandom(LINK_SECRET_BYTES)
    for name in missing:
        writer.write(name, secret)


def _copy_authorities(writer: _Writer, place: str, kinds: Sequence[str]) -> None:
    for kind in kinds:
        if writer.missing(f"{place}/{kind}-ca.crt"):
            writer.write(f"{place}/{kind}-ca.crt", (writer.folder / f"authority/{kind}-ca.crt").read_bytes())


def _host_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys((*hosts, "localhost", "127.0.0.1", "::1")):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def load_kme(folder: Path, name: str, *, now: dt.datetime | None = None) -> KmeIdentity:
    """Find a KME's certificates and secrets, in a whole PKI folder or in the part that was carried to it.

    Raises:
        PkiError: Something is missing, expired, somebody else's, or readable by others.
    """
    place = _place(folder, "kmes", name, "kme.crt")
    identity = KmeIdentity(
        name,
        place / "kme.crt",
        place / "kme.key",
        place / "kme-ca.crt",
        place / "sae-ca.crt",
        place / "kek",
        place / "links",
    )
    _check_identity(identity.certificate, identity.key, identity.kme_ca, kme_uri(name), now)
    _load_certificate(identity.sae_ca)
    _read_private(identity.kek, f"the key-encryption key of {name}")
    return identity


def load_sae(folder: Path, identifier: str, *, now: dt.datetime | None = None) -> SaeIdentity:
    """Find an application's certificate and key, in a whole PKI folder or in the part that was carried to it.

    Raises:
        PkiError: Something is missing, expired, somebody else's, or readable by others.
    """
    place = _place(folder, "saes", identifier, "sae.crt")
    identity = SaeIdentity(identifier, place / "sae.crt", place / "sae.key", place / "kme-ca.crt")
    _check_identity(identity.certificate, identity.key, None, sae_uri(identifier), now)
    _load_certificate(identity.kme_ca)
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
    return _read_private(folder / OPERATOR_FILE, "the operator's token").decode("ascii", "replace").strip()


def load_link_secret(folder: Path, kme: str, link: str) -> bytes:
    """Read the initial authentication secret of a link, from one end's copy.

    Raises:
        PkiError: It is missing, or others can read it.
    """
    place = _place(folder, "kmes", kme, "links")
    return _read_private(place / "links" / f"{_plain(link)}.secret", f"the initial secret of link {link}")


def _place(folder: Path, kind: str, name: str, witness: str) -> Path:
    whole = folder / kind / _plain(name)
    return whole if not (folder / witness).exists() else folder


def _check_identity(certificate: Path, key: Path, ca: Path | None, uri: str, now: dt.datetime | None) -> None:
    found = _load_certificate(certificate)
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
        private = serialization.load_pem_private_key(_read_private(key, "a private key"), None)
    except ValueError:
        raise PkiError(f"{key} holds no private key") from None
    if private.public_key() != found.public_key():
        raise PkiError(f"{certificate} and {key} do not belong together")
    if ca is not None:
        try:
            found.verify_directly_issued_by(_load_certificate(ca))
        except Exception:
            raise PkiError(f"{certificate} was not issued by {ca}") from None


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise PkiError(f"{path} cannot be read ({error.strerror})", hint="make it with `noclone pki`") from None
    except ValueError:
        raise PkiError(f"{path} holds no certificate") from None


def _read_private(path: Path, what: str) -> bytes:
    """Read a secret file: ours, and closed to everybody else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise PkiError(f"{what} cannot be read: {path} ({error.strerror})", hint="make it with `noclone pki`") from None
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if stat.S_IMODE(state.st_mode) & 0o077:
            raise PkiError(f"others than its owner can use {what}: {path}", hint=f"chmod 600 {path}")
        if state.st_uid not in (os.geteuid(), 0):
            raise PkiError(f"{what} belongs to another user: {path}")
        return file.read()


def _plain(name: str) -> str:
    """Return a name that is safe as a file's name and in a URI."""
    if not NAME.fullmatch(name) or name in (".", ".."):
        raise PkiError(f"{name!r} cannot be a name", hint="use 1 to 64 letters, digits, and . _ ~ -")
    return name


def _make_folders(root: Path, folder: Path) -> None:
    """Make a folder and those above it up to `root`, private to their owner."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (*reversed([p for p in folder.parents if root in p.parents]), folder):
            path.mkdir(mode=0o700, exist_ok=True)
        root.chmod(0o700)
    except OSError as error:
        raise PkiError(f"the folder {folder} cannot be made ({error.strerror})") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
