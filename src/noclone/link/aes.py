"""AES as a function of its counter: round keys, and the S-box as a circuit.

In: a key.  Out: its round keys, as `aes_simd` wants them.

Two generators use the same rounds. AES-256 (FIPS 197) draws what somebody chooses: Alice's settings, Bob's bases, the
value of several clicks, Eve's moves; those are or become secrets. ARS-7 (Salmon, Moraes, Dror, Shaw 2011, "Parallel
random numbers: as easy as 1, 2, 3", section 4.2) draws what nature does: when a photon comes, and to which detector. It
is AES with seven rounds and a Weyl sequence for its round keys, passes BigCrush, and is no cipher: no key bit is drawn
from it.

No table is looked up at a place that depends on a key, here or in the kernels: where the processor has no AES
instruction, and for the key schedule, the S-box is the circuit of Boyar and Peralta 2010, "A new combinational logic
minimization technique with applications to cryptology", section 4: 113 gates on bit planes.
"""

from __future__ import annotations

import operator
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

ROUNDS_SECRET = 14  # AES-256: FIPS 197, section 5
ROUNDS_NATURE = 7  # Salmon et al. 2011, table 2: five pass BigCrush, seven leave a margin

_MASK = (1 << 64) - 1
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # golden ratio and sqrt 3 - 1: Salmon et al. 2011, section 4.2

# One gate a word: result, operand, "^" or "&" or "~" (exclusive nor), operand. x0 is the highest bit in, s0 that out.
_CIRCUIT = """
y14=x3^x5 y13=x0^x6 y9=x0^x3 y8=x0^x5 t0=x1^x2 y1=t0^x7 y4=y1^x3 y12=y13^y14 y2=y1^x0 y5=y1^x6 y3=y5^y8 t1=x4^y12
y15=t1^x5 y20=t1^x1 y6=y15^x7 y10=y15^t0 y11=y20^y9 y7=x7^y11 y17=y10^y11 y19=y10^y8 y16=t0^y11 y21=y13^y16 y18=x0^y16
t2=y12&y15 t3=y3&y6 t4=t3^t2 t5=y4&x7 t6=t5^t2 t7=y13&y16 t8=y5&y1 t9=t8^t7 t10=y2&y7 t11=t10^t7 t12=y9&y11
t13=y14&y17 t14=t13^t12 t15=y8&y10 t16=t15^t12 t17=t4^t14 t18=t6^t16 t19=t9^t14 t20=t11^t16 t21=t17^y20 t22=t18^y19
t23=t19^y21 t24=t20^y18 t25=t21^t22 t26=t21&t23 t27=t24^t26 t28=t25&t27 t29=t28^t22 t30=t23^t24 t31=t22^t26 t32=t31&t30
t33=t32^t24 t34=t23^t33 t35=t27^t33 t36=t24&t35 t37=t36^t34 t38=t27^t36 t39=t29&t38 t40=t25^t39 t41=t40^t37 t42=t29^t33
t43=t29^t40 t44=t33^t37 t45=t42^t41 z0=t44&y15 z1=t37&y6 z2=t33&x7 z3=t43&y16 z4=t40&y1 z5=t29&y7 z6=t42&y11 z7=t45&y17
z8=t41&y10 z9=t44&y12 z10=t37&y3 z11=t33&y4 z12=t43&y13 z13=t40&y5 z14=t29&y2 z15=t42&y9 z16=t45&y14 z17=t41&y8
t46=z15^z16 t47=z10^z11 t48=z5^z13 t49=z9^z10 t50=z2^z12 t51=z2^z5 t52=z7^z8 t53=z0^z3 t54=z6^z7 t55=z16^z17 t56=z12^t48
t57=t50^t53 t58=z4^t46 t59=z3^t54 t60=t46^t57 t61=z14^t57 t62=t52^t58 t63=t49^t58 t64=z4^t59 t65=t61^t62 t66=z1^t63
s0=t59^t63 s6=t56~t62 s7=t48~t60 t67=t64^t65 s3=t53^t66 s4=t51^t66 s5=t47^t65 s1=t64~s3 s2=t55~t67
"""

_GATES = [tuple(re.split(r"=|([&^~])", gate)[i] for i in (0, 2, 3, 4)) for gate in _CIRCUIT.split()]


def substitute(planes: list[Any], xor: Any, conjoin: Any, negate: Any) -> list[Any]:
    """Return the S-box of many bytes at once, given and returned as eight planes, the lowest bit's first.

    Args:
        xor, conjoin, negate: What a gate does to two planes, or to one.
    """
    known = {f"x{i}": planes[7 - i] for i in range(8)}
    for result, left, kind, right in _GATES:
        value = conjoin(known[left], known[right]) if kind == "&" else xor(known[left], known[right])
        known[result] = negate(value) if kind == "~" else value
    return [known[f"s{7 - i}"] for i in range(8)]


def _substitute_word(word: int) -> int:
    """Return FIPS 197's SubWord."""
    planes = [sum(((word >> (8 * byte + bit)) & 1) << byte for byte in range(4)) for bit in range(8)]
    found = substitute(planes, operator.xor, operator.and_, lambda plane: plane ^ 15)
    return sum(((found[bit] >> byte) & 1) << (8 * byte + bit) for byte in range(4) for bit in range(8))


def aes256_keys(key: bytes) -> U64:
    """Return the 15 round keys of AES-256 (FIPS 197, section 5.2), two words each."""
    assert len(key) == 32
    words = [int.from_bytes(key[i : i + 4], "little") for i in range(0, 32, 4)]  # FIPS 197's words, bytes reversed
    constant = 1
    for i in range(8, 4 * (ROUNDS_SECRET + 1)):
        word = words[-1]
        if i % 8 == 0:
            word = _substitute_word((word >> 8) | ((word & 0xFF) << 24)) ^ constant
            constant <<= 1
        elif i % 8 == 4:
            word = _substitute_word(word)
        words.append(words[-8] ^ word)
    return np.array([low | (high << 32) for low, high in zip(words[::2], words[1::2], strict=True)], np.uint64)


def ars_keys(key: bytes, rounds: int = ROUNDS_NATURE) -> U64:
    """Return the round keys of ARS, filled up with zeros to as many as AES-256 has; a key has 16 bytes."""
    low, high = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
    table = np.zeros(2 * (ROUNDS_SECRET + 1), np.uint64)
    for i in range(rounds + 1):
        table[2 * i], table[2 * i + 1] = (low + i * _WEYL[0]) & _MASK, (high + i * _WEYL[1]) & _MASK
    return table
