"""The three databases that rpm has had: bytes of a file to header blobs.

sqlite   ``rpmdb.sqlite``, since rpm 4.16: one table ``Packages (hnum, blob)``
ndb      ``Packages.db``, SUSE: a table of slots, and blobs in blocks of 16 bytes
bdb      ``Packages``, until rpm 4.15: a Berkeley DB hash whose values are in overflow pages

Each is read as data. A database of SQLite is a program of sorts (views, generated columns), so only
a plain table is read, under limits on memory and work.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from typing import Final

from images.packages.model import DamagedPackageDataError, Package
from images.packages.rpm_header import parse_header

_FOLDERS: Final = ("var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/")
_SQLITE, _NDB, _BDB = "rpmdb.sqlite", "Packages.db", "Packages"
PACKAGES: Final = 200_000
_BLOB: Final = 256 << 20

_STEPS: Final = 50_000
"""Instructions of SQLite's machine between two looks at how many there were."""
_LOOKS: Final = 2_000
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_JOURNAL: Final = slice(18, 20)

_NDB_MAGIC, _SLOT_MAGIC, _BLOB_MAGIC = b"RpmP", b"Slot", b"BlbS"
_PAGE, _SLOT, _BLOCK = 4096, 16, 16

_HASH_MAGIC: Final = 0x061561
_PAGE_HEADER: Final = 26
_UNSORTED, _OVERFLOW, _HASH = 2, 7, 13
_OFF_PAGE: Final = 3


def is_database(path: str) -> bool:
    """Whether ``path`` is where an rpm database is."""
    folder, slash, name = path.rpartition("/")
    return folder + slash in _FOLDERS and name in (_SQLITE, _NDB, _BDB)


def parse_database(data: bytes) -> list[Package]:
    """The packages of a database, whichever of the three it is.

    Raises:
        DamagedPackageDataError: none of them, damaged, or absurd.
    """
    packages: list[Package] = []
    for blob in header_blobs(data):
        package = parse_header(blob)
        if package is not None:
            packages.append(package)
        if len(packages) > PACKAGES:
            raise DamagedPackageDataError(f"more than {PACKAGES} packages in one list")
    return packages


def header_blobs(data: bytes) -> Iterator[bytes]:
    """The headers as they are stored; raises as ``parse_database``."""
    if data.startswith(_SQLITE_MAGIC):
        return _sqlite_blobs(data)
    if data.startswith(_NDB_MAGIC):
        return _ndb_blobs(data)
    if len(data) >= 512 and _order(data) is not None:
        return _bdb_blobs(data)
    raise DamagedPackageDataError("not an rpm database of a kind that is known")


def _sqlite_blobs(data: bytes) -> Iterator[bytes]:
    # A database in WAL mode cannot be opened from memory; what its log held was merged on closing.
    plain = data[: _JOURNAL.start] + b"\1\1" + data[_JOURNAL.stop :]
    looks = 0

    def too_long() -> bool:
        nonlocal looks
        looks += 1
        return looks > _LOOKS

    connection = sqlite3.connect(":memory:")
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _BLOB)
        connection.set_progress_handler(too_long, _STEPS)
        connection.deserialize(plain)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        _check_plain(connection)
        for (blob,) in connection.execute("SELECT blob FROM Packages"):
            if not isinstance(blob, bytes):
                raise DamagedPackageDataError("a package of the rpm database is not a blob")
            yield blob
    except (sqlite3.Error, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise DamagedPackageDataError(f"the rpm database cannot be read: {error}") from error
    finally:
        connection.close()


def _check_plain(connection: sqlite3.Connection) -> None:
    """Refuse a ``Packages`` that computes what it holds."""
    kinds = connection.execute("SELECT type FROM sqlite_schema WHERE name = 'Packages'").fetchall()
    # ``hidden`` is 2 or 3 for generated columns.
    columns = connection.execute("SELECT hidden FROM pragma_table_xinfo('Packages')").fetchall()
    if kinds != [("table",)] or any(hidden for (hidden,) in columns):
        raise DamagedPackageDataError("the rpm database has no plain table of packages")


def _ndb_blobs(data: bytes) -> Iterator[bytes]:
    """rpm's lib/backend/ndb/rpmpkg.c: all numbers little-endian; two slots are the file's head."""
    if len(data) < 2 * _SLOT:
        raise DamagedPackageDataError("the rpm database is shorter than its head")
    version, _, pages = struct.unpack_from("<III", data, 4)
    end = min(pages * _PAGE, len(data) - _SLOT + 1)
    if version != 0 or not pages:
        raise DamagedPackageDataError("the rpm database is of an unknown version")
    for at in range(2 * _SLOT, end, _SLOT):
        magic, number, block, blocks = struct.unpack_from("<4sIII", data, at)
        if magic != _SLOT_MAGIC:
            raise DamagedPackageDataError("the rpm database has a damaged slot")
        if number == 0:
            continue
        start = block * _BLOCK
        if start + _SLOT > len(data):
            raise DamagedPackageDataError("the rpm database points outside of itself")
        magic, owner, _, length = struct.unpack_from("<4sIII", data, start)
        if magic != _BLOB_MAGIC or owner != number or length > blocks * _BLOCK:
            raise DamagedPackageDataError("the rpm database has a damaged package")
        yield data[start + _SLOT : start + _SLOT + length]


def _order(data: bytes) -> str | None:
    """The byte order of a Berkeley DB hash; None if it is none."""
    for order in "<>":
        if struct.unpack_from(f"{order}I", data, 12)[0] == _HASH_MAGIC:
            return order
    return None


def _bdb_blobs(data: bytes) -> Iterator[bytes]:
    """Berkeley DB's db_page.h: a page's head, offsets of its items, items from the end backwards.

    Items come in pairs of key and value. rpm's keys are package numbers, and key 0 has the greatest
    number for a value, which is too short to be anywhere but in the page itself.
    """
    order = _order(data)
    size, last = struct.unpack_from(f"{order}I", data, 20)[0], len(data)
    if size not in (512 << power for power in range(8)) or size > last:
        raise DamagedPackageDataError("the rpm database has pages of no possible size")
    read = 0
    for page in range(size, last - size + 1, size):
        entries, kind = struct.unpack_from(f"{order}H", data, page + 20)[0], data[page + 25]
        if kind not in (_UNSORTED, _HASH):
            continue
        if _PAGE_HEADER + 2 * entries > size:
            raise DamagedPackageDataError("the rpm database has a damaged page")
        offsets = struct.unpack_from(f"{order}{entries}H", data, page + _PAGE_HEADER)
        for offset in offsets[1::2]:
            if offset + 12 <= size and data[page + offset] == _OFF_PAGE:
                number, length = struct.unpack_from(f"{order}II", data, page + offset + 4)
                read += length
                # Two values in the same pages would be read again and again.
                if read > last:
                    raise DamagedPackageDataError("the rpm database holds more than its file")
                yield _overflow(data, order or "<", size, number, length)


def _overflow(data: bytes, order: str, size: int, number: int, length: int) -> bytes:
    """A value that is spread over a chain of pages."""
    parts: list[bytes] = []
    left = length
    while left > 0:
        page = number * size
        if number == 0 or page + size > len(data) or data[page + 25] != _OVERFLOW:
            raise DamagedPackageDataError("the rpm database points to a page that is none")
        number = struct.unpack_from(f"{order}I", data, page + 16)[0]
        held = struct.unpack_from(f"{order}H", data, page + 22)[0]
        if not 0 < held <= min(size - _PAGE_HEADER, left):
            raise DamagedPackageDataError("the rpm database has a damaged page")
        parts.append(data[page + _PAGE_HEADER : page + _PAGE_HEADER + held])
        left -= held
    return b"".join(parts)
