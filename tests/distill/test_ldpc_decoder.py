"""The decoder's vector code against a plain twin, bit for bit; programs and tables against the matrix itself."""

import numpy as np
import pytest

from noclone.bits import pack, unpack
from noclone.distill import ldpc_decoder as kernels
from noclone.distill.ldpc_codes import BEFORE, FRAME_BITS, PACE, Code, codes, compile_program
from noclone.distill.ldpc_search import prior_levels


def small_code(circulant, rows, columns, seed):
    """A code with edges at random: the decoder must not care."""
    rng = np.random.default_rng(seed)
    edges = []
    for row in range(rows):
        here = np.flatnonzero(rng.random(columns) < 0.6)
        here = here if len(here) > 2 else np.arange(3)
        for i, column in enumerate(here):
            # Shifts at which a stretch of 64 begins, ends or straddles the end of its column come often.
            shift = rng.choice([0, 1, 63, 64, 65, circulant - 64, circulant - 1, int(rng.integers(circulant))])
            edges.append((row, i % 2, int(column), int(shift)))
    row, half, column, shift = np.array(sorted(edges), np.int64).T
    pace = tuple(rng.integers(40, 257, 9).tolist())
    return Code(rows, circulant, 0.1, row, column, shift, half, pace)


def matrix_checks(code, splits):
    """All checks one by one: for each step, 64 lists of positions, in the order in which they are treated."""
    split = set(code.split_order()[:splits].tolist())
    steps = []
    for row in range(code.rows):
        for chunk in range(code.chunks):
            stretch = row * code.chunks + chunk
            for parts in ((0,), (1,)) if stretch in split else ((0, 1),):
                edges = np.flatnonzero((code.row == row) & np.isin(code.half, parts))
                lanes = [
                    [
                        int(code.column[e]) * code.circulant + (64 * chunk + lane + int(code.shift[e])) % code.circulant
                        for e in edges
                    ]
                    for lane in range(64)
                ]
                if len(edges):
                    steps.append((stretch, parts, lanes))
    return steps


def syndrome_words(code, splits, error):
    """Each stretch's whole parities, then those of the first halves of what is split; from the definition."""
    order = code.split_order()[:splits].tolist()
    words = np.zeros(code.whole_words + splits, np.uint64)
    for e in range(len(code.row)):
        for i in range(code.circulant):
            position = int(code.column[e]) * code.circulant + (i + int(code.shift[e])) % code.circulant
            stretch = int(code.row[e]) * code.chunks + i // 64
            bit = np.uint64(int(error[position]) << (i % 64))
            words[stretch] ^= bit
            if stretch in order and code.half[e] == 0:
                words[code.whole_words + order.index(stretch)] ^= bit
    return words


def saturate(value):
    return max(-128, min(127, value))


def twin(code, splits, prior, words, most):
    """The decoder with lists and integers; returns every position's level at the end, and after how many iterations."""
    levels = [int(x) for x in prior]
    order = code.split_order()[:splits].tolist()
    checks = []
    for stretch, parts, lanes in matrix_checks(code, splits):
        told = int(words[stretch])
        if stretch in order:
            first = int(words[code.whole_words + order.index(stretch)])
            told = first if parts == (0,) else told ^ first
        checks += [(positions, told >> lane & 1) for lane, positions in enumerate(lanes)]
    messages = {}
    at_first, least, stalled = sum(told for _, told in checks), None, 0
    alpha = code.pace[-1]
    needed = 0
    while needed < most:
        needed += 1
        wrong = 0
        for number, (positions, told) in enumerate(checks):
            wrong += (sum(levels[p] < 0 for p in positions) + told) % 2
            without = [saturate(levels[p] - messages.get((number, p), 0)) for p in positions]
            sizes = [abs(t) for t in without]
            smallest = min([*sizes, 127])
            rest = sorted([*sizes, 127, 127])[1]
            negative = sum(t < 0 for t in without) + told
            for p, t in zip(positions, without, strict=True):
                size = rest if abs(t) == smallest else smallest
                size = min(size * alpha + 128 >> 8, kernels.LARGEST)
                message = -size if (negative - (t < 0)) % 2 else size
                messages[number, p] = message
                levels[p] = saturate(t + message)
        steps = len(code.pace) - 1
        alpha = code.pace[min(steps * wrong // max(at_first, 1), steps - 1)]
        stalled += 1
        if least is None or kernels.FALL * (least - wrong) > at_first:
            least, stalled = wrong, 0
        error = np.array([level < 0 for level in levels])
        if wrong == 0 and np.array_equal(syndrome_words(code, splits, error), words):
            break
        if stalled > kernels.PATIENCE:
            break
    return levels, needed


def run(code, splits, prior, words, iterations):
    program = compile_program(code, splits)
    n = len(prior)
    patterns, taken = np.zeros((1, n // 64), np.uint64), np.zeros(1, np.int64)
    kernels.decode(
        kernels.TOKEN, program.steps, program.places, program.mirrors, program.bits, code.circulant,
        np.array(code.pace), iterations, prior_levels(code, prior == kernels.KNOWN), words[None, :], np.array([0]),
        patterns, taken,
    )  # fmt: skip
    return unpack(patterns[0], n), int(taken[0])


@pytest.mark.parametrize(("circulant", "rows", "columns", "splits"), [(128, 3, 6, 0), (192, 2, 5, 3), (256, 2, 4, 8)])
@pytest.mark.parametrize("iterations", [1, 2, 5, 40])
def test_the_twin_agrees_bit_for_bit(circulant, rows, columns, splits, iterations):
    for seed in range(3):
        code = small_code(circulant, rows, columns, seed)
        rng = np.random.default_rng(seed)
        n = columns * circulant
        known = rng.random(n) < 0.1
        error = ((rng.random(n) < 0.1) & ~known).astype(np.uint8)
        prior = np.where(known, kernels.KNOWN, code.prior).astype(np.int8)
        words = syndrome_words(code, splits, error)
        found, taken = run(code, splits, prior, words, iterations)
        levels, needed = twin(code, splits, prior, words, iterations)
        assert found.tolist() == [int(level < 0) for level in levels]
        assert abs(taken) == needed
        fits = np.array_equal(syndrome_words(code, splits, found), words)
        assert (taken > 0) == fits


@pytest.mark.parametrize("number", range(len(codes())))
def test_codes_are_what_they_claim(number):
    code = codes()[number]
    columns = FRAME_BITS // code.circulant
    assert set(code.column.tolist()) == set(range(columns))
    assert set(code.row.tolist()) == set(range(code.rows))
    assert code.shift.min() >= 0
    assert code.shift.max() < code.circulant
    assert len(set(zip(code.row.tolist(), code.column.tolist(), strict=True))) == len(code.row), (
        "one circulant an entry"
    )
    weights = np.bincount(code.row)
    assert weights.max() - weights.min() <= 2
    for row in range(code.rows):
        halves = np.bincount(code.half[code.row == row], minlength=2)
        assert abs(int(halves[0]) - int(halves[1])) <= 1
    assert len(set(code.split_order().tolist())) == code.whole_words


def test_the_pace_is_one_for_all_codes():
    assert all(code.pace == PACE for code in codes())
    assert min(PACE) > 0
    assert max(PACE) <= 256


def test_frames_that_do_not_come_forward_are_given_up():
    """A syndrome at random fits no likely error: the decoder must not take every iteration to say so."""
    code = codes()[6]
    words = np.random.default_rng(0).integers(0, 2**64, code.whole_words, np.uint64)
    _, taken = run(code, 0, np.full(FRAME_BITS, code.prior), words, code.iterations)
    assert -code.iterations // 2 < taken < 0


@pytest.mark.parametrize("number", range(len(codes())))
def test_no_code_has_cycles_of_length_four(number):
    code = codes()[number]
    seen = set()
    for column in range(FRAME_BITS // code.circulant):
        here = np.flatnonzero(code.column == column)
        for a in here:
            for b in here[here > a]:
                difference = int(code.shift[a] - code.shift[b]) % code.circulant
                key = int(code.row[a]), int(code.row[b]), difference
                assert key not in seen
                seen.add(key)


@pytest.mark.parametrize("number", [0, 4, len(codes()) - 1])
def test_columns_of_degree_two_close_no_cycle(number):
    code = codes()[number]
    parent = list(range(code.rows))

    def root(x):
        while parent[x] != x:
            x = parent[x]
        return x

    degrees = np.bincount(code.column)
    for column in np.flatnonzero(degrees == 2):
        a, b = (root(int(r)) for r in code.row[code.column == column])
        assert a != b
        parent[a] = b


def test_a_program_visits_every_edge_once():
    code = codes()[4]
    for splits in (0, 1, 17, code.whole_words):
        program = compile_program(code, splits)
        assert len(program.steps) == code.whole_words + splits
        assert program.steps[:, 2].sum() == len(program.places) == len(code.row) * code.chunks
        assert program.steps[:, 1].sum() == len(program.mirrors)
        place = program.places % code.stride - BEFORE
        assert place.min() >= 0
        assert place.max() < code.circulant
        assert set(program.steps[:, 3].tolist()) == set(range(code.whole_words + splits)) - set(
            code.split_order()[:splits].tolist()
        )


def test_fits_is_exact():
    code = small_code(192, 2, 5, 7)
    error = np.random.default_rng(1).integers(0, 2, 5 * 192, np.uint8)
    program = compile_program(code, 2)
    words = syndrome_words(code, 2, error)
    assert kernels.fits(program.steps, program.bits, 192, words, pack(error))
    for position in range(0, len(error), 13):
        wrong = error.copy()
        wrong[position] ^= 1
        same = np.array_equal(syndrome_words(code, 2, wrong), words)
        assert kernels.fits(program.steps, program.bits, 192, words, pack(wrong)) == same
