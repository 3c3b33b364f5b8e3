"""Trees of the ``tree`` rows on disk: building them from entries, and describing what is there."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zstandard

from images.layers.merged import MergedTree

SOURCE_TIME = 1_500_000_000
"""Seconds; the time of everything a row provides."""

CREATED = 1_600_000_000_000_000_000
"""Nanoseconds; the time of everything a step makes up."""

_KINDS = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE}
_PACKERS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


def write_tree(root: Path, items: Iterable[dict[str, Any]], *, owners: bool) -> None:
    """Create the items below ``root``; owners only where the process may."""
    root.mkdir(parents=True, exist_ok=True)
    items = list(items)
    for item in items:
        path = root / item["p"]
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = item.get("t", "f")
        if kind == "d":
            path.mkdir(exist_ok=True)
        elif kind == "l":
            path.symlink_to(item["c"])
        elif kind == "h":
            path.hardlink_to(root / item["c"])
        elif kind == "p":
            os.mkfifo(path)
        else:
            path.write_bytes(content(item))
    for item in items:
        path = root / item["p"]
        kind = item.get("t", "f")
        if owners:
            os.lchown(path, item.get("u", 0), item.get("g", 0))
        if kind != "l":
            path.chmod(int(item.get("m", "0755" if kind == "d" else "0644"), 8))
    for folder, _, files in os.walk(root, topdown=False):
        for name in [*files, "."]:
            path = Path(folder, name)
            os.utime(path, (SOURCE_TIME, SOURCE_TIME), follow_symlinks=False)
        for name in os.listdir(folder):
            os.utime(Path(folder, name), (SOURCE_TIME, SOURCE_TIME), follow_symlinks=False)
    os.utime(root, (SOURCE_TIME + 99, SOURCE_TIME + 99))


def content(item: dict[str, Any]) -> bytes:
    """The bytes of a file item; archives are packed."""
    if "tar" not in item:
        return str(item.get("c", "")).encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in item["tar"]:
            kind = member.get("t", "f")
            info = tarfile.TarInfo(member["p"])
            info.type = _KINDS[kind]
            info.mode = int(member.get("m", "0755" if kind == "d" else "0644"), 8)
            info.uid, info.gid = member.get("u", 0), member.get("g", 0)
            info.mtime = SOURCE_TIME
            data = str(member.get("c", "")).encode()
            if kind in "lh":
                info.linkname = member["c"]
            elif kind == "f":
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return _PACKERS.get(item.get("z", ""), bytes)(stream.getvalue())


def describe(lowers: list[Path]) -> list[dict[str, Any]]:
    """What the layers show, as a row's ``result`` has it."""
    tree = MergedTree(lowers)
    found = []
    for node in tree.walk():
        status = node.status
        item: dict[str, Any] = {"p": node.path, "u": status.st_uid, "g": status.st_gid}
        if node.is_symlink:
            item |= {"t": "l", "m": "", "c": os.readlink(node.real)}
        else:
            item["m"] = f"{stat.S_IMODE(status.st_mode):04o}"
            item["t"] = "d" if node.is_dir else "f" if node.is_file else "p"
            if node.is_file:
                with tree.open(node.path) as file:
                    item["c"] = file.read().decode()
                if status.st_nlink > 1:
                    item["nlink"] = status.st_nlink
        item["mtime_kept"] = status.st_mtime_ns == SOURCE_TIME * 10**9
        found.append(item)
    return found
