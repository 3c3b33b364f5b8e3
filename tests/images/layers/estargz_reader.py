"""An eStargz reader of its own, by the published format (stargz-snapshotter, docs/estargz.md).

It begins at the footer and believes nothing that it has not compared with the TOC. It shares no
code with what it checks: gzip and tar are Python's.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import struct
import tarfile
import zlib
from typing import Any

FOOTER = 51
TYPES = {
    tarfile.REGTYPE: "reg",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}


def toc_offset(blob: bytes) -> int:
    """Where the TOC begins, from the footer."""
    footer = blob[-FOOTER:]
    assert footer[:4] == b"\x1f\x8b\x08\x04", "gzip with an extra field"
    assert struct.unpack("<H", footer[10:12]) == (26,)
    assert footer[12:14] == b"SG"
    assert struct.unpack("<H", footer[14:16]) == (22,)
    assert footer[32:38] == b"STARGZ"
    assert gzip.decompress(footer) == b""
    return int(footer[16:32], 16)


def read_toc(blob: bytes) -> tuple[dict[str, Any], str]:
    """The TOC and the digest of its text."""
    member = _member(blob, toc_offset(blob))
    with tarfile.open(fileobj=io.BytesIO(member)) as archive:
        (entry,) = archive.getmembers()
        assert entry.name == "stargz.index.json"
        file = archive.extractfile(entry)
        assert file is not None
        text = file.read()
    return json.loads(text), f"sha256:{hashlib.sha256(text).hexdigest()}"


def verify(blob: bytes) -> dict[str, bytes]:
    """Check every entry of the TOC against the tar; returns files as they are read by it."""
    toc, _ = read_toc(blob)
    assert toc["version"] == 1
    rows = [row for row in toc["entries"] if row["type"] != "chunk"]
    files = {
        row["name"]: _read(blob, row, toc["entries"])
        for row in rows
        if row["type"] == "reg" and row.get("size")
    }
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob))) as archive:
        members = [m for m in archive.getmembers() if m.name != "stargz.index.json"]
        assert len(members) == len(rows)
        for member, row in zip(members, rows, strict=True):
            _compare(archive, member, row, files)
    assert rows[0]["name"] == ".no.prefetch.landmark"
    assert files[".no.prefetch.landmark"] == b"\x0f"
    return files


def _compare(
    archive: tarfile.TarFile, member: tarfile.TarInfo, row: dict[str, Any], files: dict[str, bytes]
) -> None:
    assert row["name"].rstrip("/") == member.name
    assert row["name"].endswith("/") == member.isdir()
    assert row["type"] == TYPES[member.type]
    numbers = ("mode", "uid", "gid", "size", "devMajor", "devMinor")
    told = tuple(row.get(key, 0) for key in numbers)
    size = member.size if member.isreg() else 0
    device = (member.devmajor, member.devminor) if member.ischr() or member.isblk() else (0, 0)
    assert told == (member.mode, member.uid, member.gid, size, *device)
    assert row.get("linkName", "") == member.linkname
    attributes = {
        key.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith("SCHILY.xattr.")
    }
    told_too = {key: base64.b64decode(value) for key, value in row.get("xattrs", {}).items()}
    assert told_too == attributes
    if member.isreg() and member.size:
        file = archive.extractfile(member)
        assert file is not None
        assert file.read() == files[row["name"]]


def _read(blob: bytes, row: dict[str, Any], entries: list[dict[str, Any]]) -> bytes:
    """A file by its chunks, each from the gzip member that begins at its offset."""
    chunks = [row, *(e for e in entries if e["type"] == "chunk" and e["name"] == row["name"])]
    whole = b""
    for chunk in chunks:
        assert chunk.get("chunkOffset", 0) == len(whole)
        size = chunk.get("chunkSize") or row["size"] - len(whole)
        data = _member(blob, chunk["offset"])[:size]
        assert chunk["chunkDigest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        whole += data
    assert len(whole) == row["size"]
    assert row["digest"] == f"sha256:{hashlib.sha256(whole).hexdigest()}"
    return whole


def _member(blob: bytes, offset: int) -> bytes:
    return zlib.decompressobj(31).decompress(blob[offset:])
