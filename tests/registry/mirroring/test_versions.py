"""Ranges of versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.mirroring.versions import parse_version, range_matcher


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (
            ">=1.2 <2",
            "1.2 1.2.0 v1.9.9 1.10",
            "1.1.9 2 2.0 v2.0.0 1.2-rc1 1.2-alpine latest 1.2.3.4",
        ),
        (">=1.2,<2", "1.2 1.9", "2.0"),
        ("1.2", "1.2 1.2.0 v1.2", "1.2.1 1"),
        ("> 1 <= 1.5", "1.0.1 1.5", "1 1.5.1"),
        ("", "latest 1.2-alpine", ""),
    ],
)
def test_what_is_in_a_range(text: str, inside: str, outside: str) -> None:
    fits = range_matcher(text)
    assert [tag for tag in inside.split() if not fits(tag)] == []
    assert [tag for tag in outside.split() if fits(tag)] == []


@pytest.mark.parametrize("text", ["latest", ">=", ">=1.2-rc", "1.2.3.4", "=>1", "1 || 2"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        range_matcher(text)


_NUMBERS = st.lists(st.integers(0, 10**9 - 1), min_size=1, max_size=3)


@given(one=_NUMBERS, other=_NUMBERS)
def test_versions_are_ordered_by_their_numbers(one: list[int], other: list[int]) -> None:
    tag, bound = (".".join(map(str, numbers)) for numbers in (one, other))
    found, limit = parse_version(tag), parse_version(bound)
    assert found is not None
    assert limit is not None
    assert range_matcher(f"<{bound}")(tag) == (found < limit)
    assert range_matcher(f">={bound}")(tag) == (found >= limit)
