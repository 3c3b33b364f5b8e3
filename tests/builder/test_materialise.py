"""Entries written out as a directory: exactly, and never outside of it."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from builder.errors import BuildInputError
from builder.solver.materialise import materialise, written
from images.layers.entry import Entry
from images.layers.overlay_diff import scan_upper
from images.layers.pack import diff_id

OWNER = (os.geteuid(), os.getegid())


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    directory = tmp_path / "upper"
    directory.mkdir()
    return directory


def test_what_is_written_is_what_is_scanned(upper: Path, tmp_path: Path) -> None:
    (tmp_path / "host").write_bytes(b"from the host")
    uid, gid = OWNER
    entries = [
        Entry("dir", "d", 0o2750, uid, gid, mtime=5_000_000_001),
        Entry("dir/fifo", "p", 0o600, uid, gid, mtime=3),
        Entry("dir/host", "f", 0o4755, uid, gid, size=13, mtime=1, source=str(tmp_path / "host")),
        Entry("dir/link", "l", 0o777, uid, gid, linkname="/etc/passwd", mtime=4),
        Entry("dir/opened", "f", 0o644, uid, gid, size=3, source=lambda: io.BytesIO(b"abc")),
        Entry("dir/text", "f", 0o644, uid, gid, size=2, mtime=2, source=b"hi"),
        Entry("dir/twin", "h", linkname="dir/text"),
    ]
    materialise(entries, upper)
    found = {entry.path: entry for entry in scan_upper(upper)}
    for entry in entries[:-1]:
        same = found[entry.path]
        assert (same.kind, same.mode, same.mtime, same.size, same.linkname) == (
            *(entry.kind, entry.mode, entry.mtime, entry.size, entry.linkname),
        )
    assert found["dir/twin"].kind == "h"
    assert (upper / "dir/host").read_bytes() == b"from the host"
    assert (upper / "dir/opened").read_bytes() == b"abc"


@pytest.mark.root
def test_owners_and_devices(upper: Path) -> None:
    entries = [
        Entry("d", "d", 0o755, 7, 8),
        Entry("d/f", "f", 0o4755, 7, 8, source=b""),
        Entry("d/null", "c", 0o666, major=1, minor=3),
    ]
    materialise(entries, upper)
    status = (upper / "d/f").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (7, 8, 0o4755)
    assert (upper / "d").stat().st_uid == 7
    device = (upper / "d/null").stat()
    assert stat.S_ISCHR(device.st_mode)
    assert os.major(device.st_rdev) == 1


def test_a_link_is_never_written_through(upper: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    entries = [
        Entry("trap", "l", 0o777, *OWNER, linkname=str(outside)),
        Entry("trap/file", "f", 0o644, *OWNER, source=b""),
    ]
    with pytest.raises(BuildInputError, match="not inside a directory of this layer"):
        materialise(entries, upper)
    assert list(outside.iterdir()) == []


def test_a_name_is_never_written_twice(upper: Path) -> None:
    entries = [
        Entry("a", "l", 0o777, *OWNER, linkname="/etc/passwd"),
        Entry("a", "f", 0o644, *OWNER, source=b""),
    ]
    with pytest.raises(FileExistsError):
        materialise(entries, upper)


def test_a_hard_link_leads_to_this_layer_alone(upper: Path) -> None:
    with pytest.raises(BuildInputError, match="hard link"):
        materialise([Entry("a", "h", linkname="../../etc/passwd")], upper)


def test_a_file_that_changed_meanwhile_is_told(upper: Path) -> None:
    with pytest.raises(BuildInputError, match="/a changed while it was read"):
        materialise([Entry("a", "f", size=3, source=b"longer")], upper)


def test_what_was_written_packs_as_if_it_were_scanned(upper: Path, tmp_path: Path) -> None:
    (tmp_path / "host").write_bytes(b"from the host")
    uid, gid = OWNER
    entries = [
        Entry("dir", "d", 0o755, uid, gid, mtime=5),
        Entry("dir/host", "f", 0o644, uid, gid, size=13, mtime=1, source=str(tmp_path / "host")),
        Entry("dir/link", "l", 0o777, uid, gid, mtime=2, linkname="host"),
        Entry("dir/name", "h", 0o644, uid, gid, mtime=1, linkname="dir/host"),
        Entry("dir/text", "f", 0o600, uid, gid, size=2, mtime=2, source=b"hi"),
    ]
    materialise(entries, upper)
    (tmp_path / "host").write_bytes(b"changed since")
    assert diff_id(written(entries, upper)) == diff_id(scan_upper(upper))


def test_a_file_that_grew_is_told(upper: Path, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one line and another")
    with pytest.raises(BuildInputError, match="/log changed while it was read"):
        materialise([Entry("log", "f", size=8, source=str(tmp_path / "log"))], upper)
