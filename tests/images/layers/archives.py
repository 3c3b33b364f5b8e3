"""Archives for tests: from our own entries, or record by record where ours would be too polite."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from images.layers.entry import Entry
from images.layers.tar_write import header, write_tar

END = bytes(1024)


def file(path: str, data: bytes = b"data", **fields) -> Entry:
    """A regular file with its content."""
    return Entry(path, "f", size=len(data), source=data, **fields)


def directory(path: str, mode: int = 0o755, **fields) -> Entry:
    return Entry(path, "d", mode, **fields)


def symlink(path: str, target: str, **fields) -> Entry:
    return Entry(path, "l", 0o777, linkname=target, **fields)


def hardlink(path: str, target: str) -> Entry:
    return Entry(path, "h", linkname=target)


def archive(*entries: Entry) -> io.BytesIO:
    """The entries as tar; paths are written as they are, so hostile ones too."""
    stream = io.BytesIO()
    write_tar(entries, stream.write)
    stream.seek(0)
    return stream


def raw(*pieces: bytes) -> io.BytesIO:
    """An archive of hand-made records, ended properly."""
    return io.BytesIO(b"".join(pieces) + END)


def record(entry: Entry, body: bytes = b"") -> bytes:
    """One entry's records with a body, padded."""
    return header(entry) + body + bytes(-len(body) % 512)


def patched(block: bytes, offset: int, data: bytes) -> bytes:
    """A header record with a field changed and the checksum made good again."""
    block = block[:offset] + data + block[offset + len(data) :]
    total = sum(block[:148]) + sum(block[156:512]) + 8 * 0x20
    return block[:148] + b"%06o\0 " % total + block[156:]


def pax(records: dict[str, bytes], flag: bytes = b"x") -> bytes:
    """A PAX header record by record, nothing checked."""
    body = b""
    for key, value in records.items():
        rest = len(key) + len(value) + 3
        length = rest + len(str(rest))
        length = rest + len(str(length))
        body += b"%d %s=%s\n" % (length, key.encode(), value)
    block = header(Entry("pax", "f", size=len(body)))
    return patched(block, 156, flag) + body + bytes(-len(body) % 512)


def tree(root: Path) -> dict[str, tuple]:
    """A directory's content in comparable form: kind, permission bits, content or target."""
    found: dict[str, tuple] = {}
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder, name)
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            detail: object = None
            if stat.S_ISREG(status.st_mode):
                detail = path.read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                detail = os.readlink(path)
            elif stat.S_ISCHR(status.st_mode):
                detail = status.st_rdev
            mode = 0 if kind == stat.S_IFLNK else stat.S_IMODE(status.st_mode)
            found[str(path.relative_to(root))] = (kind, mode, detail)
    return found


def paths(entries: Iterable[Entry]) -> list[str]:
    return [entry.path for entry in entries]
