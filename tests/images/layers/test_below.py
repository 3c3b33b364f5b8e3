import os
import stat

import pytest

from images.errors import InvalidArchiveError
from images.layers.below import Below
from images.layers.unpack import UnpackResult, unpack_entries
from tests.images.layers.archives import directory, file, symlink


def result(implied=(), missing_links=()) -> UnpackResult:
    return UnpackResult(0, 0, tuple(implied), tuple(missing_links), ())


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base"
    path.mkdir()
    entries = [
        directory("usr", 0o711),
        directory("usr/lib", 0o2755, xattrs={"user.x": b"1"}),
        symlink("lib", "usr/lib"),
        symlink("dangling", "nowhere"),
        file("bin", b"program", mode=0o4711),
    ]
    unpack_entries(entries, path)
    return path


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "target"
    path.mkdir()
    return path


def test_only_links_to_directories_are_moves(base):
    below = Below([base])
    found = below.moves(result(["", "bin", "dangling", "lib", "new", "usr"]))
    assert found == (("lib", "usr/lib"),)


def test_directories_take_everything_from_below(base, target):
    (target / "usr/lib").mkdir(parents=True)
    Below([base]).complete(result(["", "usr", "usr/lib"]), target)
    assert stat.S_IMODE((target / "usr").stat().st_mode) == 0o711
    assert stat.S_IMODE((target / "usr/lib").stat().st_mode) == 0o2755
    assert os.getxattr(target / "usr/lib", "user.x") == b"1"


def test_directories_that_are_new_stay_as_they_are(base, target):
    (target / "new").mkdir(mode=0o700)
    Below([base]).complete(result(["new"]), target)
    assert stat.S_IMODE((target / "new").stat().st_mode) == 0o700


def test_links_become_copies(base, target):
    Below([base]).complete(result(missing_links=[("again", "bin"), ("l", "lib")]), target)
    assert (target / "again").read_bytes() == b"program"
    assert stat.S_IMODE((target / "again").stat().st_mode) == 0o4711
    assert os.readlink(target / "l") == "usr/lib"


@pytest.mark.parametrize("missing", ["nothing", "usr"])
def test_links_to_nothing_and_to_directories(base, target, missing):
    with pytest.raises(InvalidArchiveError, match="which no layer has") as caught:
        Below([base]).complete(result(missing_links=[("x", missing)]), target)
    assert caught.value.where == "/x"
