"""A package as a database describes it, and the errors of reading one."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

from images.errors import InputError

TEXT_LIMIT: Final = 4096
"""Characters of one field; what is longer is no name, version or licence."""

FILES_LIMIT: Final = 1_000_000
"""Files of one package."""


class DamagedPackageDataError(InputError):
    """A package database or description does not follow its format, or asks for too much."""

    code = "package-data"


@dataclass(frozen=True, slots=True)
class Package:
    """One piece of software.

    Attributes:
        type: the package URL's type: ``deb``, ``apk``, ``rpm``, ``pypi``, ``npm``, ``golang``,
            ``maven``.
        version: as the package manager writes it; of an rpm ``version-release``.
        namespace: a group, scope or module path; of a system package the distribution's, which the
            database itself does not name.
        epoch: an rpm's, empty for none. Of a deb it is part of the version.
        licenses: as declared, one text each; not necessarily of SPDX's list.
        origin: the source package, empty if it is the package itself.
        files: paths relative to the root that belong to it.
        directory: instead of a list, all below this directory but other packages of its kind.
        installed: whether its files are there; False for what a lock file only mentions.
    """

    type: str
    name: str
    version: str
    architecture: str = ""
    namespace: str = ""
    epoch: str = ""
    licenses: tuple[str, ...] = ()
    supplier: str = ""
    homepage: str = ""
    origin: str = ""
    files: tuple[str, ...] = ()
    directory: str | None = None
    installed: bool = True

    @property
    def identity(self) -> tuple[str, str, str, str, str, str]:
        """What makes two descriptions the same package."""
        return (
            self.type,
            self.namespace,
            self.name,
            self.version,
            self.architecture,
            self.epoch,
        )


def clean(value: object) -> str:
    """A field for people and documents: one line, without control characters, empty if no text.

    Raises:
        DamagedPackageDataError: longer than ``TEXT_LIMIT``.
    """
    if not isinstance(value, str):
        return ""
    if len(value) > TEXT_LIMIT:
        raise DamagedPackageDataError(f"a field is longer than {TEXT_LIMIT} characters")
    # Unpaired surrogates cannot be written as UTF-8, and newlines would break tables.
    kept = (
        " " if character.isspace() else character
        for character in value
        if character.isspace() or unicodedata.category(character) not in ("Cc", "Cs", "Cf")
    )
    return " ".join("".join(kept).split())


def relative(path: str) -> str | None:
    """``path`` without ``.``, ``..`` and a leading slash; None if it leaves the root or is it."""
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif "\0" in part:
            return None
        else:
            parts.append(part)
    return "/".join(parts) or None


def listed(paths: list[str]) -> tuple[str, ...]:
    """Paths of a file list, relative to the root; those that leave it are left out.

    Raises:
        DamagedPackageDataError: more than ``FILES_LIMIT``.
    """
    if len(paths) > FILES_LIMIT:
        raise DamagedPackageDataError(f"a package of more than {FILES_LIMIT} files")
    found = (relative(path) for path in paths)
    return tuple(dict.fromkeys(path for path in found if path is not None))
