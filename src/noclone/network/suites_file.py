"""Changing algorithms while a network runs: the operator's word on suites, in a file beside each node's key store.

In: `noclone suites`, which writes it.  Out: the suites in force at a node, within seconds and after every restart; the
scenario's [pqc] holds where there is no such file. What cannot be put into force changes nothing, and is said once.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noclone.errors import InputError
from noclone.events import EventLog
from noclone.kms.suites import Suites

INTERVAL_S = 2.0
BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class SuitesWord:
    """Which suites shall be accepted, the one to offer first, and which are deprecated."""

    accepted: tuple[str, ...]
    deprecated: tuple[str, ...] = ()

    def suites(self) -> Suites:
        """Return them in force.

        Raises:
            InputError: They cannot be.
        """
        return Suites(self.accepted, self.deprecated)


def suites_path(data: Path, node: str) -> Path:
    """Return where a node's file is."""
    return data / f"{node}.suites.json"


def read_suites(path: Path) -> SuitesWord | None:
    """Return what the file says; None if there is none.

    Raises:
        InputError: It is damaged, or says what cannot be.
    """
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(BYTES_MAX))
        accepted, deprecated = data["accepted"], data["deprecated"]
        if not all(isinstance(name, str) for name in (*accepted, *deprecated)):
            raise TypeError
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is no list of suites", hint="write it with `noclone suites`, or remove it") from None
    word = SuitesWord(tuple(accepted), tuple(deprecated))
    word.suites()
    return word


def write_suites(path: Path, accepted: Sequence[str], deprecated: Sequence[str]) -> None:
    """Put suites into a node's file, whole or not at all.

    Raises:
        InputError: They cannot be in force.
    """
    word = SuitesWord(tuple(accepted), tuple(deprecated))
    word.suites()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    text = json.dumps({"accepted": list(word.accepted), "deprecated": list(word.deprecated)}) + "\n"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


async def follow(path: Path, suites: Suites, node: str, log: EventLog, interval_s: float = INTERVAL_S) -> None:
    """Put into force what the file says, now and whenever it changes, for ever."""
    before: SuitesWord | None = None
    complained = ""
    while True:
        try:
            word = await asyncio.to_thread(read_suites, path)
            if word is not None and word != before:
                suites.change(word.accepted, word.deprecated)
                before = word
            complained = ""
        except InputError as error:
            if error.message != complained:
                log.add("suites.refused", f"kme:{node}", reason=error.message)
            complained = error.message
        await asyncio.sleep(interval_s)
