import io
import os
import subprocess
import tarfile

import pytest

from images.errors import InvalidArchiveError, SizeLimitError
from images.layers.entry import Entry
from images.layers.tar_read import Limits, parse_pax, read_tar
from images.layers.tar_write import header
from tests.images.layers.archives import (
    archive,
    directory,
    file,
    hardlink,
    patched,
    pax,
    raw,
    record,
    symlink,
)


def read(stream, **options):
    return [(entry, body.read()) for entry, body in read_tar(stream, **options)]


def only(stream, **options) -> Entry:
    ((entry, _),) = read(stream, **options)
    return entry


def python_tar(fmt: int, *members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=fmt) as out:
        for member, data in members:
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    stream.seek(0)
    return stream


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_formats_of_the_field(fmt):
    member = tarfile.TarInfo("a/b")
    member.mode, member.uid, member.gid, member.mtime = 0o640, 12, 13, 1_500_000_000
    ((entry, body),) = read(python_tar(fmt, (member, b"hello")))
    assert body == b"hello"
    assert (entry.path, entry.mode, entry.uid, entry.gid) == ("a/b", 0o640, 12, 13)
    assert entry.mtime == 1_500_000_000 * 10**9


@pytest.mark.parametrize("fmt", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_links(fmt):
    name, target = "n/" * 150 + "f", "t/" * 150 + "g"
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    entry = only(python_tar(fmt, (link, b"")))
    assert (entry.path, entry.linkname) == (name, target)


def test_large_numbers_in_base_256():
    member = tarfile.TarInfo("x")
    member.uid, member.mtime = 3_000_000_000, -77
    entry = only(python_tar(tarfile.GNU_FORMAT, (member, b"")))
    assert (entry.uid, entry.mtime) == (3_000_000_000, -77 * 10**9)


def test_fractions_of_seconds_are_kept_as_nanoseconds():
    assert only(raw(pax({"mtime": b"12.5"}), header(Entry("x", "p")))).mtime == 12_500_000_000
    assert only(raw(pax({"mtime": b"-1.25"}), header(Entry("x", "p")))).mtime == -1_250_000_000
    assert only(raw(pax({"mtime": b"3"}), header(Entry("x", "p")))).mtime == 3_000_000_000


def test_v7_directories_are_files_with_a_slash():
    block = patched(header(Entry("d/", "f")), 257, bytes(8))
    assert only(raw(patched(block, 156, b"\0"))).kind == "d"


@pytest.mark.parametrize(
    ("name", "path"),
    [("./a//b/./c", "a/b/c"), ("/etc/x", "etc/x"), ("a/", "a"), ("//", ""), (".", "")],
)
def test_names_are_normalised(name, path):
    assert only(raw(header(Entry(name, "d")))).path == path


def test_hard_link_targets_are_normalised_and_symlinks_are_not():
    entries = [entry for entry, _ in read(archive(hardlink("h", "/a/./b"), symlink("s", "/a/./b")))]
    assert [entry.linkname for entry in entries] == ["a/b", "/a/./b"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/..", ".."])
def test_dotdot_is_refused(name):
    with pytest.raises(InvalidArchiveError, match="leave the root"):
        read(raw(header(Entry(name, "d"))))


@pytest.mark.parametrize(("name", "path"), [("../x", "x"), ("a/../../b", "b"), ("a/b/../c", "a/c")])
def test_dotdot_is_clamped_on_request(name, path):
    assert only(raw(header(Entry(name, "d"))), clamp=True).path == path


def test_dotdot_in_a_hard_link_target_is_refused():
    with pytest.raises(InvalidArchiveError, match="leave the root"):
        read(archive(hardlink("h", "../../etc/shadow")))


def test_a_pax_path_is_checked_like_any_other():
    with pytest.raises(InvalidArchiveError, match="leave the root"):
        read(raw(pax({"path": b"../../etc/passwd"}), header(Entry("innocent", "p"))))


def test_nul_in_a_pax_path_is_refused():
    with pytest.raises(InvalidArchiveError, match="NUL"):
        read(raw(pax({"path": b"good\0evil"}), header(Entry("x", "p"))))


def test_the_root_must_be_a_directory():
    with pytest.raises(InvalidArchiveError, match="only be a directory"):
        read(raw(header(Entry("/", "l", linkname="/etc"))))


def test_headers_without_content_have_none_whatever_their_size():
    """As in Docker's reader: a size on a directory or link does not hide the next header."""
    liar = patched(header(directory("d")), 124, b"00000001000\0")
    assert [e.path for e, _ in read(raw(liar, header(Entry("next", "p"))))] == ["d", "next"]


def test_bodies_not_read_are_skipped():
    stream = archive(file("a", b"x" * 1000), file("b", b"y" * 513), file("c", b"z"))
    assert [entry.path for entry, _ in read_tar(stream)] == ["a", "b", "c"]


def test_bodies_read_in_part_are_skipped():
    stream = archive(file("a", b"x" * 1000), file("b"))
    assert [body.read(3) for _, body in read_tar(stream)] == [b"xxx", b"dat"]


def test_streams_that_give_little_at_a_time():
    class Drops(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

    data = archive(file("a", os.urandom(2000)), file("b")).getvalue()
    assert read(Drops(data)) == read(io.BytesIO(data))


def test_extended_attributes():
    entry = only(archive(Entry("x", "p", xattrs={"user.a": b"\0\n="})))
    assert entry.xattrs == {"user.a": b"\0\n="}


def test_overlayfs_attributes_are_dropped():
    """An image could steer the mount with them (CVE-2023-0386 is of that family)."""
    sneaky = {
        "SCHILY.xattr.trusted.overlay.redirect": b"/",
        "SCHILY.xattr.user.overlay.opaque": b"y",
    }
    assert only(raw(pax(sneaky), header(Entry("x", "d")))).xattrs == {}


@pytest.mark.parametrize("cut", [1, 511, 512 + 100])
def test_truncated(cut):
    data = archive(file("a", b"x" * 600)).getvalue()
    with pytest.raises(InvalidArchiveError, match="truncated"):
        read(io.BytesIO(data[:cut]))


def test_no_end_records_is_fine_and_an_empty_stream_too():
    assert len(read(io.BytesIO(archive(file("a")).getvalue()[:1024]))) == 1
    assert read(io.BytesIO()) == []


def test_data_behind_one_zero_record_is_refused():
    with pytest.raises(InvalidArchiveError, match="after a zero record"):
        read(io.BytesIO(bytes(512) + archive(file("hidden")).getvalue()))


def test_what_follows_the_end_is_not_read():
    stream = io.BytesIO(archive(file("a")).getvalue() + archive(file("b")).getvalue())
    assert [entry.path for entry, _ in read(stream)] == ["a"]


def test_wrong_checksum():
    block = bytearray(header(file("a")))
    block[0] ^= 1
    with pytest.raises(InvalidArchiveError, match="checksum"):
        read(raw(bytes(block)))


def test_signed_checksums_of_old_archivers():
    block = header(Entry(os.fsdecode(b"\xe9"), "p"))
    signed = sum(b - 256 if b > 127 else b for b in block[:148] + block[156:]) + 256
    assert only(raw(block[:148] + b"%06o\0 " % signed + block[156:])).kind == "p"


def test_not_a_tar_archive():
    with pytest.raises(InvalidArchiveError):
        read(io.BytesIO(b"#!/bin/sh\n" * 200))


@pytest.mark.parametrize("flag", [b"7", b"V", b"D", b"M", b"Z"])
def test_unknown_types_are_refused(flag):
    with pytest.raises(InvalidArchiveError, match="unsupported entry type"):
        read(raw(patched(header(Entry("x", "f")), 156, flag)))


def test_global_headers_may_only_comment():
    assert only(raw(pax({"comment": b"git"}, b"g"), header(Entry("x", "p")))).path == "x"
    with pytest.raises(InvalidArchiveError, match="global header sets 'path'"):
        read(raw(pax({"path": b"evil"}, b"g"), header(Entry("x", "p"))))


def test_an_extended_header_needs_its_entry():
    with pytest.raises(InvalidArchiveError, match="without an entry"):
        read(raw(pax({"path": b"x"})))


@pytest.mark.parametrize(
    "data",
    [b"5 a=b", b"99 a=b\n", b"0 a=b\n", b"a=b\n", b"6 =ab\n", b"5 ab\n", b"+6 a=b\n", b"06"],
)
def test_malformed_pax(data):
    with pytest.raises(InvalidArchiveError):
        parse_pax(data)


def test_the_last_of_two_pax_records_counts_as_in_dockers_reader():
    assert parse_pax(b"6 a=1\n6 a=2\n") == {"a": b"2"}


@pytest.mark.parametrize("number", [b"1_0", b"0x1", b"+1", b"-1", b"9", b"\xd9\xa1"])
def test_numbers_are_octal_digits_and_nothing_else(number):
    block = patched(header(Entry("x", "p")), 108, number.ljust(8, b"\0"))
    with pytest.raises(InvalidArchiveError):
        read(raw(block))


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"size": b"-1"}, "malformed"),
        ({"uid": b"4294967295"}, "out of range"),
        ({"mtime": b"99999999999999"}, "out of range"),
        ({"mtime": b"nan"}, "malformed"),
    ],
)
def test_pax_numbers_are_bounded(records, message):
    with pytest.raises(InvalidArchiveError, match=message):
        read(raw(pax(records), header(Entry("x", "f"))))


def test_link_without_target():
    with pytest.raises(InvalidArchiveError, match="link without"):
        read(raw(header(Entry("x", "l"))))


class TestLimits:
    def test_entries(self):
        stream = archive(*(Entry(str(n), "p") for n in range(5)))
        with pytest.raises(SizeLimitError, match="more than 4 entries"):
            read(stream, limits=Limits(entries=4))

    def test_total_size(self):
        stream = archive(file("a", bytes(600)), file("b", bytes(600)))
        with pytest.raises(SizeLimitError, match="more than 1000 bytes"):
            read(stream, limits=Limits(total_size=1000))

    def test_extended_header(self):
        stream = raw(pax({"comment": b"x" * 5000}), header(Entry("x", "p")))
        with pytest.raises(SizeLimitError, match="too long"):
            read(stream, limits=Limits(header=4096))

    def test_name(self):
        with pytest.raises(InvalidArchiveError, match="too long"):
            read(archive(Entry("x" * 5000, "p")))

    def test_depth(self):
        with pytest.raises(InvalidArchiveError, match="nested too deeply"):
            read(archive(Entry("d/" * 300 + "x", "p")))

    def test_an_announced_exabyte_allocates_nothing(self):
        block = patched(header(Entry("x", "f")), 124, b"\x80" + bytes(3) + b"\x0f" * 8)
        with pytest.raises(SizeLimitError):
            read(raw(block))


class TestSparse:
    @pytest.mark.parametrize(
        "options",
        [
            ["--format=gnu"],
            ["--format=posix", "--sparse-version=1.0"],
            ["--format=posix", "--sparse-version=0.1"],
        ],
    )
    def test_what_gnu_tar_writes(self, tmp_path, options):
        path = tmp_path / "sparse"
        with path.open("wb") as out:
            for n in range(12):
                out.seek(n << 20)
                out.write(b"%d" % n * 100)
            out.truncate(13 << 20)
        subprocess.run(
            ["tar", "-C", tmp_path, "-S", *options, "-cf", tmp_path / "t", "sparse"], check=True
        )
        with (tmp_path / "t").open("rb") as stream:
            assert (tmp_path / "t").stat().st_size < 1 << 20
            ((entry, body),) = read(stream)
        assert (entry.path, entry.size) == ("sparse", 13 << 20)
        assert body == path.read_bytes()

    def sparse(self, segments: bytes, stored: bytes, size: int = 100) -> io.BytesIO:
        records = {
            "GNU.sparse.major": b"1",
            "GNU.sparse.minor": b"0",
            "GNU.sparse.name": b"s",
            "GNU.sparse.realsize": b"%d" % size,
        }
        body = segments + bytes(-len(segments) % 512) + stored
        return raw(pax(records), record(Entry("x", "f", size=len(body)), body))

    def test_a_good_map(self):
        ((entry, body),) = read(self.sparse(b"1\n10\n3\n", b"abc"))
        assert entry.path == "s"
        assert body == bytes(10) + b"abc" + bytes(87)

    @pytest.mark.parametrize(
        "segments",
        [
            b"2\n10\n3\n5\n3\n",  # not sorted
            b"2\n10\n3\n12\n3\n",  # overlapping
            b"1\n99\n3\n",  # beyond the end
            b"1\n10\n4\n",  # more than is stored
            b"1\n10\n2\n",  # less than is stored
            b"1\n-1\n3\n",
            b"99999999\n",
            b"x\n",
            b"",
        ],
    )
    def test_a_lying_map_is_refused(self, segments):
        with pytest.raises(InvalidArchiveError):
            read(self.sparse(segments, b"abc"))

    def test_a_10_gb_bomb_counts_with_its_holes(self):
        stream = self.sparse(b"1\n0\n3\n", b"abc", size=10 << 30)
        with pytest.raises(SizeLimitError, match="unpacks to more than"):
            read(stream, limits=Limits(total_size=1 << 30))

    def test_version_0_0_is_refused_by_name(self):
        stream = raw(pax({"GNU.sparse.numblocks": b"1"}), header(Entry("x", "f")))
        with pytest.raises(InvalidArchiveError, match="version of sparse"):
            read(stream)

    def test_reading_in_small_steps_fills_holes(self):
        _, body = next(read_tar(self.sparse(b"1\n10\n3\n", b"abc")))
        assert body.read(11) + body.read(1) + body.read(50) + body.read() == bytes(
            10
        ) + b"abc" + bytes(87)


def test_a_pax_record_without_a_length_behind_a_good_one():
    """It was once taken for the good one, again and again, without end."""
    with pytest.raises(InvalidArchiveError, match="PAX header is malformed"):
        parse_pax(b"8 a=bcd\n" + b"x" * 30)
