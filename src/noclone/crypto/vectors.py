"""The processor's vectors: which variant runs here, and the LLVM IR that the intrinsics of this package share.

Seven variants compute the same bits: carry-less multiplication 512, 256 or 128 bits wide (VPCLMULQDQ, PCLMULQDQ), the
former two also with products of bytes by 8 x 8 matrices (`+gfni`), ARM's PMULL (`neon`), and `portable`, plain integer
operations for any processor. All run in a time that does not depend on the data.

The variant is chosen from the host's features when this module is imported; NOCLONE_SIMD, if set, names one
(`VARIANTS`). The token `SIMD` is a tuple whose length says which variant and which `VERSION` of the emitters: it is
part of every kernel's signature, hence of Numba's cache key, and so kernels of different variants never mix. Numba does
not notice edits in an emitter when it loads a cached kernel of another file: whoever changes what is emitted in
`vectors`, `gf128_simd`, `gf512_simd` or `nim_simd` adds one to `VERSION`.

The generic `llvm.clmul` aborts LLVM 22 on some targets and is slow on the others: only target intrinsics are used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from noclone.errors import InputError
from noclone.spelling import choices

VERSION = 5
VARIANTS = ("portable", "128", "256", "512", "neon", "256+gfni", "512+gfni")

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_CLMUL = {2: "llvm.x86.pclmulqdq", 4: "llvm.x86.pclmulqdq.256", 8: "llvm.x86.pclmulqdq.512"}
# 64-bit lanes of the widest carry-less multiplication.
_WIDTHS = {"128": 2, "256": 4, "512": 8, "neon": 2, "256+gfni": 4, "512+gfni": 8}


def variants_here() -> tuple[str, ...]:
    """Return the variants that this processor can run, slowest first."""
    if os.environ.get("NUMBA_CPU_NAME") or os.environ.get(
        "NUMBA_CPU_FEATURES"
    ):  # Numba was told to compile for another processor
        return ("portable",)
    features = llvm.get_host_cpu_features()
    found = ["portable"]
    if llvm.get_process_triple().startswith(("aarch64", "arm64")):
        if features.get("aes"):
            found.append("neon")
    elif features.get("pclmul") and features.get("ssse3"):
        found.append("128")
        if features.get("vpclmulqdq") and features.get("avx2"):
            for width in ("256", "512") if features.get("avx512f") else ("256",):
                found += [width, f"{width}+gfni"] if features.get("gfni") else [width]
    return tuple(found)


def asked_for() -> str:
    """Return the variant that NOCLONE_SIMD asks for, or nothing: of arithmetic, light and bits alike.

    Raises:
        InputError: This processor does not run it, or there is no such variant.
    """
    here, wanted = variants_here(), os.environ.get("NOCLONE_SIMD", "")
    if wanted and wanted not in here:
        raise InputError(
            f"NOCLONE_SIMD={wanted!r} cannot run on this processor",
            hint=choices(wanted, here, "unset it, or use one of"),
        )
    return wanted


def token_of(variant: str) -> tuple[int, ...]:
    """Return the token whose type names a variant and the version of the emitters."""
    return (0,) * (len(VARIANTS) * VERSION + VARIANTS.index(variant))


if sys.byteorder != "little":
    raise InputError("the arithmetic kernels need a little-endian processor")

VARIANT = asked_for() or variants_here()[-1]
SIMD = token_of(VARIANT)


def variant_of(token: Any) -> str:
    """Return the variant that a token's Numba type names."""
    return VARIANTS[token.count % len(VARIANTS)]


def multiplier_lanes(variant: str) -> int:
    """Return how many 64-bit lanes a vector best has for carry-less multiplication."""
    return _WIDTHS.get(variant, 8)


def shuffle(b: ir.IRBuilder, x: Any, y: Any, lanes: list[int]) -> Any:
    """Emit a choice of lanes of x and y."""
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), [ir.Constant(I32, lane) for lane in lanes])
    return b.shuffle_vector(x, y, mask)


def splat(vector: Any, value: int) -> Any:
    """Return a constant with the same number in each lane."""
    return ir.Constant(vector, [ir.Constant(vector.element, value)] * vector.count)


def load(b: ir.IRBuilder, address: Any, vector: Any, offset: int = 0, align: int = 8) -> Any:
    """Emit a load from a raw address."""
    place = b.add(address, ir.Constant(I64, offset)) if offset else address
    value = b.load(b.inttoptr(place, ir.PointerType(vector)))
    value.align = align
    return value


def store(b: ir.IRBuilder, value: Any, address: Any, offset: int = 0) -> None:
    """Emit a store to a raw address."""
    place = b.add(address, ir.Constant(I64, offset)) if offset else address
    b.store(value, b.inttoptr(place, ir.PointerType(value.type))).align = 8


@contextmanager
def repeat(b: ir.IRBuilder, count: Any) -> Iterator[Any]:
    """Emit a loop over 0 .. count - 1."""
    before = b.block
    body, end = b.append_basic_block("body"), b.append_basic_block("end")
    b.cbranch(b.icmp_signed(">", count, ir.Constant(I64, 0)), body, end)
    b.position_at_end(body)
    index = b.phi(I64)
    index.add_incoming(ir.Constant(I64, 0), before)
    yield index
    following = b.add(index, ir.Constant(I64, 1))
    index.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, count), body, end)
    b.position_at_end(end)


def external(b: ir.IRBuilder, name: str, result: Any, arguments: list[Any]) -> Any:
    """Return an LLVM intrinsic, declared once in the module."""
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(result, arguments), name)
    return function


def shared(b: ir.IRBuilder, name: str, result: Any, arguments: list[Any], body: Any) -> Any:
    """Return a function of the module that is never inlined, emitted once: long bodies would make compiling slow."""
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(result, arguments), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        inner.ret(body(inner, *function.args))
    return function


def clmul(b: ir.IRBuilder, variant: str, x: Any, y: Any, halves: int) -> Any:
    """Emit carry-less products of one half of each 128-bit element of x by one of y, 128 bits each.

    Bit 0 of `halves` says that x gives its high half, bit 4 the same of y.
    """
    if variant == "portable":
        return _clmul_portable(b, x, y, halves)
    if variant == "neon":
        return _clmul_neon(b, x, y, halves)
    width = min(_WIDTHS[variant], x.type.count)
    vector = ir.VectorType(I64, width)
    function = external(b, _CLMUL[width], vector, [vector, vector, I8])
    parts = []
    for start in range(0, x.type.count, width):
        lanes = list(range(start, start + width))
        pair = [x, y] if width == x.type.count else [shuffle(b, x, x, lanes), shuffle(b, y, y, lanes)]
        parts.append(b.call(function, [*pair, ir.Constant(I8, halves)]))
    return _join(b, parts)


def _join(b: ir.IRBuilder, parts: list[Any]) -> Any:
    while len(parts) > 1:
        both = list(range(2 * parts[0].type.count))
        parts = [shuffle(b, low, high, both) for low, high in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _clmul_neon(b: ir.IRBuilder, x: Any, y: Any, halves: int) -> Any:
    element = ir.VectorType(I64, 2)
    function = external(b, "llvm.aarch64.neon.pmull64", ir.VectorType(I8, 16), [I64, I64])
    parts = []
    for start in range(0, x.type.count, 2):
        lane_x, lane_y = ir.Constant(I32, start + (halves & 1)), ir.Constant(I32, start + (halves >> 4))
        product = b.call(function, [b.extract_element(x, lane_x), b.extract_element(y, lane_y)])
        parts.append(b.bitcast(product, element))
    return _join(b, parts)


def _clmul_portable(b: ir.IRBuilder, x: Any, y: Any, halves: int) -> Any:
    """Emit a call: integers "with holes" are multiplied (as BearSSL's ghash_ctmul does).

    A bit is followed by three empty ones, so that carries die before they reach the next bit.
    """
    count = x.type.count
    half = ir.VectorType(I64, count // 2)
    xs = shuffle(b, x, x, list(range(halves & 1, count, 2)))
    ys = shuffle(b, y, y, list(range(halves >> 4, count, 2)))

    def body(inner: ir.IRBuilder, p: Any, q: Any) -> Any:
        low, high = clmul64_portable(inner, p, q)
        return shuffle(inner, low, high, [lane for k in range(count // 2) for lane in (k, count // 2 + k)])

    return b.call(shared(b, f"noclone_clmul_{count}", x.type, [half, half], body), [xs, ys])


def clmul64_portable(b: ir.IRBuilder, x: Any, y: Any) -> tuple[Any, Any]:
    """Emit carry-less 64 x 64 products (Karatsuba): low and high halves."""
    low_mask, half = splat(x.type, 0xFFFFFFFF), splat(x.type, 32)
    x0, x1, y0, y1 = b.and_(x, low_mask), b.lshr(x, half), b.and_(y, low_mask), b.lshr(y, half)
    low, high = _clmul32(b, x0, y0), _clmul32(b, x1, y1)
    middle = b.xor(b.xor(_clmul32(b, b.xor(x0, x1), b.xor(y0, y1)), low), high)
    return b.xor(low, b.shl(middle, half)), b.xor(high, b.lshr(middle, half))


def _clmul32(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    """Emit carry-less products of 32-bit numbers held in 64-bit lanes.

    Eight bits, four apart, meet at most eight times, which fits below the next bit.
    """
    masks = [splat(x.type, 0x1111111111111111 << i) for i in range(4)]
    xs = [b.and_(x, masks[i]) for i in range(4)]
    ys = [b.and_(y, masks[i]) for i in range(4)]
    total = None
    for k in range(4):
        part = None
        for i in range(4):
            product = b.mul(xs[i], ys[(k - i) % 4])
            part = product if part is None else b.xor(part, product)
        part = b.and_(part, masks[k])
        total = part if total is None else b.or_(total, part)
    return total
