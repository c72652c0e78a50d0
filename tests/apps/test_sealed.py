"""The container's layout byte by byte, its paddings, and hostile ones."""

from __future__ import annotations

import io
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noclone.apps.sealed import Header, KeyRef, bucket, padded_length, read_header, record_head, records
from noclone.errors import InputError

ID = bytes(range(16))


def test_the_layout_is_the_documented_one() -> None:
    header = Header("file", ID, "sae-a", "sae-bb", 70_000)
    assert header.encode() == (
        b"NCSEALED" + bytes([1, 1, 1]) + ID + struct.pack(">QI", 70_000, 65_536) + bytes([5, 6]) + b"sae-asae-bb"
    )
    head = record_head(1, (KeyRef("id-1", 4_464), KeyRef("k", 32)), final=True)
    assert head == (
        struct.pack(">QBH", 1, 1, 2) + struct.pack(">BI", 4, 4_464) + b"id-1" + struct.pack(">BI", 1, 32) + b"k"
    )
    assert (header.n_records, header.size_of(0), header.size_of(1)) == (2, 65_536, 4_464)
    assert read_header(io.BytesIO(header.encode())) == (header, header.encode())


@given(st.integers(65, 1 << 50))
def test_padme_as_published(n: int) -> None:
    """Nikitin et al. 2019, algorithm 1, in floating point as they print it."""
    exponent = n.bit_length() - 1
    mantissa = math.floor(math.log2(exponent)) + 1
    unit = 1 << (exponent - mantissa)
    got = padded_length(n)
    assert got == unit * -(-n // unit)
    assert n <= got <= 1.12 * n


@given(st.integers(1, 65_536))
def test_buckets_are_powers_of_two(n: int) -> None:
    size = bucket(n)
    assert size >= max(n, 64)
    assert size == 64 or size < 2 * n
    assert size & (size - 1) == 0


@given(st.binary(max_size=300))
def test_garbage_is_refused_in_words(data: bytes) -> None:
    for raw in (data, b"NCSEALED" + data, b"NCSEALED\x01\x01\x01" + data):
        with pytest.raises(InputError):
            walk(raw)


def walk(raw: bytes) -> None:
    stream = io.BytesIO(raw)
    header, head = read_header(stream)
    list(records(stream, header, len(head), len(raw)))


def test_a_header_that_claims_the_moon_is_refused() -> None:
    head = Header("file", ID, "a", "b", 1 << 62).encode()
    header, _ = read_header(io.BytesIO(head))
    with pytest.raises(InputError, match="truncated"):
        list(records(io.BytesIO(head), header, len(head), len(head)))


def container(*heads: bytes, sizes: tuple[int, ...] = (64,), record_bytes: int = 64) -> bytes:
    header = Header("file", ID, "a", "b", sum(sizes), record_bytes).encode()
    return header + b"".join(head + bytes(size + 16) for head, size in zip(heads, sizes, strict=True))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (container(record_head(0, (KeyRef("k", 96),), final=False)), "wrong place"),
        (container(record_head(1, (KeyRef("k", 96),), final=True)), "wrong place"),
        (container(record_head(0, (KeyRef("k", 95),), final=True)), "pad of 95 bytes"),
        (container(record_head(0, (), final=True)), "pad of 0 bytes"),
        (container(record_head(0, (KeyRef("k", 96), KeyRef("k", 96)), final=True)), "key twice"),
        (container(record_head(0, (KeyRef("k", 1 << 21),), final=True)), "a key of 2097152 bytes"),
        (
            container(
                record_head(0, (KeyRef("k", 96),), final=False),
                record_head(1, (KeyRef("k", 96),), final=True),
                sizes=(64, 64),
            ),
            "key twice",
        ),
    ],
)
def test_malformed_records_are_refused(raw: bytes, why: str) -> None:
    stream = io.BytesIO(raw)
    header, head = read_header(stream)
    with pytest.raises(InputError, match=why):
        list(records(stream, header, len(head), len(raw)))


@pytest.mark.parametrize("name", ["", "x" * 256, "sae\n", "säe"])
def test_ids_are_printable_ascii(name: str) -> None:
    with pytest.raises(InputError, match="cannot be the id"):
        Header("file", ID, name, "b", 64).encode()
