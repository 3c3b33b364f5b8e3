"""Results for other programs: whole or not at all, and never through a link."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from images.errors import EnvironmentFault
from images.outgoing import (
    OccupiedError,
    check_directory,
    check_file,
    copy_file,
    whole_directory,
    whole_file,
)


class Stop(Exception):
    """What goes wrong in the middle."""


def stop_after(work: Callable[[], object]) -> None:
    work()
    raise Stop


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with whole_file(str(path)) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b"whole")
    assert path.read_bytes() == b"halfwhole"
    assert names(tmp_path) == ["new", "new/file"]


def test_an_old_file_stays_until_then(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(Stop), whole_file(str(path)) as file:
        stop_after(lambda: file.write(b"new"))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    path = tmp_path / "file"
    path.symlink_to("target")
    with whole_file(str(path)) as file:
        file.write(b"new")
    assert (tmp_path / "target").read_text() == "kept"
    assert not path.is_symlink()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    with whole_file(str(path)) as file:
        file.write(b"through")
    reader.join()
    assert read == [b"through"]
    assert path.is_fifo()


def test_a_file_obeys_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with whole_file(str(tmp_path / "file")) as file:
            file.write(b"x")
        with whole_directory(str(tmp_path / "folder")):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_a_directory_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "out"
    with whole_directory(f"{path}/") as stage:
        Path(stage, "file").write_text("x")
        assert not path.exists()
    assert names(tmp_path) == ["a", "a/out", "a/out/file"]
    with pytest.raises(Stop), whole_directory(str(tmp_path / "b")) as stage:
        stop_after(lambda: Path(stage, "file").write_text("x"))
    assert names(tmp_path) == ["a", "a/out", "a/out/file"]


def fill(stage: str) -> None:
    Path(stage, "d").mkdir(mode=0o700)
    Path(stage, "d/new").write_text("new")
    Path(stage, "f").write_text("new")
    Path(stage, "l").symlink_to("d/new")


@pytest.mark.parametrize("delete", [False, True])
def test_into_a_directory_that_exists(tmp_path: Path, delete: bool) -> None:
    out = tmp_path / "out"
    (out / "d/deep").mkdir(parents=True)
    (out / "d/deep/old").write_text("old")
    (out / "old").write_text("old")
    (out / "f").write_text("old")
    with whole_directory(str(out), delete=delete) as stage:
        fill(stage)
        assert (out / "f").read_text() == "old"
    kept = [] if delete else ["d/deep", "d/deep/old", "old"]
    assert names(out) == sorted(["d", "d/new", "f", "l", *kept])
    assert (out / "f").read_text() == "new"
    assert (out / "d").stat().st_mode & 0o777 == 0o700


def test_what_is_in_the_way_is_seen_before_anything_changes(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    cases = {
        "is a symbolic link where": lambda: (out / "d").symlink_to(elsewhere),
        "d: is not a directory": lambda: (out / "d").write_text("x"),
        "f: is a directory": lambda: (out / "f").mkdir(),
    }
    for what, make in cases.items():
        out.mkdir()
        make()
        before = names(out)
        with pytest.raises(OccupiedError, match=what), whole_directory(str(out)) as stage:
            fill(stage)
        assert names(out) == before
        assert list(elsewhere.iterdir()) == []
        for path in out.iterdir():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        out.rmdir()


def test_a_link_that_is_slipped_in_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check has passed; now somebody puts a link where the directory was."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / "d").mkdir(parents=True)
    elsewhere.mkdir()

    def swap(*_: object) -> None:
        (out / "d").rmdir()
        (out / "d").symlink_to(elsewhere)

    monkeypatch.setattr("images.outgoing._check", swap)
    with pytest.raises(EnvironmentFault), whole_directory(str(out)) as stage:
        fill(stage)
    assert list(elsewhere.iterdir()) == []


def test_links_in_what_goes_are_not_followed(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / "gone").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    (out / "link").symlink_to(elsewhere)
    (out / "gone/link").symlink_to(elsewhere)
    with whole_directory(str(out), delete=True):
        pass
    assert names(out) == []
    assert names(elsewhere) == ["kept"]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OccupiedError), whole_directory(str(tmp_path / "file")):
        pass
    with pytest.raises(OccupiedError), whole_file(str(tmp_path)):
        pass
    for place in (whole_file, whole_directory):
        with pytest.raises(EnvironmentFault, match="cannot be written"), place("/proc/no/such"):
            pass


def test_copies(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(data)
    copy_file(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == data
    with pytest.raises(FileExistsError):
        copy_file(str(tmp_path / "a"), str(tmp_path / "b"))


def test_copies_without_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    copy_file(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == b"x" * 100_000


def test_places_are_judged_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_file(str(tmp_path / "new"))
    check_file(str(tmp_path / "file"))
    check_file(str(tmp_path / "a/b/c"))
    check_file(os.devnull)
    check_directory(str(tmp_path))
    check_directory(str(tmp_path / "a/b/"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for check, path in (
        (check_file, tmp_path),
        (check_file, tmp_path / "file/x"),
        (check_directory, tmp_path / "file"),
        (check_directory, tmp_path / "file/x/y"),
    ):
        with pytest.raises((OccupiedError, EnvironmentFault)):
            check(str(path))
