"""Paths are matched by their last marker, decoded segment by segment."""

from __future__ import annotations

import pytest

from registry.errors import ApiError
from registry.routing import Kind, Target, parse, parse_digest, parse_name, parse_tag

UPLOAD = "0123456789abcdef" * 2
SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2/", Target(Kind.BASE)),
        ("/v2", Target(Kind.BASE)),
        ("/v2/_catalog", Target(Kind.CATALOG)),
        ("/v2/a/tags/list", Target(Kind.TAGS, "a")),
        ("/v2/a/b/c/tags/list", Target(Kind.TAGS, "a/b/c")),
        ("/v2/tags/list/tags/list", Target(Kind.TAGS, "tags/list")),
        ("/v2/a/manifests/latest", Target(Kind.MANIFEST, "a", "latest")),
        ("/v2/manifests/manifests/manifests/1", Target(Kind.MANIFEST, "manifests/manifests", "1")),
        ("/v2/blobs/uploads/manifests/1", Target(Kind.MANIFEST, "blobs/uploads", "1")),
        (f"/v2/a/manifests/{SHA}", Target(Kind.MANIFEST, "a", SHA)),
        (f"/v2/a/blobs/{SHA}", Target(Kind.BLOB, "a", SHA)),
        (f"/v2/a/blobs/b/blobs/{SHA}", Target(Kind.BLOB, "a/blobs/b", SHA)),
        ("/v2/a/blobs/uploads/", Target(Kind.UPLOADS, "a")),
        ("/v2/a/blobs/uploads", Target(Kind.UPLOADS, "a")),
        (f"/v2/a/blobs/uploads/{UPLOAD}", Target(Kind.UPLOAD, "a", UPLOAD)),
        (f"/v2/a/referrers/{SHA}", Target(Kind.REFERRERS, "a", SHA)),
        (f"/v2/a/blobs/sha256%3A{'a' * 64}", Target(Kind.BLOB, "a", SHA)),
        ("/v2x/a/tags/list", None),
        ("/v1/a/tags/list", None),
        ("/v2/a", None),
        ("/v2/a/tags", None),
        ("/v2/a/tags/list/", None),
    ],
)
def test_what_a_path_names(path: str, target: Target | None) -> None:
    assert parse(path) == target


@pytest.mark.parametrize(
    "path",
    [
        "/v2//tags/list",
        "/v2/tags/list",
        "/v2/../tags/list",
        "/v2/a//b/tags/list",
        "/v2/A/tags/list",
        "/v2/a%2fb/tags/list",
        "/v2/a%2Fb/manifests/1",
        "/v2/a%00/tags/list",
        "/v2/%c0%afa/tags/list",
        "/v2/%2e%2e/tags/list",
        "/v2/" + "a" * 256 + "/tags/list",
        "/v2/-a/tags/list",
        "/v2/a_/tags/list",
    ],
)
def test_bad_names_are_refused(path: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(path)
    assert (caught.value.code, caught.value.status) == ("NAME_INVALID", 400)


@pytest.mark.parametrize("upload", ["..", "x", UPLOAD.upper(), UPLOAD + "0", "%2e%2e", "_state"])
def test_malformed_upload_ids_are_unknown(upload: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(f"/v2/a/blobs/uploads/{upload}")
    assert (caught.value.code, caught.value.status) == ("BLOB_UPLOAD_UNKNOWN", 404)


def test_references() -> None:
    assert Target(Kind.MANIFEST, "a", "v1.0").reference() == "v1.0"
    assert str(Target(Kind.MANIFEST, "a", SHA).reference()) == SHA


@pytest.mark.parametrize(
    ("parser", "text", "code"),
    [
        (parse_digest, "sha256:abc", "DIGEST_INVALID"),
        (parse_digest, "sha1:" + "a" * 40, "DIGEST_INVALID"),
        (parse_digest, "", "DIGEST_INVALID"),
        (parse_tag, "-x", "TAG_INVALID"),
        (parse_tag, "x" * 129, "TAG_INVALID"),
        (parse_name, "a/", "NAME_INVALID"),
    ],
)
def test_malformed_parts(parser: object, text: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        parser(text)  # type: ignore[operator]
    assert caught.value.code == code
