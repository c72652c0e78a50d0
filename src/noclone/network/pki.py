"""What a network needs before its first photon: authorities, certificates, and the secrets that are carried by hand.

In: names of KMEs with their hosts, ids of SAEs, links.  Out: a folder, private to its owner:

    authority/kme-ca.crt .key       signs KMEs: what SAEs and other KMEs trust
    authority/sae-ca.crt .key       signs SAEs: what KMEs trust at the ETSI 014 door, and nowhere else
    authority/border-ca.crt .key    signs KMEs where our domain meets another operator's: what that one must trust there
    kmes/NAME/kme.crt .key          that KME's identity, for SAEs and for other KMEs
    kmes/NAME/border.crt .key       what that KME shows at borders, if it stands at one
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from noclone.errors import PkiError
from noclone.io.tls import kme_uri, light_uri, sae_uri
from noclone.network.identities import OPERATOR_FILE, load_certificate, plain_name, read_private

LINK_SECRET_BYTES = 65_536  # 1,023 blocks can be authenticated, or aborted by Eve, before any key comes in
KEK_BYTES = 32
TOKEN_BYTES = 32
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
BACKDATE = dt.timedelta(minutes=10)  # for hosts whose clock is behind

PrivateKey = ec.EllipticCurvePrivateKey


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
    borders: Sequence[str] = (),
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
        borders: KMEs that stand where our domain meets another operator's.
        operator: Whether to make a token for the operator's door.
        overwrite: Make everything anew. Certificates and secrets that are in use then no longer fit.
        now: The time, for tests.
        days: How long certificates hold.

    Raises:
        PkiError: A name is unsafe, a link ends nowhere, or the folder cannot be written.
    """
    links = links or {}
    for name in (*kmes, *saes, *links):
        plain_name(name)
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
    border_ca = _authority(writer, "border", now) if borders else None
    for name in dict.fromkeys(borders):
        assert border_ca is not None
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = [x509.UniformResourceIdentifier(kme_uri(plain_name(name))), *_host_names(kmes[name])]
        _certify(writer, f"kmes/{name}/border", border_ca, name, names, usages, now, until)
        _copy_authorities(writer, f"kmes/{name}", ("border",))
    for link, ends in links.items():
        _link_secret(writer, link, ends)
    for link, hosts in (lights or {}).items():
        names = [x509.UniformResourceIdentifier(light_uri(plain_name(link))), *_host_names(hosts)]
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
    certificate = load_certificate(writer.folder / f"{name}.crt")
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
        loaded = serialization.load_pem_private_key(read_private(writer.folder / name, "a private key"), None)
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
        secret = read_private(writer.folder / there, f"the initial secret of link {link}")
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
