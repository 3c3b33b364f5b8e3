import io
import os
import tarfile
from pathlib import Path

import pytest

from images.errors import InputError
from images.layers.compress import BLOCK
from images.layers.entry import Entry
from images.layers.tar_write import header, write_tar
from tests.images.layers.archives import archive, directory, file, hardlink, symlink


def members(*entries: Entry) -> list[tarfile.TarInfo]:
    return tarfile.open(fileobj=archive(*entries), mode="r:").getmembers()


def only(entry: Entry) -> tarfile.TarInfo:
    (member,) = members(entry)
    return member


def test_fields_are_what_python_reads():
    member = only(file("a/b", b"xyz", mode=0o4755, uid=7, gid=8, mtime=1_600_000_000_123_456_789))
    assert (member.name, member.size, member.mode) == ("a/b", 3, 0o4755)
    assert (member.uid, member.gid, member.mtime) == (7, 8, 1_600_000_000)
    assert (member.uname, member.gname) == ("", "")
    assert member.pax_headers == {}


def test_kinds():
    found = members(
        directory("d"),
        file("d/f"),
        hardlink("d/h", "d/f"),
        symlink("d/l", "../x"),
        Entry("d/c", "c", major=5, minor=300),
        Entry("d/b", "b", major=8, minor=1),
        Entry("d/p", "p"),
    )
    assert [m.type for m in found] == [b"5", b"0", b"1", b"2", b"3", b"4", b"6"]
    assert found[2].linkname == "d/f"
    assert found[3].linkname == "../x"
    assert (found[4].devmajor, found[4].devminor) == (5, 300)


def test_the_root_is_dot_slash():
    assert archive(directory("", 0o700)).read(3) == b"./\0"


def test_directories_end_in_a_slash():
    assert archive(directory("etc")).read(5) == b"etc/\0"


@pytest.mark.parametrize(
    ("path", "records"),
    [
        ("x" * 100, 1),
        ("x" * 101, 3),
        ("d" * 100 + "/" + "f" * 100, 1),
        ("d" * 155 + "/" + "f" * 100, 1),
        ("d" * 156 + "/" + "f" * 100, 3),
        ("d/" * 126 + "f", 1),
        ("d/" * 200 + "f", 3),
    ],
)
def test_pax_only_for_names_that_ustar_cannot_hold(path, records):
    entry = Entry(path, "p")
    assert len(header(entry)) == records * 512
    assert only(entry).name == path


def test_non_ascii_names_are_pax_and_readable():
    member = only(file("größe/日本"))
    assert member.name == "größe/日本"
    assert member.pax_headers["path"] == "größe/日本"


def test_names_that_are_not_text_stay_the_same_bytes():
    name = os.fsdecode(b"caf\xe9")
    assert only(file(name)).name == name
    long = os.fsdecode(b"\xff" * 120)
    assert b"hdrcharset=BINARY" in header(Entry(long, "p"))
    assert b"path=" + b"\xff" * 120 in header(Entry(long, "p"))


def test_long_link_targets():
    target = "/".join(["deep"] * 60)
    assert only(symlink("l", target)).linkname == target


@pytest.mark.parametrize("uid", [0o7777777, 0o7777777 + 1, 2**32 - 2])
def test_large_ids(uid):
    assert only(Entry("x", "p", uid=uid, gid=uid)).uid == uid


@pytest.mark.parametrize("seconds", [-5, 0, 0o77777777777, 0o77777777777 + 1])
def test_times(seconds):
    assert only(Entry("x", "p", mtime=seconds * 10**9)).mtime == seconds


def test_times_before_the_epoch_round_down():
    assert only(Entry("x", "p", mtime=-1)).mtime == -1


def test_sizes_above_8_gib_are_pax():
    block = header(Entry("big", "f", size=8 << 30))
    assert b"size=8589934592\n" in block
    assert header(Entry("big", "f", size=(8 << 30) - 1)).count(b"PaxHeaders") == 0


def test_extended_attributes_are_sorted_and_binary_safe():
    attributes = {"user.b": b"\x00\n=", "security.capability": b"\x01\xff"}
    block = header(Entry("x", "p", xattrs=attributes))
    first = block.index(b"SCHILY.xattr.security.capability=\x01\xff\n")
    assert first < block.index(b"SCHILY.xattr.user.b=\x00\n=\n")


def test_an_attribute_name_with_an_equals_sign_is_refused():
    with pytest.raises(InputError, match="cannot be archived"):
        header(Entry("x", "p", xattrs={"user.a=b": b""}))


def test_pax_lengths_count_their_own_digits():
    for length in range(80, 110):
        assert only(Entry("é" + "x" * length, "p")).name == "é" + "x" * length


@pytest.mark.parametrize("kind", ["path", "bytes", "function"])
def test_sources(tmp_path, kind):
    data = os.urandom(3 * BLOCK + 77)
    path = tmp_path / "f"
    path.write_bytes(data)
    source = {"path": str(path), "bytes": data, "function": lambda: io.BytesIO(data)}[kind]
    stream = archive(Entry("f", "f", size=len(data), source=source), file("g", b"end"))
    reader = tarfile.open(fileobj=stream)
    assert reader.extractfile("f").read() == data
    assert reader.extractfile("g").read() == b"end"


def test_every_block_but_the_last_is_whole():
    sizes: list[int] = []
    total = write_tar([file("f", bytes(3 * BLOCK)), file("g")], lambda b: sizes.append(len(b)))
    assert sizes[:-1] == [BLOCK] * (len(sizes) - 1)
    assert sum(sizes) == total
    assert total % 512 == 0


def test_blocks_are_not_changed_after_they_were_handed_out():
    kept: list[bytearray | memoryview] = []
    entries = [file(str(n), bytes([n]) * BLOCK) for n in range(5)]
    write_tar(entries, kept.append)
    assert b"".join(bytes(b) for b in kept) == archive(*entries).getvalue()


@pytest.mark.parametrize("real", [3, 0])
def test_a_file_that_shrank_is_an_error(tmp_path: Path, real):
    path = tmp_path / "f"
    path.write_bytes(b"x" * real)
    with pytest.raises(InputError, match="changed while it was read") as caught:
        archive(Entry("f", "f", size=10, source=str(path)))
    assert caught.value.where == str(path)
    assert caught.value.fix


def test_a_file_that_grew_is_cut_at_its_size(tmp_path: Path):
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    stream = archive(Entry("f", "f", size=4, source=str(path)), file("g"))
    assert tarfile.open(fileobj=stream).extractfile("f").read() == b"0123"


def test_bytes_of_another_length_are_an_error():
    with pytest.raises(InputError):
        archive(Entry("f", "f", size=3, source=b"four"))


def test_a_symlink_put_in_place_of_a_source_is_not_followed(tmp_path: Path):
    link = tmp_path / "l"
    link.symlink_to("/etc/hostname")
    with pytest.raises(OSError, match="symbolic links"):
        archive(Entry("f", "f", size=1, source=str(link)))


def test_gnu_tar_reads_it(tmp_path: Path):
    import subprocess

    names = ["plain", "d/" * 40 + "deep", "x" * 200, "größe"]
    path = tmp_path / "a.tar"
    path.write_bytes(archive(*(file(name) for name in names)).getvalue())
    command = ["tar", "--quoting-style=literal", "-tf", path]
    listed = subprocess.run(
        command,
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
    )
    assert listed.stdout.decode().splitlines() == names
    assert listed.stderr == b""
