"""One table of requests that read, against one preloaded registry: status, headers and body.

The cases follow the endpoint table of the OCI distribution specification 1.1. Every case finds the
registry as ``preload`` left it.
"""

from __future__ import annotations

import pytest

from images.mediatype import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.registry.cases import (
    ANY,
    BIG,
    BIG_BLOB,
    BLOB,
    DOCKER,
    IMAGE,
    INDEX,
    JSON,
    LAYER,
    OCTETS,
    SBOM,
    TAG,
    Case,
    D,
    check,
    content,
)
from tests.registry.kit import MISSING, Client

READS = [
    Case("GET", "/v2/", 200, JSON, b"{}"),
    Case("HEAD", "/v2/", 200, JSON, b""),
    Case("GET", "/v2", 200, JSON, b"{}"),
    Case("GET", "/v3/", 404, JSON, code="UNSUPPORTED"),
    Case("GET", "/v2/lib/app", 404, JSON, code="UNSUPPORTED"),
    Case("POST", "/v2/", 405, {"Allow": "GET, HEAD"}, code="UNSUPPORTED"),
    Case("PUT", "/v2/lib/app/tags/list", 405, {"Allow": "GET, HEAD"}, code="UNSUPPORTED"),
    Case("TRACE", TAG, 405, code="UNSUPPORTED"),
    Case("HEAD", "/v2/_catalog", 200, JSON, b""),
    Case("HEAD", "/v2/lib/app/tags/list?n=1", 200, {"Link": ANY}, b""),
    Case("HEAD", f"/v2/lib/app/referrers/{D(IMAGE)}", 200, {"Content-Type": OCI_INDEX}, b""),
    Case("OPTIONS", TAG, 405, {"Allow": "GET, HEAD, PUT, DELETE"}, code="UNSUPPORTED"),
    Case("OPTIONS", "/v2/", 405, {"Allow": "GET, HEAD"}, code="UNSUPPORTED"),
    Case("GET", "/v2/_oci/ext/discover", 200, JSON),
    Case("HEAD", "/v2/lib/app/_oci/ext/discover", 200, JSON, b""),
    Case("GET", "/v2/lib/app/_oci/ext/none", 404, JSON, code="UNSUPPORTED"),
    Case("GET", "/v2/_other/ext/discover", 404, JSON, code="UNSUPPORTED"),
    # manifests
    Case("GET", TAG, 200, content(IMAGE, OCI_MANIFEST), IMAGE),
    Case("HEAD", TAG, 200, content(IMAGE, OCI_MANIFEST), b""),
    Case("GET", f"/v2/lib/app/manifests/{D(IMAGE)}", 200, content(IMAGE, OCI_MANIFEST), IMAGE),
    Case("GET", "/v2/lib/app/manifests/docker", 200, content(DOCKER, DOCKER_MANIFEST), DOCKER),
    Case("GET", "/v2/lib/app/manifests/multi", 200, content(INDEX, OCI_INDEX), INDEX),
    Case(
        "GET",
        f"/v2/lib/app/manifests/{D(IMAGE, 'sha512')}",
        200,
        content(IMAGE, OCI_MANIFEST, D(IMAGE, "sha512")),
        IMAGE,
    ),
    Case("GET", "/v2/lib/app/manifests/none", 404, JSON, code="MANIFEST_UNKNOWN"),
    Case("HEAD", "/v2/lib/app/manifests/none", 404, JSON, b""),
    Case("GET", f"/v2/lib/app/manifests/{MISSING}", 404, code="MANIFEST_UNKNOWN"),
    Case("GET", f"/v2/lib/app/manifests/{D(LAYER)}", 404, code="MANIFEST_UNKNOWN"),
    Case("GET", "/v2/lib/nothing/manifests/1", 404, code="NAME_UNKNOWN"),
    Case("GET", "/v2/lib/app/manifests/sha256:bad", 400, code="DIGEST_INVALID"),
    Case("GET", "/v2/lib/app/manifests/-bad", 400, code="TAG_INVALID"),
    Case("GET", "/v2/LIB/manifests/1", 400, code="NAME_INVALID"),
    Case(
        "GET",
        TAG,
        304,
        {"ETag": f'"{D(IMAGE)}"', "Docker-Content-Digest": D(IMAGE)},
        b"",
        send_headers={"If-None-Match": f'"{D(IMAGE)}"'},
    ),
    Case("HEAD", TAG, 304, body=b"", send_headers={"If-None-Match": f'W/"x", W/"{D(IMAGE)}"'}),
    Case("GET", TAG, 304, body=b"", send_headers={"If-None-Match": "*"}),
    Case("GET", TAG, 200, body=IMAGE, send_headers={"If-None-Match": f'"{MISSING}"'}),
    Case("GET", TAG, 200, body=IMAGE, send_headers={"Accept": DOCKER_MANIFEST}),
    # blobs
    Case("GET", BLOB, 200, {**content(LAYER, OCTETS), "Accept-Ranges": "bytes"}, LAYER),
    Case("HEAD", BLOB, 200, {**content(LAYER, OCTETS), "Accept-Ranges": "bytes"}, b""),
    Case("GET", BIG_BLOB, 200, {**content(BIG, OCTETS), "Accept-Ranges": "bytes"}, BIG),
    Case("HEAD", BIG_BLOB, 200, content(BIG, OCTETS), b""),
    Case("GET", f"/v2/lib/app/blobs/{D(b'')}", 200, content(b"", OCTETS), b""),
    Case(
        "GET",
        f"/v2/lib/app/blobs/{D(LAYER, 'sha512')}",
        200,
        content(LAYER, OCTETS, D(LAYER, "sha512")),
        LAYER,
    ),
    Case("GET", f"/v2/lib/app/blobs/sha256%3A{D(LAYER)[7:]}", 200, content(LAYER, OCTETS), LAYER),
    Case("GET", f"/v2/lib/app/blobs/{MISSING}", 404, code="BLOB_UNKNOWN"),
    Case("GET", f"/v2/lib/nothing/blobs/{D(LAYER)}", 404, code="BLOB_UNKNOWN"),
    Case("GET", f"/v2/lib/app/blobs/{D(IMAGE)}", 404, code="BLOB_UNKNOWN"),
    Case("GET", "/v2/lib/app/blobs/sha256:bad", 400, code="DIGEST_INVALID"),
    Case("GET", BLOB, 304, body=b"", send_headers={"If-None-Match": f'"{D(LAYER)}"'}),
    Case(
        "GET",
        BLOB,
        206,
        {"Content-Range": "bytes 2000-2047/2048", "Content-Length": "48"},
        LAYER[2000:],
        send_headers={"Range": "bytes=2000-5000"},
    ),
    Case("GET", BLOB, 206, body=LAYER[-500:], send_headers={"Range": "bytes=-500"}),
    Case("GET", BLOB, 206, body=LAYER[:1], send_headers={"Range": "bytes=0-0"}),
    Case("GET", BLOB, 206, body=LAYER, send_headers={"Range": "bytes=0-"}),
    Case(
        "GET",
        BIG_BLOB,
        206,
        {"Content-Range": f"bytes 70000-131071/{len(BIG)}"},
        BIG[70000:],
        send_headers={"Range": "bytes=70000-"},
    ),
    Case(
        "GET",
        BLOB,
        416,
        {"Content-Range": "bytes */2048"},
        code="RANGE_INVALID",
        send_headers={"Range": "bytes=500-0"},
    ),
    Case("GET", BLOB, 416, code="RANGE_INVALID", send_headers={"Range": "bytes=5000-10000"}),
    Case("GET", BLOB, 200, body=LAYER, send_headers={"Range": "bytes=0-1,4-5"}),
    Case("GET", BLOB, 200, body=LAYER, send_headers={"Range": "bytes=0-1", "If-Range": '"x"'}),
    Case(
        "GET",
        BLOB,
        206,
        body=LAYER[:2],
        send_headers={"Range": "bytes=0-1", "If-Range": f'"{D(LAYER)}"'},
    ),
    Case("HEAD", BLOB, 200, content(LAYER, OCTETS), b"", send_headers={"Range": "bytes=0-1"}),
    # listings
    Case(
        "GET",
        "/v2/lib/app/tags/list",
        200,
        {**JSON, "Link": None},
        {"name": "lib/app", "tags": ["1", "A", "docker", "multi", "z"]},
    ),
    Case(
        "GET",
        "/v2/lib/app/tags/list?n=2",
        200,
        {"Link": '</v2/lib/app/tags/list?n=2&last=A>; rel="next"'},
        {"name": "lib/app", "tags": ["1", "A"]},
    ),
    Case(
        "GET",
        "/v2/lib/app/tags/list?n=5",
        200,
        {"Link": None},
        {"name": "lib/app", "tags": ["1", "A", "docker", "multi", "z"]},
    ),
    Case(
        "GET",
        "/v2/lib/app/tags/list?n=0",
        200,
        {"Link": None},
        {"name": "lib/app", "tags": []},
    ),
    Case(
        "GET",
        "/v2/lib/app/tags/list?last=docker",
        200,
        {"Link": None},
        {"name": "lib/app", "tags": ["multi", "z"]},
    ),
    Case(
        "GET",
        "/v2/lib/app/tags/list?last=absent&n=1",
        200,
        {"Link": '</v2/lib/app/tags/list?n=1&last=docker>; rel="next"'},
        {"name": "lib/app", "tags": ["docker"]},
    ),
    Case("GET", "/v2/lib/app/tags/list?last=zz", 200, body={"name": "lib/app", "tags": []}),
    Case("GET", "/v2/lib/app-blobs/tags/list", 200, body={"name": "lib/app-blobs", "tags": []}),
    Case("GET", "/v2/lib/nothing/tags/list", 404, code="NAME_UNKNOWN"),
    Case("GET", "/v2/lib/app/tags/list?n=-1", 400, code="PAGINATION_NUMBER_INVALID"),
    Case("GET", "/v2/lib/app/tags/list?n=x", 400, code="PAGINATION_NUMBER_INVALID"),
    Case(
        "GET",
        "/v2/_catalog",
        200,
        {"Link": None},
        {"repositories": ["lib", "lib/app", "lib/app-blobs"]},
    ),
    Case(
        "GET",
        "/v2/_catalog?n=1&last=lib",
        200,
        {"Link": '</v2/_catalog?n=1&last=lib%2Fapp>; rel="next"'},
        {"repositories": ["lib/app"]},
    ),
    # referrers
    Case(
        "GET",
        f"/v2/lib/app/referrers/{MISSING}",
        200,
        {"Content-Type": OCI_INDEX, "Link": None, "OCI-Filters-Applied": None},
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []},
    ),
    Case("GET", f"/v2/lib/nothing/referrers/{MISSING}", 200),
    Case("GET", "/v2/lib/app/referrers/sha256:x", 400, code="DIGEST_INVALID"),
    Case("GET", "/v2/lib/app/referrers/latest", 400, code="DIGEST_INVALID"),
    Case(
        "GET",
        f"/v2/lib/app/referrers/{D(IMAGE)}?artifactType=application/vnd.example.sbom",
        200,
        {"OCI-Filters-Applied": "artifactType"},
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": D(SBOM),
                    "size": len(SBOM),
                    "artifactType": "application/vnd.example.sbom",
                    "annotations": {"a": "1"},
                }
            ],
        },
    ),
    Case(
        "GET",
        f"/v2/lib/app/referrers/{D(IMAGE)}?artifactType=none/such",
        200,
        {"OCI-Filters-Applied": "artifactType"},
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []},
    ),
]


@pytest.mark.parametrize("case", READS, ids=str)
async def test_request(preloaded: Client, case: Case) -> None:
    for _ in range(2):  # the second answer may come from memory
        answer = await preloaded.send(
            case.method, case.path, data=case.send, headers=case.send_headers
        )
        check(answer, case)
