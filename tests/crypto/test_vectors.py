"""What is emitted for processors that are not at hand, compiled for them and read."""

import re

import llvmlite.binding as llvm
import pytest
from llvmlite import ir
from numba import types

from noclone.crypto import gf128_simd, gf512_simd, nim_simd, vectors

TARGETS = {
    "neon": ("aarch64-unknown-linux-gnu", "generic", "+aes"),
    "512": ("x86_64-unknown-linux-gnu", "icelake-server", "+vpclmulqdq,+avx512f"),
    "256": ("x86_64-unknown-linux-gnu", "znver3", "+vpclmulqdq"),
    "128": ("x86_64-unknown-linux-gnu", "westmere", "+pclmul"),
    "512+gfni": ("x86_64-unknown-linux-gnu", "icelake-server", "+vpclmulqdq,+avx512f,+gfni"),
    "256+gfni": ("x86_64-unknown-linux-gnu", "alderlake", "+vpclmulqdq,+gfni"),
}
NUMBER = ir.IntType(64)


class FakeContext:
    def get_dummy_value(self):
        return None


def assembly(intrinsic, variant):
    """Return what an intrinsic becomes on a processor with such a variant."""
    token = types.UniTuple(types.int64, len(vectors.token_of(variant)))
    n = intrinsic._defn.__code__.co_argcount - 2
    signature, emit = intrinsic._defn(None, token, *[types.intp] * n)
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [NUMBER] * n), "kernel")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    emit(FakeContext(), b, signature, [None, *function.args])
    b.ret_void()
    triple, processor, features = TARGETS[variant]
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=processor, features=features, opt=2, codemodel="small")
    parsed = llvm.parse_assembly(str(module))
    parsed.triple = triple
    parsed.verify()
    return machine.emit_assembly(parsed)


def called(text):
    """Return the functions that assembly calls."""
    return set(re.findall(r"\t(?:bl|callq?)\t(\S+)", text))


PRODUCTS = [gf512_simd.multiply_points, gf128_simd.multiply_vectors, gf128_simd.horner16, gf128_simd.two_levels]
SHUFFLES = [nim_simd.two_levels, nim_simd.two_levels_back, nim_simd.add_multiple]


@pytest.mark.parametrize("intrinsic", PRODUCTS + SHUFFLES, ids=lambda i: i._defn.__qualname__)
def test_arm_multiplies_and_looks_up_in_one_instruction(intrinsic):
    text = assembly(intrinsic, "neon")
    assert ("pmull" if intrinsic in PRODUCTS else "tbl") in text
    assert called(text) <= {"noclone_nim_sum"}


@pytest.mark.parametrize(
    ("variant", "product", "shuffle"),
    [
        ("512", "vpclmul[a-z]*.*zmm", "vpshufb.*ymm"),
        ("256", "vpclmul[a-z]*.*ymm", "vpshufb.*ymm"),
        ("128", "pclmul", "pshufb"),
        ("512+gfni", "vpclmul[a-z]*.*zmm", "vgf2p8affineqb.*ymm"),
        ("256+gfni", "vpclmul[a-z]*.*ymm", "vgf2p8affineqb.*ymm"),
    ],
)
def test_x86_uses_its_widest_instructions(variant, product, shuffle):
    for intrinsics, pattern in ((PRODUCTS, product), (SHUFFLES, shuffle)):
        for intrinsic in intrinsics:
            text = assembly(intrinsic, variant)
            assert re.search(pattern, text)
            assert called(text) <= {"noclone_nim_sum"}


def test_tokens_differ_between_variants():
    assert len({len(vectors.token_of(variant)) for variant in vectors.VARIANTS}) == len(vectors.VARIANTS)
