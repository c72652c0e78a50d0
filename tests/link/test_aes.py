"""AES against FIPS 197, OpenSSL and Random123's vectors, in every variant that this processor can run."""

from __future__ import annotations

import llvmlite.binding as llvm
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from llvmlite import ir
from numba import njit

from noclone.link.aes import ROUNDS_NATURE, aes256_keys, ars_keys, substitute
from noclone.link.aes_simd import (
    AES,
    MULTIPLE,
    VARIANTS,
    aes256,
    ars7,
    blocks,
    choose,
    emit_blocks,
    token,
    variants_here,
)

ars10 = blocks(10)


@njit
def run(simd, rounds, keys, counters, high, out):
    n = len(counters)
    if rounds == 14:
        aes256(simd, keys.ctypes.data, counters.ctypes.data, high, out[0].ctypes.data, out[1].ctypes.data, n)
    elif rounds == 10:
        ars10(simd, keys.ctypes.data, counters.ctypes.data, high, out[0].ctypes.data, out[1].ctypes.data, n)
    else:
        ars7(simd, keys.ctypes.data, counters.ctypes.data, high, out[0].ctypes.data, out[1].ctypes.data, n)


def encrypted(variant, rounds, keys, counters, high):
    """Return the 16 bytes of each block."""
    out = np.zeros((2, len(counters)), np.uint64)
    run(token(variant), rounds, keys, np.array(counters, np.uint64), np.uint64(high), out)
    return [out[:, j].astype("<u8").tobytes() for j in range(len(counters))]


def blocks_of(data: bytes) -> tuple[list[int], int]:
    return [int.from_bytes(data[:8], "little")] * MULTIPLE, int.from_bytes(data[8:], "little")


@pytest.mark.parametrize("variant", variants_here())
def test_fips_197_appendix_c_3(variant):
    counters, high = blocks_of(bytes.fromhex("00112233445566778899aabbccddeeff"))
    for block in encrypted(variant, 14, aes256_keys(bytes(range(32))), counters, high):
        assert block.hex() == "8ea2b7ca516745bfeafc49904b496089"


def test_the_key_schedule_is_that_of_fips_197_appendix_a_3():
    keys = aes256_keys(bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"))
    words = keys.astype("<u8").tobytes().hex()
    assert words[2 * 32 : 2 * 36] == "9ba35411"  # w8
    assert words[2 * 48 : 2 * 52] == "a8b09c1a"  # w12
    assert words[-8:] == "706c631e"  # w59


@pytest.mark.parametrize("variant", variants_here())
@pytest.mark.parametrize("groups", [1, 3])
def test_agrees_with_openssl_at_any_counter(variant, groups):
    counters = [(37 * i * i + 5) % 2**32 | i << 57 for i in range(groups * MULTIPLE)]
    key, high = bytes(range(7, 39)), 2**63 + 12345
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    for counter, block in zip(counters, encrypted(variant, 14, aes256_keys(key), counters, high), strict=True):
        assert block == cipher.update(counter.to_bytes(8, "little") + high.to_bytes(8, "little"))


# Random123's kat_vectors, "ars4x32 10": counter, key, result, each four little-endian words.
ARS_VECTORS = [
    ("00" * 16, "00" * 16, "19ee738def016450e4dbc2130d9cbe0c"),
    ("886a3f24d308a3852e8a191344737003", "223809a4d0319f2998fa2e08896c4eec", "d6e716a574ad5783ecb3595bf3ff6387"),
    ("ff" * 16, "ff" * 8 + "00" * 8, "b14337bb5155639ffc87bceca97894a1"),
]


@pytest.mark.parametrize("variant", variants_here())
@pytest.mark.parametrize(("counter", "key", "expected"), ARS_VECTORS)
def test_random123_vectors(variant, counter, key, expected):
    counters, high = blocks_of(bytes.fromhex(counter))
    keys = ars_keys(bytes.fromhex(key), 10)
    assert {block.hex() for block in encrypted(variant, 10, keys, counters, high)} == {expected}


@pytest.mark.parametrize("variant", variants_here())
def test_seven_rounds_agree_with_the_twin(variant, ars_twin):
    key, counters, high = bytes(range(16)), list(range(2**64 - MULTIPLE, 2**64)), 2**64 - 3
    found = encrypted(variant, 7, ars_keys(key), counters, high)
    assert found == [ars_twin(key, counter, high, ROUNDS_NATURE) for counter in counters]


def test_the_twin_knows_the_vectors_too(ars_twin):
    for counter, key, expected in ARS_VECTORS:
        low, high = (int.from_bytes(bytes.fromhex(counter)[i : i + 8], "little") for i in (0, 8))
        assert ars_twin(bytes.fromhex(key), low, high, 10).hex() == expected


def test_the_circuit_is_the_s_box(s_box):
    planes = [sum(((byte >> bit) & 1) << byte for byte in range(256)) for bit in range(8)]
    everything = (1 << 256) - 1
    out = substitute(planes, lambda a, b: a ^ b, lambda a, b: a & b, lambda a: a ^ everything)
    assert [sum((out[bit] >> byte & 1) << bit for bit in range(8)) for byte in range(256)] == s_box
    assert s_box[0x53] == 0xED  # FIPS 197, section 5.1.1


def test_the_variant_is_the_widest_that_is_asked_for():
    wide = ("portable", "128", "256", "512")
    assert [choose(wanted, wide) for wanted in ("", "portable", "128", "256", "512")] == ["512", *wide]
    assert choose("512", wide[:3]) == "256"
    assert choose("128", ("portable",)) == "portable"
    assert choose("", ("portable", "arm")) == "arm"
    assert choose("portable", ("portable", "arm")) == "portable"
    assert len({len(token(variant)) % len(VARIANTS) for variant in VARIANTS}) == len(VARIANTS)
    assert len(AES) >= len(VARIANTS)  # a version above zero


@pytest.mark.parametrize(
    ("variant", "triple", "features", "instruction"),
    [
        ("arm", "aarch64-unknown-linux-gnu", "+aes", "aese"),
        ("512", "x86_64-unknown-linux-gnu", "+avx512f,+avx512bw,+avx512vl,+vaes,+aes", "vaesenc"),
        ("portable", "aarch64-unknown-linux-gnu", "", "eor"),
    ],
)
def test_other_processors_get_their_own_instructions(variant, triple, features, instruction):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module()
    word = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [word] * 6), "blocks")
    builder = ir.IRBuilder(function.append_basic_block())
    emit_blocks(builder, variant, 7, function.args)
    builder.ret_void()
    machine = llvm.Target.from_triple(triple).create_target_machine(features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(str(module)))
    found = assembly.count(f"\t{instruction}")
    assert found >= 4 * 7
    if variant == "arm":
        assert found == 8 * 7  # eight blocks in flight, and nothing but one instruction a round each
