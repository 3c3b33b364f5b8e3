"""What tests of requests share: the content of a preloaded registry, and the shape of a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from images.mediatype import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.registry import kit
from tests.registry.kit import Client, digest_of

LAYER = bytes(range(256)) * 8
BIG = b"0123456789abcdef" * 8192
IMAGE = kit.manifest(layers=[LAYER])
DOCKER = kit.docker_manifest(b"{}", [LAYER])
INDEX = kit.index([IMAGE])
SUBJECT = kit.descriptor(IMAGE, OCI_MANIFEST)
SBOM = kit.manifest(
    subject=SUBJECT, artifactType="application/vnd.example.sbom", annotations={"a": "1"}
)
SIGNATURE = kit.manifest(config=b"[]", subject=SUBJECT)
ATTACHED_INDEX = kit.index(subject=SUBJECT)
UNTAGGED = kit.manifest(annotations={"not": "tagged"})

D = digest_of
VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}
JSON = {"Content-Type": "application/json"}
ANY = "\0any"


@dataclass(frozen=True)
class Case:
    """A request and what must come back. A header expected as None must be absent."""

    method: str
    path: str
    status: int
    headers: dict[str, str | None] = field(default_factory=dict)
    body: Any = None
    code: str | None = None
    send: bytes | None = None
    send_headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path[:90]} {self.status} {self.send_headers or ''}"


def content(raw: bytes, media_type: str, digest: str | None = None) -> dict[str, str | None]:
    digest = digest or D(raw)
    return {
        "Content-Type": media_type,
        "Content-Length": str(len(raw)),
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
    }


OCTETS = "application/octet-stream"
BLOB = f"/v2/lib/app/blobs/{D(LAYER)}"
BIG_BLOB = f"/v2/lib/app/blobs/{D(BIG)}"
TAG = "/v2/lib/app/manifests/1"
MANIFEST_TYPE = {"Content-Type": OCI_MANIFEST}


async def preload(client: Client) -> Client:
    """Push what the cases expect to find."""
    for blob in (b"{}", b"[]", b"", LAYER, BIG):
        await client.push_blob("lib/app", blob)
    await client.push_blob("lib/app", LAYER, "sha512")
    await client.push_manifest("lib/app", IMAGE, "1", "A", "z", D(IMAGE, "sha512"))
    await client.push_manifest("lib/app", UNTAGGED)
    await client.push_manifest("lib/app", DOCKER, "docker", media_type=DOCKER_MANIFEST)
    await client.push_manifest("lib/app", INDEX, "multi", media_type=OCI_INDEX)
    await client.push_manifest("lib/app", SBOM)
    await client.push_blob("lib/app-blobs", b"{}")
    await client.push_blob("lib", b"{}")
    return client


def check(answer: kit.Answer, case: Case) -> None:
    assert answer.status == case.status, answer
    for name, value in {**VERSION, **case.headers}.items():
        if value == ANY:
            assert answer.headers.get(name), name
        else:
            assert answer.headers.get(name) == value, name
    if case.code is not None:
        assert answer.headers["Content-Type"] == "application/json"
        (error,) = answer.json["errors"]
        assert error["code"] == case.code
        assert error["message"]
    elif isinstance(case.body, dict):
        assert answer.json == case.body
    elif case.body is not None:
        assert answer.body == case.body
