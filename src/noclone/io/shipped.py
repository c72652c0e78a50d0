"""Files that come with noclone: users call them by name, their own by path.

In: a path or a name.  Out: the text, or the checked model.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from noclone.io.toml import Model, load_toml, parse_toml
from noclone.spelling import choices, near

if TYPE_CHECKING:
    from noclone.errors import InputError


@dataclass(frozen=True, slots=True)
class Shipped:
    """The TOML files in a folder of a package, each known by its name without `.toml`.

    Args:
        package: Such as `noclone.network`.
        folder: Such as `scenarios`.
        what: What one is called in messages, such as `scenario`.
        error: What is raised where a file cannot be used.
    """

    package: str
    folder: str
    what: str
    error: type[InputError]

    def names(self) -> list[str]:
        """Return the names, in order."""
        entries = (entry.name for entry in files(self.package).joinpath(self.folder).iterdir())
        return sorted(name.removesuffix(".toml") for name in entries if name.endswith(".toml"))

    def text(self, name: str) -> str:
        """Return the text of a shipped file.

        Raises:
            InputError: Of the class `error`: there is none of that name.
        """
        names = self.names()
        if name not in names:
            raise self.error(
                f"'{name}' is neither a file nor a shipped {self.what}",
                hint=choices(name, names, "give a path that ends in .toml, or one of"),
            )
        return files(self.package).joinpath(self.folder, f"{name}.toml").read_text(encoding="utf-8")

    def load(self, path: Path | str, model: type[Model]) -> Model:
        """Read a file, or a shipped one by its name, and check it against a model.

        Raises:
            InputError: Of the class `error`: it cannot be read, or does not fit.
        """
        place = Path(path)
        if place.exists():
            return load_toml(place, model, self.error)
        if place.suffix != ".toml":
            return parse_toml(self.text(str(path)), model, self.error, name=f"{path}.toml")
        names = self.names()
        meant = place.stem if place.stem in names else near(place.stem, names)
        hint = f"a shipped {self.what} is called by its name alone: {meant}" if meant else ""
        raise self.error(f"{path}: cannot be read: there is no such file", hint=hint)
