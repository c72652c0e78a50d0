"""Decoding many frames: the decoder's loops (`ldpc_decoder`) in a few threads, without the interpreter's lock.

In: a code, how many of its checks are split, syndromes of error patterns.  Out: the patterns that were found.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from noclone import gpu
from noclone.bits import Words
from noclone.distill import ldpc_decoder as kernels
from noclone.distill.ldpc_codes import BEFORE, BEHIND, FRAME_BITS, Code, compile_program

FRAMES_EACH = 8  # that a thread takes at a time


def prior_levels(code: Code, known: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return the levels at the beginning: no error is the better guess, and certain where a position is `known`."""
    return bordered(code, np.where(known, kernels.KNOWN, code.prior).astype(np.int8)[None])


def bordered(code: Code, beliefs: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the levels of int8[frames, positions] beliefs as the decoder takes them, borders included."""
    level = beliefs.reshape(len(beliefs), -1, code.circulant)
    return np.concatenate((level[..., -BEFORE:], level, level[..., :BEHIND]), 2).reshape(len(beliefs), -1)


def find_errors(
    code: Code,
    splits: int,
    known: NDArray[np.bool_],
    syndromes: Words,
    frames: NDArray[np.int64],
    threads: int,
    beliefs: NDArray[np.int8] | None = None,
) -> tuple[Words, NDArray[np.int64]]:
    """Return packed error patterns, and iterations, -n where none was found in n; of the given `frames` alone.

    Args:
        beliefs: int8[frames, positions]: how sure each guess is, where some are surer than others; `code.prior` is what
            belongs to the error rate that the code is made for.
    """
    if gpu.wanted() and beliefs is None:
        from noclone.distill import ldpc_cuda

        return ldpc_cuda.find_errors(code, splits, known, syndromes, frames)
    program = compile_program(code, splits)
    pace = np.array(code.pace, np.int64)
    prior = prior_levels(code, known) if beliefs is None else bordered(code, beliefs)
    patterns = np.zeros((len(syndromes), FRAME_BITS // 64), np.uint64)
    iterations = np.zeros(len(syndromes), np.int64)

    def decode(chosen: NDArray[np.int64]) -> None:
        kernels.decode(
            kernels.TOKEN, program.steps, program.places, program.mirrors, program.bits, code.circulant,
            pace, code.iterations, prior, syndromes, chosen, patterns, iterations,
        )  # fmt: skip

    pieces = [frames[i : i + FRAMES_EACH] for i in range(0, len(frames), FRAMES_EACH)]
    if threads < 2 or len(pieces) < 2:
        decode(frames)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, pieces))
    return patterns, iterations
