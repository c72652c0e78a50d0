"""The block function against RFC 8439, against another implementation, and against a twin in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from noclone.link.chacha import LANES, WORDS, blocks, key_words

KEY = bytes(range(32))


def twin(key: bytes, counter: int, low: int, high: int, rounds: int) -> list[int]:
    words = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *np.frombuffer(key, "<u4").tolist()]
    words += [counter & 0xFFFFFFFF, counter >> 32, low, high]
    x = list(words)
    rows = [(i, 4 + i, 8 + i, 12 + i) for i in range(4)]
    rows += [(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)]
    for _ in range(rounds // 2):
        for a, b, c, d in rows:
            for p, q, r, left in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[p] = (x[p] + x[q]) & 0xFFFFFFFF
                mixed = x[r] ^ x[p]
                x[r] = ((mixed << left) | (mixed >> (32 - left))) & 0xFFFFFFFF
    return [(a + b) & 0xFFFFFFFF for a, b in zip(x, words, strict=True)]


def kernel(key: bytes, counters: list[int], low: int, high: int, rounds: int) -> np.ndarray:
    x = np.empty((WORDS, LANES), np.uint32)
    blocks(key_words(key), low, high, np.array(counters, np.uint64), rounds, x)
    return x


def test_rfc_8439_section_2_3_2():
    # Key 00..1f, counter 1, nonce 000000090000004a00000000: the nonce's first word is our counter's upper half.
    x = kernel(KEY, [1 | 0x09000000 << 32] * LANES, 0x4A000000, 0, 20)
    expected = (
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    )
    for lane in (0, 17, LANES - 1):
        assert x[:, lane].astype("<u4").tobytes().hex() == expected


def test_rfc_8439_appendix_a_1_zero_key():
    x = kernel(bytes(32), [0, 1] + [0] * (LANES - 2), 0, 0, 20)
    assert x[:, 0].astype("<u4").tobytes().hex().startswith("76b8e0ada0f13d90405d6ae55386bd28")
    assert x[:, 1].astype("<u4").tobytes().hex().startswith("9f07e7be5551387a98ba977c732d080d")


def test_agrees_with_openssl_at_any_counter():
    counters = [(37 * i * i + 5) % 2**32 | (i << 33) for i in range(LANES)]
    x = kernel(KEY, counters, 7, 9, 20)
    for lane, counter in enumerate(counters):
        nonce = counter.to_bytes(8, "little") + (7).to_bytes(4, "little") + (9).to_bytes(4, "little")
        stream = Cipher(algorithms.ChaCha20(KEY, nonce), mode=None).encryptor().update(bytes(64))
        assert x[:, lane].astype("<u4").tobytes() == stream


@pytest.mark.parametrize("rounds", [8, 20])
def test_agrees_with_the_twin(rounds):
    counters = [2**64 - 1 - 3 * i for i in range(LANES)]
    x = kernel(KEY, counters, 0xFFFFFFFF, 0x80000001, rounds)
    for lane in (0, 15, 16, 63):
        assert x[:, lane].tolist() == twin(KEY, counters[lane], 0xFFFFFFFF, 0x80000001, rounds)
