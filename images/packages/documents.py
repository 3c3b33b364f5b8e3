"""Which files of an image tell of packages, and how each of them is read.

A document is parsed as soon as its bytes are there, and only what it says is kept. One that cannot
be read is a problem to be told, not a reason to know nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from images.packages import apk, dpkg, golang, java, node, python, release, rpm_database
from images.packages.model import DamagedPackageDataError, Package
from images.packages.release import Release

if TYPE_CHECKING:
    from images.layers.entry import Entry
    from images.layers.tar_read import Body

FilePaths: TypeAlias = tuple[str, ...]
Content: TypeAlias = "Sequence[Package] | FilePaths | Release"

TEXT_LIMIT: Final = 64 << 20
"""Bytes of a database in text: of dpkg's, enough for 60,000 packages."""
SMALL_LIMIT: Final = 8 << 20
"""Bytes of the description of one package, or of its list of files."""
DATABASE_LIMIT: Final = 256 << 20
ARCHIVE_LIMIT: Final = 128 << 20

_EXECUTABLE: Final = 0o111
_ELF: Final = b"\x7fELF"
_PIECE: Final = 1 << 20

PACKAGES, FILES, LICENSES, RELEASE = "packages", "files", "licenses", "release"


@dataclass(frozen=True, slots=True)
class Reader:
    """How one kind of document is read: its ``kind`` says what ``parse`` makes of the bytes."""

    kind: str
    parse: Callable[[bytes, str], Content]
    limit: int = SMALL_LIMIT


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says; ``problem`` instead if it could not be read. ``layer`` counts from 0."""

    kind: str
    layer: int
    content: Content = ()
    problem: str = ""

    @property
    def packages(self) -> Sequence[Package]:
        """The packages it describes; none unless it is of that kind."""
        if self.kind != PACKAGES or isinstance(self.content, Release):
            return ()
        return [item for item in self.content if isinstance(item, Package)]

    @property
    def texts(self) -> FilePaths:
        """The paths or licences that it lists."""
        if isinstance(self.content, Release):
            return ()
        return tuple(item for item in self.content if isinstance(item, str))


def _data_only(parse: Callable[[bytes], Content]) -> Callable[[bytes, str], Content]:
    return lambda data, path: parse(data)


_DPKG: Final = Reader(PACKAGES, _data_only(dpkg.parse_status), TEXT_LIMIT)
_DPKG_LIST: Final = Reader(FILES, _data_only(dpkg.parse_list))
_DPKG_SUMS: Final = Reader(FILES, _data_only(dpkg.parse_md5sums))
_COPYRIGHT: Final = Reader(LICENSES, _data_only(dpkg.parse_copyright))
_APK: Final = Reader(PACKAGES, _data_only(apk.parse_installed), TEXT_LIMIT)
_RPM: Final = Reader(PACKAGES, _data_only(rpm_database.parse_database), DATABASE_LIMIT)
_PYTHON: Final = Reader(PACKAGES, python.parse_metadata)
_RECORD: Final = Reader(FILES, python.parse_record)
_INSTALLED: Final = Reader(FILES, python.parse_installed_files)
_NODE: Final = Reader(PACKAGES, node.parse_description)
_NODE_LOCK: Final = Reader(PACKAGES, node.parse_lock, TEXT_LIMIT)
_JAVA: Final = Reader(PACKAGES, java.parse_archive, ARCHIVE_LIMIT)
_RELEASE: Final = Reader(RELEASE, _data_only(release.parse_release), 64 << 10)


def reader_of(path: str) -> Reader | None:
    """How the file at ``path`` is read; None if its name says nothing of packages."""
    if path.startswith("var/lib/dpkg/"):
        return _dpkg_reader(path)
    if path.startswith(dpkg.COPYRIGHT):
        return _COPYRIGHT if dpkg.copyright_of(path) else None
    if path in apk.DATABASES:
        return _APK
    if path in release.PATHS:
        return _RELEASE
    if rpm_database.is_database(path):
        return _RPM
    return _language_reader(path)


def _dpkg_reader(path: str) -> Reader | None:
    if path == dpkg.STATUS:
        return _DPKG
    if path.startswith(dpkg.STATUS_DIRECTORY):
        return _DPKG_SUMS if path.endswith(".md5sums") else _DPKG
    return _DPKG_LIST if dpkg.list_name(path) else None


def _language_reader(path: str) -> Reader | None:
    name = path.rpartition("/")[2]
    if name == "package.json":
        return _NODE if node.is_description(path) else None
    if name == "package-lock.json":
        return _NODE_LOCK if node.is_lock(path) else None
    if name in ("RECORD", "installed-files.txt"):
        return (_RECORD if name == "RECORD" else _INSTALLED) if python.is_file_list(path) else None
    if python.is_metadata(path):
        return _PYTHON
    return _JAVA if java.is_archive(path) else None


def read_document(item: Entry, body: Body, layer: int) -> Document | None:
    """Read a file of a layer; None if it tells nothing of packages.

    Raises:
        ImagesError: the layer itself is damaged.
    """
    reader = reader_of(item.path)
    if reader is None:
        return _read_program(item, body, layer)
    if body.size > reader.limit:
        what = f"longer than the {reader.limit} bytes that are read of such a file"
        return Document(reader.kind, layer, problem=what)
    data = body.read()
    try:
        return Document(reader.kind, layer, reader.parse(data, item.path))
    except DamagedPackageDataError as error:
        return Document(reader.kind, layer, problem=error.what)


def _read_program(item: Entry, body: Body, layer: int) -> Document | None:
    """The modules of a Go program; other programs tell nothing of themselves."""
    if not item.mode & _EXECUTABLE or body.size < golang.ALIGNMENT:
        return None
    start = body.read(len(_ELF) * golang.ALIGNMENT)
    if not start.startswith(_ELF):
        return None
    info = golang.find_info(chain([start], iter(partial(body.read, _PIECE), b"")))
    if info is None:
        return None
    try:
        found = golang.parse_info(info, item.path)
    except DamagedPackageDataError as error:
        return Document(PACKAGES, layer, problem=error.what)
    return Document(PACKAGES, layer, found) if found else None
