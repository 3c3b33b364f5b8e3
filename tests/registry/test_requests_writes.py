"""One table of requests that write, against one preloaded registry: status, headers and body.

The cases follow the endpoint table of the OCI distribution specification 1.1. Every case finds the
registry as ``preload`` left it.
"""

from __future__ import annotations

import pytest

from images.mediatype import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.registry import kit
from tests.registry.cases import (
    ANY,
    BLOB,
    IMAGE,
    LAYER,
    MANIFEST_TYPE,
    SBOM,
    TAG,
    UNTAGGED,
    VERSION,
    Case,
    D,
    check,
)
from tests.registry.kit import MISSING, Client

WRITES = [
    # manifests
    Case(
        "PUT",
        "/v2/lib/app/manifests/new",
        201,
        {
            "Location": "/v2/lib/app/manifests/new",
            "Docker-Content-Digest": D(IMAGE),
            "OCI-Subject": None,
            "OCI-Tag": None,
        },
        b"",
        send=IMAGE,
        send_headers=MANIFEST_TYPE,
    ),
    Case(
        "PUT",
        f"/v2/lib/app/manifests/{D(IMAGE)}?tag=a&tag=b&tag=a",
        201,
        {"Location": f"/v2/lib/app/manifests/{D(IMAGE)}", "OCI-Tag": "a, b"},
        send=IMAGE,
        send_headers=MANIFEST_TYPE,
    ),
    Case(
        "PUT",
        f"/v2/lib/app/manifests/{D(IMAGE)}?" + "&".join(f"tag=t{i}" for i in range(129)),
        414,
        code="TAG_INVALID",
        send=IMAGE,
    ),
    Case("PUT", f"/v2/lib/app/manifests/{D(IMAGE)}?tag=-x", 400, code="TAG_INVALID", send=IMAGE),
    Case(
        "PUT",
        f"/v2/lib/app/manifests/{D(SBOM)}",
        201,
        {"OCI-Subject": D(IMAGE)},
        send=SBOM,
        send_headers=MANIFEST_TYPE,
    ),
    Case("PUT", TAG, 201, send=IMAGE, send_headers={"Content-Type": OCI_MANIFEST + "; charset=u"}),
    Case(
        "PUT",
        TAG,
        201,
        {"Warning": '299 - "a manifest is pushed with its media type as Content-Type"'},
        send=IMAGE,
        send_headers={"Content-Type": ""},
    ),
    Case("PUT", TAG, 201, {"Warning": None}, send=IMAGE, send_headers=MANIFEST_TYPE),
    Case(
        "PUT",
        f"/v2/lib/app/manifests/{D(IMAGE).replace(':', '-')}",
        201,
        {"Warning": '299 - "this registry lists referrers; their fallback tag is not needed"'},
        send=kit.index([SBOM]),
        send_headers={"Content-Type": OCI_INDEX},
    ),
    Case("PUT", f"/v2/lib/app/manifests/{MISSING}", 400, code="DIGEST_INVALID", send=IMAGE),
    Case("PUT", "/v2/lib/app/manifests/sha256:bad", 400, code="DIGEST_INVALID", send=IMAGE),
    Case("PUT", TAG, 400, code="MANIFEST_INVALID", send=b"", send_headers=MANIFEST_TYPE),
    Case("PUT", TAG, 400, code="MANIFEST_INVALID", send=b"not json", send_headers=MANIFEST_TYPE),
    Case(
        "PUT",
        TAG,
        400,
        code="MANIFEST_INVALID",
        send=IMAGE,
        send_headers={"Content-Type": DOCKER_MANIFEST},
    ),
    Case(
        "PUT",
        TAG,
        400,
        code="MANIFEST_BLOB_UNKNOWN",
        send=kit.manifest(layers=[b"never pushed"]),
        send_headers=MANIFEST_TYPE,
    ),
    Case(
        "PUT",
        TAG,
        400,
        code="MANIFEST_BLOB_UNKNOWN",
        send=kit.index([b"never pushed"]),
        send_headers={"Content-Type": OCI_INDEX},
    ),
    Case(
        "PUT",
        TAG,
        400,
        code="SIZE_INVALID",
        send=kit.manifest(layers=[LAYER]).replace(b'"size": 2048', b'"size": 2047'),
        send_headers=MANIFEST_TYPE,
    ),
    Case("DELETE", TAG, 202, VERSION, b""),
    Case("DELETE", f"/v2/lib/app/manifests/{D(UNTAGGED)}", 202, body=b""),
    Case("DELETE", "/v2/lib/app/manifests/none", 404, code="MANIFEST_UNKNOWN"),
    Case("DELETE", f"/v2/lib/app/manifests/{MISSING}", 404, code="MANIFEST_UNKNOWN"),
    Case("DELETE", "/v2/lib/nothing/manifests/1", 404, code="NAME_UNKNOWN"),
    # blobs and uploads
    Case("DELETE", BLOB, 202, body=b""),
    Case("DELETE", f"/v2/lib/app/blobs/{MISSING}", 404, code="BLOB_UNKNOWN"),
    Case("DELETE", f"/v2/lib/nothing/blobs/{D(LAYER)}", 404, code="BLOB_UNKNOWN"),
    Case("POST", "/v2/lib/app/blobs/uploads/", 202, {"Range": "0-0", "Docker-Upload-UUID": ANY}),
    Case("POST", "/v2/lib/app/blobs/uploads", 202, {"Location": ANY}),
    Case("POST", "/v2/lib/app/blobs/uploads/?digest-algorithm=sha512", 202),
    Case("POST", "/v2/lib/app/blobs/uploads/?digest-algorithm=md5", 400, code="DIGEST_INVALID"),
    Case("POST", "/v2/Lib/blobs/uploads/", 400, code="NAME_INVALID"),
    Case(
        "POST",
        f"/v2/lib/app/blobs/uploads/?digest={D(b'whole')}",
        201,
        {
            "Location": f"/v2/lib/app/blobs/{D(b'whole')}",
            "Docker-Content-Digest": D(b"whole"),
        },
        b"",
        send=b"whole",
    ),
    Case(
        "POST",
        f"/v2/lib/app/blobs/uploads/?digest={D(b'whole')}",
        400,
        code="DIGEST_INVALID",
        send=b"another",
    ),
    Case("POST", "/v2/lib/app/blobs/uploads/?digest=sha256:bad", 400, code="DIGEST_INVALID"),
    Case(
        "POST",
        f"/v2/other/blobs/uploads/?mount={D(LAYER)}&from=lib/app",
        201,
        {"Location": f"/v2/other/blobs/{D(LAYER)}", "Docker-Content-Digest": D(LAYER)},
        b"",
    ),
    Case("POST", f"/v2/other/blobs/uploads/?mount={D(LAYER)}", 201),
    Case("POST", f"/v2/other/blobs/uploads/?mount={D(LAYER)}&from=lib", 202, {"Location": ANY}),
    Case("POST", f"/v2/other/blobs/uploads/?mount={MISSING}&from=lib/app", 202),
    Case("POST", f"/v2/other/blobs/uploads/?mount={MISSING}", 202),
    Case(
        "POST",
        f"/v2/other/blobs/uploads/?mount={D(LAYER)}&from=..",
        400,
        code="NAME_INVALID",
    ),
    Case("PATCH", f"/v2/lib/app/blobs/uploads/{'0' * 32}", 404, code="BLOB_UPLOAD_UNKNOWN"),
    Case("GET", f"/v2/lib/app/blobs/uploads/{'0' * 32}", 404, code="BLOB_UPLOAD_UNKNOWN"),
    Case("DELETE", f"/v2/lib/app/blobs/uploads/{'0' * 32}", 404, code="BLOB_UPLOAD_UNKNOWN"),
    Case(
        "PUT",
        f"/v2/lib/app/blobs/uploads/{'0' * 32}?digest={D(b'')}",
        404,
        code="BLOB_UPLOAD_UNKNOWN",
    ),
    Case("PUT", f"/v2/lib/app/blobs/uploads/{'0' * 32}", 400, code="DIGEST_INVALID"),
]


@pytest.mark.parametrize("case", WRITES, ids=str)
async def test_request(preloaded: Client, case: Case) -> None:
    answer = await preloaded.send(case.method, case.path, data=case.send, headers=case.send_headers)
    check(answer, case)
