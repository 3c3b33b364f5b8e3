import os

import pytest

from images.trees import remove_tree, tree_size


def test_removes_everything_but_what_links_point_to(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    top = tmp_path / "top"
    (top / "a/b").mkdir(parents=True)
    (top / "a/b/f").write_text("x")
    (top / "dir-link").symlink_to(outside)
    (top / "a/file-link").symlink_to(outside / "keep")
    os.mkfifo(top / "pipe")
    remove_tree(top)
    assert os.listdir(tmp_path) == ["outside"]
    assert (outside / "keep").exists()


def test_a_link_is_not_a_tree(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("d")
    with pytest.raises(OSError, match="directory"):
        remove_tree(tmp_path / "l")
    assert (tmp_path / "d").exists()


@pytest.mark.parametrize("depth", [63, 64, 65, 3000])
def test_deeper_than_the_stack_and_the_longest_path(tmp_path, depth):
    top = tmp_path / "top"
    top.mkdir()
    fd = os.open(top, os.O_DIRECTORY)
    for _ in range(depth):
        os.close(os.open("f", os.O_CREAT, dir_fd=fd))
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    remove_tree(top)
    assert os.listdir(tmp_path) == []


def test_directories_without_permissions(tmp_path):
    top = tmp_path / "top"
    (top / "locked").mkdir(parents=True)
    (top / "locked/f").write_text("")
    (top / "locked").chmod(0o000)
    top.chmod(0o500)
    remove_tree(top)
    assert not top.exists()


def test_below_a_descriptor(tmp_path):
    (tmp_path / "top/x").mkdir(parents=True)
    fd = os.open(tmp_path, os.O_DIRECTORY)
    remove_tree("top", dir_fd=fd)
    os.close(fd)
    assert os.listdir(tmp_path) == []


def test_size_counts_hard_links_once(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_bytes(bytes(1000))
    os.link(tmp_path / "d/a", tmp_path / "b")
    (tmp_path / "c").write_bytes(bytes(7))
    (tmp_path / "l").symlink_to("/etc/passwd")
    assert tree_size(tmp_path) == 1007


def test_what_vanishes_while_it_is_measured_is_not_counted(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone/f").write_bytes(b"x" * 10)
    (tmp_path / "kept").write_bytes(b"x" * 5)
    real = os.scandir

    def vanishing(path):
        found = real(path)
        if os.path.basename(path) == "gone":
            found.close()
            remove_tree(tmp_path / "gone")
            return real(path)
        return found

    monkeypatch.setattr(
        os, "scandir", lambda path: vanishing(path) if isinstance(path, str) else real(path)
    )
    assert tree_size(tmp_path) == 5
    with pytest.raises(FileNotFoundError):
        tree_size(tmp_path / "absent")
