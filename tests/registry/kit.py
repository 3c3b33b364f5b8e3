"""What registry tests share: content builders and a client that speaks plain requests."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from images.digest import Digest
from images.mediatype import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)

MISSING = "sha256:" + "0" * 64


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return str(Digest.of(data, algorithm))


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


def manifest(config: bytes = b"{}", layers: Iterable[bytes] = (), **more: Any) -> bytes:
    """An OCI manifest; ``more`` adds or replaces top-level fields."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(layer, OCI_LAYER) for layer in layers],
    }
    document |= more
    return json.dumps(document).encode()


def replaced(raw: bytes, **fields: Any) -> bytes:
    """The same document with other top-level fields."""
    return json.dumps({**json.loads(raw), **fields}).encode()


def docker_manifest(config: bytes, layers: Iterable[bytes] = ()) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor(config, DOCKER_CONFIG),
        "layers": [descriptor(layer, DOCKER_LAYER_GZIP) for layer in layers],
    }
    return json.dumps(document, indent=3).encode()


def index(children: Iterable[bytes] = (), **more: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(child, OCI_MANIFEST) for child in children],
        **more,
    }
    return json.dumps(document).encode()


@dataclass(frozen=True)
class Answer:
    """A response, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The first error code of the body."""
        return str(self.json["errors"][0]["code"])


@dataclass
class Client:
    """Requests to one registry; paths go out exactly as written."""

    session: aiohttp.ClientSession
    base: str
    headers: dict[str, str] = field(default_factory=dict)

    async def send(
        self,
        method: str,
        path: str,
        *,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        url = URL(self.base + path, encoded=True)
        if isinstance(data, bytes) and len(data) > 1 << 20:
            data = io.BytesIO(data)
        every = {**self.headers, **(headers or {})}
        async with self.session.request(
            method, url, data=data, headers=every, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def push_blob(self, repository: str, data: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(data, algorithm)
        path = f"/v2/{repository}/blobs/uploads/?digest={digest}"
        answer = await self.send("POST", path, data=data)
        assert answer.status == 201, answer
        return digest

    async def push_manifest(
        self, repository: str, raw: bytes, *references: str, media_type: str | None = OCI_MANIFEST
    ) -> str:
        digest = digest_of(raw)
        headers = {} if media_type is None else {"Content-Type": media_type}
        for reference in references or (digest,):
            path = f"/v2/{repository}/manifests/{reference}"
            answer = await self.send("PUT", path, data=raw, headers=headers)
            assert answer.status == 201, answer
        return digest

    async def push_image(self, repository: str, *tags: str, layers: Iterable[bytes] = ()) -> bytes:
        """Push an image with these layers; returns its manifest."""
        layers = list(layers)
        for blob in (b"{}", *layers):
            await self.push_blob(repository, blob)
        raw = manifest(layers=layers)
        await self.push_manifest(repository, raw, *tags)
        return raw

    async def start_upload(self, repository: str, query: str = "") -> str:
        """Begin a session; returns its location."""
        answer = await self.send("POST", f"/v2/{repository}/blobs/uploads/{query}")
        assert answer.status == 202, answer
        return answer.headers["Location"]
