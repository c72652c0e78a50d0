"""Where a KME's certificates lie, and what is made of them: TLS settings for its doors and calls, and who signs for it.

In: paths, that `network.identities` has found and checked, and which doors are for post-quantum callers only.  Out: TLS
contexts and notaries; the same again from the same paths when certificates were rotated or revoked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL

from noclone.errors import PkiError
from noclone.io import tls
from noclone.kms.relay_statements import ECDSA_P256, ML_DSA_65, Notary
from noclone.kms.signers import Signers


@dataclass(frozen=True, slots=True)
class PqFiles:
    """The ML-DSA-65 half of a KME's certificates."""

    certificate: Path
    key: Path
    kme_ca: Path
    sae_ca: Path


@dataclass(frozen=True, slots=True)
class KmeFiles:
    """Where a KME's certificates lie; `network.identities.load_kme` finds them.

    Args:
        pq: None: this KME is a classical one.
        crls: Revocation lists, one for each authority; none: nobody was ever revoked.
    """

    certificate: Path
    key: Path
    kme_ca: Path
    sae_ca: Path
    pq: PqFiles | None = None
    crls: tuple[Path, ...] = ()

    def paths(self) -> tuple[Path, ...]:
        """Return every file, to be watched."""
        pq = () if self.pq is None else (self.pq.certificate, self.pq.key, self.pq.kme_ca, self.pq.sae_ca)
        return (self.certificate, self.key, self.kme_ca, self.sae_ca, *pq, *self.crls)

    def revoked(self) -> frozenset[int]:
        """Return the serial numbers of certificates that are worth nothing any more.

        Raises:
            PkiError: A list cannot be read, or is none.
        """
        out: set[int] = set()
        for path in self.crls:
            try:
                out.update(one.serial_number for one in x509.load_pem_x509_crl(path.read_bytes()))
            except (OSError, ValueError):
                raise PkiError(f"the revocation list {path} cannot be read") from None
        return frozenset(out)


@dataclass(frozen=True, slots=True)
class Doors:
    """Which of a KME's doors are closed to everything but post-quantum TLS: key exchange and certificates alike."""

    kme_pq_required: bool = False
    sae_pq_required: bool = False


def kme_door(files: KmeFiles, doors: Doors) -> SSL.Context:
    """Return the TLS settings of the door for other KMEs."""
    post = _post(files, files.pq.kme_ca if files.pq else None, required=doors.kme_pq_required)
    return tls.server_context(files.certificate, files.key, files.kme_ca, post=post, crls=files.crls)


def sae_door(files: KmeFiles, doors: Doors) -> SSL.Context:
    """Return the TLS settings of the door for applications."""
    post = _post(files, files.pq.sae_ca if files.pq else None, required=doors.sae_pq_required)
    return tls.server_context(files.certificate, files.key, files.sae_ca, post=post, crls=files.crls)


def kme_calls(files: KmeFiles, doors: Doors) -> SSL.Context:
    """Return the TLS settings of calls to other KMEs."""
    post = _post(files, files.pq.kme_ca if files.pq else None, required=doors.kme_pq_required)
    return tls.client_context(files.certificate, files.key, files.kme_ca, post=post, crls=files.crls)


def _post(files: KmeFiles, ca: Path | None, *, required: bool) -> tls.Post | None:
    if files.pq is None or ca is None:
        if required:
            raise PkiError(
                "a door is for post-quantum TLS only, and this KME has no ML-DSA-65 certificate",
                hint="run `noclone pki` again: it adds what is missing",
            )
        return None
    return tls.Post(tls.Identity(files.pq.certificate, files.pq.key, ca), required)


def notaries(name: str, files: KmeFiles) -> dict[str, Notary]:
    """Return who signs for a KME, by algorithm.

    Raises:
        PkiError: A file is missing or wrong.
    """
    revoked = files.revoked()
    found = [Notary.load(name, files.certificate, files.key, files.kme_ca, revoked)]
    if files.pq is not None:
        found.append(Notary.load(name, files.pq.certificate, files.pq.key, files.pq.kme_ca, revoked))
    return {notary.algorithm: notary for notary in found}


def signers(found: dict[str, Notary], wanted: Sequence[str] | None) -> Signers:
    """Return who signs exchanges: one of each algorithm that is wanted; None: of each that there is.

    Raises:
        PkiError: There is none of some algorithm.
    """
    names = list(wanted) if wanted is not None else [name for name in (ECDSA_P256, ML_DSA_65) if name in found]
    missing = [name for name in names if name not in found]
    if missing:
        raise PkiError(
            f"exchanges are to be signed with {missing[0]}, and this KME has no such certificate",
            hint="run `noclone pki` again: it adds what is missing",
        )
    return Signers([found[name] for name in names] or list(found.values())[:1])
