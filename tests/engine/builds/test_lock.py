"""The lock file: read strictly, written whole, merged, and readable in a diff."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.builds.lock import BuildLock, LockFileError, LockFileFault
from images.digest import Digest
from images.platform import Platform
from images.reference import Reference

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
DEBIAN = Reference.parse("debian:12")
ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lading.lock"


def test_what_was_noted_is_held_the_next_time(path: Path) -> None:
    lock = BuildLock(path)
    assert lock.image(DEBIAN, AMD64) is None
    lock.note_image(DEBIAN, AMD64, ONE)
    lock.note_url("https://b.org/", TWO)
    lock.note_url("https://a.org/", ONE)
    lock.write()
    assert path.read_text() == (
        '{\n  "version": 1,\n  "images": {\n    "docker.io/library/debian:12": {\n'
        f'      "linux/amd64": "{ONE}"\n    }}\n  }},\n  "urls": {{\n'
        f'    "https://a.org/": "{ONE}",\n    "https://b.org/": "{TWO}"\n  }}\n}}\n'
    )
    again = BuildLock(path, frozen=True)
    assert again.image(DEBIAN, AMD64) == ONE
    assert again.url("https://b.org/") == TWO


def test_names_with_a_digest_are_pinned_where_they_are_written(path: Path) -> None:
    lock = BuildLock(path)
    pinned = DEBIAN.with_digest(ONE)
    lock.note_image(pinned, AMD64, ONE)
    lock.write()
    assert json.loads(path.read_text())["images"] == {}
    assert BuildLock(path, frozen=True).image(pinned, AMD64) is None


def test_other_builds_entries_stay(path: Path) -> None:
    first, second = BuildLock(path), BuildLock(path)
    first.note_image(DEBIAN, AMD64, ONE)
    first.write()
    second.note_image(DEBIAN, ARM64, TWO)
    second.write()
    both = BuildLock(path)
    assert (both.image(DEBIAN, AMD64), both.image(DEBIAN, ARM64)) == (ONE, TWO)


def test_an_unchanged_lock_is_not_written(path: Path) -> None:
    lock = BuildLock(path)
    lock.note_image(DEBIAN, AMD64, ONE)
    lock.write()
    os.utime(path, (1, 1))
    again = BuildLock(path)
    again.note_image(DEBIAN, AMD64, ONE)
    again.write()
    assert path.stat().st_mtime == 1
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_refresh_looks_everything_up(path: Path) -> None:
    lock = BuildLock(path)
    lock.note_image(DEBIAN, AMD64, ONE)
    lock.write()
    fresh = BuildLock(path, refresh=True)
    assert fresh.image(DEBIAN, AMD64) is None
    fresh.note_image(DEBIAN, AMD64, TWO)
    fresh.write()
    assert BuildLock(path).image(DEBIAN, AMD64) == TWO


def test_a_frozen_lock_must_know_everything(path: Path) -> None:
    with pytest.raises(LockFileError, match="there is no lock file"):
        BuildLock(path, frozen=True)
    lock = BuildLock(path)
    lock.note_image(DEBIAN, AMD64, ONE)
    lock.write()
    frozen = BuildLock(path, frozen=True)
    with pytest.raises(LockFileError, match="debian:12 for linux/arm64 is not in the lock"):
        frozen.image(DEBIAN, ARM64)
    with pytest.raises(LockFileError, match=r"https://a\.org/ is not in the lock"):
        frozen.url("https://a.org/")
    with pytest.raises(LockFileError, match=r"git://a\.org/r is used without a commit") as caught:
        frozen.check_loose("git://a.org/r")
    assert "git://a.org/r#COMMIT" in (caught.value.fix or "")
    lock.check_loose("git://a.org/r")
    frozen.note_image(DEBIAN, ARM64, ONE)
    frozen.write()
    assert "arm64" not in path.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 2, "images": {}, "urls": {}}',
        '{"version": 1, "images": {}}',
        '{"version": 1, "images": {}, "urls": {}, "more": 1}',
        '{"version": 1, "images": {}, "urls": {"a": "sha256:zz"}}',
        '{"version": 1, "images": {}, "urls": {"a": 1}}',
        '{"version": 1, "images": {"a": []}, "urls": {}}',
        '{"version": 1, "images": {}, "urls": {}, "urls": {}}',
        "[" * 100_000,
    ],
)
def test_what_is_not_a_lock_file_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(LockFileError, match="not a lock file"):
        BuildLock(path)
    assert path.read_text() == text


def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    lock = BuildLock(tmp_path / "missing" / "lock")
    lock.note_url("https://a.org/", ONE)
    with pytest.raises(LockFileFault, match="cannot write"):
        lock.write()
    with pytest.raises(LockFileFault, match="cannot read"):
        BuildLock(tmp_path)
