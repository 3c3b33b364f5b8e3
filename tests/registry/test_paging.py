"""Pages are bounded by us, never by the client."""

from __future__ import annotations

import pytest

from registry.errors import ApiError
from registry.paging import Page


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ({}, Page(10, "")),
        ({"n": "3"}, Page(3, "")),
        ({"n": "0", "last": "x"}, Page(0, "x")),
        ({"last": "x"}, Page(10, "x")),
        ({"n": "1000000000"}, Page(10, "")),
        ({"n": "9" * 5000}, Page(10, "")),
    ],
)
def test_parse(query: dict[str, str], page: Page) -> None:
    assert Page.parse(query, largest=10) == page


@pytest.mark.parametrize("n", ["-1", "abc", "", "1.5", "٣", "0x10", " 1"])
def test_bad_counts(n: str) -> None:
    with pytest.raises(ApiError) as caught:
        Page.parse({"n": n}, largest=10)
    assert (caught.value.code, caught.value.status) == ("PAGINATION_NUMBER_INVALID", 400)


def test_cut_and_link() -> None:
    page = Page(2, "")
    assert page.probe == 3
    assert page.cut(["a", "b", "c"]) == (["a", "b"], True)
    assert page.cut(["a", "b"]) == (["a", "b"], False)
    assert Page(0, "").cut(["a"]) == ([], False)
    assert page.link("/p", "a b", {"t": "x/y"}) == '</p?t=x%2Fy&n=2&last=a+b>; rel="next"'
