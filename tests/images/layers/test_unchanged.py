"""Entries of a copy that say nothing new."""

import os

import pytest

from images.layers import entry as kinds
from images.layers.entry import Entry, whiteout
from images.layers.merged import MergedTree
from images.layers.unchanged import Below, news

SECOND = 1_000_000_000


@pytest.fixture
def below(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"1234")
    (tmp_path / "d/g").write_bytes(b"g")
    os.link(tmp_path / "d/g", tmp_path / "d/h")
    for name in ("d/f", "d/g", "d"):
        os.chmod(tmp_path / name, 0o755)
        os.utime(tmp_path / name, (7, 7))
    return Below(MergedTree([tmp_path]))


def entry(path, kind=kinds.FILE, **fields):
    own = {"mode": 0o755, "uid": os.getuid(), "gid": os.getgid(), "mtime": 7 * SECOND}
    return Entry(path, kind, **(own | fields))


DIRECTORY = entry("d", kinds.DIRECTORY)
SAME = entry("d/f", size=4, source=b"1234")


def test_what_is_there_already_is_left_out(below):
    assert news([DIRECTORY, SAME], below) == []


def test_a_directory_stays_above_what_stays(below):
    fresh = entry("d/new", source=b"")
    assert news([DIRECTORY, SAME, fresh], below) == [DIRECTORY, fresh]


def test_other_bytes_of_the_same_size_are_news(below):
    other = entry("d/f", size=4, source=b"1235")
    assert news([DIRECTORY, other], below) == [DIRECTORY, other]


def test_files_with_several_names_stay_together(below):
    first = entry("d/g", size=1, source=b"g")
    second = entry("d/h", kinds.HARDLINK, linkname="d/g")
    assert news([DIRECTORY, first, second], below) == [DIRECTORY, first, second]


def test_below_something_that_is_no_directory_all_is_news(below):
    above = entry("d/f", kinds.DIRECTORY)
    inside = entry("d/f/x", source=b"")
    assert news([DIRECTORY, above, inside], below) == [DIRECTORY, above, inside]


def test_beside_a_deletion_nothing_is_left_out(below):
    entries = [DIRECTORY, whiteout("d/q"), SAME]
    assert news(entries, below) == entries


def test_times_are_those_that_are_shipped(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    os.chmod(tmp_path / "f", 0o755)
    os.utime(tmp_path / "f", (9, 9))
    below = Below(MergedTree([tmp_path]), max_mtime=7 * SECOND)
    assert news([entry("f", source=b"")], below) == []
