"""Alpine packages: ``lib/apk/db/installed``.

apk-tools' installed database: paragraphs of ``X:value`` lines. Letters used here: P name, V
version, A architecture, L licence, m maintainer, U address, o source package; F begins a directory
and R is a file in it.
"""

from __future__ import annotations

from typing import Final

from images.packages.model import FILES_LIMIT, DamagedPackageDataError, Package, clean, listed

DATABASES: Final = frozenset({"lib/apk/db/installed", "usr/lib/apk/db/installed"})
_PACKAGES: Final = 200_000
_FIELDS: Final = frozenset("PVALmUo")


def parse_installed(data: bytes) -> list[Package]:
    """The packages of an installed database, with their files.

    Raises:
        DamagedPackageDataError: absurdly many packages or files, or long fields.
    """
    packages: list[Package] = []
    fields: dict[str, str] = {}
    files: list[str] = []
    directory = ""
    for line in (*data.decode("utf-8", "replace").split("\n"), ""):
        key, value = line[:1], line[2:]
        if not line:
            if fields:
                packages.extend(_package(fields, files))
            if len(packages) > _PACKAGES:
                raise DamagedPackageDataError(f"more than {_PACKAGES} packages in one list")
            fields, files, directory = {}, [], ""
        elif line[1:2] != ":":
            continue
        elif key == "F":
            directory = value
        elif key == "R":
            files.append(f"{directory}/{value}")
            if len(files) > FILES_LIMIT:
                raise DamagedPackageDataError(f"a package of more than {FILES_LIMIT} files")
        elif key in _FIELDS:
            fields[key] = value
    return packages


def _package(fields: dict[str, str], files: list[str]) -> list[Package]:
    name, version = clean(fields.get("P", "")), clean(fields.get("V", ""))
    if not name or not version:
        return []
    origin, license = clean(fields.get("o", "")), clean(fields.get("L", ""))
    return [
        Package(
            "apk",
            name,
            version,
            architecture=clean(fields.get("A", "")),
            licenses=(license,) if license else (),
            supplier=clean(fields.get("m", "")),
            homepage=clean(fields.get("U", "")),
            origin="" if origin == name else origin,
            files=listed(files),
        )
    ]
