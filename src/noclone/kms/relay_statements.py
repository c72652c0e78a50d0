"""Statements: what each KME on a share's way signs, so that nobody after it can make its part look better.

In: a relay's header, the hops so far, what this KME adds.  Out: the hop, signed; or the refusal of a chain that does
not hold. Each statement holds the digest of the one before and only what its KME *adds*: which neighbour it sealed the
share for, and the blocks that its pad was cut from. The trust formula is rebuilt from these additions, so that a hop
can only add ways to leak. Signatures are by the key of the KME's certificate (ECDSA P-256 as `noclone pki` makes them).
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
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from noclone.errors import AuthenticationError, PkiError
from noclone.io import tls
from noclone.kms.relay_messages import Header, canonical
from noclone.records import BlockProvenance
from noclone.relayed import RelayHop

DOMAIN = b"noclone-relay-statement-1"


class Notary:
    """Signs for one KME, and checks what others signed.

    Args:
        name: The KME.
        certificate: Its own.
        key: The private key that belongs to it.
        authority: That of all KMEs.
    """

    def __init__(self, name: str, certificate: x509.Certificate, key: Any, authority: x509.Certificate) -> None:
        if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
            raise PkiError("a KME signs what it relays with an elliptic-curve key; its certificate has another kind")
        self.name = name
        self._key = key
        self._certificate = certificate.public_bytes(serialization.Encoding.DER)
        self._authority = authority

    @classmethod
    def load(cls, name: str, certificate: Path, key: Path, authority: Path) -> Notary:
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
            )
        except (OSError, ValueError, TypeError):
            raise PkiError(f"{certificate}, {key} or {authority} cannot be read", hint="make it anew") from None

    def sign(self, statement: bytes) -> tuple[str, str]:
        """Return our certificate and our signature, in base64."""
        data = DOMAIN + statement
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            signature = self._key.sign(data)
        else:
            signature = self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        return _text(self._certificate), _text(signature)

    def check(self, name: str, statement: bytes, certificate: str, signature: str) -> None:
        """Check that the KME `name` signed a statement.

        Raises:
            AuthenticationError: It did not, or its certificate is not from the KMEs' authority or not valid now.
        """
        found = _certificate(certificate, self._authority)
        if found is None or _identity(certificate, self._authority) != name:
            raise AuthenticationError(f"a statement in the name of the KME {name} has no certificate of it")
        now = dt.datetime.now(dt.UTC)
        if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
            raise AuthenticationError(f"the certificate of the KME {name} is not valid now")
        if not _signed(found, statement, signature):
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
def _signed(certificate: x509.Certificate, statement: bytes, signature: str) -> bool:
    """Say whether a statement was signed with the key of a certificate."""
    public = certificate.public_key()
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(raw, DOMAIN + statement)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(raw, DOMAIN + statement, ec.ECDSA(hashes.SHA256()))
        else:
            return False  # a key of a kind that signs no statements
    except (InvalidSignature, ValueError):
        return False
    return True


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
