"""Statements: what each KME on a share's way signs, so that nobody after it can make its part look better.

In: a relay's header, the hops so far, what this KME adds.  Out: the hop, signed; or the refusal of a chain that does
not hold. Each statement holds the digest of the one before and only what its KME *adds*: which neighbour it sealed the
share for, and the blocks that its pad was cut from. The trust formula is rebuilt from these additions, so that a hop
can only add ways to leak. Signatures are by the key of the KME's certificate: ECDSA P-256, ML-DSA-65 (FIPS 204) or
Ed25519.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from noclone.errors import AuthenticationError, PkiError
from noclone.io import tls
from noclone.kms.relay_messages import Header, canonical
from noclone.records import BlockProvenance
from noclone.relayed import RelayHop

DOMAIN = b"noclone-relay-statement-1"
ECDSA_P256, ED25519, ML_DSA_65 = "ECDSA-P256", "Ed25519", "ML-DSA-65"


def algorithm_of(key: Any) -> str | None:
    """Return which algorithm a private or public key signs with; None for one that signs no statements."""
    match key:
        case mldsa.MLDSA65PrivateKey() | mldsa.MLDSA65PublicKey():
            return ML_DSA_65
        case ed25519.Ed25519PrivateKey() | ed25519.Ed25519PublicKey():
            return ED25519
        case ec.EllipticCurvePrivateKey() | ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return ECDSA_P256
    return None


class Notary:
    """Signs for one KME, and checks what others signed.

    Args:
        name: The KME.
        certificate: Its own.
        key: The private key that belongs to it.
        authority: That of all KMEs.
        revoked: Serial numbers of its certificates that are worth nothing any more.
    """

    def __init__(
        self,
        name: str,
        certificate: x509.Certificate,
        key: Any,
        authority: x509.Certificate,
        revoked: frozenset[int] = frozenset(),
    ) -> None:
        algorithm = algorithm_of(key)
        if algorithm is None:
            raise PkiError(f"the certificate of the KME {name} has a key of a kind that signs no statements")
        self.name = name
        self.algorithm = algorithm
        self._key = key
        self._certificate = certificate.public_bytes(serialization.Encoding.DER)
        self._authority = authority
        self._revoked = revoked

    @classmethod
    def load(
        cls, name: str, certificate: Path, key: Path, authority: Path, revoked: frozenset[int] = frozenset()
    ) -> Notary:
        """Read what a KME signs and checks with from its files.

        Raises:
            PkiError: One cannot be read, or is none.
        """
        try:
            return cls(
                name,
                x509.load_pem_x509_certificate(certificate.read_bytes()),
                serialization.load_pem_private_key(key.read_bytes(), None),
                x509.load_pem_x509_certificate(authority.read_bytes()),
                revoked,
            )
        except (OSError, ValueError, TypeError):
            raise PkiError(f"{certificate}, {key} or {authority} cannot be read", hint="make it anew") from None

    def adopt(self, other: Notary) -> None:
        """Go on with another key and certificate of the same KME, and with what is revoked by now.

        Raises:
            PkiError: They are another KME's, or of another kind.
        """
        if (other.name, other.algorithm) != (self.name, self.algorithm):
            raise PkiError(f"the new certificate is not one of the KME {self.name} with {self.algorithm}")
        self._key, self._certificate = other._key, other._certificate
        self._authority, self._revoked = other._authority, other._revoked

    def sign(self, statement: bytes, domain: bytes = DOMAIN) -> tuple[str, str]:
        """Return our certificate and our signature, in base64. A statement of one domain is none of another."""
        data = domain + statement
        if self.algorithm == ECDSA_P256:
            signature = self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        else:
            signature = self._key.sign(data)
        return _text(self._certificate), _text(signature)

    def check(
        self,
        name: str,
        statement: bytes,
        certificate: str,
        signature: str,
        domain: bytes = DOMAIN,
        *,
        alike: bool = False,
    ) -> None:
        """Check that the KME `name` signed a statement; if `alike`, with the algorithm that we sign with.

        Raises:
            AuthenticationError: It did not, or its certificate is not from the KMEs' authority, not valid now, or
                revoked.
        """
        found = _certificate(certificate, self._authority)
        if found is None or _identity(certificate, self._authority) != name:
            raise AuthenticationError(f"a statement in the name of the KME {name} has no certificate of it")
        now = dt.datetime.now(dt.UTC)
        if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
            raise AuthenticationError(f"the certificate of the KME {name} is not valid now")
        if found.serial_number in self._revoked:
            raise AuthenticationError(f"the certificate of the KME {name} is revoked")
        kind = algorithm_of(found.public_key())
        if kind is None or (alike and kind != self.algorithm):
            raise AuthenticationError(f"the KME {name} signed with a key of a kind that does not count here")
        if not _signed(found, domain + statement, signature):
            raise AuthenticationError(f"the KME {name} did not sign what is said in its name")

    def add_hop(
        self, header: Header, share: int, hops: Sequence[RelayHop], receiver: str, blocks: Sequence[BlockProvenance]
    ) -> RelayHop:
        """Sign that we seal a share for `receiver` with a pad cut from `blocks`."""
        hop = RelayHop(self.name, receiver, tuple(blocks))
        certificate, signature = self.sign(_digests(header, share, [*hops, hop])[-1])
        return replace(hop, certificate=certificate, signature=signature)

    def check_hops(self, header: Header, share: int, hops: Sequence[RelayHop]) -> None:
        """Check every signature of a share's hops.

        Raises:
            AuthenticationError: One does not hold.
        """
        for hop, digest in zip(hops, _digests(header, share, hops), strict=True):
            self.check(hop.sender, digest, hop.certificate, hop.signature)


def _digests(header: Header, share: int, hops: Sequence[RelayHop]) -> list[bytes]:
    """Return the digest of each hop's statement: the one before it, and what the hop adds."""
    digest = hashlib.sha256(canonical([header.digest(), share])).digest()
    out = []
    for hop in hops:
        added = [digest.hex(), hop.sender, hop.receiver, [block.to_json() for block in hop.blocks]]
        digest = hashlib.sha256(canonical(added)).digest()
        out.append(digest)
    return out


@lru_cache(maxsize=1024)
def _certificate(text: str, authority: x509.Certificate) -> x509.Certificate | None:
    """Return a certificate if the authority issued it."""
    try:
        found = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        found.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return None
    return found


@lru_cache(maxsize=1024)
def _identity(text: str, authority: x509.Certificate) -> str | None:
    found = _certificate(text, authority)
    return None if found is None else tls.identity(found, "kme")


@lru_cache(maxsize=4096)  # where many nodes share a process, each checks what all others have checked
def _signed(certificate: x509.Certificate, data: bytes, signature: str) -> bool:
    """Say whether data was signed with the key of a certificate, of a kind that signs statements."""
    public: Any = certificate.public_key()
    try:
        raw = base64.b64decode(signature, validate=True)
        if algorithm_of(public) == ECDSA_P256:
            public.verify(raw, data, ec.ECDSA(hashes.SHA256()))
        else:
            public.verify(raw, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
