"""ML-KEM as FIPS 203 writes it, with its coins given: slow, and only to check others with."""

from __future__ import annotations

import hashlib

Q, N = 3329, 256
PARAMETERS = {512: (2, 3, 10, 4), 768: (3, 2, 10, 4), 1024: (4, 2, 11, 5)}  # k, eta1, du, dv; eta2 is 2


def _reversed(i: int) -> int:
    return int(f"{i:07b}"[::-1], 2)


ZETAS = [pow(17, _reversed(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _reversed(i) + 1, Q) for i in range(128)]


def _ntt(f: list[int]) -> list[int]:
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            for j in range(start, start + length):
                t = ZETAS[i] * f[j + length] % Q
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
            i += 1
        length //= 2
    return f


def _inverse(f: list[int]) -> list[int]:
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, ZETAS[i] * (f[j + length] - t) % Q
            i -= 1
        length *= 2
    return [x * 3303 % Q for x in f]


def _times(f: list[int], g: list[int]) -> list[int]:
    out = []
    for i in range(128):
        a, b, c, d = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out += [(a * c + b * d * GAMMAS[i]) % Q, (a * d + b * c) % Q]
    return out


def _plus(f: list[int], g: list[int]) -> list[int]:
    return [(a + b) % Q for a, b in zip(f, g, strict=True)]


def _dot(row: list[list[int]], column: list[list[int]]) -> list[int]:
    out = [0] * N
    for f, g in zip(row, column, strict=True):
        out = _plus(out, _times(f, g))
    return out


def _uniform(seed: bytes) -> list[int]:
    stream, out = hashlib.shake_128(seed).digest(3 * 400), []
    for a, b, c in zip(stream[::3], stream[1::3], stream[2::3], strict=True):
        out += [x for x in (a + 256 * (b % 16), b // 16 + 16 * c) if x < Q]
    return out[:N]


def _noise(eta: int, seed: bytes, number: int) -> list[int]:
    data = int.from_bytes(hashlib.shake_256(seed + bytes([number])).digest(64 * eta), "little")
    pairs = [data >> (2 * eta * i) & ((1 << 2 * eta) - 1) for i in range(N)]
    return [((p & ((1 << eta) - 1)).bit_count() - (p >> eta).bit_count()) % Q for p in pairs]


def _pack(f: list[int], bits: int) -> bytes:
    return sum(x << (bits * i) for i, x in enumerate(f)).to_bytes(32 * bits, "little")


def _unpack(data: bytes, bits: int) -> list[int]:
    number = int.from_bytes(data, "little")
    return [number >> (bits * i) & ((1 << bits) - 1) for i in range(N)]


def _compress(f: list[int], bits: int) -> list[int]:
    return [((x << bits) + Q // 2) // Q % (1 << bits) for x in f]


def _matrix(rho: bytes, k: int) -> list[list[list[int]]]:
    return [[_uniform(rho + bytes([j, i])) for j in range(k)] for i in range(k)]


def public_key(size: int, d: bytes) -> bytes:
    """Return the encapsulation key that the seed d gives (algorithm 13)."""
    k, eta1, _, _ = PARAMETERS[size]
    hashed = hashlib.sha3_512(d + bytes([k])).digest()
    rho, sigma = hashed[:32], hashed[32:]
    s = [_ntt(_noise(eta1, sigma, i)) for i in range(k)]
    e = [_ntt(_noise(eta1, sigma, k + i)) for i in range(k)]
    t = [_plus(_dot(row, s), e[i]) for i, row in enumerate(_matrix(rho, k))]
    return b"".join(_pack(f, 12) for f in t) + rho


def encapsulate(size: int, public: bytes, m: bytes) -> tuple[bytes, bytes]:
    """Return secret and ciphertext for the coins m (algorithms 14 and 17)."""
    k, eta1, du, dv = PARAMETERS[size]
    hashed = hashlib.sha3_512(m + hashlib.sha3_256(public).digest()).digest()
    secret, coins = hashed[:32], hashed[32:]
    t = [_unpack(public[384 * i : 384 * (i + 1)], 12) for i in range(k)]
    a = _matrix(public[384 * k :], k)
    y = [_ntt(_noise(eta1, coins, i)) for i in range(k)]
    u = [_plus(_inverse(_dot([a[j][i] for j in range(k)], y)), _noise(2, coins, k + i)) for i in range(k)]
    message = [bit * ((Q + 1) // 2) for bit in _unpack(m, 1)]
    v = _plus(_plus(_inverse(_dot(t, y)), _noise(2, coins, 2 * k)), message)
    return secret, b"".join(_pack(_compress(f, du), du) for f in u) + _pack(_compress(v, dv), dv)
