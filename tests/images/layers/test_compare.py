"""Two layers compared: every attribute that may differ is told, and where contents part."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from images.layers.compare import FileDifference, compare_layers
from images.layers.entry import Entry
from images.layers.tar_write import write_tar

SECOND = 10**9
BASE = Entry("etc/a", "f", 0o644, 1, 2, 3, 1_700_000_000 * SECOND, source=b"abc")


def opener(*entries: Entry):
    out = io.BytesIO()
    write_tar(entries, out.write)

    @contextmanager
    def opened() -> Iterator[io.BytesIO]:
        yield io.BytesIO(out.getvalue())

    return opened


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (BASE._replace(mode=0o755), ["/etc/a: mode 0644, then 0755"]),
        (BASE._replace(uid=0), ["/etc/a: owner 1:2, then 0:2"]),
        (
            BASE._replace(mtime=1_700_000_001 * SECOND),
            ["/etc/a: mtime 2023-11-14T22:13:20Z, then 2023-11-14T22:13:21Z"],
        ),
        (BASE._replace(source=b"abd"), ["/etc/a: content differs from byte 2 on"]),
        (
            BASE._replace(size=5, source=b"abcde"),
            ["/etc/a: size 3, then 5", "/etc/a: content differs from byte 3 on"],
        ),
        (
            BASE._replace(xattrs={"user.x": b"\x01"}),
            ["/etc/a: xattr none, then user.x=01"],
        ),
        (Entry("etc/a", "d"), ["/etc/a: type file, then directory"]),
        (
            BASE._replace(path="etc/b"),
            ["/etc/a: only in the first build", "/etc/b: only in the second build"],
        ),
    ],
)
def test_what_differs(other: Entry, told: list[str]) -> None:
    assert [str(one) for one in compare_layers(opener(BASE), opener(other))] == told


def test_links_and_devices() -> None:
    first = opener(Entry("l", "l", 0o777, linkname="a"), Entry("n", "c", 0o600, major=1, minor=3))
    second = opener(Entry("l", "l", 0o777, linkname="b"), Entry("n", "c", 0o600, major=1, minor=5))
    assert [str(one) for one in compare_layers(first, second)] == [
        "/l: link a, then b",
        "/n: device 1:3, then 1:5",
    ]


def test_far_into_a_large_file() -> None:
    data = bytearray(3 << 20)
    first = Entry("big", "f", size=len(data), source=bytes(data))
    data[(2 << 20) + 77] = 1
    second = first._replace(source=bytes(data))
    assert compare_layers(opener(first), opener(second)) == [
        FileDifference("big", "content", offset=(2 << 20) + 77)
    ]


def test_the_same_files_in_another_order() -> None:
    other = Entry("b", "f", size=1, source=b"x")
    (found,) = compare_layers(opener(BASE, other), opener(other, BASE))
    assert found.attribute == "order"
    assert str(found) == "the same files in another order or form"


def test_years_beyond_the_calendar() -> None:
    found = compare_layers(opener(BASE), opener(BASE._replace(mtime=2**39 * SECOND)))
    assert str(found[0]).endswith(f"then {2**39}Z")
