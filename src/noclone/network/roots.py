"""The roots of trust: the authorities' certificates, hashed into a list that is signed by a key that rests on a hash.

In: certificates of authorities.  Out: a list of their hashes, and its signature by SLH-DSA (FIPS 205, SHA2-128f, from
`pqcrypto`). SLH-DSA's security is that of SHA-256, and has nothing to do with lattices: should ML-DSA fall, nobody can
put another ML-DSA authority into a network whose root is pinned. A node pins the root's public key when it first
starts, and refuses any other from then on; compare its fingerprint by voice where that first contact is not trusted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from noclone.errors import PkiError

ALGORITHM = "SLH-DSA-SHA2-128f"
CONTEXT = b"noclone-roots-1"
ROOTS, SIGNATURE, PUBLIC = "roots.json", "roots.sig", "root.pub"
PUBLIC_BYTES, PRIVATE_BYTES = 32, 64
LINE = "-----{} NOCLONE SLH-DSA PRIVATE KEY-----"


def _slh_dsa() -> Any:
    from pqcrypto import sign  # at its first use: a tenth of a second that most commands need not spend

    return sign.slh_dsa_sha2_128f


@dataclass(frozen=True, slots=True)
class SignatureKey:
    """The root's key pair."""

    public: bytes
    private: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> SignatureKey:
        """Return a fresh one."""
        public, private = _slh_dsa().keygen()
        return cls(bytes(public), bytes(private))

    def private_pem(self) -> bytes:
        """Return both keys as text."""
        body = (self.public + self.private).hex()
        return "\n".join([LINE.format("BEGIN"), body, LINE.format("END"), ""]).encode()

    @classmethod
    def from_pem(cls, data: bytes) -> SignatureKey:
        """Read what `private_pem` gave.

        Raises:
            PkiError: It is something else.
        """
        lines = data.decode("ascii", "replace").split()
        try:
            raw = bytes.fromhex(next(line for line in lines if len(line) == 2 * (PUBLIC_BYTES + PRIVATE_BYTES)))
        except (StopIteration, ValueError):
            raise PkiError("the root's private key holds none", hint="restore authority/root.key") from None
        return cls(raw[:PUBLIC_BYTES], raw[PUBLIC_BYTES:])

    def sign(self, data: bytes) -> bytes:
        """Return the signature of a list of roots."""
        return bytes(_slh_dsa().sign(self.private, data, CONTEXT))


def manifest(authorities: Mapping[str, x509.Certificate]) -> bytes:
    """Return the list of authorities' hashes that is signed."""
    hashes = {name: fingerprint(certificate) for name, certificate in sorted(authorities.items())}
    return json.dumps({"algorithm": ALGORITHM, "sha384": hashes}, indent=1).encode() + b"\n"


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the hash of a certificate, in hexadecimal."""
    return hashlib.sha384(certificate.public_bytes(Encoding.DER)).hexdigest()


def check_roots(folder: Path, names: Iterable[str]) -> str:
    """Check that the authorities in a folder are those that the root signed; return the root's fingerprint.

    Raises:
        PkiError: One is not, or the signature does not hold.
    """
    try:
        data, signature = (folder / ROOTS).read_bytes(), (folder / SIGNATURE).read_bytes()
        public = bytes.fromhex((folder / PUBLIC).read_text().strip())
        listed: dict[str, str] = json.loads(data)["sha384"]
        found = {name: x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes()) for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        raise PkiError(f"the signed roots in {folder} are missing or damaged", hint="run `noclone pki` again") from None
    try:
        _slh_dsa().verify(public, data, signature, CONTEXT)
    except ValueError:
        raise PkiError(
            f"the roots in {folder} are not signed by {PUBLIC}", hint="somebody changed them: carry the folder anew"
        ) from None
    for name, certificate in found.items():
        if listed.get(name) != fingerprint(certificate):
            raise PkiError(f"{folder / f'{name}.crt'} is not the authority that the root signed")
    return hashlib.sha256(public).hexdigest()


def pin(path: Path, root: str) -> bool:
    """Pin the root at first contact; return whether this was the first.

    Raises:
        PkiError: Another one was pinned before.
    """
    try:
        with path.open("x", encoding="ascii") as file:
            file.write(root + "\n")
        return True
    except FileExistsError:
        known = path.read_text(encoding="ascii").strip()
    if known != root:
        raise PkiError(
            f"the root of trust is another one than at first contact: {root[:16]}... instead of {known[:16]}...",
            hint=f"if the network was made anew, remove {path}; if it was not, somebody else made these certificates",
        )
    return False
