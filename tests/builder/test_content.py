"""Content digests: what counts, what does not, and when a remembered hash is believed."""

from __future__ import annotations

import hashlib
import io
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.solver.content import RACY_NS, FileHasher, select
from images.layers.entry import Entry

LATER = RACY_NS * 10
ENTRY = Entry("a", "f", mode=0o644, size=1, source=b"x", xattrs={"user.k": b"v"})


def _digest(*entries: Entry) -> bytes:
    return select(entries, FileHasher(0)).digest


@pytest.mark.parametrize(
    "change",
    [
        {"path": "b"},
        {"kind": "d"},
        {"mode": 0o755},
        {"uid": 1},
        {"gid": 1},
        {"source": b"y"},
        {"linkname": "b"},
        {"xattrs": {"user.k": b"w"}},
    ],
)
def test_what_counts(change: dict[str, Any]) -> None:
    assert _digest(replace(ENTRY, **change)) != _digest(ENTRY)


def test_times_do_not_count() -> None:
    assert _digest(replace(ENTRY, mtime=5)) == _digest(ENTRY)


def test_the_order_of_entries_does_not_count() -> None:
    other = replace(ENTRY, path="b")
    assert _digest(ENTRY, other) == _digest(other, ENTRY)


def test_content_comes_from_any_source(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    opened = replace(ENTRY, source=lambda: io.BytesIO(b"x"))
    assert _digest(replace(ENTRY, source=str(path))) == _digest(opened) == _digest(ENTRY)


def test_each_file_has_a_digest_of_its_own() -> None:
    selection = select([ENTRY, replace(ENTRY, path="b", source=b"y")], FileHasher(0))
    assert set(selection.files) == {"a", "b"}
    assert selection.files["a"] != selection.files["b"]


def test_an_old_file_is_hashed_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    first = FileHasher(time.time_ns() + LATER)
    digest = first.sha256(str(path))
    assert digest == hashlib.sha256(b"x").hexdigest()
    assert first.changed
    # A false entry proves that the second hasher believes what it was given.
    stale = first.encode().replace(digest.encode(), b"0" * 64)
    second = FileHasher(time.time_ns() + LATER, stale)
    assert second.sha256(str(path)) == "0" * 64
    assert not second.changed


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    first = FileHasher(time.time_ns() + LATER)
    first.sha256(str(path))
    status = path.stat()
    time.sleep(0.02)
    path.write_bytes(b"y")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = FileHasher(time.time_ns() + LATER, first.encode())
    assert second.sha256(str(path)) == hashlib.sha256(b"y").hexdigest()


def test_a_fresh_file_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    hasher = FileHasher(time.time_ns())
    hasher.sha256(str(path))
    assert not hasher.changed


def test_names_with_odd_bytes_are_remembered(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n")
    Path(path).write_bytes(b"x")
    first = FileHasher(time.time_ns() + LATER)
    digest = first.sha256(path)
    stale = first.encode().replace(digest.encode(), b"0" * 64)
    assert FileHasher(0, stale).sha256(path) == "0" * 64


def test_a_foreign_cache_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    assert FileHasher(0, b"something else").sha256(str(path)) == hashlib.sha256(b"x").hexdigest()


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "link").symlink_to("secret")
    with pytest.raises(OSError, match="link"):
        FileHasher(0).sha256(str(tmp_path / "link"))
