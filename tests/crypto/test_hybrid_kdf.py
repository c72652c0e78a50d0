"""CatKDF and CasKDF against ETSI's own vectors, with ML-KEM's keys and ciphertexts computed again from their seeds."""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x448, x25519
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from noclone.crypto.hybrid_kdf import Round, cas_kdf, cat_kdf, expand, formatted
from noclone.errors import InputError

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "etsi_103744.json").read_text())
CURVES = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "BP-P256": ec.BrainpoolP256R1(),
    "BP-P384": ec.BrainpoolP384R1(),
}


def load_twin() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ml_kem_twin", Path(__file__).parent / "ml_kem_twin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


twin = load_twin()


@lru_cache
def ml_kem(size: int, number: int) -> tuple[bytes, bytes, bytes]:
    """Return public key, ciphertext and secret of one of the published seeds."""
    seed, coins = (bytes.fromhex(text) for text in VECTORS["kem_seeds"][str(size)][number])
    public = twin.public_key(size, seed[:32])
    secret, ciphertext = twin.encapsulate(size, public, coins)
    return public, ciphertext, secret


def ecdh(index: int) -> tuple[bytes, bytes, bytes]:
    """Return A's public key, B's public key and their secret."""
    name = VECTORS["suites"][index]["curve"]
    private, theirs = (bytes.fromhex(VECTORS[what][index]) for what in ("ecdh_private", "ecdh_public"))
    if name in CURVES:
        curve = CURVES[name]
        key = ec.derive_private_key(int.from_bytes(private), curve)
        other = ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\4" + theirs)
        numbers, size = key.public_key().public_numbers(), curve.key_size // 8
        ours = numbers.x.to_bytes(size) + numbers.y.to_bytes(size)
        return ours, theirs, key.exchange(ec.ECDH(), other)
    if name == "X25519":
        own = x25519.X25519PrivateKey.from_private_bytes(private)
        public = x25519.X25519PublicKey.from_public_bytes(theirs)
        return own.public_key().public_bytes_raw(), theirs, own.exchange(public)
    goldilocks = x448.X448PrivateKey.from_private_bytes(private)
    return (
        goldilocks.public_key().public_bytes_raw(),
        theirs,
        goldilocks.exchange(x448.X448PublicKey.from_public_bytes(theirs)),
    )


def message(cid: bytes, *parts: bytes) -> bytes:
    """Return MA or MB as the vectors have them: the length fields count hexadecimal digits, not bytes."""
    return cid + b"".join((2 * len(part)).to_bytes(4) + part for part in parts)


def labels(index: int, number: int) -> tuple[bytes, bytes, bytes]:
    a, b = (bytes.fromhex(VECTORS[f"{who}{number}"][index]) for who in ("LA", "LB"))
    return a, b, bytes(x ^ y for x, y in zip(a, b, strict=True))


def cid_of(index: int, kdf: str, combiner: str) -> bytes:
    """Return the four digits that name hash, curve, KEM and combiner."""
    suite = VECTORS["suites"][index]
    shift = 0 if kdf == "hkdf" else 3
    kem = {512: "1", 768: "2", 1024: "3"}[suite["kem"]]
    first = str(int(suite["cid"][0]) + shift)
    return bytes.fromhex(first + suite["cid"][1] + kem + {"cat": "1", "cas": "2"}[combiner])


def test_ml_kem_of_the_library_agrees_with_the_published_seeds() -> None:
    kinds = {768: mlkem.MLKEM768PrivateKey, 1024: mlkem.MLKEM1024PrivateKey}
    for size in (512, 768, 1024):
        for number in range(3):
            public, ciphertext, secret = ml_kem(size, number)
            assert secret.hex().upper() == VECTORS["kem_secrets"][str(size)][number]
            if size in kinds:
                seed = bytes.fromhex(VECTORS["kem_seeds"][str(size)][number][0])
                key = kinds[size].from_seed_bytes(seed)
                assert key.public_key().public_bytes_raw() == public
                assert key.decapsulate(ciphertext) == secret


@pytest.mark.parametrize("kdf", ["hkdf", "hmac"])
@pytest.mark.parametrize("index", range(12))
def test_cat_kdf_gives_etsis_key(index: int, kdf: Any) -> None:
    suite = VECTORS["suites"][index]
    pa, pb, k1 = ecdh(index)
    pk, ct, k2 = ml_kem(suite["kem"], index % 3)
    la, lb, label = labels(index, 1)
    cid = cid_of(index, kdf, "cat")
    key = cat_kdf(
        suite["hash"],
        [k1, k2],
        label=label,
        info=VECTORS["info"].encode(),
        messages=(message(cid, la, pa, pk), message(cid, lb, pb, ct)),
        length=suite["length"],
        kdf=kdf,
    )
    assert key.hex().upper() == VECTORS["key_material"][f"cat-{kdf}"][index]


@pytest.mark.parametrize("kdf", ["hkdf", "hmac"])
@pytest.mark.parametrize("index", range(12))
def test_cas_kdf_gives_etsis_key(index: int, kdf: Any) -> None:
    suite = VECTORS["suites"][index]
    pa, pb, k1 = ecdh(index)
    pk, ct, k2 = ml_kem(suite["kem"], index % 3)
    cid, info = cid_of(index, kdf, "cas"), VECTORS["info"].encode()
    rounds = []
    for number, secret, a, b in ((1, k1, pa, pb), (2, k2, pk, ct)):
        la, lb, label = labels(index, number)
        rounds.append(Round(secret, label, info, (message(cid, la, a), message(cid, lb, b))))
    key = cas_kdf(suite["hash"], rounds, length=suite["length"], kdf=kdf)
    assert key.hex().upper() == VECTORS["key_material"][f"cas-{kdf}"][index]


@pytest.mark.parametrize("length", [1, 48, 49, 12_240])
def test_expanding_is_hkdf(length: int) -> None:
    theirs = HKDF(SHA384(), length, b"salt", b"info").derive(b"secret")
    assert expand("sha384", b"secret", label=b"salt", info=b"info", length=length) == theirs


def test_what_is_formatted_has_one_division_only() -> None:
    assert formatted("sha256", b"ab", b"c", b"") != formatted("sha256", b"a", b"bc", b"")


@pytest.mark.parametrize("secrets", [[], [b""], [b"a", b""], [b"", b"a"]])
def test_a_secret_without_bytes_is_refused(secrets: list[bytes]) -> None:
    with pytest.raises(InputError, match="missing or empty"):
        cat_kdf("sha384", secrets, label=b"l", info=b"i", messages=(b"a", b"b"), length=32)
    with pytest.raises(InputError, match="missing or empty"):
        cas_kdf("sha384", [Round(secret, b"l", b"i", (b"a", b"b")) for secret in secrets], length=32)
    with pytest.raises(InputError, match="missing or empty"):
        cas_kdf("sha384", [Round(b"k", b"l", b"i", (b"a", b"b"))], first=b"", length=32)


def test_a_pre_shared_key_changes_everything() -> None:
    rounds = [Round(b"k", b"l", b"i", (b"a", b"b"))]
    assert cas_kdf("sha384", rounds, length=32) != cas_kdf("sha384", rounds, first=b"psk", length=32)


@pytest.mark.parametrize("length", [0, -1, 255 * 48 + 1])
def test_lengths_beyond_hkdf_are_refused(length: int) -> None:
    with pytest.raises(InputError, match="HKDF gives"):
        expand("sha384", b"s", label=b"l", info=b"i", length=length)
