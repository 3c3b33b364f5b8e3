"""One test per way out of the root that somebody has used. None may touch anything outside."""

import os
import stat

import pytest

from images.errors import InvalidArchiveError, SizeLimitError
from images.layers.entry import Entry
from images.layers.tar_read import Limits
from images.layers.tar_write import header
from images.layers.unpack import unpack, unpack_entries
from tests.images.layers.archives import (
    archive,
    directory,
    file,
    hardlink,
    pax,
    raw,
    record,
    symlink,
    tree,
)


@pytest.fixture
def outside(tmp_path):
    """A folder beside the root with something worth attacking."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text("secret")
    (path / "secret").chmod(0o600)
    return path


@pytest.fixture
def root(tmp_path, outside):
    path = tmp_path / "root"
    path.mkdir()
    before = tree(outside)
    yield path
    assert tree(outside) == before
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]


def refused(stream, root, match=None):
    with pytest.raises(InvalidArchiveError, match=match):
        unpack(stream, root)


def test_dotdot(root):
    refused(archive(file("../outside/new")), root, "leave the root")


def test_dotdot_in_the_middle(root):
    refused(archive(directory("a"), file("a/../../outside/secret")), root, "leave the root")


def test_dotdot_by_pax_path(root):
    stream = raw(pax({"path": b"../outside/new"}), record(file("harmless"), b"data"))
    refused(stream, root, "leave the root")


def test_absolute_name_is_taken_within_the_root(root, outside):
    unpack(archive(file(f"{outside}/secret", b"changed")), root)
    assert (root / str(outside / "secret").lstrip("/")).read_bytes() == b"changed"


def test_absolute_symlink_as_parent(root, outside):
    refused(archive(symlink("d", str(outside)), file("d/new")), root)
    assert not (outside / "new").exists()


def test_relative_symlink_as_parent(root):
    refused(archive(symlink("d", "../outside"), file("d/new")), root)


def test_symlink_to_the_root_of_the_host_means_our_root(root):
    unpack(archive(symlink("d", "/"), file("d/etc-passwd")), root)
    assert (root / "etc-passwd").read_bytes() == b"data"


def test_chain_of_symlinks(root):
    entries = [symlink("a", "b"), symlink("b", "c"), symlink("c", "../../outside"), file("a/new")]
    refused(archive(*entries), root)


def test_symlink_loop_as_parent(root):
    refused(archive(symlink("a", "b"), symlink("b", "a"), file("a/x")), root)


def test_dangling_symlink_as_parent(root):
    refused(archive(symlink("a", "nowhere"), file("a/x")), root)


def test_file_over_a_symlink_replaces_the_symlink(root, outside):
    unpack(archive(symlink("s", str(outside / "secret")), file("s", b"changed")), root)
    assert (root / "s").read_bytes() == b"changed"
    assert not (root / "s").is_symlink()


def test_directory_over_a_symlink_replaces_the_symlink(root, outside):
    unpack(archive(symlink("d", str(outside)), directory("d", 0o777), file("d/new")), root)
    assert (root / "d/new").exists()
    assert not (root / "d").is_symlink()


def test_a_directory_replaced_by_a_symlink_after_it_was_used(root, outside):
    """The descriptor of the old directory must not be used for the new name."""
    entries = [file("d/one"), symlink("d", str(outside)), file("d/two")]
    refused(archive(*entries), root)
    assert not (outside / "two").exists()


def test_a_parent_of_a_used_directory_replaced_by_a_symlink(root):
    entries = [file("a/b/one"), directory("evil/b"), symlink("a", "evil"), file("a/b/two")]
    unpack(archive(*entries), root)
    assert (root / "evil/b/two").exists()


def test_directory_metadata_is_not_applied_through_a_symlink(root, outside):
    """Modes of directories are set at the end, when the name may be a link."""
    mode = stat.S_IMODE(outside.stat().st_mode)
    unpack(archive(directory("d", 0o4777, uid=12), symlink("d", str(outside))), root)
    assert stat.S_IMODE(outside.stat().st_mode) == mode


def test_opaque_marker_is_not_set_through_a_symlink(root, outside):
    unpack(archive(directory("d"), file("d/.wh..wh..opq"), symlink("d", str(outside))), root)
    for name in ("trusted.overlay.opaque", "user.overlay.opaque"):
        assert name not in os.listxattr(outside)


def test_hardlink_to_dotdot(root):
    refused(archive(hardlink("h", "../outside/secret")), root, "leave the root")


def test_hardlink_to_an_absolute_path_is_within_the_root(root, outside):
    result = unpack(archive(hardlink("h", str(outside / "secret"))), root)
    assert result.missing_links
    assert not (root / "h").exists()


def test_hardlink_through_a_symlink(root, outside):
    result = unpack(archive(symlink("d", str(outside)), hardlink("h", "d/secret")), root)
    assert result.missing_links == (("h", "d/secret"),)
    assert (outside / "secret").stat().st_nlink == 1


def test_hardlink_to_a_symlink_then_write(root, outside):
    """Opening the link for writing would follow it; the entry must replace it."""
    entries = [symlink("s", str(outside / "secret")), hardlink("h", "s"), file("h", b"changed")]
    unpack(archive(*entries), root)
    assert (root / "h").read_bytes() == b"changed"


def test_hardlink_to_itself(root):
    refused(archive(file("a"), hardlink("a", "a")), root, "itself")


def test_hardlink_to_a_directory(root):
    refused(archive(directory("d"), hardlink("h", "d")), root, "not a file")


def test_hardlink_to_the_root(root):
    refused(archive(hardlink("h", "/")), root)


def test_hardlink_to_a_deleted_file(root):
    refused(archive(file(".wh.x"), hardlink("h", "x")), root, "not a file")


def test_file_as_parent(root):
    refused(archive(file("f"), file("f/x")), root)


def test_magic_links(root):
    """A symbolic link to /proc/self/root leads nowhere special, because it is never a magic one."""
    refused(archive(symlink("p", "/proc/self/root"), file("p/tmp/new")), root)


def test_whiteout_of_dotdot(root):
    refused(archive(file("d/.wh...")), root, "whiteout of no name")


def test_whiteout_of_dot(root):
    refused(archive(file("d/.wh..")), root, "whiteout of no name")


def test_whiteout_of_nothing(root):
    refused(archive(file("d/.wh.")), root, "whiteout of no name")


def test_directory_named_like_a_whiteout(root):
    refused(archive(directory(".wh.x"), file(".wh.x/y")), root, "cannot hold files")


def test_whiteout_through_a_symlink(root):
    refused(archive(symlink("d", "../outside"), file("d/.wh.secret")), root)


def test_opaque_root(root, outside):
    unpack(archive(file(".wh..wh..opq")), root)
    assert os.listdir(root) == []


def test_device_number_zero_would_be_a_hidden_whiteout(root):
    refused(archive(Entry("passwd", "c", major=0, minor=0)), root, "0:0 would hide")


def test_sparse_bomb(root):
    records = {
        "GNU.sparse.major": b"1",
        "GNU.sparse.minor": b"0",
        "GNU.sparse.name": b"bomb",
        "GNU.sparse.realsize": b"%d" % (10 << 30),
    }
    body = b"1\n0\n1\n".ljust(512, b"\0") + b"x"
    stream = raw(pax(records), record(Entry("b", "f", size=len(body)), body))
    with pytest.raises(SizeLimitError):
        unpack(stream, root, limits=Limits(total_size=1 << 30))
    stream.seek(0)
    unpack(stream, root)
    assert (root / "bomb").stat().st_size == 10 << 30
    assert (root / "bomb").stat().st_blocks < 100


def test_duplicates_of_every_kind(root):
    kinds = [file("x"), directory("x"), symlink("x", "/etc"), Entry("x", "p"), file("x", b"last")]
    unpack(archive(*kinds, *reversed(kinds), *kinds), root)
    assert (root / "x").read_bytes() == b"last"


def test_fifo_in_place_of_a_file_does_not_block(root):
    unpack(archive(Entry("f", "p"), file("f"), Entry("g", "p"), hardlink("h", "g")), root)
    assert (root / "f").read_bytes() == b"data"


def test_overlay_attributes_do_not_arrive(root):
    block = pax({"SCHILY.xattr.user.overlay.redirect": b"/outside"})
    unpack(raw(block, header(directory("d"))), root)
    assert os.listxattr(root / "d") == []


def test_entries_of_a_copy_are_confined_too(root, outside):
    with pytest.raises(InvalidArchiveError):
        unpack_entries([symlink("d", str(outside)), file("d/new")], root)


@pytest.mark.parametrize("path", ["../new", "a/..", "..", ".", "/new", "a//b", "a/", "a/./b"])
def test_entries_of_a_copy_with_paths_that_are_not_plain(root, path):
    """Replacing ``..`` would remove the tree around the root."""
    with pytest.raises(InvalidArchiveError, match="plain relative"):
        unpack_entries([file(path)], root)
    assert os.listdir(root) == []


@pytest.mark.root
def test_another_file_system_below_the_target_is_not_entered(root):
    import ctypes

    (root / "mnt").mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"none", os.fsencode(root / "mnt"), b"tmpfs", 0, None) == 0
    try:
        refused(archive(file("mnt/x")), root)
    finally:
        libc.umount2(os.fsencode(root / "mnt"), 2)
