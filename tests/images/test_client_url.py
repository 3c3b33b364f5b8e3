"""Addresses are sent as they came, and what is none is refused."""

from __future__ import annotations

import pytest
from yarl import URL

from images.client.errors import ProtocolError
from images.client.hosts import given_url
from images.client.url import Url

BASE = Url.read("https://r.example:5000/v2/a/blobs/uploads/1?_state=x")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/v2/x?sig=a%2Fb+c%20d&e=%C3%A9&&=", None),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("?_state=y", "https://r.example:5000/v2/a/blobs/uploads/1?_state=y"),
        ("2;v=1", "https://r.example:5000/v2/a/blobs/uploads/2;v=1"),
        ("../../manifests/1", "https://r.example:5000/v2/a/manifests/1"),
        ("https://CDN.example/A/../%7e//?Policy=a~b__&Key=1/2", None),
        ("https://cdn.example:443", "https://cdn.example/"),
        ("http://cdn.example:8080?x=1", "http://cdn.example:8080/?x=1"),
        ("https://[2001:DB8::1]:5000/x", "https://[2001:db8::1]:5000/x"),
        ("https://user:secret@cdn.example/x", "https://cdn.example/x"),
        ("https://cdn.example/x#part", "https://cdn.example/x"),
    ],
)
def test_what_a_server_gives_is_kept_byte_for_byte(text: str, shown: str | None) -> None:
    url = given_url(BASE, text, what="a redirect")
    target = text.removeprefix("https://CDN.example")
    assert str(url) == shown if shown else url.target == target
    theirs = BASE_OF_YARL.join(URL(text, encoded=True))
    assert (url.scheme, url.host, url.port) == (
        theirs.scheme,
        (theirs.host or "").lower(),
        theirs.port,
    )
    assert url.target == theirs.raw_path_qs


BASE_OF_YARL = URL(str(BASE), encoded=True)


@pytest.mark.parametrize(
    "text", ["https://h:99999/", "https://h:x/", "https://[::1/", "https://h\x00/", "https://é/"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="not a URL"):
        given_url(BASE, text, what="a redirect")


def test_a_query_grows_by_what_is_added() -> None:
    url = Url.read("https://r.example/x")
    once = url.with_query([("digest", "sha256:00"), ("note", "a b&c")])
    assert once.target == "/x?digest=sha256:00&note=a+b%26c"
    assert once.with_query([("n", "1")]).target == f"{once.target}&n=1"
    assert url.with_query([]) == url
