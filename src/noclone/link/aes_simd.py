"""AES in counter mode on the processor's own instructions: Numba intrinsics that emit LLVM IR.

Out: `aes256` and `ars7`, for use inside kernels: 128 random bits for each counter, a handful of cycles each. They take
the token `AES` first, then raw addresses.

Five variants compute the same bits: AES instructions on one, two or four blocks at a time (AES-NI, VAES), ARM's, and
`portable`, which needs none (see `aes_portable`). All run in a time that does not depend on the data. The widest is
chosen when this module is imported; NOCLONE_SIMD=portable|128|256|512 asks for no wider one.

The token is a tuple whose length says which variant and which `VERSION` of this file: it is part of every kernel's
signature, hence of Numba's cache key. Numba does not notice edits here when it loads a cached kernel of another file:
whoever changes what this file, `aes_portable` or a `*_simd` beside it emits adds one to `VERSION`.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

import os
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.crypto.vectors import asked_for
from noclone.link import aes_portable
from noclone.link.aes import ROUNDS_NATURE, ROUNDS_SECRET
from noclone.link.vectors import declared, pointer, repeat, shuffle, splat

VERSION = 12
VARIANTS = ("portable", "128", "256", "512", "arm")
MULTIPLE = 32  # counters are worked on in groups of this many, at most

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
LANES = {"portable": 4, "arm": 2, "128": 2, "256": 4, "512": 8}  # words in a vector
VECTORS = 4  # of counters, in flight together


def variants_here() -> tuple[str, ...]:
    """Return the variants that this processor can run, slowest first."""
    if os.environ.get("NUMBA_CPU_NAME") or os.environ.get(
        "NUMBA_CPU_FEATURES"
    ):  # Numba was told to compile for another processor
        return ("portable",)
    features = llvm.get_host_cpu_features()
    if llvm.get_default_triple().startswith(("aarch64", "arm64")):
        return ("portable", "arm") if features.get("aes") else ("portable",)
    found = ["portable"]
    if features.get("aes"):
        found.append("128")
        if features.get("vaes") and features.get("avx2"):
            found.append("256")
            if features.get("avx512f"):
                found.append("512")
    return tuple(found)


def choose(wanted: str, here: tuple[str, ...]) -> str:
    """Return the widest variant that is no wider than asked for."""
    if wanted == "portable":
        return "portable"
    wanted = wanted.partition("+")[0]
    return [v for v in here if not (wanted.isdigit() and v.isdigit()) or int(v) <= int(wanted)][-1]


VARIANT = choose(asked_for(), variants_here())


def token(variant: str) -> tuple[int, ...]:
    """Return the token that makes a kernel use a variant."""
    return (0,) * (len(VARIANTS) * VERSION + VARIANTS.index(variant))


AES = token(VARIANT)


def variant_of(simd: Any) -> str:
    """Return the variant that a token's type names."""
    return VARIANTS[simd.count % len(VARIANTS)]


def _round_key(b: ir.IRBuilder, keys: Any, number: int, lanes: int) -> Any:
    pair = ir.VectorType(_I64, 2)
    key = b.load(pointer(b, keys, ir.Constant(_I64, 2 * number), pair), align=8)
    return shuffle(b, key, key, [0, 1] * (lanes // 2))


def _encrypt_x86(b: ir.IRBuilder, keys: Any, rounds: int, states: list[Any]) -> list[Any]:
    kind = states[0].type
    suffix = "" if kind.count == 2 else f".{64 * kind.count}"
    step = declared(b, f"llvm.x86.aesni.aesenc{suffix}", kind, 2)
    last = declared(b, f"llvm.x86.aesni.aesenclast{suffix}", kind, 2)
    key = _round_key(b, keys, 0, kind.count)
    states = [b.xor(state, key) for state in states]
    for number in range(1, rounds + 1):
        key = _round_key(b, keys, number, kind.count)
        states = [b.call(last if number == rounds else step, [state, key]) for state in states]
    return states


def _encrypt_arm(b: ir.IRBuilder, keys: Any, rounds: int, states: list[Any]) -> list[Any]:
    kind = ir.VectorType(_I8, 16)
    step = declared(b, "llvm.aarch64.crypto.aese", kind, 2)  # adds the key first, unlike x86
    mix = declared(b, "llvm.aarch64.crypto.aesmc", kind, 1)
    states = [b.bitcast(state, kind) for state in states]
    for number in range(rounds):
        key = b.bitcast(_round_key(b, keys, number, 2), kind)
        states = [b.call(step, [state, key]) for state in states]
        if number < rounds - 1:
            states = [b.call(mix, [state]) for state in states]
    key = _round_key(b, keys, rounds, 2)
    return [b.xor(b.bitcast(state, key.type), key) for state in states]


def encrypt(
    b: ir.IRBuilder, variant: str, keys: Any, rounds: int, lows: list[Any], highs: list[Any], space: Any
) -> tuple[list[Any], list[Any]]:
    """Emit the encryption of blocks, given and returned as vectors of their low and of their high words.

    Args:
        space: Memory for eight vectors, for the portable variant.
    """
    lanes = LANES[variant]
    if variant == "portable":
        places = [b.gep(space, [_I32(k)]) for k in range(8)]
        for place, value in zip(places, lows + highs, strict=True):
            b.store(value, place, align=8)
        function = aes_portable.encryptor(b.module)
        b.call(function, [keys, ir.Constant(_I64, rounds), b.ptrtoint(space, _I64)])
        loaded = [b.load(place, align=8) for place in places]
        return loaded[:4], loaded[4:]
    even = [lane for k in range(0, lanes, 2) for lane in (k, lanes + k)]  # one instruction each: no lane is crossed
    odd = [lane + 1 for lane in even]
    pairs = list(zip(lows, highs, strict=True))
    states = [shuffle(b, low, high, even) for low, high in pairs] + [shuffle(b, low, high, odd) for low, high in pairs]
    states = (_encrypt_arm if variant == "arm" else _encrypt_x86)(b, keys, rounds, states)
    halves = list(zip(states[: len(lows)], states[len(lows) :], strict=True))
    return [shuffle(b, x, y, even) for x, y in halves], [shuffle(b, x, y, odd) for x, y in halves]


def workspace(b: ir.IRBuilder, variant: str) -> Any:
    """Return memory for `encrypt`."""
    if variant != "portable":
        return None
    with b.goto_entry_block():
        return b.alloca(ir.VectorType(_I64, LANES[variant]), 8)


def emit_blocks(b: ir.IRBuilder, variant: str, rounds: int, args: Any) -> None:
    """Emit the loop of `blocks`."""
    keys, counters, high, low_out, high_out, count = args
    kind = ir.VectorType(_I64, LANES[variant])
    space = workspace(b, variant)
    highs = [splat(b, high, kind.count)] * VECTORS
    with repeat(b, count, kind.count * VECTORS) as index:
        places = [b.add(index, ir.Constant(_I64, kind.count * k)) for k in range(VECTORS)]
        lows = [b.load(pointer(b, counters, place, kind), align=8) for place in places]
        results = encrypt(b, variant, keys, rounds, lows, highs, space)
        for out, values in zip((low_out, high_out), results, strict=True):
            for place, value in zip(places, values, strict=True):
                b.store(value, pointer(b, out, place, kind), align=8)


def blocks(rounds: int) -> Any:
    """Return an intrinsic that encrypts blocks of (counter, high), low word first.

    Its arguments: `AES`; addresses of the round keys and of the counters; the word that all blocks have as their upper
    half; addresses for the low and the high words of the results; how many, a multiple of `MULTIPLE` above 0.
    """

    def typed(
        _context: Any, simd: Any, keys: Any, counters: Any, high: Any, low_out: Any, high_out: Any, n: Any
    ) -> Any:
        def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
            emit_blocks(b, variant_of(simd), rounds, args[1:])
            return context.get_dummy_value()

        word, at = types.uint64, types.intp
        return types.void(simd, at, at, word, at, at, at), emit

    return intrinsic(typed)


aes256 = blocks(ROUNDS_SECRET)
ars7 = blocks(ROUNDS_NATURE)
