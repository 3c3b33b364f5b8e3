"""Entries to tar to entries, and directories to tar to directories, lose nothing."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.errors import ImagesError
from images.layers.compress import BLOCK, Decompressed, compressor
from images.layers.entry import Entry
from images.layers.overlay_diff import scan_upper
from images.layers.tar_read import Limits, read_tar
from images.layers.tar_write import write_tar
from images.layers.unpack import unpack
from tests.property.layers_strategies import (
    NAMES,
    SECOND,
    link_groups,
    make,
    owned,
    picture,
    trees,
)

SLOW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tar(entries) -> bytes:
    out = io.BytesIO()
    write_tar(entries, out.write)
    return out.getvalue()


ANY = st.builds(
    Entry,
    path=st.lists(NAMES, min_size=1, max_size=5).map("/".join),
    kind=st.sampled_from("fdlhcbp"),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mtime=st.integers(-(2**35), 2**39).map(lambda seconds: seconds * SECOND),
    linkname=st.lists(NAMES, min_size=1, max_size=30).map("/".join),
    major=st.integers(0, 4095),
    minor=st.integers(0, 2**20 - 1),
    xattrs=st.dictionaries(
        st.sampled_from(["user.x", "security.capability"]), st.binary(max_size=50)
    ),
    source=st.binary(max_size=1500),
)


def sensible(entry: Entry) -> Entry:
    """Without the fields its kind does not have."""
    device, link, data = entry.kind in "cb", entry.kind in "lh", entry.kind == "f"
    source = entry.source if data else None
    return entry._replace(
        linkname=entry.linkname if link else "",
        major=entry.major if device else 0,
        minor=entry.minor if device else 0,
        size=len(source) if source is not None else 0,
        source=source,
    )


@given(st.lists(ANY.map(sensible), max_size=6))
def test_entries_to_tar_to_entries(entries):
    stream = io.BytesIO(tar(entries))
    found = [(entry, body.read()) for entry, body in read_tar(stream)]
    assert [entry for entry, _ in found] == entries
    assert [body for _, body in found] == [entry.source or b"" for entry in entries]


@given(st.lists(ANY.map(sensible), max_size=4))
def test_python_reads_the_same(entries):
    stream = io.BytesIO(tar(entries))
    members = tarfile.open(fileobj=stream, encoding="utf-8", errors="surrogateescape").getmembers()
    assert [m.name for m in members] == [entry.path for entry in entries]
    assert [m.uid for m in members] == [entry.uid for entry in entries]
    assert [int(m.mtime) for m in members] == [entry.mtime // SECOND for entry in entries]
    links = [m.linkname for m in members if m.islnk() or m.issym()]
    assert links == [entry.linkname for entry in entries if entry.linkname]


@given(trees())
@SLOW
def test_directory_to_tar_to_directory(tmp_path: Path, entries):
    first = make(tmp_path / "first", owned(entries))
    archive = tar(scan_upper(first))
    second = make(tmp_path / "second", [])
    unpack(io.BytesIO(archive), second)
    assert tar(scan_upper(second)) == archive
    assert picture(scan_upper(first)) == picture(entries)
    assert link_groups(scan_upper(second)) == link_groups(scan_upper(first))


@given(st.binary(max_size=3000), st.integers(0, 4000), st.binary(min_size=1, max_size=4))
@settings(max_examples=150)
def test_damaged_archives_are_refused_or_read_but_never_crash(tmp_path_factory, data, at, change):
    entries = [
        Entry("d", "d"),
        Entry("d/é" * 40, "f", size=len(data), source=data),
        Entry("e", "p"),
    ]
    archive = bytearray(tar(entries))
    archive[at : at + len(change)] = change
    try:
        for _, body in read_tar(io.BytesIO(bytes(archive)), limits=Limits(file_size=1 << 20)):
            body.read()
    except ImagesError:
        pass


@given(st.data())
@settings(max_examples=25)
def test_compression_does_not_see_how_it_is_fed(data):
    content = data.draw(st.binary(min_size=1, max_size=200)) * data.draw(st.integers(1, 15_000))
    kind = data.draw(st.sampled_from(["gzip", "zstd", "none"]))
    whole, parts = bytearray(), bytearray()
    stream = compressor(kind, whole.extend, threads=1)
    stream.write(content)
    stream.close()
    stream = compressor(kind, parts.extend, threads=3)
    step = data.draw(st.integers(max(1, len(content) // 50), BLOCK * 2))
    for at in range(0, len(content), step):
        stream.write(content[at : at + step])
    stream.close()
    assert whole == parts
    plain = Decompressed(io.BytesIO(bytes(whole)), kind)
    assert b"".join(iter(lambda: bytes(plain.read(BLOCK)), b"")) == content


@pytest.mark.root
@given(
    trees(),
    st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)), min_size=12, max_size=12),
)
@SLOW
def test_owners_survive(tmp_path: Path, entries, owners):
    entries = [
        entry if entry.kind == "h" else entry._replace(uid=uid, gid=gid)
        for entry, (uid, gid) in zip(entries, owners, strict=False)
    ]
    root = make(tmp_path / "root", entries)
    found = {entry.path: entry for entry in scan_upper(root)}
    for entry in entries:
        if entry.kind != "h":
            assert (found[entry.path].uid, found[entry.path].gid) == (entry.uid, entry.gid)
