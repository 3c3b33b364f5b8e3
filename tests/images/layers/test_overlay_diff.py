import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from images.errors import EnvironmentFault, InputError
from images.layers.overlay_diff import scan_tree, scan_upper
from tests.images.layers.archives import paths


@pytest.fixture
def upper(tmp_path):
    path = tmp_path / "upper"
    path.mkdir()
    return path


def test_sorted_by_bytes_parents_first(upper):
    for name in ["b", "a", "a.txt", "B", "ö", "a-b"]:
        (upper / name).write_text(name)
    (upper / "dir").mkdir()
    (upper / "dir/x").write_text("")
    assert paths(scan_upper(upper)) == ["B", "a", "a-b", "a.txt", "b", "dir", "dir/x", "ö"]


def test_a_directory_comes_right_before_what_it_holds(upper):
    (upper / "a").mkdir()
    (upper / "a/z").write_text("")
    (upper / "a-b").write_text("")
    assert paths(scan_upper(upper)) == ["a", "a/z", "a-b"]


def test_fields(upper):
    (upper / "f").write_bytes(b"12345")
    os.chmod(upper / "f", 0o2750)
    os.utime(upper / "f", ns=(0, 1_234_567_890_123))
    (upper / "l").symlink_to("/anywhere")
    os.mkfifo(upper / "p")
    entries = {entry.path: entry for entry in scan_upper(upper)}
    assert entries["f"].mode == 0o2750
    assert (entries["f"].size, entries["f"].mtime) == (5, 1_234_567_890_123)
    with entries["f"].open_source() as content:
        assert content.read() == b"12345"
    assert (entries["l"].kind, entries["l"].linkname, entries["l"].size) == ("l", "/anywhere", 0)
    assert entries["p"].kind == "p"
    assert entries["f"].uid == os.getuid()


def test_hard_links_point_to_the_first_name(upper):
    (upper / "b").write_text("x")
    os.link(upper / "b", upper / "a")
    os.link(upper / "b", upper / "c")
    kinds = [(e.path, e.kind, e.linkname, e.size) for e in scan_upper(upper)]
    assert kinds == [("a", "f", "", 1), ("b", "h", "a", 0), ("c", "h", "a", 0)]


def test_sockets_are_left_out(upper, monkeypatch):
    monkeypatch.chdir(upper)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
    assert paths(scan_upper(upper)) == []


def test_times_are_clamped(upper):
    (upper / "new").write_text("")
    (upper / "old").write_text("")
    os.utime(upper / "old", (5, 5))
    times = {e.path: e.mtime for e in scan_upper(upper, max_mtime=1000)}
    assert times == {"new": 1000 * 10**9, "old": 5 * 10**9}


def test_files_that_would_become_whiteouts_are_refused(upper):
    (upper / ".wh.passwd").write_text("")
    with pytest.raises(InputError, match=r"starts with \.wh\.") as caught:
        list(scan_upper(upper))
    assert caught.value.where == "/.wh.passwd"


def test_directories_deeper_than_a_path_may_be(upper):
    fd = os.open(upper, os.O_DIRECTORY)
    for _ in range(300):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    with pytest.raises(InputError, match="nested too deeply"):
        list(scan_upper(upper))


def test_user_attributes_are_kept(upper):
    (upper / "f").write_text("")
    os.setxattr(upper / "f", "user.note", b"\0x")
    (entry,) = scan_upper(upper)
    assert entry.xattrs == {"user.note": b"\0x"}


def test_opaque_by_user_attribute(upper):
    (upper / "d").mkdir()
    os.setxattr(upper / "d", "user.overlay.opaque", b"y")
    (upper / "d/x").write_text("")
    entries = list(scan_upper(upper))
    assert paths(entries) == ["d", "d/.wh..wh..opq", "d/x"]
    assert entries[0].xattrs == {}
    assert entries[1].is_whiteout
    assert paths(scan_tree(upper)) == ["d", "d/x"]


@pytest.mark.root
def test_whiteouts_and_devices(upper: Path):
    os.mknod(upper / "gone", 0o020000, os.makedev(0, 0))
    os.mknod(upper / "null", 0o020666, os.makedev(1, 3))
    entries = list(scan_upper(upper))
    assert paths(entries) == [".wh.gone", "null"]
    assert (entries[0].kind, entries[0].size, entries[0].mtime) == ("f", 0, 0)
    assert (entries[1].kind, entries[1].major, entries[1].minor) == ("c", 1, 3)


@pytest.mark.root
def test_opaque_by_trusted_attribute(upper: Path):
    (upper / "d").mkdir()
    os.setxattr(upper / "d", "trusted.overlay.opaque", b"y")
    os.setxattr(upper / "d", "trusted.overlay.origin", b"whatever")
    entries = list(scan_upper(upper))
    assert paths(entries) == ["d", "d/.wh..wh..opq"]
    assert entries[0].xattrs == {}


@pytest.mark.root
@pytest.mark.parametrize("name", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
def test_an_upper_that_refers_to_its_lowers_is_refused(upper: Path, name):
    (upper / "d").mkdir()
    os.setxattr(upper / "d", name, b"/other")
    with pytest.raises(EnvironmentFault, match="refers to the layers below") as caught:
        list(scan_upper(upper))
    assert "redirect_dir=off" in (caught.value.fix or "")


class TestUnchanged:
    """What was copied up and is as it was below."""

    @pytest.fixture
    def lower(self, tmp_path):
        lower = tmp_path / "lower"
        (lower / "d/e").mkdir(parents=True)
        (lower / "d/f").write_bytes(b"same")
        (lower / "d/l").symlink_to("f")
        self.dated(lower)
        return lower

    @staticmethod
    def dated(root):
        for path in [*root.rglob("*")]:
            os.utime(path, (1, 1), follow_symlinks=False)

    @pytest.fixture
    def copied(self, lower, upper):
        shutil.copytree(lower, upper, symlinks=True, dirs_exist_ok=True)
        self.dated(upper)
        return upper

    def test_nothing_is_said_of_it(self, copied, lower):
        assert paths(scan_upper(copied, lowers=[lower])) == []
        assert paths(scan_upper(copied)) == ["d", "d/e", "d/f", "d/l"]

    def test_parts_of_a_second_do_not_count(self, copied, lower):
        os.utime(copied / "d/f", ns=(0, 1_999_999_999))
        assert paths(scan_upper(copied, lowers=[lower])) == []

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda f: f.write_bytes(b"diff"), id="bytes"),
            pytest.param(lambda f: f.write_bytes(b"longer"), id="size"),
            pytest.param(lambda f: f.chmod(0o600), id="mode"),
            pytest.param(lambda f: os.setxattr(f, "user.a", b"b"), id="attribute"),
            pytest.param(lambda f: (f.unlink(), f.symlink_to("e")), id="kind"),
        ],
    )
    def test_each_change_is_told_with_the_directories_above(self, copied, lower, change):
        change(copied / "d/f")
        with suppress(OSError):
            os.utime(copied / "d/f", (1, 1), follow_symlinks=False)
        os.utime(copied / "d", (1, 1))
        assert paths(scan_upper(copied, lowers=[lower])) == ["d", "d/f"]

    def test_time_is_a_change(self, copied, lower):
        os.utime(copied / "d/e", (2, 2))
        assert paths(scan_upper(copied, lowers=[lower])) == ["d", "d/e"]
        assert paths(scan_upper(copied, lowers=[lower], max_mtime=1)) == []

    def test_only_what_shows_from_below_counts(self, copied, lower, tmp_path):
        middle = tmp_path / "middle"
        (middle / "d").mkdir(parents=True)
        (middle / "d/f").write_bytes(b"over")
        self.dated(middle)
        assert paths(scan_upper(copied, lowers=[middle, lower])) == ["d", "d/f"]

    def test_names_of_one_file_stay_together(self, copied, lower):
        os.link(copied / "d/f", copied / "d/g")
        os.utime(copied / "d", (1, 1))
        assert paths(scan_upper(copied, lowers=[lower])) == ["d", "d/f", "d/g"]

    @pytest.mark.root
    def test_in_an_opaque_directory_everything_is_new(self, copied, lower):
        os.setxattr(copied / "d", "trusted.overlay.opaque", b"y")
        whole = ["d", "d/.wh..wh..opq", "d/e", "d/f", "d/l"]
        assert paths(scan_upper(copied, lowers=[lower])) == whole
