from __future__ import annotations

import pytest

from noclone.crypto.kems import HQC_192, MCELIECE_460896, SUITES, PrivateKeys, encapsulate, suite
from noclone.errors import AuthenticationError, InputError

FAST = [name for name, kems in SUITES.items() if MCELIECE_460896 not in kems]


@pytest.mark.parametrize("name", FAST)
def test_both_sides_have_the_same_secrets(name: str) -> None:
    keys = PrivateKeys(name)
    secrets, ciphertexts = encapsulate(name, keys.public)
    assert keys.open(ciphertexts) == secrets
    assert [len(secret) for secret in secrets] == [32] * len(SUITES[name])
    assert len(set(secrets)) == len(secrets)


@pytest.mark.slow
def test_the_family_of_codes_with_large_keys_works_too() -> None:
    test_both_sides_have_the_same_secrets("mlkem1024-mceliece460896-x25519")


def test_every_suite_has_a_quantum_safe_kem_of_the_lattice_family_and_others_only_beside_it() -> None:
    for kems in SUITES.values():
        assert any(kem.name.startswith("ML-KEM") for kem in kems)
        assert sum(kem.quantum_safe for kem in kems) >= 1
    assert [name for name, kems in SUITES.items() if HQC_192 in kems] == ["mlkem768-hqc192-x25519"]


def test_keys_open_once() -> None:
    keys = PrivateKeys("mlkem768-x25519")
    _, ciphertexts = encapsulate("mlkem768-x25519", keys.public)
    keys.open(ciphertexts)
    with pytest.raises(AuthenticationError, match="one set"):
        keys.open(ciphertexts)


@pytest.mark.parametrize("name", FAST)
def test_what_has_a_wrong_length_or_is_missing_is_refused_on_either_side(name: str) -> None:
    keys = PrivateKeys(name)
    secrets, ciphertexts = encapsulate(name, keys.public)
    for at in range(len(secrets)):
        for wrong in (b"", ciphertexts[at][:-1], ciphertexts[at] + b"\0"):
            with pytest.raises(AuthenticationError, match="own length"):
                PrivateKeys(name).open([*ciphertexts[:at], wrong, *ciphertexts[at + 1 :]])
        for wrong in (b"", keys.public[at][:-1], keys.public[at] + b"\0"):
            with pytest.raises(AuthenticationError, match="own length"):
                encapsulate(name, [*keys.public[:at], wrong, *keys.public[at + 1 :]])
    with pytest.raises(AuthenticationError, match="own length"):
        PrivateKeys(name).open(ciphertexts[:-1])
    with pytest.raises(AuthenticationError, match="own length"):
        encapsulate(name, keys.public[1:])


def test_a_point_of_small_order_gives_no_secret() -> None:
    keys = PrivateKeys("mlkem768-x25519")
    with pytest.raises(AuthenticationError, match="public key"):
        encapsulate("mlkem768-x25519", [bytes(32), keys.public[1]])
    _, ciphertexts = encapsulate("mlkem768-x25519", keys.public)
    with pytest.raises(AuthenticationError, match="ciphertext"):
        keys.open([bytes(32), ciphertexts[1]])


def test_a_public_key_of_ml_kem_out_of_range_is_refused() -> None:
    keys = PrivateKeys("mlkem768-x25519")
    with pytest.raises(AuthenticationError, match="public key"):
        encapsulate("mlkem768-x25519", [keys.public[0], b"\xff" * 1184])  # FIPS 203, 7.2: the modulus check


def test_a_changed_ciphertext_gives_another_secret_at_best() -> None:
    for at in (0, 1):
        keys = PrivateKeys("mlkem768-x25519")
        secrets, ciphertexts = encapsulate("mlkem768-x25519", keys.public)
        changed = [bytearray(ciphertext) for ciphertext in ciphertexts]
        changed[at][3] ^= 1
        assert keys.open([bytes(one) for one in changed])[at] != secrets[at]


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(InputError, match="no suite 'x25519'"):
        suite("x25519")
