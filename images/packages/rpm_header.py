"""One rpm package: the header blob that every rpm database stores.

rpm's format manual, "Header structure": two big-endian counts (index entries, bytes of data), the
index (tag, type, offset into the data, count; 16 bytes each), the data. Strings end with NUL.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from images.packages.model import (
    FILES_LIMIT,
    DamagedPackageDataError,
    Package,
    clean,
    listed,
)

NAME, VERSION, RELEASE, EPOCH = 1000, 1001, 1002, 1003
VENDOR, LICENSE, URL, ARCH = 1011, 1014, 1020, 1022
SOURCERPM, DIRINDEXES, BASENAMES, DIRNAMES = 1044, 1116, 1117, 1118
OLDFILENAMES: Final = 1027

_ENTRIES: Final = 65_535
"""rpm's own limit (``HEADER_TAGS_MAX``)."""
_DATA: Final = 256 << 20
_INT32, _STRING, _STRING_ARRAY, _I18N = 4, 6, 8, 9
_KEYS: Final = "gpg-pubkey"
"""What rpm stores imported keys as."""


def parse_header(blob: bytes) -> Package | None:
    """The package a blob describes; None for an imported key.

    Raises:
        DamagedPackageDataError: not a header, or one that points outside of itself.
    """
    fields = _Fields(blob)
    name, version = fields.text(NAME), fields.text(VERSION)
    if not name or not version:
        raise DamagedPackageDataError("an rpm header has no name or version")
    if name == _KEYS:
        return None
    release, epoch = fields.text(RELEASE), fields.numbers(EPOCH, most=1)
    license = fields.text(LICENSE)
    return Package(
        "rpm",
        name,
        f"{version}-{release}" if release else version,
        architecture=fields.text(ARCH),
        epoch=str(epoch[0]) if epoch else "",
        licenses=(license,) if license else (),
        supplier=fields.text(VENDOR),
        homepage=fields.text(URL),
        origin=_source_name(fields.text(SOURCERPM), name),
        files=_files(fields),
    )


class _Fields:
    """The index of a header."""

    def __init__(self, blob: bytes) -> None:
        if len(blob) < 8:
            raise DamagedPackageDataError("an rpm header is shorter than its start")
        entries, length = struct.unpack_from(">II", blob)
        begin = 8 + 16 * entries
        if entries > _ENTRIES or length > _DATA or begin + length > len(blob):
            raise DamagedPackageDataError("an rpm header is longer than its blob")
        self._data = blob[begin : begin + length]
        index = struct.iter_unpack(">iIiI", blob[8:begin])
        self._index: Mapping[int, tuple[int, int, int]] = {
            tag: (kind, offset, count) for tag, kind, offset, count in index
        }

    def text(self, tag: int) -> str:
        """A string, of several languages the first; empty if there is none."""
        kind, offset, count = self._index.get(tag, (0, 0, 0))
        if kind not in (_STRING, _I18N) or count < 1:
            return ""
        return clean(self._strings(offset, 1)[0])

    def texts(self, tag: int) -> list[str]:
        """An array of strings."""
        kind, offset, count = self._index.get(tag, (0, 0, 0))
        return self._strings(offset, count) if kind == _STRING_ARRAY else []

    def numbers(self, tag: int, *, most: int) -> tuple[int, ...]:
        """An array of at most ``most`` 32-bit numbers."""
        kind, offset, count = self._index.get(tag, (0, 0, 0))
        if kind != _INT32:
            return ()
        if count > most or offset < 0 or offset + 4 * count > len(self._data):
            raise DamagedPackageDataError("an rpm header points outside of its data")
        return struct.unpack_from(f">{count}I", self._data, offset)

    def _strings(self, offset: int, count: int) -> list[str]:
        if not 0 <= offset <= len(self._data) or count > FILES_LIMIT:
            raise DamagedPackageDataError("an rpm header points outside of its data")
        found: list[str] = []
        for _ in range(count):
            end = self._data.find(b"\0", offset)
            if end < 0:
                raise DamagedPackageDataError("a string of an rpm header has no end")
            found.append(self._data[offset:end].decode("utf-8", "surrogateescape"))
            offset = end + 1
        return found


def _files(fields: _Fields) -> tuple[str, ...]:
    names = fields.texts(BASENAMES)
    if not names:
        return listed(fields.texts(OLDFILENAMES))
    folders = fields.texts(DIRNAMES)
    places = fields.numbers(DIRINDEXES, most=FILES_LIMIT)
    if len(places) != len(names) or any(place >= len(folders) for place in places):
        raise DamagedPackageDataError("an rpm header's files are in folders that it does not name")
    return listed([folders[place] + name for place, name in zip(places, names, strict=True)])


def _source_name(source: str, name: str) -> str:
    """``bash`` of ``bash-5.2-1.src.rpm``; empty if it is the package itself."""
    parts = source.rsplit("-", 2)
    return parts[0] if len(parts) == 3 and parts[0] != name else ""
