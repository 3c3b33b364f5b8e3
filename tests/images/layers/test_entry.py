import io

import pytest

from images.layers.entry import Entry, opaque, whiteout


@pytest.mark.parametrize(
    ("path", "parent", "name"), [("a", "", "a"), ("a/b/c", "a/b", "c"), ("", "", "")]
)
def test_parent_and_name(path, parent, name):
    entry = Entry(path, "d")
    assert (entry.parent, entry.name) == (parent, name)


def test_whiteouts():
    assert whiteout("a/b").path == "a/.wh.b"
    assert whiteout("b").path == ".wh.b"
    assert opaque("a").path == "a/.wh..wh..opq"
    assert opaque("").path == ".wh..wh..opq"
    assert whiteout("x").is_whiteout
    assert opaque("x").is_whiteout
    assert not Entry("a.wh.b", "f").is_whiteout
    assert not Entry(".wh.dir/file", "f").is_whiteout


def test_sources(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    for source in (b"abc", str(path), lambda: io.BytesIO(b"abc")):
        with Entry("f", "f", size=3, source=source).open_source() as file:
            assert file.read() == b"abc"
    assert Entry("f", "f").open_source().read() == b""


def test_entries_compare_by_what_they_say_not_by_where_their_bytes_are():
    assert Entry("f", "f", size=1, source=b"a") == Entry("f", "f", size=1, source="/tmp/a")


def test_entries_are_values():
    entry = Entry("f", "f", size=1, xattrs={"user.a": b"1"}, source=b"a")
    assert hash(entry) == hash(entry.read_from("/tmp/a"))
    assert entry != Entry("f", "f", size=1, source=b"a"), "attributes are part of what it says"
    assert entry != tuple(entry)
    with pytest.raises(AttributeError):
        entry.mode = 0
