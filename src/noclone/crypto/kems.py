"""Key encapsulation, and the suites that a scenario names: each several KEMs, all of which must fall before it does.

In: the name of a suite, the other side's public keys.  Out: secrets, one for each KEM, and the ciphertexts that carry
them. X25519 is used as a KEM: the ciphertext is an ephemeral public key. ML-KEM (FIPS 203) and X25519 are those of
`cryptography`, thus OpenSSL's; HQC and Classic McEliece, whose security has nothing to do with lattices, are those of
`pqcrypto`, which has not been audited: they stand beside ML-KEM, never in its place.
Everything from outside has its exact length before it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from noclone.errors import AuthenticationError, InputError
from noclone.spelling import choices

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Kem:
    """One algorithm.

    Args:
        name: As a trust formula says it.
        public_bytes: Length of a public key.
        ciphertext_bytes: Length of a ciphertext.
        quantum_safe: Whether it is meant to resist a quantum computer.
        generate: Returns a private key and a public key.
        encapsulate: Returns secret and ciphertext for a public key.
        decapsulate: Returns the secret for a private key and a ciphertext.
    """

    name: str
    public_bytes: int
    ciphertext_bytes: int
    quantum_safe: bool
    generate: Callable[[], tuple[Any, bytes]] = field(repr=False)
    encapsulate: Callable[[bytes], tuple[bytes, bytes]] = field(repr=False)
    decapsulate: Callable[[Any, bytes], bytes] = field(repr=False)


def _ml_kem(name: str, private: Any, public: Any, public_bytes: int, ciphertext_bytes: int) -> Kem:
    def generate() -> tuple[Any, bytes]:
        key = private.generate()
        return key, key.public_key().public_bytes_raw()

    def encapsulate(data: bytes) -> tuple[bytes, bytes]:
        secret, ciphertext = public.from_public_bytes(data).encapsulate()
        return secret, ciphertext

    def decapsulate(key: Any, ciphertext: bytes) -> bytes:
        return bytes(key.decapsulate(ciphertext))

    return Kem(name, public_bytes, ciphertext_bytes, True, generate, encapsulate, decapsulate)


def _x25519() -> Kem:
    def generate() -> tuple[Any, bytes]:
        key = x25519.X25519PrivateKey.generate()
        return key, key.public_key().public_bytes_raw()

    def encapsulate(data: bytes) -> tuple[bytes, bytes]:
        key, ciphertext = generate()
        return decapsulate(key, data), ciphertext

    def decapsulate(key: Any, data: bytes) -> bytes:
        return bytes(
            key.exchange(x25519.X25519PublicKey.from_public_bytes(data))
        )  # all zero is refused (RFC 7748, 6.1)

    return Kem("X25519", 32, 32, False, generate, encapsulate, decapsulate)


def _other_family(name: str, module: str, public_bytes: int, ciphertext_bytes: int) -> Kem:
    def load() -> Any:  # at its first use, for most networks never need it
        from pqcrypto import kem

        return getattr(kem, module)

    def generate() -> tuple[Any, bytes]:
        public, private = load().keygen()
        return private, public

    def encapsulate(data: bytes) -> tuple[bytes, bytes]:
        ciphertext, secret = load().encaps(data)
        return secret, ciphertext

    def decapsulate(key: Any, ciphertext: bytes) -> bytes:
        return bytes(load().decaps(key, ciphertext))

    return Kem(name, public_bytes, ciphertext_bytes, True, generate, encapsulate, decapsulate)


X25519 = _x25519()
ML_KEM_768 = _ml_kem("ML-KEM-768", mlkem.MLKEM768PrivateKey, mlkem.MLKEM768PublicKey, 1184, 1088)
ML_KEM_1024 = _ml_kem("ML-KEM-1024", mlkem.MLKEM1024PrivateKey, mlkem.MLKEM1024PublicKey, 1568, 1568)
HQC_192 = _other_family("HQC-192", "hqc_192", 4514, 8978)
MCELIECE_460896 = _other_family("Classic-McEliece-460896", "mceliece_460896f", 524_160, 156)

SUITES: dict[str, tuple[Kem, ...]] = {
    "mlkem768-x25519": (X25519, ML_KEM_768),
    "mlkem1024-x25519": (X25519, ML_KEM_1024),
    "mlkem768-hqc192-x25519": (X25519, ML_KEM_768, HQC_192),
    "mlkem1024-mceliece460896-x25519": (X25519, ML_KEM_1024, MCELIECE_460896),
}
DEFAULT_SUITE = "mlkem768-x25519"


def suite(name: str) -> tuple[Kem, ...]:
    """Return the KEMs of a suite.

    Raises:
        InputError: There is none of that name.
    """
    if name not in SUITES:
        raise InputError(f"there is no suite '{name[:64]}'", hint=choices(name, SUITES))
    return SUITES[name]


class PrivateKeys:
    """One side's ephemeral keys of a suite: they open one set of ciphertexts, and are gone."""

    def __init__(self, name: str) -> None:
        self.suite = name
        pairs = [kem.generate() for kem in suite(name)]
        self.public = tuple(public for _, public in pairs)
        self._private: list[Any] = [private for private, _ in pairs]

    def open(self, ciphertexts: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return the secret of each KEM.

        Raises:
            AuthenticationError: A ciphertext is none, or the keys were used before.
        """
        private, self._private = self._private, []
        if not private:
            raise AuthenticationError("ephemeral keys open one set of ciphertexts only")
        kems = suite(self.suite)
        check_lengths(ciphertexts, [kem.ciphertext_bytes for kem in kems], "ciphertext")
        try:
            return tuple(kem.decapsulate(key, data) for kem, key, data in zip(kems, private, ciphertexts, strict=True))
        except ValueError:
            raise AuthenticationError("a ciphertext from the other side is none") from None


def encapsulate(name: str, public: Sequence[bytes]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return, for each KEM of a suite, a secret, and the ciphertext that carries it to who holds the private keys.

    Raises:
        InputError: There is no such suite.
        AuthenticationError: A public key is none.
    """
    kems = suite(name)
    check_lengths(public, [kem.public_bytes for kem in kems], "public key")
    try:
        made = [kem.encapsulate(data) for kem, data in zip(kems, public, strict=True)]
    except ValueError:
        raise AuthenticationError("a public key from the other side is none") from None
    return tuple(secret for secret, _ in made), tuple(ciphertext for _, ciphertext in made)


def check_lengths(found: Sequence[bytes], wanted: Sequence[int], what: str) -> None:
    """Refuse byte strings unless each has its length.

    Raises:
        AuthenticationError: One has not, or there are more or fewer.
    """
    if [len(one) for one in found] != list(wanted):
        raise AuthenticationError(f"each {what} of a suite has its own length; these have others, or one is missing")
