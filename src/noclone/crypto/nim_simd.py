"""Butterflies over nimbers on the processor's vectors: Numba intrinsics for the rows of an additive FFT.

A point is 64 bytes: sixteen nimbers below 2^32, byte by byte. Its four quarters hold the bytes 0, 2, 1 and 3 of all
sixteen (least significant is 0); read as 32 nimbers below 2^16, the first half holds their low and the second half
their high bytes. A twiddle below 256 then multiplies each byte alike: two table look-ups by halves of the byte, which
the processor does in its registers (PSHUFB, TBL), so that no address depends on the data. A twiddle below 2^16 takes
three such products for every two bytes (Karatsuba), one below 2^32 twice as many again. The `portable` variant adds up
multiples bit by bit instead of looking up.

Twiddles are public: tables are addressed by them. `table` is what `nim_fft.tables` makes.
"""

# Numba reads the arguments' names of an intrinsic, used or not.
# ruff: noqa: ARG001

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from noclone.crypto.vectors import (
    I8,
    I64,
    external,
    load,
    repeat,
    shared,
    shuffle,
    splat,
    store,
    variant_of,
)

POINT_BYTES = 64
ENTRY_BYTES = 32  # of the multiplication table: products with the low, then with the high halves of a byte
FIRST_CARRIED, FIRST_TWIDDLE = 32, 64  # places in the table of numbers
BY_128 = 256 * ENTRY_BYTES  # where the table of products with 128 lies
MATRICES = BY_128 + 256  # and the matrices, 8 bytes each
_LOOK_UP = {16: "llvm.x86.ssse3.pshuf.b.128", 32: "llvm.x86.avx2.pshuf.b"}
_MULTIPLY = "llvm.x86.vgf2p8affineqb.256"
_QUARTER = ir.VectorType(I64, 2)


class _Bytes:
    """Emits products of bytes by nimbers below 256, in the vectors of one variant."""

    def __init__(self, b: ir.IRBuilder, variant: str, table: Any) -> None:
        self.b, self.variant, self.table = b, variant, table
        self.affine = variant.endswith("+gfni")
        self.width = 32 if variant.startswith(("256", "512")) else 16
        self.parts = POINT_BYTES // self.width
        self.vector = ir.VectorType(I64, self.width // 8)

    def entry(self, index: Any, other: Any = None) -> Any:
        """Return what `times` needs for one factor, or for one in even quarters and another one in odd quarters."""
        address, second = self._address(index), None if other is None else self._address(other)
        if self.variant == "portable":
            return [address, second if second is not None else address]
        if self.affine:
            return [self._matrices(index, index if other is None else other)] * 2
        halves = []
        for offset in (0, 16):
            even = load(self.b, address, _QUARTER, offset)
            odd = even if second is None else load(self.b, second, _QUARTER, offset)
            halves.append([even, odd])
        if self.width == 16:
            return list(zip(*halves, strict=True))
        return [[shuffle(self.b, even, odd, [0, 1, 2, 3]) for even, odd in halves]] * 2

    def _matrices(self, even: Any, odd: Any) -> Any:
        """Return a vector with one factor's matrix in its first half and another's in its second."""
        b, one = self.b, ir.VectorType(I64, 1)
        places = [b.add(self.table, b.mul(index, ir.Constant(I64, 8))) for index in (even, odd)]
        first, second = (load(b, place, one, MATRICES, align=1) for place in places)
        return shuffle(b, first, second, [0, 0, 1, 1])

    def _address(self, index: Any) -> Any:
        return self.b.add(self.table, self.b.mul(index, ir.Constant(I64, ENTRY_BYTES)))

    def times(self, x: Any, entry: Any, part: int) -> Any:
        """Return x, which is such a part of a point, multiplied."""
        b, tables = self.b, entry[part % 2]
        if self.variant == "portable":
            function = shared(b, "noclone_nim_times", self.vector, [self.vector, I64], _times_portable)
            return b.call(function, [x, tables])
        if self.affine:
            many = ir.VectorType(I8, self.width)
            function = external(b, _MULTIPLY, many, [many, many, I8])
            return b.bitcast(b.call(function, [b.bitcast(v, many) for v in (x, tables)] + [I8(0)]), self.vector)
        mask = splat(self.vector, 0x0F0F0F0F0F0F0F0F)
        low = b.and_(x, mask)
        high = b.and_(b.lshr(x, splat(self.vector, 4)), mask)
        return b.xor(self._look_up(tables[0], low), self._look_up(tables[1], high))

    def _look_up(self, table: Any, index: Any) -> Any:
        b, vector = self.b, ir.VectorType(I8, self.width)
        name = "llvm.aarch64.neon.tbl1.v16i8" if self.variant == "neon" else _LOOK_UP[self.width]
        function = external(b, name, vector, [vector, vector])
        return b.bitcast(b.call(function, [b.bitcast(table, vector), b.bitcast(index, vector)]), self.vector)

    def exchange(self, x: list[Any]) -> list[Any]:
        """Return a point whose even and odd quarters have changed places."""
        if self.width == 16:
            return [x[k ^ 1] for k in range(self.parts)]
        return [shuffle(self.b, part, part, [2, 3, 0, 1]) for part in x]


def _times_portable(b: ir.IRBuilder, x: Any, table: Any) -> Any:
    one, eight = splat(_QUARTER, 0x0101010101010101), splat(_QUARTER, 8)
    total = splat(_QUARTER, 0)
    for bit in range(8):
        place = b.add(table, ir.Constant(I64, (1 << bit % 4) + 16 * (bit // 4)))
        factor = b.mul(b.zext(load(b, place, I8, align=1), I64), ir.Constant(I64, 0x0101010101010101))
        lane = b.insert_element(ir.Constant(_QUARTER, ir.Undefined), factor, ir.Constant(I64, 0))
        lane = b.insert_element(lane, factor, ir.Constant(I64, 1))
        ones = b.and_(b.lshr(x, splat(_QUARTER, bit)), one)
        total = b.xor(total, b.and_(b.sub(b.shl(ones, eight), ones), lane))
    return total


def _three(field: _Bytes, value: Any, other: Any = None) -> list[Any]:
    """Return the entries of a nimber below 2^16: of its lower byte, of its upper byte carried, and of their sum."""
    b = field.b

    def split(number: Any) -> list[Any]:  # low + 256 high, with 256^2 = 256 + 128
        low, high = b.and_(number, ir.Constant(I64, 255)), b.lshr(number, ir.Constant(I64, 8))
        place = b.add(field.table, b.add(high, ir.Constant(I64, BY_128)))
        return [low, b.zext(load(b, place, I8, align=1), I64), b.xor(low, high)]

    others = [None] * 3 if other is None else split(other)
    return [field.entry(first, second) for first, second in zip(split(value), others, strict=True)]


class _Upper:
    """The upper half of a nimber of 32 bits; all twiddles of blocks that follow each other share it."""

    def __init__(self, field: _Bytes, value: Any, numbers: Any) -> None:
        b = field.b
        self.half = b.lshr(value, ir.Constant(I64, 16))
        carried = _sum_of(b, b.add(numbers, ir.Constant(I64, 8 * FIRST_CARRIED)), self.half)  # times 2^15
        self.crossed = _three(field, carried, self.half)


class _Twiddle:
    """Multiplies points by one nimber below 2^8, 2^16, or, where its upper half is at hand, 2^32."""

    def __init__(self, field: _Bytes, bits: int, value: Any, upper: _Upper | None) -> None:
        self.field, self.bits = field, bits
        b = field.b
        if bits == 8:
            self.entries = [field.entry(value)]
        elif upper is None:
            self.entries = _three(field, value)
        else:
            low = b.and_(value, ir.Constant(I64, 0xFFFF))
            self.entries = _three(field, low, b.xor(low, upper.half))
            self.crossed = upper.crossed

    def _pairs(self, x: list[Any], entries: list[Any]) -> list[Any]:
        b, half = self.field.b, self.field.parts // 2
        times = self.field.times
        low_out, high_out = [], []
        for k in range(half):
            low, high = x[k], x[k + half]
            first = times(low, entries[0], k)
            low_out.append(b.xor(first, times(high, entries[1], k)))
            high_out.append(b.xor(first, times(b.xor(low, high), entries[2], k)))
        return low_out + high_out

    def times(self, x: list[Any]) -> list[Any]:
        """Return a point multiplied."""
        b = self.field.b
        if self.bits == 8:
            return [self.field.times(part, self.entries[0], k) for k, part in enumerate(x)]
        straight = self._pairs(x, self.entries)
        if self.bits == 16:
            return straight
        crossed = self._pairs(self.field.exchange(x), self.crossed)
        return [b.xor(p, q) for p, q in zip(straight, crossed, strict=True)]


def _add(b: ir.IRBuilder, x: list[Any], y: list[Any]) -> list[Any]:
    return [b.xor(p, q) for p, q in zip(x, y, strict=True)]


def _levels(b: ir.IRBuilder, rows: list[Any], twiddles: list[_Twiddle | None], inverse: bool) -> None:
    """Emit two levels of butterflies on four rows: a += b w, b += a; backwards for the inverse."""
    w, w0, w1 = twiddles
    pairs = [(0, 2, w), (1, 3, w), (0, 1, w0), (2, 3, w1)]
    for i, j, twiddle in reversed(pairs) if inverse else pairs:
        if inverse:
            rows[j] = _add(b, rows[j], rows[i])
        if twiddle is not None:
            rows[i] = _add(b, rows[i], twiddle.times(rows[j]))
        if not inverse:
            rows[j] = _add(b, rows[j], rows[i])


def _sum_of(b: ir.IRBuilder, numbers: Any, bits: Any) -> Any:
    """Emit the sum of the numbers (64 bits each) that a set of bits names."""

    def body(inner: ir.IRBuilder, place: Any, rest: Any) -> Any:
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        start = inner.block
        loop, end = inner.append_basic_block("loop"), inner.append_basic_block("end")
        inner.cbranch(inner.icmp_signed("==", rest, zero), end, loop)
        inner.position_at_end(loop)
        at, left, total = inner.phi(I64), inner.phi(I64), inner.phi(I64)
        number = inner.select(inner.trunc(left, ir.IntType(1)), load(inner, at, I64), zero)
        added, shifted = inner.xor(total, number), inner.lshr(left, one)
        following = inner.add(at, ir.Constant(I64, 8))
        for phi, first, then in ((at, place, following), (left, rest, shifted), (total, zero, added)):
            phi.add_incoming(first, start)
            phi.add_incoming(then, loop)
        inner.cbranch(inner.icmp_signed("==", shifted, zero), end, loop)
        inner.position_at_end(end)
        result = inner.phi(I64)
        result.add_incoming(zero, start)
        result.add_incoming(added, loop)
        return result

    return b.call(shared(b, "noclone_nim_sum", I64, [I64, I64], body), [numbers, bits])


def _kernel(
    b: ir.IRBuilder, field: _Bytes, bits: int, place: Any, quarter: Any, factors: list[Any], inverse: bool
) -> None:
    """Emit two levels on four rows of `quarter` points that follow each other."""
    twiddles = [None if factor is None else _Twiddle(field, bits, *factor) for factor in factors]
    # A product with a byte needs that byte alone: such rows are done part by part.
    parts, size = (1, field.width) if bits == 8 else (field.parts, POINT_BYTES)
    stride = b.mul(quarter, ir.Constant(I64, POINT_BYTES))
    with repeat(b, b.mul(quarter, ir.Constant(I64, POINT_BYTES // size))) as index:
        places = [b.add(place, b.mul(index, ir.Constant(I64, size)))]
        for _ in range(3):
            places.append(b.add(places[-1], stride))
        rows = [[load(b, at, field.vector, field.width * k) for k in range(parts)] for at in places]
        _levels(b, rows, twiddles, inverse)
        for at, row in zip(places, rows, strict=True):
            for k, value in enumerate(row):
                store(b, value, at, field.width * k)


def _two(inverse: bool) -> Any:
    def typed(
        _context: Any, simd: Any, rows: Any, quarter: Any, n_blocks: Any, block: Any, numbers: Any, table: Any
    ) -> Any:
        """Go two levels down, or up, in n blocks of four times `quarter` points, the first of which is `block`.

        `numbers` and `table` are what `nim_fft.tables` makes.
        """

        def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
            _, rows, quarter, count, block, numbers, table = args
            field = _Bytes(b, variant_of(simd), table)
            high = _sum_of(b, numbers, block)
            low = _sum_of(b, numbers, b.shl(block, ir.Constant(I64, 1)))
            beta = load(b, numbers, I64)

            def twiddles(index: Any) -> tuple[Any, list[Any]]:
                """Return where a block begins, and its three twiddles: of the upper level, and of the lower one."""
                place = b.add(rows, b.mul(b.mul(index, quarter), ir.Constant(I64, 4 * POINT_BYTES)))
                at = b.add(numbers, b.mul(index, ir.Constant(I64, 8)))
                w = b.xor(high, load(b, at, I64, 8 * FIRST_TWIDDLE))
                w0 = b.xor(low, load(b, b.add(at, b.mul(index, ir.Constant(I64, 8))), I64, 8 * FIRST_TWIDDLE))
                return place, [w, w0, b.xor(w0, beta)]

            # What differs between the blocks of one call lies below 2^16.
            with b.if_else(b.icmp_signed("<", b.or_(high, low), ir.Constant(I64, 1 << 16))) as (usual, large):
                with usual, repeat(b, count) as index:
                    place, (w, w0, w1) = twiddles(index)
                    largest = b.or_(w, b.or_(w0, w1))

                    def below(limit: int) -> Any:
                        return b.icmp_signed("<", largest, ir.Constant(I64, limit))

                    with b.if_else(below(4)) as (first, others):  # block 0: 0, 0 and beta_1 = 2
                        with first:
                            _kernel(b, field, 8, place, quarter, [None, None, (w1, None)], inverse)
                        with others, b.if_else(below(1 << 8)) as (small, middle):
                            with small:
                                _kernel(b, field, 8, place, quarter, [(f, None) for f in (w, w0, w1)], inverse)
                            with middle:
                                _kernel(b, field, 16, place, quarter, [(f, None) for f in (w, w0, w1)], inverse)
                with large:
                    upper, lower = _Upper(field, high, numbers), _Upper(field, low, numbers)
                    with repeat(b, count) as index:
                        place, (w, w0, w1) = twiddles(index)
                        _kernel(b, field, 32, place, quarter, [(w, upper), (w0, lower), (w1, lower)], inverse)
            return context.get_dummy_value()

        return types.void(simd, *[types.intp] * 6), emit

    return typed


def _add_multiple(
    _context: Any, simd: Any, rows: Any, others: Any, n: Any, block: Any, numbers: Any, table: Any
) -> Any:
    """Add to n points their partners times the twiddle of a block, which must be below 256."""

    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, rows, others, count, block, numbers, table = args
        field = _Bytes(b, variant_of(simd), table)
        entry = field.entry(_sum_of(b, numbers, block))
        with repeat(b, b.mul(count, ir.Constant(I64, field.parts))) as index:
            offset = b.mul(index, ir.Constant(I64, field.width))
            at, other = b.add(rows, offset), b.add(others, offset)
            x, y = load(b, at, field.vector), load(b, other, field.vector)
            store(b, b.xor(x, field.times(y, entry, 0)), at)
        return context.get_dummy_value()

    return types.void(simd, *[types.intp] * 6), emit


def _add_points(_context: Any, simd: Any, rows: Any, others: Any, n: Any) -> Any:
    """Add to n points their partners."""

    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, rows, others, count = args
        vector = ir.VectorType(I64, 4)
        with repeat(b, b.mul(count, ir.Constant(I64, 2))) as index:
            offset = b.mul(index, ir.Constant(I64, 32))
            at = b.add(rows, offset)
            store(b, b.xor(load(b, at, vector), load(b, b.add(others, offset), vector)), at)
        return context.get_dummy_value()

    return types.void(simd, *[types.intp] * 3), emit


def _copy_points(_context: Any, simd: Any, rows: Any, others: Any, n: Any) -> Any:
    """Copy n points to a place that does not overlap."""

    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, rows, others, count = args
        vector = ir.VectorType(I64, 4)
        with repeat(b, b.mul(count, ir.Constant(I64, 2))) as index:
            offset = b.mul(index, ir.Constant(I64, 32))
            store(b, load(b, b.add(others, offset), vector), b.add(rows, offset))
        return context.get_dummy_value()

    return types.void(simd, *[types.intp] * 3), emit


def _clear_points(_context: Any, simd: Any, rows: Any, n: Any) -> Any:
    """Set n points to zero."""

    def emit(context: Any, b: ir.IRBuilder, _sig: Any, args: Any) -> Any:
        _, rows, count = args
        with repeat(b, b.mul(count, ir.Constant(I64, 2))) as index:
            store(b, splat(ir.VectorType(I64, 4), 0), b.add(rows, b.mul(index, ir.Constant(I64, 32))))
        return context.get_dummy_value()

    return types.void(simd, *[types.intp] * 2), emit


two_levels: Any = intrinsic(_two(inverse=False))
two_levels_back: Any = intrinsic(_two(inverse=True))
add_multiple: Any = intrinsic(_add_multiple)
add_points: Any = intrinsic(_add_points)
copy_points: Any = intrinsic(_copy_points)
clear_points: Any = intrinsic(_clear_points)
