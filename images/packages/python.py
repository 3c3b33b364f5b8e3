"""Python distributions: ``*.dist-info/METADATA`` with ``RECORD``, and ``*.egg-info``.

Core metadata specification, "Recording installed projects" (PEP 376, PEP 627), both on
packaging.python.org. An egg-info is a file, or a directory with ``PKG-INFO`` and perhaps
``installed-files.txt``.
"""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from typing import Final

from images.packages.model import DamagedPackageDataError, Package, clean, listed
from images.packages.stanzas import Stanza, every, first, paragraphs

_METADATA: Final = re.compile(r"(?:.*/)?[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO|egg-info)\Z")
_FILES: Final = re.compile(r"(?:.*/)?[^/]+\.(?:dist-info/RECORD|egg-info/installed-files\.txt)\Z")
_LICENSE: Final = "License :: "
_UNSAID: Final = frozenset({"", "UNKNOWN"})


def is_metadata(path: str) -> bool:
    """Whether ``path`` describes a distribution."""
    return _METADATA.match(path) is not None


def is_file_list(path: str) -> bool:
    """Whether ``path`` lists the files of a distribution."""
    return _FILES.match(path) is not None


def file_list_of(path: str) -> str | None:
    """Where the files of the distribution described by ``path`` are listed, if anywhere."""
    folder, slash, name = path.rpartition("/")
    if name == "METADATA":
        return f"{folder}/RECORD"
    return f"{folder}{slash}installed-files.txt" if name == "PKG-INFO" else None


def parse_metadata(data: bytes, path: str) -> list[Package]:
    """The distribution that ``path`` describes, without its files; none if it has no name.

    Raises:
        DamagedPackageDataError: absurdly long fields.
    """
    stanza = next(paragraphs(data), {})
    name, version = clean(first(stanza, "name")), clean(first(stanza, "version"))
    if not name or not version:
        return []
    return [
        Package(
            "pypi",
            name,
            version,
            licenses=_licenses(stanza),
            supplier=_supplier(stanza),
            homepage=_homepage(stanza),
            files=(path,),
        )
    ]


def _licenses(stanza: Stanza) -> tuple[str, ...]:
    """The expression (PEP 639), else the one line of ``License``, else what trove says."""
    for key in ("license-expression", "license"):
        values = stanza.get(key)
        # Some put the whole text there, which names nothing.
        if values and len(values[0]) == 1 and values[0][0] not in _UNSAID:
            return (clean(values[0][0]),)
    trove = [text for text in every(stanza, "classifier") if text.startswith(_LICENSE)]
    return tuple(clean(text.rpartition(" :: ")[2]) for text in trove)


def _supplier(stanza: Stanza) -> str:
    person = clean(first(stanza, "author")) or clean(first(stanza, "maintainer"))
    if person in _UNSAID:
        person = clean(first(stanza, "author-email"))
    return "" if person in _UNSAID else person


def _homepage(stanza: Stanza) -> str:
    page = clean(first(stanza, "home-page"))
    if page not in _UNSAID:
        return page
    for text in every(stanza, "project-url"):
        label, _, address = text.partition(",")
        if label.strip().lower() in ("homepage", "home", "source", "repository"):
            return clean(address)
    return ""


def parse_record(data: bytes, path: str) -> tuple[str, ...]:
    """The files of a ``RECORD``: paths relative to the folder that holds the dist-info.

    Raises:
        DamagedPackageDataError: not CSV, or absurdly many files.
    """
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    try:
        names = [row[0] for row in csv.reader(lines) if row]
    except csv.Error as error:
        raise DamagedPackageDataError(f"the list of files is not CSV: {error}") from error
    return _beside(path.rpartition("/")[0].rpartition("/")[0], names)


def parse_installed_files(data: bytes, path: str) -> tuple[str, ...]:
    """The files of an ``installed-files.txt``: paths relative to the egg-info itself.

    Raises:
        DamagedPackageDataError: absurdly many files.
    """
    names = data.decode("utf-8", "surrogateescape").splitlines()
    return _beside(path.rpartition("/")[0], names)


def with_files(package: Package, files: tuple[str, ...]) -> Package:
    """The package with the files its list names; the description is one of them in any case."""
    return replace(package, files=tuple(dict.fromkeys((*package.files, *files))))


def _beside(folder: str, names: list[str]) -> tuple[str, ...]:
    return listed([name if name.startswith("/") else f"{folder}/{name}" for name in names if name])
