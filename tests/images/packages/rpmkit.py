"""Small rpm headers and the databases that hold them, written from the formats' descriptions."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from images.packages import rpm_header as tags

INT32, STRING, ARRAY, I18N = 4, 6, 8, 9

Value = str | Sequence[str] | Sequence[int]


def header(fields: Mapping[int, Value]) -> bytes:
    """A header blob with these tags; texts of several languages are not made here."""
    index, data = b"", b""
    for tag, value in sorted(fields.items()):
        if isinstance(value, str):
            kind, count, raw = STRING, 1, value.encode() + b"\0"
        elif value and isinstance(value[0], int):
            data += bytes(-len(data) % 4)
            kind, count, raw = INT32, len(value), struct.pack(f">{len(value)}I", *value)
        else:
            kind, count = ARRAY, len(value)
            raw = b"".join(str(item).encode() + b"\0" for item in value)
        index += struct.pack(">iIiI", tag, kind, len(data), count)
        data += raw
    return struct.pack(">II", len(fields), len(data)) + index + data


def hello(name: str = "hello", version: str = "1.2", **more: Value) -> bytes:
    """A package of two files."""
    fields: dict[int, Value] = {
        tags.NAME: name,
        tags.VERSION: version,
        tags.RELEASE: "3",
        tags.EPOCH: [1],
        tags.LICENSE: "GPL-2.0-or-later",
        tags.VENDOR: "Example",
        tags.URL: "https://example.org/hello",
        tags.ARCH: "noarch",
        tags.SOURCERPM: "greetings-1.2-3.src.rpm",
        tags.DIRNAMES: ["/usr/bin/", f"/usr/share/{name}/"],
        tags.BASENAMES: [name, "data"],
        tags.DIRINDEXES: [0, 1],
    }
    return header({**fields, **{getattr(tags, key): value for key, value in more.items()}})


def sqlite_database(folder: Path, blobs: Sequence[bytes], *, wal: bool = True) -> bytes:
    """As rpm's sqlite backend leaves it."""
    path = folder / "rpmdb.sqlite"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    if wal:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"
    )
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in blobs])
    connection.commit()
    connection.close()
    return path.read_bytes()


def ndb_database(blobs: Sequence[bytes]) -> bytes:
    """As rpm's ndb backend leaves it: one page of slots, then the blobs."""
    slots, body = b"", b""
    for number, blob in enumerate(blobs, 1):
        start = 4096 + len(body)
        head = struct.pack("<4sIII", b"BlbS", number, 1, len(blob))
        pad = bytes(-(len(head) + len(blob) + 12) % 16)
        tail = struct.pack("<II4s", zlib.adler32(head + blob + pad), len(blob), b"BlbE")
        whole = head + blob + pad + tail
        slots += struct.pack("<4sIII", b"Slot", number, start // 16, len(whole) // 16)
        body += whole
    first = struct.pack("<4sIIII", b"RpmP", 0, 1, 1, len(blobs) + 1).ljust(32, b"\0")
    free = struct.pack("<4sIII", b"Slot", 0, 0, 0)
    page = first + slots
    page += free * ((4096 - len(page)) // 16)
    return page + body
