"""Byte ranges, in both directions."""

from __future__ import annotations

import pytest

from registry.ranges import UnsatisfiableRangeError, parse_content_range, select


@pytest.mark.parametrize(
    ("header", "size", "selected"),
    [
        ("bytes=0-0", 2048, (0, 1)),
        ("bytes=0-2047", 2048, (0, 2048)),
        ("bytes=2000-5000", 2048, (2000, 48)),
        ("bytes=500-", 2048, (500, 1548)),
        ("bytes=-500", 2048, (1548, 500)),
        ("bytes=-5000", 2048, (0, 2048)),
        ("bytes=0-99999999999999999999999999", 10, (0, 10)),
        ("bytes=0-1,3-4", 10, None),
        ("chunks=0-1", 10, None),
        ("bytes=-", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=١-٢", 10, None),
        ("", 10, None),
    ],
)
def test_select(header: str, size: int, selected: tuple[int, int] | None) -> None:
    assert select(header, size) == selected


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=500-0", 2048),
        ("bytes=5000-10000", 2048),
        ("bytes=2048-", 2048),
        ("bytes=-0", 2048),
        ("bytes=0-", 0),
        ("bytes=-1", 0),
    ],
)
def test_nothing_selected(header: str, size: int) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        select(header, size)


@pytest.mark.parametrize(
    ("header", "chunk"),
    [
        ("0-9", (0, 9)),
        ("bytes 5-9/10", (5, 9)),
        ("bytes=5-9", (5, 9)),
        ("5-9/*", (5, 9)),
        ("9-5", None),
        ("-5", None),
        ("5-", None),
        ("", None),
        ("0-9; x", None),
        ("0-" + "9" * 40, None),
    ],
)
def test_content_range(header: str, chunk: tuple[int, int] | None) -> None:
    assert parse_content_range(header) == chunk
