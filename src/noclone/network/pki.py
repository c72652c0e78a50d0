"""What a network needs before its first photon: authorities, certificates, and the secrets that are carried by hand.

In: names of KMEs with their hosts, ids of SAEs, links.  Out: a folder, private to its owner:

    authority/kme-ca.crt .key       signs KMEs: what SAEs and other KMEs trust
    authority/sae-ca.crt .key       signs SAEs: what KMEs trust at the ETSI 014 door, and nowhere else
    authority/root.pub .key         signs the authorities, by SLH-DSA, whose security is that of a hash: `roots`
    authority/border-ca.crt .key    signs KMEs where our domain meets another operator's: what that one must trust there
    kmes/NAME/kme.crt .key          that KME's identity, for SAEs and for other KMEs
    kmes/NAME/border.crt .key       what that KME shows at borders, if it stands at one
    kmes/NAME/kek                   its key-encryption key, outside run folders and databases
    kmes/NAME/links/LINK.secret     what authenticates the first block of each of its links; the other end has a copy
    saes/ID/sae.crt .key            that application's identity
    lights/LINK/light.crt .key      identity of the process that simulates that light; its ends trust it with seeds
    operator/token                  opens the operator's door of a served network
    .../kme-ca.crt, .../sae-ca.crt  copies of what the owner of that folder must trust
    .../roots.json, .sig, root.pub  the authorities' hashes, signed, and what they are signed with

Authorities, KMEs and SAEs have every certificate and key twice: ECDSA P-256, and ML-DSA-65 (FIPS 204) in files with
-pq in their names, such as kme-pq.crt and kme-pq-ca.crt. Carry kmes/NAME to NAME and saes/ID to ID, out of band; keep
authority/ offline. Authorities of KMEs and of SAEs are apart, so that no SAE can pass for a KME or the other way round.
X.509 as RFC 5280 says; identities are URI names, spiffe://noclone/sae/ID and spiffe://noclone/kme/NAME.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mldsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from noclone.errors import PkiError
from noclone.io.tls import kme_uri, light_uri, sae_uri
from noclone.network.identities import OPERATOR_FILE, load_certificate, plain_name, read_private
from noclone.network.private_files import Writer, make_folders
from noclone.network.roots import ROOTS, SignatureKey, manifest

LINK_SECRET_BYTES = 65_536  # 1,023 blocks can be authenticated, or aborted by Eve, before any key comes in
KEK_BYTES = 32
TOKEN_BYTES = 32
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
BACKDATE = dt.timedelta(minutes=10)  # for hosts whose clock is behind

PrivateKey = ec.EllipticCurvePrivateKey | mldsa.MLDSA65PrivateKey
PublicKey = ec.EllipticCurvePublicKey | mldsa.MLDSA65PublicKey
KINDS = ("kme", "sae")
CLASSICAL, POST_QUANTUM = "", "-pq"
FLAVOURS = (CLASSICAL, POST_QUANTUM)
AUTHORITIES = tuple(f"{kind}{flavour}-ca" for kind in KINDS for flavour in FLAVOURS)


@dataclass(frozen=True, slots=True)
class PkiReport:
    """What `create_pki` made and what it found there already, as paths below the folder."""

    folder: Path
    created: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


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
    _check_names(kmes, saes, links)
    now = now or dt.datetime.now(dt.UTC)
    until = now + dt.timedelta(days=days)
    make_folders(folder, folder)
    writer = Writer(folder, overwrite)
    signed = {f"{kind}{flavour}": authority(writer, kind, flavour, now) for kind in KINDS for flavour in FLAVOURS}
    cross = _cross_sign(writer, signed, now)
    _sign_roots(writer)
    for name, hosts in kmes.items():
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = [x509.UniformResourceIdentifier(kme_uri(name)), *_host_names(hosts)]
        for flavour in FLAVOURS:
            chain = cross if flavour else b""
            ca = signed[f"kme{flavour}"]
            _certify(writer, f"kmes/{name}/kme", flavour, ca, name, names, usages, now, until, chain)
        _copy_authorities(writer, f"kmes/{name}", KINDS)
        _random_file(writer, f"kmes/{name}/kek", KEK_BYTES)
    for sae in saes:
        names = [x509.UniformResourceIdentifier(sae_uri(sae))]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        for flavour in FLAVOURS:
            _certify(writer, f"saes/{sae}/sae", flavour, signed[f"sae{flavour}"], sae, names, usages, now, until)
        _copy_authorities(writer, f"saes/{sae}", ("kme",))
    for name in dict.fromkeys(borders):
        border_ca = authority(writer, "border", CLASSICAL, now)  # other operators' systems know no other yet
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = [x509.UniformResourceIdentifier(kme_uri(plain_name(name))), *_host_names(kmes[name])]
        _certify(writer, f"kmes/{name}/border", CLASSICAL, border_ca, name, names, usages, now, until)
        _copy(writer, "border-ca.crt", f"kmes/{name}")
    for link, ends in links.items():
        _link_secret(writer, link, ends)
    for link, hosts in (lights or {}).items():
        names = [x509.UniformResourceIdentifier(light_uri(plain_name(link))), *_host_names(hosts)]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH]
        _certify(writer, f"lights/{link}/light", CLASSICAL, signed["kme"], link, names, usages, now, until)
        _copy_authorities(writer, f"lights/{link}", ("kme",))
    if operator:
        _random_file(writer, OPERATOR_FILE, TOKEN_BYTES)
    return PkiReport(folder, tuple(writer.created), tuple(writer.kept))


def _check_names(kmes: Iterable[str], saes: Iterable[str], links: Mapping[str, tuple[str, str]]) -> None:
    for name in (*kmes, *saes, *links):
        plain_name(name)
    for link, ends in links.items():
        if not set(ends) <= set(kmes) or ends[0] == ends[1]:
            raise PkiError(f"link {link} does not join two of the KMEs: {', '.join(ends)}")


def _random_file(writer: Writer, name: str, n_bytes: int) -> None:
    """Make a secret of random bytes, unless it is there."""
    if writer.missing(name):
        writer.write(name, os.urandom(n_bytes).hex().encode() + b"\n")


def authority(writer: Writer, kind: str, flavour: str, now: dt.datetime) -> tuple[x509.Certificate, PrivateKey]:
    """Return an authority's certificate and private key; make them if they are missing.

    Raises:
        PkiError: They cannot be made or read, or do not belong together.
    """
    name = f"authority/{kind}{flavour}-ca"
    key = _private_key(writer, f"{name}.key", flavour)
    if writer.missing(f"{name}.crt"):
        algorithm = "ML-DSA-65 " if flavour else ""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"noclone {kind.upper()} {algorithm}authority")])
        public, until = key.public_key(), now + dt.timedelta(days=AUTHORITY_DAYS)
        builder = _certificate(subject, subject, public, key, now, until)
        below = 1 if kind == "kme" and not flavour else 0  # it vouches for the ML-DSA authority: see _cross_sign
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        builder = builder.add_extension(_key_usage(authority=True), critical=True)
        writer.write(f"{name}.crt", _pem(builder.sign(key, digest_of(key))))
    certificate = load_certificate(writer.folder / f"{name}.crt")
    if certificate.public_key() != key.public_key():
        raise PkiError(f"{name}.crt and {name}.key do not belong together", hint="remove both, or pass --overwrite")
    return certificate, key


def _sign_roots(writer: Writer) -> None:
    """Sign the hashes of all authorities; a set of authorities that is not the signed one gets a new signature."""
    place = writer.folder / "authority"
    if writer.missing("authority/root.key"):
        writer.write("authority/root.key", SignatureKey.generate().private_pem())
    key = SignatureKey.from_pem(read_private(place / "root.key", "the root's private key"))
    if writer.missing("authority/root.pub"):
        writer.write("authority/root.pub", key.public.hex().encode() + b"\n")
    data = manifest({name: load_certificate(place / f"{name}.crt") for name in AUTHORITIES})
    stale = not (place / ROOTS).exists() or (place / ROOTS).read_bytes() != data
    if writer.missing(f"authority/{ROOTS}") or stale:
        writer.write(f"authority/{ROOTS}", data)
    if writer.missing("authority/roots.sig") or stale:
        writer.write("authority/roots.sig", key.sign(data))


def _cross_sign(writer: Writer, signed: Mapping[str, tuple[x509.Certificate, PrivateKey]], now: dt.datetime) -> bytes:
    """Return the ML-DSA authority of KMEs once more, signed by the classical one.

    A KME shows it with its ML-DSA certificate, to callers who know the algorithm and have the classical authority only.
    """
    name = "authority/kme-pq-ca.cross.crt"
    (post, _), (classical, key) = signed["kme-pq"], signed["kme"]
    there = writer.folder / name
    if not writer.missing(name):
        known = load_certificate(there)
        if known.public_key() == post.public_key() and known.issuer == classical.subject:
            return there.read_bytes()
    public = signed["kme-pq"][1].public_key()
    builder = _certificate(post.subject, classical.subject, public, key, now, classical.not_valid_after_utc)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    writer.write(name, _pem(builder.sign(key, digest_of(key))))
    return there.read_bytes()


def _certify(
    writer: Writer,
    path: str,
    flavour: str,
    signer: tuple[x509.Certificate, PrivateKey],
    common_name: str,
    names: Sequence[x509.GeneralName],
    usages: Sequence[x509.ObjectIdentifier],
    now: dt.datetime,
    until: dt.datetime,
    chain: bytes = b"",
) -> None:
    name = f"{path}{flavour}"
    key = _private_key(writer, f"{name}.key", flavour)
    if writer.missing(f"{name}.crt"):
        writer.write(f"{name}.crt", issue(key, signer, common_name, names, usages, now, until) + chain)


def issue(
    key: PrivateKey,
    signer: tuple[x509.Certificate, PrivateKey],
    common_name: str,
    names: Sequence[x509.GeneralName],
    usages: Sequence[x509.ObjectIdentifier],
    now: dt.datetime,
    until: dt.datetime,
) -> bytes:
    """Return a certificate (PEM) for a key, from an authority."""
    ca, ca_key = signer
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _certificate(subject, ca.subject, key.public_key(), ca_key, now, min(until, ca.not_valid_after_utc))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _pem(builder.sign(ca_key, digest_of(ca_key)))


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: PublicKey,
    issuer_key: PrivateKey,
    now: dt.datetime,
    until: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
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


def digest_of(key: PrivateKey) -> hashes.SHA256 | None:
    """Return the hash that an authority signs with: none where the algorithm has its own."""
    return None if isinstance(key, mldsa.MLDSA65PrivateKey) else hashes.SHA256()


def new_key(flavour: str) -> PrivateKey:
    """Return a fresh private key of a flavour."""
    return mldsa.MLDSA65PrivateKey.generate() if flavour else ec.generate_private_key(ec.SECP256R1())


def key_pem(key: PrivateKey) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _private_key(writer: Writer, name: str, flavour: str) -> PrivateKey:
    if writer.missing(name):
        writer.write(name, key_pem(new_key(flavour)))
    try:
        loaded = serialization.load_pem_private_key(read_private(writer.folder / name, "a private key"), None)
    except ValueError:
        raise PkiError(f"{writer.folder / name} holds no private key") from None
    wanted = mldsa.MLDSA65PrivateKey if flavour else ec.EllipticCurvePrivateKey
    if not isinstance(loaded, wanted):
        raise PkiError(f"{writer.folder / name} is no {'ML-DSA-65' if flavour else 'P-256'} key")
    return loaded


def _link_secret(writer: Writer, link: str, ends: tuple[str, str]) -> None:
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


def _copy_authorities(writer: Writer, place: str, kinds: Sequence[str]) -> None:
    names = [f"{kind}{flavour}-ca.crt" for kind in kinds for flavour in FLAVOURS]
    for name in (*names, "root.pub", ROOTS, "roots.sig"):
        _copy(writer, name, place)


def _copy(writer: Writer, name: str, place: str) -> None:
    wanted = (writer.folder / "authority" / name).read_bytes()
    there = writer.folder / place / name
    stale = name in (ROOTS, "roots.sig") and there.exists() and there.read_bytes() != wanted
    if writer.missing(f"{place}/{name}") or stale:
        writer.write(f"{place}/{name}", wanted)


def _host_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys((*hosts, "localhost", "127.0.0.1", "::1")):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
