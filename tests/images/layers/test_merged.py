import os
from pathlib import Path

import pytest

from images.errors import InputError, SizeLimitError
from images.layers.merged import MergedTree, entry_of
from tests.images.layers.archives import paths


@pytest.fixture
def layers(tmp_path):
    """Three empty layers, topmost first."""
    made = [tmp_path / name for name in ("top", "middle", "bottom")]
    for path in made:
        path.mkdir()
    return made


def write(layer: Path, name: str, text: str = "x") -> None:
    (layer / name).parent.mkdir(parents=True, exist_ok=True)
    (layer / name).write_text(text)


def make_opaque(path: Path) -> None:
    os.setxattr(path, "user.overlay.opaque", b"y")


def test_the_topmost_wins(layers):
    top, _, bottom = layers
    write(bottom, "a/f", "old")
    write(top, "a/f", "new")
    tree = MergedTree(layers)
    assert tree.read_text("a/f") == "new"
    assert tree.lookup("a/f").layer == str(top)


def test_directories_merge(layers):
    for layer, name in zip(layers, ["a/1", "a/2", "a/3"], strict=True):
        write(layer, name)
    tree = MergedTree(layers)
    assert tree.listdir("a") == ["1", "2", "3"]
    assert tree.listdir("/a/") == ["1", "2", "3"]
    assert tree.listdir("") == ["a"]


def test_an_opaque_directory_hides_what_is_below(layers):
    top, middle, bottom = layers
    write(bottom, "a/old")
    write(middle, "a/new")
    make_opaque(middle / "a")
    write(top, "a/newest")
    tree = MergedTree(layers)
    assert tree.listdir("a") == ["new", "newest"]
    assert tree.lookup("a/old") is None


def test_an_opaque_root(layers):
    _, middle, bottom = layers
    write(bottom, "old")
    write(middle, "new")
    make_opaque(middle)
    assert MergedTree(layers).listdir("") == ["new"]
    assert len(MergedTree(layers).lowers) == 2


def test_a_file_between_hides_the_directory_below(layers):
    top, middle, bottom = layers
    write(bottom, "a/old")
    write(middle, "a")
    write(top, "a/new")
    assert MergedTree(layers).listdir("a") == ["new"]


@pytest.mark.root
def test_whiteouts(layers):
    top, _, bottom = layers
    write(bottom, "a/f")
    write(bottom, "b")
    (top / "a").mkdir()
    os.mknod(top / "a/f", 0o020000, 0)
    os.mknod(top / "b", 0o020000, 0)
    tree = MergedTree(layers)
    assert tree.listdir("") == ["a"]
    assert tree.listdir("a") == []
    assert tree.lookup("a/f") is None
    assert tree.lookup("b") is None


class TestLinks:
    def test_followed_within_the_root(self, layers):
        top, _, bottom = layers
        write(bottom, "usr/lib/so", "lib")
        (top / "lib").symlink_to("/usr/lib")
        (top / "so").symlink_to("lib/../lib/so")
        tree = MergedTree(layers)
        assert tree.lookup("lib/so").path == "usr/lib/so"
        assert tree.read_text("so") == "lib"
        assert tree.lookup("so", follow=False).is_symlink
        assert tree.readlink("so") == "lib/../lib/so"

    def test_never_out_of_the_root(self, layers, tmp_path):
        top = layers[0]
        (tmp_path / "secret").write_text("secret")
        (top / "up").symlink_to("../../../secret")
        (top / "abs").symlink_to(str(tmp_path / "secret"))
        tree = MergedTree(layers)
        assert tree.lookup("up") is None
        assert tree.lookup("abs") is None
        assert tree.read_text("../../secret") is None

    def test_loops(self, layers):
        (layers[0] / "a").symlink_to("b")
        (layers[0] / "b").symlink_to("a")
        with pytest.raises(InputError, match="too many levels"):
            MergedTree(layers).lookup("a")
        assert MergedTree(layers).lookup("a", follow=False) is not None

    def test_dotdot_behind_a_link_is_the_parent_of_its_target(self, layers):
        write(layers[2], "x/y/here")
        write(layers[2], "x/f", "right")
        (layers[0] / "l").symlink_to("x/y")
        assert MergedTree(layers).read_text("l/../f") == "right"

    def test_resolve_follows_dangling_links(self, layers):
        (layers[0] / "data").symlink_to("/srv/data")
        write(layers[1], "srv/other")
        tree = MergedTree(layers)
        assert tree.resolve("data/new/file") == "srv/data/new/file"
        assert tree.resolve("/srv/other") == "srv/other"
        assert tree.resolve("no/such/../thing") == "no/thing"
        assert tree.resolve("../../x") == "x"


def test_what_is_not_there(layers):
    write(layers[0], "f")
    tree = MergedTree(layers)
    assert tree.lookup("g") is None
    assert tree.lookup("f/below") is None
    assert tree.lookup("x" * 300) is None
    assert tree.lookup("nul\0") is None
    assert tree.read_text("g") is None
    with pytest.raises(FileNotFoundError):
        tree.listdir("g")
    with pytest.raises(NotADirectoryError):
        tree.listdir("f")
    with pytest.raises(FileNotFoundError):
        tree.open("g")
    with pytest.raises(FileNotFoundError):
        tree.readlink("g")


def test_no_layers_at_all():
    tree = MergedTree([])
    assert tree.lookup("etc/passwd") is None
    assert tree.lookup("") is None
    assert tree.resolve("/app") == "app"
    assert tree.listdir("") == []


def test_only_regular_files_are_read(layers):
    """A FIFO in place of /etc/passwd would hang its reader (CVE-2024-9676)."""
    os.mkfifo(layers[0] / "passwd")
    (layers[0] / "group").mkdir()
    tree = MergedTree(layers)
    assert tree.read_text("passwd") is None
    assert tree.read_text("group") is None
    with pytest.raises(InputError, match="not a regular file"):
        tree.open("passwd")


def test_small_files_must_be_small(layers):
    write(layers[0], "passwd", "x" * 101)
    with pytest.raises(SizeLimitError):
        MergedTree(layers).read_text("passwd", limit=100)


def test_bytes_that_are_not_text(layers):
    (layers[0] / "f").write_bytes(b"caf\xe9")
    assert MergedTree(layers).read_text("f") == "caf\udce9"


def test_walk_is_sorted_and_does_not_follow(layers):
    write(layers[2], "a/b/c")
    write(layers[0], "a/a")
    (layers[1] / "l").symlink_to("a")
    tree = MergedTree(layers)
    assert [node.path for node in tree.walk()] == ["a", "a/a", "a/b", "a/b/c", "l"]
    assert [node.path for node in tree.walk("l")] == ["a/a", "a/b", "a/b/c"]


def test_open(layers):
    write(layers[2], "d/f", "content")
    with MergedTree(layers).open("d/f") as file:
        assert file.read() == b"content"


def test_entries_of_nodes(layers):
    write(layers[2], "d/f", "content")
    os.setxattr(layers[2] / "d/f", "user.x", b"1")
    os.setxattr(layers[2] / "d/f", "user.overlay.origin", b"1")
    (layers[2] / "d/l").symlink_to("f")
    tree = MergedTree(layers)
    entries = [entry_of(node) for node in tree.walk()]
    assert paths(entries) == ["d", "d/f", "d/l"]
    assert entries[1].xattrs == {"user.x": b"1"}
    assert (entries[2].kind, entries[2].linkname) == ("l", "f")
    with entries[1].open_source() as file:
        assert file.read() == b"content"
    assert entry_of(tree.lookup("d/f"), "elsewhere").path == "elsewhere"


@pytest.mark.root
def test_it_shows_what_overlayfs_shows(layers, tmp_path):
    import ctypes

    top, middle, bottom = layers
    for name in ("a/1", "a/2", "b/1", "c", "d/1", "e/f/g"):
        write(bottom, name, "bottom")
    write(middle, "a/2", "middle")
    write(middle, "b/2", "middle")
    os.setxattr(middle / "b", "trusted.overlay.opaque", b"y")
    os.mknod(middle / "c", 0o020000, 0)
    write(top, "c/new", "top")
    write(top, "d", "file now")
    (top / "e").mkdir()
    os.mknod(top / "e/f", 0o020000, 0)
    (top / "link").symlink_to("a/2")
    mount = tmp_path / "mount"
    mount.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    data = "lowerdir=" + ":".join(map(str, layers))
    result = libc.mount(b"overlay", os.fsencode(mount), b"overlay", 1, data.encode())
    assert result == 0, os.strerror(ctypes.get_errno())
    try:
        shown = sorted(str(p.relative_to(mount)) for p in mount.rglob("*"))
        tree = MergedTree(layers)
        assert sorted(node.path for node in tree.walk()) == shown
        for node in tree.walk():
            if node.is_file:
                assert Path(node.real).read_bytes() == (mount / node.path).read_bytes()
    finally:
        libc.umount2(os.fsencode(mount), 2)
