"""The folder that a run leaves: scenario, seed, versions, events, result."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from noclone import __version__
from noclone.errors import InputError
from noclone.events import Event
from noclone.network.scenario import Scenario

LIBRARIES = ("numpy", "numba", "cryptography", "h5py", "sqlalchemy")


class RunFolder:
    """`runs/<id>/` with `scenario.json`, `run.json`, `events.jsonl` and `result.json`.

    Raises:
        InputError: The folder cannot be made.
    """

    def __init__(self, parent: Path, scenario: Scenario, identifier: str | None = None) -> None:
        self.identifier = identifier or f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{scenario.name}"
        self.path = self._make(parent)
        self.events = self.path / "events.jsonl"
        self._write("scenario.json", scenario.model_dump(mode="json", by_alias=True))

    def _make(self, parent: Path) -> Path:
        for attempt in range(1, 100):
            path = parent / (self.identifier if attempt == 1 else f"{self.identifier}-{attempt}")
            try:
                path.mkdir(parents=True, mode=0o700)
            except FileExistsError:
                continue
            except OSError as error:
                raise InputError(f"{path}: cannot be made: {error.strerror}", hint="choose another folder") from None
            self.identifier = path.name
            return path
        raise InputError(f"{parent / self.identifier}: too many runs of this name within a second")

    def write_run(self, *, seed: int | None, blocks: int) -> None:
        """Note how to run this again; a seed that the system drew is not written down."""
        versions = {name: metadata.version(name) for name in LIBRARIES}
        self._write(
            "run.json",
            {
                "noclone": __version__,
                "python": platform.python_version(),
                "machine": platform.machine(),
                "libraries": versions,
                "seed": seed,
                "blocks": blocks,
            },
        )

    def write_result(self, result: dict[str, Any]) -> None:
        """Write what came out."""
        self._write("result.json", result)

    def _write(self, name: str, data: dict[str, Any]) -> None:
        (self.path / name).write_text(json.dumps(data, indent=2, allow_nan=False) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What a run left behind."""

    scenario: Scenario
    events: list[Event]


def read_run(path: Path) -> FinishedRun:
    """Read the folder of a run.

    Raises:
        InputError: It is none, or a file of it cannot be read.
    """
    try:
        scenario = Scenario.model_validate_json((path / "scenario.json").read_text(encoding="utf-8"))
        lines = (path / "events.jsonl").read_text(encoding="utf-8").splitlines()
        return FinishedRun(scenario, [Event.from_json(line) for line in lines if line])
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no run's folder, for it has no {Path(error.filename).name}",
            hint="give a folder that `noclone run` made, or a scenario",
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: this run's folder cannot be read: {error}", hint="run the scenario again") from None
