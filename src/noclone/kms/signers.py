"""What one KME signs exchanges with: a signature with each kind of key that the network asks for, all of which count.

In: a statement.  Out: certificates and signatures; or the refusal of what another KME sent. Nothing is negotiated:
which algorithms there must be is the configuration's word, so that nobody can talk two KMEs into the weaker one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noclone.errors import AuthenticationError, PkiError
from noclone.kms.relay_messages import CERTIFICATE_CHARACTERS_MAX
from noclone.kms.relay_statements import Notary


class Signers:
    """The keys of one KME, one of each kind.

    Args:
        notaries: Theirs, in the order in which signatures stand.
    """

    def __init__(self, notaries: Sequence[Notary]) -> None:
        self.algorithms = tuple(notary.algorithm for notary in notaries)
        if not notaries or len(set(self.algorithms)) != len(notaries):
            raise PkiError("exchanges are signed with one key or more, each of another kind")
        self._notaries = tuple(notaries)

    def sign(self, domain: bytes, statement: bytes) -> list[list[str]]:
        """Return a certificate and a signature of each kind, in base64."""
        return [list(notary.sign(statement, domain)) for notary in self._notaries]

    def check(self, name: str, domain: bytes, statement: bytes, signatures: Any) -> None:
        """Check that the KME `name` signed a statement with every kind of key.

        Raises:
            AuthenticationError: A signature is missing or does not hold, or a certificate is of another kind.
        """
        if not isinstance(signatures, list) or len(signatures) != len(self._notaries):
            raise AuthenticationError(f"an exchange is signed with {' and '.join(self.algorithms)}, and nothing less")
        for notary, entry in zip(self._notaries, signatures, strict=True):
            match entry:
                case [str(certificate), str(signature)] if (
                    max(len(certificate), len(signature)) <= CERTIFICATE_CHARACTERS_MAX
                ):
                    notary.check(name, statement, certificate, signature, domain, alike=True)
                case _:
                    raise AuthenticationError("a signature is a certificate and a signature, in base64")
