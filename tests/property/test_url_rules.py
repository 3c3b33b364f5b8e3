"""A URL that a scope covers is fetched from the place that the scope names."""

from __future__ import annotations

import posixpath
from contextlib import suppress
from urllib.parse import unquote
from urllib.request import Request

from hypothesis import given
from hypothesis import strategies as st

from trust.errors import VerificationError
from trust.policy import Policy
from trust.urls import check_url, normal_url

POLICY = Policy.parse(
    b'default = "reject"\n[[rule]]\nscopes = ["https://example.com/pub/"]\nrequire = "accept"\n',
    source="p.toml",
)
WORDS = (
    "https:// HTTPS:// http:// example.com EXAMPLE.com evil.org /pub/ /pub / // .. . %2e %2f %5c "
    "\\ @ : 443 # ? ; a \u2100 [ ] % %25"
)
PIECES = st.sampled_from([*WORDS.split(" "), " ", "\t", "\n", "\x00"])


def covered(url: str) -> bool:
    with suppress(VerificationError):
        check_url(POLICY, url, pinned=False)
        return True
    return False


@given(st.lists(PIECES, max_size=8).map("".join))
def test_what_is_covered_is_fetched_from_there(tail: str) -> None:
    for url in (tail, f"https://example.com/pub/{tail}", f"https://example.com{tail}"):
        if not covered(url):
            continue
        request = Request(url)
        assert request.type == "https"
        assert request.host.lower() == "example.com"
        path = unquote(request.selector.partition("?")[0])
        assert posixpath.normpath(path).startswith("/pub")
        assert "\\" not in path


@given(st.text())
def test_normal_forms_are_normal(text: str) -> None:
    for url in (text, f"https://a.b/{text}"):
        once = normal_url(url)
        assert once is None or normal_url(once) == once
