"""Random trees of entries, as a real layer could hold them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from hypothesis import strategies as st

from images.layers.entry import Entry
from images.layers.unpack import unpack_entries

SECOND = 10**9

NAMES = st.one_of(
    st.sampled_from(
        ["a", "b", "c", "lib", "x.txt", "Ö", "日本", "a b", "-rf", "é" * 60, "n" * 120]
    ),
    st.binary(min_size=1, max_size=12).map(
        lambda raw: os.fsdecode(raw.replace(b"/", b"-").replace(b"\0", b"0"))
    ),
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))

TIMES = st.integers(0, 2**33).map(lambda seconds: seconds * SECOND)
UNREADABLE = [0o000] if os.geteuid() == 0 else []
FILE_MODES = st.sampled_from([0o644, 0o600, 0o755, 0o4755, 0o2711, 0o1644, *UNREADABLE])
DIRECTORY_MODES = st.sampled_from([0o755, 0o700, 0o1777, 0o2755, 0o555])


@st.composite
def trees(draw, *, size: int = 12) -> list[Entry]:
    """Entries in a valid order, parents before children, each path once."""
    entries: dict[str, Entry] = {}
    directories = [""]
    for _ in range(draw(st.integers(0, size))):
        parent = draw(st.sampled_from(directories))
        path = f"{parent}/{draw(NAMES)}".lstrip("/")
        if path in entries or len(os.fsencode(path)) > 900:
            continue
        entry = draw(_entry(path, [p for p, e in entries.items() if e.kind == "f"]))
        entries[path] = entry
        if entry.kind == "d":
            directories.append(path)
    return list(entries.values())


@st.composite
def _entry(draw, path: str, files: list[str]) -> Entry:
    kind = draw(st.sampled_from("ffffdddlph" if files else "ffffdddlp"))
    mtime = draw(TIMES)
    if kind == "f":
        data = draw(st.binary(max_size=40)) * draw(st.sampled_from([1, 1, 1, 50]))
        attributes = draw(
            st.dictionaries(
                st.sampled_from(["user.a", "user.b"]), st.binary(max_size=9), max_size=2
            )
        )
        mode = draw(FILE_MODES)
        return Entry(path, "f", mode, size=len(data), mtime=mtime, xattrs=attributes, source=data)
    if kind == "d":
        return Entry(path, "d", draw(DIRECTORY_MODES), mtime=mtime)
    if kind == "l":
        target = draw(st.sampled_from(["/etc/x", "../..", "a", "dangling/é", "t" * 150]))
        return Entry(path, "l", 0o777, mtime=mtime, linkname=target)
    if kind == "h":
        return Entry(path, "h", linkname=draw(st.sampled_from(files)))
    return Entry(path, "p", 0o622, mtime=mtime)


def owned(entries: Iterable[Entry]) -> list[Entry]:
    """The same entries as the caller's own, as unpacking without root makes them."""
    return [entry._replace(uid=os.getuid(), gid=os.getgid()) for entry in entries]


def make(path: Path, entries: Iterable[Entry]) -> Path:
    """A directory that holds the entries; replaces what was there."""
    discard(path)
    path.mkdir(parents=True)
    path.chmod(0o755)
    unpack_entries(entries, path)
    return path


def discard(path: Path) -> None:
    if path.exists():
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o700)
        shutil.rmtree(path)


def picture(entries: Iterable[Entry]) -> dict[str, tuple]:
    """What entries say, with hard links as sets of names and content as bytes."""
    shown: dict[str, tuple] = {}
    listed = list(entries)
    by_path = {entry.path: entry for entry in listed}
    for entry in listed:
        target = by_path[entry.linkname] if entry.kind == "h" else entry
        content = b""
        if target.kind == "f":
            with target.open_source() as file:
                content = file.read()
        link = target.linkname if target.kind == "l" else ""
        mode = 0 if target.kind == "l" else target.mode
        shown[entry.path] = (target.kind, mode, target.mtime, link, content, dict(target.xattrs))
    return shown


def link_groups(entries: Iterable[Entry]) -> set[frozenset[str]]:
    groups: dict[str, set[str]] = {}
    for entry in entries:
        if entry.kind == "h":
            groups.setdefault(entry.linkname, {entry.linkname}).add(entry.path)
    return {frozenset(group) for group in groups.values()}
