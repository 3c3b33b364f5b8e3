"""Volumes: made once, filled from the image when empty."""

from __future__ import annotations

import os

import pytest

from engine.volumes import Volumes, copy_up
from images.layers.merged import MergedTree


def test_named_volumes_are_made_once(tmp_path):
    volumes = Volumes(tmp_path)
    path = volumes.ensure("data")
    (path / "file").write_text("x")
    assert volumes.ensure("data") == path == tmp_path / "volumes/data/_data"
    assert (path / "file").read_text() == "x"
    assert path.parent.stat().st_mode & 0o007 == 0


def test_anonymous_volumes_differ(tmp_path):
    volumes = Volumes(tmp_path)
    (one, folder), (other, _) = volumes.anonymous(), volumes.anonymous()
    assert len(one) == 64
    assert one != other
    assert folder.is_dir()


@pytest.fixture
def layer(tmp_path):
    data = tmp_path / "layer/data"
    (data / "sub").mkdir(parents=True)
    (data / "file").write_text("content")
    (data / "file").chmod(0o640)
    os.link(data / "file", data / "sub/again")
    (data / "link").symlink_to("../outside")
    os.mkfifo(data / "fifo")
    data.chmod(0o751)
    os.utime(data / "file", ns=(1, 2_000_000_000))
    return tmp_path / "layer"


def test_copy_up(layer, tmp_path):
    volume = Volumes(tmp_path).ensure("v")
    assert copy_up(MergedTree([layer]), "/data", volume)
    assert volume.stat().st_mode & 0o777 == 0o751
    status = (volume / "file").stat()
    assert ((volume / "file").read_text(), status.st_mode & 0o777) == ("content", 0o640)
    assert status.st_mtime_ns == 2_000_000_000
    assert (volume / "sub/again").stat().st_ino == status.st_ino
    assert os.readlink(volume / "link") == "../outside"
    assert (volume / "fifo").is_fifo()


def test_a_copy_that_was_cut_short_is_made_again(layer, tmp_path):
    volume = Volumes(tmp_path).ensure("v")
    (volume.parent / "_stage/half").mkdir(parents=True)
    assert copy_up(MergedTree([layer]), "/data", volume)
    assert sorted(os.listdir(volume)) == ["fifo", "file", "link", "sub"]
    assert not (volume.parent / "_stage").exists()


def test_a_whole_copy_that_was_not_moved_is_moved_by_the_next(layer, tmp_path):
    volume = Volumes(tmp_path).ensure("v")
    (volume.parent / "_whole").mkdir()
    (volume.parent / "_whole/rest").write_text("copied")
    (volume.parent / "_whole/there").write_text("copied")
    (volume / "there").write_text("moved, and changed since")
    assert not copy_up(MergedTree([layer]), "/none", volume)
    assert (volume / "rest").read_text() == "copied"
    assert (volume / "there").read_text() == "moved, and changed since"
    assert sorted(os.listdir(volume.parent)) == [".lock", "_data"]


def test_a_mounted_volume_stays_the_directory_it_is(layer, tmp_path):
    volume = Volumes(tmp_path).ensure("v")
    (layer / "data/sub/again").unlink()
    in_use = volume.stat().st_ino
    assert copy_up(MergedTree([layer]), "/data/sub", volume)
    assert copy_up(MergedTree([layer]), "/data", volume)
    assert volume.stat().st_ino == in_use


def test_a_volume_with_content_is_left_alone(layer, tmp_path):
    volume = Volumes(tmp_path).ensure("v")
    (volume / "mine").write_text("x")
    assert not copy_up(MergedTree([layer]), "/data", volume)
    assert os.listdir(volume) == ["mine"]


@pytest.mark.parametrize("path", ["/none", "/data/file", "/data/link"])
def test_nothing_to_copy(layer, tmp_path, path):
    volume = Volumes(tmp_path).ensure("v")
    assert not copy_up(MergedTree([layer]), path, volume)
    assert os.listdir(volume) == []


@pytest.mark.root
def test_owners_and_attributes(layer, tmp_path):
    file = layer / "data/file"
    os.chown(file, 1000, 50)
    os.setxattr(file, "user.note", b"kept")
    volume = Volumes(tmp_path).ensure("v")
    assert copy_up(MergedTree([layer]), "/data", volume)
    status = (volume / "file").stat()
    assert (status.st_uid, status.st_gid) == (1000, 50)
    assert os.getxattr(volume / "file", "user.note") == b"kept"
