"""AES on any processor: LLVM vector code on bit planes, for `aes_simd`.

Sixteen blocks are worked on together: four in the bits of a word, four words in a vector. No table, no branch on data:
its time tells nothing of a key. The layout of the planes is that of Käsper and Schwabe 2009, "Faster and timing-attack
resistant AES-GCM", narrowed to words of 64 bits: bit 16 c + 4 r + k of a plane belongs to row c, column r of block k.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from noclone.link.aes import substitute

LANES = 4
_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(_I64, LANES)


def _all(kind: Any, value: int) -> Any:
    return ir.Constant(kind, value) if kind is _I64 else ir.Constant(kind, [ir.Constant(_I64, value)] * LANES)


def _masked(b: ir.IRBuilder, x: Any, mask: int, left: int = 0) -> Any:
    """Emit (x & mask), shifted to the left, or to the right if negative."""
    x = b.and_(x, _all(x.type, mask))
    if left:
        x = (b.shl if left > 0 else b.lshr)(x, _all(x.type, abs(left)))
    return x


def _or(b: ir.IRBuilder, *parts: Any) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = b.or_(total, part)
    return total


def _xor(b: ir.IRBuilder, *parts: Any) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = b.xor(total, part)
    return total


def _spread(b: ir.IRBuilder, low: Any, high: Any) -> tuple[Any, Any]:
    """Emit one block's bytes in the order of rows, two words with four holes each."""
    spread = []
    for word in (low, b.lshr(low, _all(low.type, 32)), high, b.lshr(high, _all(high.type, 32))):
        x = _masked(b, word, 0xFFFFFFFF)
        for shift, mask in ((16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF)):
            x = _masked(b, b.or_(x, b.shl(x, _all(x.type, shift))), mask)
        spread.append(x)
    eight = _all(low.type, 8)
    return b.or_(spread[0], b.shl(spread[2], eight)), b.or_(spread[1], b.shl(spread[3], eight))


def _gather(b: ir.IRBuilder, first: Any, second: Any) -> tuple[Any, Any]:
    """Emit the inverse of `_spread`."""
    words = []
    for x, shift in ((first, 0), (second, 0), (first, 8), (second, 8)):
        x = _masked(b, b.lshr(x, _all(x.type, shift)), 0x00FF00FF00FF00FF)
        x = _masked(b, b.or_(x, b.lshr(x, _all(x.type, 8))), 0x0000FFFF0000FFFF)
        words.append(_masked(b, b.or_(x, b.lshr(x, _all(x.type, 16))), 0xFFFFFFFF))
    half = _all(first.type, 32)
    return b.or_(words[0], b.shl(words[1], half)), b.or_(words[2], b.shl(words[3], half))


def _transpose(b: ir.IRBuilder, q: list[Any]) -> None:
    """Emit the transposition of each 8 x 8 bits; it is its own inverse."""
    for shift, mask, pairs in (
        (1, 0x5555555555555555, ((0, 1), (2, 3), (4, 5), (6, 7))),
        (2, 0x3333333333333333, ((0, 2), (1, 3), (4, 6), (5, 7))),
        (4, 0x0F0F0F0F0F0F0F0F, ((0, 4), (1, 5), (2, 6), (3, 7))),
    ):
        for i, j in pairs:
            x, y, rest = q[i], q[j], mask << shift
            q[i] = b.or_(_masked(b, x, mask), _masked(b, y, mask, shift))
            q[j] = b.or_(_masked(b, x, rest, -shift), _masked(b, y, rest))


def _shift_rows(b: ir.IRBuilder, x: Any) -> Any:
    return _or(
        b,
        _masked(b, x, 0x000000000000FFFF),
        _masked(b, x, 0x00000000FFF00000, -4),
        _masked(b, x, 0x00000000000F0000, 12),
        _masked(b, x, 0x0000FF0000000000, -8),
        _masked(b, x, 0x000000FF00000000, 8),
        _masked(b, x, 0xF000000000000000, -12),
        _masked(b, x, 0x0FFF000000000000, 4),
    )


def _rotate(b: ir.IRBuilder, x: Any, right: int) -> Any:
    return b.or_(b.lshr(x, _all(x.type, right)), b.shl(x, _all(x.type, 64 - right)))


def _mix_columns(b: ir.IRBuilder, q: list[Any]) -> list[Any]:
    """Emit FIPS 197's MixColumns: twice (a row + the next one) + the next one + the two after it."""
    r = [_rotate(b, x, 16) for x in q]
    both = [b.xor(x, y) for x, y in zip(q, r, strict=True)]
    out = []
    for i in range(8):
        twice = both[7] if i == 0 else both[i - 1]
        if i in (1, 3, 4):  # x^8 = x^4 + x^3 + x + 1
            twice = b.xor(twice, both[7])
        out.append(_xor(b, twice, r[i], _rotate(b, both[i], 32)))
    return out


def _round_key(b: ir.IRBuilder, keys: Any, number: Any) -> list[Any]:
    """Emit one round key's planes, the same for all blocks."""
    place = b.add(keys, b.mul(number, ir.Constant(_I64, 16)))
    low = b.load(b.inttoptr(place, _I64.as_pointer()))
    high = b.load(b.inttoptr(b.add(place, ir.Constant(_I64, 8)), _I64.as_pointer()))
    first, second = _spread(b, low, high)
    q = [first] * 4 + [second] * 4
    _transpose(b, q)
    zero = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    return [b.shuffle_vector(b.insert_element(nothing, x, ir.IntType(32)(0)), nothing, zero) for x in q]


def _substituted(b: ir.IRBuilder, q: list[Any]) -> list[Any]:
    out = substitute(q, b.xor, b.and_, b.not_)
    return [_shift_rows(b, x) for x in out]


def encryptor(module: ir.Module) -> ir.Function:
    """Return a function of (round keys, rounds, address of 4 vectors of low words and 4 of high ones, in place)."""
    name = "noclone_aes_portable"
    function = module.globals.get(name)
    if function is not None:
        return function
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_I64, _I64, _I64]), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("optnone")  # its code comes out the same, ten times sooner
    keys, rounds, state = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    loop, end = function.append_basic_block("round"), function.append_basic_block("last")
    places = [b.inttoptr(b.add(state, ir.Constant(_I64, 8 * LANES * k)), _VECTOR.as_pointer()) for k in range(8)]
    loaded = [b.load(place, align=8) for place in places]
    pairs = [_spread(b, loaded[k], loaded[k + 4]) for k in range(4)]
    q = [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
    _transpose(b, q)
    start = [b.xor(x, k) for x, k in zip(q, _round_key(b, keys, ir.Constant(_I64, 0)), strict=True)]
    before = b.block
    b.branch(loop)
    b.position_at_end(loop)
    number = b.phi(_I64)
    planes = [b.phi(_VECTOR) for _ in range(8)]
    mixed = _mix_columns(b, _substituted(b, list(planes)))
    later = [b.xor(x, k) for x, k in zip(mixed, _round_key(b, keys, number), strict=True)]
    following = b.add(number, ir.Constant(_I64, 1))
    for phi, first, then in zip([number, *planes], [ir.Constant(_I64, 1), *start], [following, *later], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, loop)
    b.cbranch(b.icmp_signed("<", following, rounds), loop, end)
    b.position_at_end(end)
    q = [b.xor(x, k) for x, k in zip(_substituted(b, later), _round_key(b, keys, rounds), strict=True)]
    _transpose(b, q)
    for k in range(4):
        for place, value in zip((places[k], places[k + 4]), _gather(b, q[k], q[k + 4]), strict=True):
            b.store(value, place, align=8)
    b.ret_void()
    return function
