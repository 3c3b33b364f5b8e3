"""Ordinary layers: everything a base image brings arrives as it was."""

import errno
import os
import stat
from pathlib import Path

import pytest

from images.errors import EnvironmentFault, InvalidArchiveError
from images.layers import unpack as module
from images.layers.entry import Entry, opaque, whiteout
from images.layers.merged import is_whiteout
from images.layers.opaque import is_opaque
from images.layers.tar_read import Limits
from images.layers.unpack import unpack, unpack_entries
from tests.images.layers.archives import archive, directory, file, hardlink, symlink, tree

DAY = 86_400 * 10**9


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "root"
    path.mkdir()
    return path


def test_files_directories_and_links(root):
    result = unpack(
        archive(
            directory("etc", 0o751, mtime=DAY),
            file("etc/passwd", b"root", mode=0o640, mtime=2 * DAY),
            symlink("etc/alias", "passwd", mtime=3 * DAY),
            hardlink("etc/same", "etc/passwd"),
            file("etc/empty", b""),
        ),
        root,
    )
    assert (root / "etc/passwd").read_bytes() == b"root"
    assert stat.S_IMODE((root / "etc/passwd").stat().st_mode) == 0o640
    assert os.readlink(root / "etc/alias") == "passwd"
    assert (root / "etc/same").stat().st_ino == (root / "etc/passwd").stat().st_ino
    assert (root / "etc").stat().st_mtime_ns == DAY
    assert (root / "etc/passwd").stat().st_mtime_ns == 2 * DAY
    assert (root / "etc/alias").lstat().st_mtime_ns == 3 * DAY
    assert stat.S_IMODE((root / "etc").stat().st_mode) == 0o751
    assert (result.entries, result.size) == (5, 4)
    assert result.missing_links == ()


def test_the_root_entry_sets_the_root(root):
    result = unpack(archive(directory("", 0o700, mtime=DAY), file("x")), root)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert root.stat().st_mtime_ns == DAY
    assert "" not in result.implied


def test_implied_directories_are_made_and_reported(root):
    result = unpack(archive(file("a/b/c"), directory("a/d"), directory("a")), root)
    assert (root / "a/b/c").read_bytes() == b"data"
    assert result.implied == ("", "a/b")
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755


def test_modes_do_not_depend_on_the_umask(root):
    before = os.umask(0o077)
    try:
        unpack(
            archive(directory("d", 0o777), file("d/f", mode=0o666), file("i/f", mode=0o777)), root
        )
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o777
    assert stat.S_IMODE((root / "d/f").stat().st_mode) == 0o666
    assert stat.S_IMODE((root / "i").stat().st_mode) == 0o755


def test_setuid_setgid_and_sticky(root):
    unpack(
        archive(file("su", mode=0o4755), file("sg", mode=0o2755), directory("tmp", 0o1777)), root
    )
    modes = [stat.S_IMODE((root / name).stat().st_mode) for name in ("su", "sg", "tmp")]
    assert modes == [0o4755, 0o2755, 0o1777]


def test_files_in_a_directory_without_write_permission(root):
    unpack(archive(directory("ro", 0o555), file("ro/f")), root)
    assert (root / "ro/f").read_bytes() == b"data"
    assert stat.S_IMODE((root / "ro").stat().st_mode) == 0o555


def test_the_later_of_two_equal_names_wins(root):
    unpack(archive(file("x", b"old"), file("x", b"new"), symlink("y", "x"), file("y", b"z")), root)
    assert (root / "x").read_bytes() == b"new"
    assert not (root / "y").is_symlink()
    assert (root / "x").read_bytes() == b"new"


def test_a_file_replaces_a_directory_and_the_other_way_round(root):
    unpack(archive(file("a/b/c"), file("a", b"file")), root)
    assert (root / "a").read_bytes() == b"file"
    unpack(archive(directory("a"), file("a/d")), root)
    assert (root / "a/d").read_bytes() == b"data"


def test_directories_merge(root):
    unpack(archive(directory("d", 0o700), file("d/a"), directory("d", 0o750), file("d/b")), root)
    assert sorted(os.listdir(root / "d")) == ["a", "b"]
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o750


def test_replacing_an_existing_hard_link_breaks_it(root):
    unpack(archive(file("a", b"1"), hardlink("b", "a"), file("b", b"2")), root)
    assert ((root / "a").read_bytes(), (root / "b").read_bytes()) == (b"1", b"2")


def test_a_hard_link_over_a_file(root):
    unpack(archive(file("a", b"1"), file("b", b"2"), hardlink("b", "a")), root)
    assert (root / "b").read_bytes() == b"1"


def test_hard_links_to_symbolic_links_are_links_too(root):
    unpack(archive(symlink("l", "/nowhere"), hardlink("h", "l")), root)
    assert os.readlink(root / "h") == "/nowhere"


def test_paths_through_the_layers_own_links_stay_inside(root):
    unpack(archive(directory("usr/lib"), symlink("lib", "usr/lib"), file("lib/so")), root)
    assert (root / "usr/lib/so").read_bytes() == b"data"


def test_absolute_links_are_meant_within_the_root(root):
    unpack(archive(directory("run"), symlink("var/run", "/run"), file("var/run/pid")), root)
    assert (root / "run/pid").read_bytes() == b"data"


def test_links_to_files_of_other_layers_are_reported(root):
    result = unpack(archive(hardlink("bin/x", "bin/y"), file("z")), root)
    assert result.missing_links == (("bin/x", "bin/y"),)
    assert (root / "z").exists()


def test_sparse_files_stay_sparse(root):
    class Holes:
        def pieces(self):
            yield 5 << 20, memoryview(b"end")

    entry = Entry("s", "f", size=10 << 20)
    with module._Unpacker(root) as unpacker:
        unpacker.add(entry, Holes())
        unpacker.finish()
    status = (root / "s").stat()
    assert status.st_size == 10 << 20
    assert status.st_blocks * 512 < 1 << 20
    assert (root / "s").read_bytes()[5 << 20 :][:4] == b"end\0"


def test_user_attributes(root):
    entries = (file("f", xattrs={"user.a": b"1"}), directory("d", xattrs={"user.b": b"\0"}))
    unpack(archive(*entries), root)
    assert os.getxattr(root / "f", "user.a") == b"1"
    assert os.getxattr(root / "d", "user.b") == b"\0"


def test_attributes_of_what_nobody_may_write(root):
    unpack(archive(file("f", mode=0, xattrs={"user.a": b"1"})), root)
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0
    assert os.listxattr(root / "f") == ["user.a"]


def test_attributes_that_the_file_system_refuses_are_reported(root):
    result = unpack(archive(file("f", xattrs={"nosuch.family": b"x"})), root)
    assert result.skipped == ("f (nosuch.family)",)
    assert (root / "f").exists()


def test_deep_directories_get_their_times(root):
    entries = [directory("/".join("abcdefgh"[: n + 1]), mtime=(n + 1) * DAY) for n in range(8)]
    unpack(archive(*entries, file("a/b/c/x"), file("a/y")), root)
    for entry in entries:
        assert (root / entry.path).stat().st_mtime_ns == entry.mtime


def test_more_directories_than_are_kept_open(root):
    entries = [file(f"d{n}/f", b"%d" % n) for n in range(200)] * 2
    before = len(os.listdir(f"/proc/{os.getpid()}/fd"))
    unpack(archive(*entries), root)
    assert (root / "d199/f").read_bytes() == b"199"
    assert len(os.listdir(f"/proc/{os.getpid()}/fd")) < before + 50


def test_entries_of_a_copy(root, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 << 20))
    size = source.stat().st_size
    unpack_entries([directory("d"), Entry("d/f", "f", 0o600, size=size, source=str(source))], root)
    assert (root / "d/f").read_bytes() == source.read_bytes()


def test_a_copied_file_that_shrank(root, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"12")
    with pytest.raises(InvalidArchiveError, match="shorter"):
        unpack_entries([Entry("f", "f", size=3, source=str(source))], root)


def test_moves(root):
    unpack(
        archive(file("lib/x"), hardlink("lib/y", "lib/x"), file("library")),
        root,
        moves=(("lib", "usr/lib"),),
    )
    assert sorted(tree(root)) == ["library", "usr", "usr/lib", "usr/lib/x", "usr/lib/y"]


def test_limits_are_handed_on(root):
    from images.errors import SizeLimitError

    with pytest.raises(SizeLimitError):
        unpack(archive(file("x", bytes(100))), root, limits=Limits(total_size=99))


@pytest.mark.parametrize(
    ("number", "family", "message"),
    [
        (errno.ENOSPC, EnvironmentFault, "no space left"),
        (errno.EIO, EnvironmentFault, "cannot be unpacked"),
        (errno.ENAMETOOLONG, InvalidArchiveError, "cannot be unpacked"),
    ],
)
def test_what_the_kernel_says_becomes_a_sentence(root, monkeypatch, number, family, message):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.os, "mkdir", fail)
    with pytest.raises(family, match=message) as caught:
        unpack(archive(directory("some/dir")), root)
    assert caught.value.where == "/some/dir"


def test_a_name_too_long_for_the_kernel(root):
    with pytest.raises(InvalidArchiveError, match="File name too long"):
        unpack(archive(file("x" * 256)), root)


class TestWhiteouts:
    def test_file(self, root):
        unpack(archive(directory("d"), whiteout("d/gone")), root)
        assert is_whiteout((root / "d/gone").lstat())

    def test_opaque(self, root):
        unpack(archive(directory("d", 0o711), opaque("d"), file("d/new")), root)
        assert is_opaque(str(root / "d"))
        assert (root / "d/new").exists()
        assert stat.S_IMODE((root / "d").stat().st_mode) == 0o711

    def test_opaque_before_its_directory(self, root):
        unpack(archive(opaque("d"), directory("d", 0o711)), root)
        assert is_opaque(str(root / "d"))

    def test_opaque_at_the_root(self, root):
        unpack(archive(opaque(""), file("x")), root)
        assert is_opaque(str(root))
        assert os.listdir(root) == ["x"]

    def test_a_file_of_the_same_layer_stays(self, root):
        """OCI layer.md: whiteouts apply to the layers below only, whatever the order."""
        unpack(archive(file("a"), whiteout("a"), whiteout("b"), file("b")), root)
        assert (root / "a").read_bytes() == (root / "b").read_bytes() == b"data"

    def test_a_directory_of_the_same_layer_becomes_opaque(self, root):
        first = archive(directory("a"), file("a/x"), whiteout("a"))
        second = archive(whiteout("b"), directory("b"), file("b/x"))
        third = archive(whiteout("c"), file("c/x"))
        for stream, name in ((first, "a"), (second, "b"), (third, "c")):
            unpack(stream, root)
            assert is_opaque(str(root / name))
            assert (root / name / "x").exists()

    def test_aufs_leftovers_are_ignored(self, root):
        unpack(archive(directory(".wh..wh.plnk"), file(".wh..wh.aufs")), root)
        assert os.listdir(root) == []


@pytest.mark.root
class TestAsRoot:
    def test_owners_and_setuid_together(self, root):
        unpack(archive(file("f", mode=0o6755, uid=1234, gid=4321)), root)
        status = (root / "f").stat()
        assert (status.st_uid, status.st_gid) == (1234, 4321)
        assert stat.S_IMODE(status.st_mode) == 0o6755

    def test_owners_of_links_and_directories(self, root):
        unpack(archive(directory("d", uid=5, gid=6), symlink("l", "x", uid=7, gid=8)), root)
        assert ((root / "d").stat().st_uid, (root / "l").lstat().st_gid) == (5, 8)

    def test_devices_and_fifos(self, root):
        unpack(
            archive(
                Entry("null", "c", 0o666, major=1, minor=3),
                Entry("loop", "b", 0o640, gid=6, major=7, minor=300),
                Entry("pipe", "p", 0o622),
            ),
            root,
        )
        null, loop = (root / "null").stat(), (root / "loop").stat()
        assert stat.S_ISCHR(null.st_mode)
        assert null.st_rdev == os.makedev(1, 3)
        assert (stat.S_ISBLK(loop.st_mode), loop.st_gid) == (True, 6)
        assert os.minor(loop.st_rdev) == 300
        assert stat.S_IMODE((root / "pipe").stat().st_mode) == 0o622

    def test_file_capabilities_survive_the_change_of_owner(self, root):
        capability = bytes.fromhex("0100000200040000000000000000000000000000")
        unpack(archive(file("ping", uid=9, xattrs={"security.capability": capability})), root)
        assert os.getxattr(root / "ping", "security.capability") == capability

    def test_attributes_of_links_and_devices(self, root):
        unpack(
            archive(
                symlink("l", "/nowhere", xattrs={"trusted.x": b"1"}),
                Entry("n", "c", major=1, minor=3, xattrs={"trusted.x": b"2"}),
            ),
            root,
        )
        assert os.getxattr(root / "l", "trusted.x", follow_symlinks=False) == b"1"
        assert os.getxattr(root / "n", "trusted.x") == b"2"

    def test_a_setgid_parent_does_not_give_its_group(self, root: Path):
        os.chown(root, 0, 77)
        root.chmod(0o2755)
        unpack(archive(file("f"), directory("d", 0o755), symlink("l", "x")), root)
        assert {(root / name).lstat().st_gid for name in "fdl"} == {0}
        assert stat.S_IMODE((root / "d").stat().st_mode) == 0o755
