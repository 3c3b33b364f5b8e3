"""What strangers send to a registry: request targets, ranges, pages, conditions and manifests."""

from __future__ import annotations

from yarl import URL

from images.digest import Digest
from registry import routing
from registry.errors import ApiError
from registry.handlers.conditional import Conditions
from registry.manifests import examine, warnings
from registry.paging import Page
from registry.ranges import UnsatisfiableRangeError, parse_content_range, select
from tests.fuzz.harness import Target
from tests.registry import kit

DIGEST = kit.digest_of(b"{}")
PATHS = [
    "/v2/",
    "/v2/_catalog",
    "/v2/a/b/tags/list",
    f"/v2/a/blobs/{DIGEST}",
    "/v2/a/blobs/uploads/",
    f"/v2/a/blobs/uploads/{'0' * 32}",
    "/v2/a/manifests/latest",
    f"/v2/blobs/manifests/referrers/{DIGEST}",
    "/v2/a/_oci/ext/discover",
]
PATH_TOKENS = tuple(
    b"/ // .. %2f %2e %00 %c0%af blobs manifests tags/list referrers uploads _catalog _oci".split()
)
RANGE_TOKENS = (b"bytes=", b"bytes ", b"-", b",", b"/*", b"9" * 30, b"0", b" ")
QUERY_TOKENS = (b"n=", b"&", b"last=", b"%00", b"%ff", b"-1", b"9" * 50, b"1e9", b";", b"+")
JSON_TOKENS = tuple(
    b'{ } [ ] : , " null NaN 1e999 -1 "subject": "manifests": "layers": "config": []'.split()
)


def _route(data: bytes) -> None:
    target = routing.parse(data.decode("latin-1"))
    # The tail of a page is its whole path, which its own room reads.
    if target is None or not target.tail or target.kind is routing.Kind.PAGE:
        return
    assert "/" not in target.tail
    if target.kind is routing.Kind.MANIFEST:
        target.reference()
    else:
        target.digest()


def _ranges(data: bytes) -> None:
    text = data.decode("latin-1")
    chunk = parse_content_range(text)
    assert chunk is None or 0 <= chunk[0] <= chunk[1]
    for size in (0, 1, 2048):
        chosen = select(text, size)
        assert chosen is None or 0 <= chosen[0] < chosen[0] + chosen[1] <= size


def _page(data: bytes) -> None:
    url = URL("/v2/a/tags/list?" + data.decode("latin-1"), encoded=True)
    page = Page.parse(url.query, largest=1000)
    assert 0 <= page.limit <= 1000
    link = page.link("/v2/a/tags/list", page.last)
    assert link.isascii()
    assert link.isprintable()
    assert link.count(">") == 1


def _conditions(data: bytes) -> None:
    text = data.decode("latin-1")
    Conditions(None, text).check(None)
    Conditions(text, None).check(DIGEST)


def _manifest(data: bytes) -> None:
    found = examine(data, None, None)
    assert found.digest == str(Digest.of(data))
    assert found.size == len(data)
    for warning in warnings(found, ("t",), None):
        assert warning.isascii()


def manifests() -> list[bytes]:
    subject = kit.descriptor(b"s", "application/vnd.oci.image.manifest.v1+json")
    image = kit.manifest(layers=[b"x"], subject=subject, annotations={"a": "b"})
    return [image, kit.index([image]), kit.docker_manifest(b"{}", [b"x"])]


REFUSED = (ApiError,)
TARGETS = (
    Target(
        "registry-path",
        _route,
        REFUSED,
        lambda: [path.encode() for path in PATHS],
        tokens=PATH_TOKENS,
    ),
    Target(
        "registry-range",
        _ranges,
        (UnsatisfiableRangeError,),
        lambda: [b"bytes=0-9", b"bytes=-5", b"bytes=7-", b"0-99", b"bytes 0-99/100"],
        tokens=RANGE_TOKENS,
        size=200,
    ),
    Target(
        "registry-page",
        _page,
        REFUSED,
        lambda: [b"n=10&last=a", b"last=a%2Fb", b"n=0"],
        tokens=QUERY_TOKENS,
        size=1000,
    ),
    Target(
        "registry-condition",
        _conditions,
        REFUSED,
        lambda: [b"*", f'"{DIGEST}"'.encode(), f'W/"{DIGEST}", "x"'.encode()],
        tokens=(b'"', b"W/", b",", b"*", DIGEST.encode()),
        size=1000,
    ),
    Target("registry-manifest", _manifest, REFUSED, manifests, tokens=JSON_TOKENS),
)
