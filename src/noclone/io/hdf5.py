"""Reading HDF5 without trusting it: every attribute and dataset is checked before its content is touched.

In: a group of an open file.  Out: numbers, text and datasets of the type and size that were asked for, or a
RecordingError that names file, place and what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from noclone.errors import RecordingError

# Filters that come with HDF5 itself. Others would make the library look for a plug-in: code that the file chooses.
FILTER_CODES = frozenset({1, 2, 3, 32000})  # deflate, shuffle, fletcher32, lzf
ATTRIBUTE_ROWS_MAX = 64
ATTRIBUTE_BYTES_MAX = 1 << 16
CHUNK_BYTES_MAX = 1 << 28


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what the HDF5 library says of a damaged file into an error for people."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise RecordingError(
            f"{where}: this cannot be read ({type(error).__name__}: {str(error)[:120]})",
            hint="the file is damaged or cut short; copy it again",
        ) from None


class Checked:
    """A group of a file, read with suspicion."""

    def __init__(self, path: Path, group: h5py.Group, name: str) -> None:
        self._path = path
        self._group = group
        self._name = name

    @property
    def where(self) -> str:
        """File and group, for messages."""
        return f"{self._path}:{self._name}"

    def error(self, message: str, *, hint: str = "see docs/recordings.md for the layout") -> RecordingError:
        """Return an error about this group."""
        return RecordingError(f"{self.where}: {message}", hint=hint)

    def has(self, name: str) -> bool:
        """Say whether there is a group or dataset of that name."""
        return name in self._group

    def has_attribute(self, name: str) -> bool:
        """Say whether there is an attribute of that name."""
        return name in self._group.attrs

    def names(self) -> list[str]:
        """Return the names of what is inside."""
        return list(self._group.keys())

    def group(self, name: str) -> Checked:
        """Return a group inside this one."""
        return Checked(self._path, self._member(name, h5py.Group), f"{self._name.rstrip('/')}/{name}")

    def column(self, name: str, dtype: Any, rows_max: int) -> h5py.Dataset:
        """Return a dataset of one dimension whose rows are really stored in this file."""
        dataset = self._member(name, h5py.Dataset)
        if dataset.ndim != 1 or dataset.dtype != np.dtype(dtype):
            raise self.error(f"'{name}' must be one column of {np.dtype(dtype)}, it is {dataset.dtype}{dataset.shape}")
        if dataset.shape[0] > rows_max:
            raise self.error(f"'{name}' has {dataset.shape[0]} rows, at most {rows_max} can be read")
        if dataset.is_virtual or dataset.external:
            raise self.error(f"'{name}' takes its rows from another file")
        self._check_storage(name, dataset)
        return dataset

    def _check_storage(self, name: str, dataset: h5py.Dataset) -> None:
        """Refuse foreign filters, rows that were never written, and chunks too large to hold."""
        properties = dataset.id.get_create_plist()
        for index in range(properties.get_nfilters()):
            if properties.get_filter(index)[0] not in FILTER_CODES:
                raise self.error(
                    f"'{name}' is compressed with a filter that HDF5 does not bring along",
                    hint="write it with gzip or without compression",
                )
        item = dataset.dtype.itemsize
        if dataset.chunks is None:
            if dataset.shape[0] and dataset.id.get_storage_size() < dataset.shape[0] * item:
                raise self.error(f"'{name}' was never written in full")
            return
        if dataset.chunks[0] * item > CHUNK_BYTES_MAX:
            raise self.error(f"'{name}' is stored in chunks of more than {CHUNK_BYTES_MAX >> 20} MiB")
        if dataset.id.get_num_chunks() != -(-dataset.shape[0] // dataset.chunks[0]):
            raise self.error(f"'{name}' was never written in full")

    def text(self, name: str, chars_max: int) -> str:
        """Return an attribute that holds one string of printable characters."""
        value = self._attribute(name)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if not isinstance(value, str) or len(value) > chars_max or not all(c.isprintable() for c in value):
            raise self.error(f"the attribute '{name}' must be a text of at most {chars_max} printable characters")
        return value

    def whole(self, name: str, smallest: int, largest: int) -> int:
        """Return an attribute that holds one integer."""
        value = self._attribute(name)
        if not isinstance(value, (int, np.integer, np.bool_)) or not smallest <= int(value) <= largest:
            raise self.error(f"the attribute '{name}' must be an integer from {smallest} to {largest}")
        return int(value)

    def number(self, name: str) -> float:
        """Return an attribute that holds one finite number."""
        value = self._attribute(name)
        if not isinstance(value, (int, float, np.integer, np.floating)) or not math.isfinite(float(value)):
            raise self.error(f"the attribute '{name}' must be a number")
        return float(value)

    def floats(self, name: str) -> tuple[float, ...]:
        """Return an attribute that holds a row of finite numbers."""
        value = np.asarray(self._attribute(name))
        if value.ndim != 1 or value.dtype.kind not in "fiu" or not bool(np.isfinite(value).all()):
            raise self.error(f"the attribute '{name}' must be a row of numbers")
        return tuple(float(x) for x in value)

    def wholes(self, name: str, largest: int) -> tuple[int, ...]:
        """Return an attribute that holds a row of integers from 0 to `largest`."""
        value = np.asarray(self._attribute(name))
        if value.ndim != 1 or value.dtype.kind not in "iu" or bool((value < 0).any() or (value > largest).any()):
            raise self.error(f"the attribute '{name}' must be a row of integers from 0 to {largest}")
        return tuple(int(x) for x in value)

    def _attribute(self, name: str) -> Any:
        """Return an attribute, after a look at its size and type."""
        if name not in self._group.attrs:
            raise self.error(f"the attribute '{name}' is missing")
        with reading(f"{self.where}, attribute '{name}'"):
            identity = self._group.attrs.get_id(name)
            rows = math.prod(identity.shape or (1,))
            if rows > ATTRIBUTE_ROWS_MAX or identity.get_storage_size() > ATTRIBUTE_BYTES_MAX:
                raise self.error(f"the attribute '{name}' is far too large")
            if identity.dtype.kind not in "biufSO":
                raise self.error(f"the attribute '{name}' has a type that does not belong here")
            return self._group.attrs[name]

    def _member(self, name: str, kind: type) -> Any:
        """Return a group or dataset that is linked in plainly, not from elsewhere."""
        if name not in self._group:
            raise self.error(f"'{name}' is missing")
        if not isinstance(self._group.get(name, getlink=True), h5py.HardLink):
            raise self.error(f"'{name}' is a link to somewhere else")
        member = self._group[name]
        if not isinstance(member, kind):
            raise self.error(f"'{name}' is no {kind.__name__.lower()}")
        return member
