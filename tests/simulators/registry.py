"""A registry in memory, on a real socket, that misbehaves on request.

It follows the OCI distribution specification as far as clients notice, and the Docker token
specification; a ``Fault`` makes the next matching requests go wrong in one of the ways that
networks, proxies and attackers know.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from aiohttp import web

from images.digest import Digest

_BLOB = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>sha\d+:[0-9a-f]+)$")
_UPLOADS = re.compile(r"/v2/(?P<name>.+)/blobs/uploads/$")
_UPLOAD = re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<id>[0-9]+)$")
_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)$")
_TAGS = re.compile(r"/v2/(?P<name>.+)/tags/list$")
_REFERRERS = re.compile(r"/v2/(?P<name>.+)/referrers/(?P<digest>[^/]+)$")
_NAME = re.compile(r"/v2/(?P<name>.+)/(?:blobs|manifests|tags|referrers)/")


@dataclass
class Fault:
    """Makes ``times`` requests that match go wrong in one way.

    ``status`` answers with it, ``headers`` and ``body``; ``truncate_at`` announces everything and
    hangs up after that many bytes; ``replace`` serves other bytes under the right headers;
    ``stall_at`` sends that many bytes and then nothing until ``resume`` is set;
    ``append`` serves more bytes than there are; ``redirect`` sends elsewhere; ``hang_up`` closes
    without an answer.
    """

    method: str = "GET"
    path: str = ""
    times: int = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    truncate_at: int | None = None
    stall_at: int | None = None
    resume: asyncio.Event = field(default_factory=asyncio.Event)
    replace: bytes | None = None
    append: bytes | None = None
    redirect: str | None = None
    hang_up: bool = False
    after: bool = False
    """With ``hang_up``: do the work first, lose only the answer."""

    def matches(self, request: web.BaseRequest) -> bool:
        return (
            self.times > 0
            and self.method in ("*", request.method)
            and re.search(self.path, request.path) is not None
        )


@dataclass(frozen=True)
class Recorded:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")


@dataclass
class SimulatedRegistry:
    """The registry's state; ``auth`` is None, "basic" or "bearer"."""

    auth: str | None = None
    users: dict[str, str] = field(default_factory=dict)
    identity_tokens: set[str] = field(default_factory=set)
    realm: str | None = None
    anonymous_pull: bool = False
    token_lifetime: int = 300
    token_get: bool = True
    referrers_api: bool = True
    mounts: bool = True
    conditional: bool = True
    ranges: bool = True
    page_size: int = 100
    location_prefix: str = ""
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[bytes, str]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    tokens: dict[str, frozenset[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Recorded] = field(default_factory=list)

    _upload_ids: Iterator[int] = field(default_factory=partial(count, 1))

    # -- what tests put in and look at -

    def add_blob(self, name: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[name, str(digest)] = data
        return digest

    def add_manifest(self, name: str, raw: bytes, media_type: str, *tags: str) -> Digest:
        digest = Digest.of(raw)
        for reference in (str(digest), *tags):
            self.manifests[name, reference] = raw, media_type
        return digest

    def fail(self, **fault: Any) -> Fault:
        added = Fault(**fault)
        self.faults.append(added)
        return added

    def seen(self, method: str, pattern: str = "") -> list[Recorded]:
        return [r for r in self.requests if r.method == method and re.search(pattern, r.path)]

    # -- the server -

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Listen on a free loopback port; yields host:port."""
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        try:
            yield f"127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        fault = next((f for f in self.faults if f.matches(request)), None)
        if fault is not None:
            fault.times -= 1
        if fault is None or fault.after or fault.truncate_at is not None:
            body = await request.content.read()
        else:
            body = b""
        self.requests.append(
            Recorded(
                request.method, request.path, request.query_string, dict(request.headers), body
            )
        )
        if fault is None or fault.after:
            response = self._answer(request, body)
        elif fault.status is not None:
            response = web.Response(status=fault.status, headers=fault.headers, body=fault.body)
        elif fault.redirect is not None:
            target = fault.redirect + request.raw_path
            response = web.Response(status=307, headers={"Location": target})
        else:
            response = self._answer(request, body)
        if fault is not None:
            return await self._spoil(request, response, fault)
        return response

    async def _spoil(
        self, request: web.BaseRequest, response: web.Response, fault: Fault
    ) -> web.StreamResponse:
        if fault.hang_up:
            assert request.transport is not None
            request.transport.abort()
            return response
        whole = bytes(response.body) if isinstance(response.body, bytes) else b""
        if fault.replace is not None:
            return web.Response(
                status=response.status, headers=_without_length(response), body=fault.replace
            )
        if fault.append is None and fault.truncate_at is None and fault.stall_at is None:
            return response
        stream = web.StreamResponse(status=response.status, headers=_without_length(response))
        if fault.append is None:
            stream.content_length = len(whole)
        else:
            stream.enable_chunked_encoding()
        await stream.prepare(request)
        if fault.append is not None:
            await stream.write(whole + fault.append)
        elif fault.stall_at is not None:
            await stream.write(whole[: fault.stall_at])
            await fault.resume.wait()
        elif fault.truncate_at is not None:
            await stream.write(whole[: fault.truncate_at])
            assert request.transport is not None
            request.transport.close()
        return stream

    # -- routing -

    def _answer(self, request: web.BaseRequest, body: bytes) -> web.Response:
        if request.path == "/token":
            return self._issue(request, body)
        refusal = self._authorize(request)
        if refusal is not None:
            return refusal
        if request.path == "/v2/":
            return web.json_response({})
        for pattern, handler in (
            (_UPLOADS, self._start_upload),
            (_UPLOAD, self._upload),
            (_BLOB, self._blob),
            (_MANIFEST, self._manifest),
            (_TAGS, self._tags),
            (_REFERRERS, self._referrers),
        ):
            match = pattern.match(request.path)
            if match is not None:
                return handler(request, body, **match.groupdict())
        return web.Response(status=404, text="no such page")

    # -- authorization -

    def _authorize(self, request: web.BaseRequest) -> web.Response | None:
        if self.auth is None:
            return None
        given = request.headers.get("Authorization", "")
        if self.auth == "basic":
            if self._user(given) is not None:
                return None
            return _error(401, "UNAUTHORIZED", 'Basic realm="simulator"')
        wanted = self._wanted_scopes(request)
        granted = self.tokens.get(given.removeprefix("Bearer "))
        if given.startswith("Bearer ") and granted is not None and wanted <= granted:
            return None
        realm = self.realm or f"{request.scheme}://{request.host}/token"
        challenge = f'Bearer realm="{realm}",service="simulator"'
        if wanted:
            scopes = " ".join(sorted(f"{name}:{action}" for name, action in _grouped(wanted)))
            challenge += f',scope="{scopes}"'
        if granted is not None:
            challenge += ',error="insufficient_scope"'
        return _error(401, "UNAUTHORIZED", challenge)

    def _wanted_scopes(self, request: web.BaseRequest) -> frozenset[str]:
        match = _NAME.match(request.path)
        if match is None:
            return frozenset()
        writing = request.method not in ("GET", "HEAD") or "/uploads/" in request.path
        actions = ("pull", "push") if writing else ("pull",)
        return frozenset(f"repository:{match['name']}:{action}" for action in actions)

    def _user(self, header: str) -> str | None:
        if not header.startswith("Basic "):
            return None
        user, _, password = base64.b64decode(header[6:]).decode().partition(":")
        return user if self.users.get(user) == password else None

    def _issue(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """The token server: rights that the asker lacks are dropped, not refused."""
        from urllib.parse import parse_qs, parse_qsl

        if request.method == "POST":
            form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
            scopes = form.get("scope", "").split()
            if form.get("grant_type") == "refresh_token":
                known = form.get("refresh_token") in self.identity_tokens
            else:
                known = self.users.get(form.get("username", "")) == form.get("password")
            if not known:
                return web.json_response({"error": "invalid_grant"}, status=400)
        else:
            if not self.token_get:
                return web.Response(status=405)
            scopes = [
                scope
                for key, value in parse_qsl(request.query_string)
                if key == "scope"
                for scope in value.split()
            ]
            header = request.headers.get("Authorization")
            known = header is not None and self._user(header) is not None
            if header is not None and not known:
                return _error(401, "UNAUTHORIZED", 'Basic realm="simulator"')
        granted = {
            f"{scope.rpartition(':')[0]}:{action}"
            for scope in scopes
            for action in scope.rpartition(":")[2].split(",")
            if known or (self.anonymous_pull and action == "pull")
        }
        token = f"token-{len(self.tokens) + 1}"
        self.tokens[token] = frozenset(granted)
        answer = {"token": token, "expires_in": self.token_lifetime}
        if dict(parse_qsl(request.query_string)).get("offline_token"):
            self.identity_tokens.add("refresh-me")
            answer["refresh_token"] = "refresh-me"
        return web.json_response(answer)

    # -- content -

    def _blob(self, request: web.BaseRequest, body: bytes, name: str, digest: str) -> web.Response:
        data = self.blobs.get((name, digest))
        if data is None:
            return _error(404, "BLOB_UNKNOWN")
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        wanted = request.headers.get("Range", "")
        if request.method == "HEAD":
            return _head(headers, len(data))
        if not wanted or not self.ranges:
            return web.Response(headers=headers, body=data)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return web.Response(status=206, headers=headers, body=data[start:])

    def _manifest(
        self, request: web.BaseRequest, body: bytes, name: str, reference: str
    ) -> web.Response:
        if request.method == "PUT":
            return self._put_manifest(request, body, name, reference)
        if request.method == "DELETE":
            return self._delete_manifest(name, reference)
        found = self.manifests.get((name, reference))
        if found is None:
            return _error(404, "MANIFEST_UNKNOWN")
        raw, media_type = found
        headers = {"Docker-Content-Digest": str(Digest.of(raw)), "Content-Type": media_type}
        if self.conditional:
            headers["ETag"] = _etag(raw)
        if request.method == "HEAD":
            return _head(headers, len(raw))
        return web.Response(headers=headers, body=raw)

    def _put_manifest(
        self, request: web.BaseRequest, raw: bytes, name: str, reference: str
    ) -> web.Response:
        if self.conditional and self._refuses(request, name, reference):
            return _error(412, "PRECONDITION_FAILED")
        document = json.loads(raw)
        needed = [*document.get("layers", []), *filter(None, [document.get("config")])]
        for item in needed:
            if (name, item["digest"]) not in self.blobs:
                return _error(400, "MANIFEST_BLOB_UNKNOWN")
        for child in document.get("manifests", []):
            if (name, child["digest"]) not in self.manifests and "-" not in reference:
                return _error(400, "MANIFEST_BLOB_UNKNOWN")
        digest = self.add_manifest(name, raw, request.headers["Content-Type"], reference)
        headers = {"Docker-Content-Digest": str(digest), "Location": f"/v2/{name}/manifests/x"}
        if "subject" in document and self.referrers_api:
            headers["OCI-Subject"] = document["subject"]["digest"]
        return web.Response(status=201, headers=headers)

    def _delete_manifest(self, name: str, digest: str) -> web.Response:
        """By digest alone, as many registries have it; its tags go too."""
        gone = [
            key
            for key, (raw, _) in self.manifests.items()
            if key[0] == name and str(Digest.of(raw)) == digest
        ]
        for key in gone:
            del self.manifests[key]
        return web.Response(status=202) if gone else _error(404, "MANIFEST_UNKNOWN")

    def _refuses(self, request: web.BaseRequest, name: str, reference: str) -> bool:
        """Whether the conditions of a PUT do not hold (RFC 9110, section 13)."""
        current = self.manifests.get((name, reference))
        if "If-None-Match" in request.headers and current is not None:
            return True
        wanted = request.headers.get("If-Match")
        return wanted is not None and (current is None or wanted != _etag(current[0]))

    def _start_upload(self, request: web.BaseRequest, body: bytes, name: str) -> web.Response:
        query = request.query
        origin = (query.get("from", ""), query.get("mount", ""))
        if self.mounts and origin in self.blobs:
            self.blobs[name, origin[1]] = self.blobs[origin]
            return web.Response(status=201, headers={"Location": f"/v2/{name}/blobs/{origin[1]}"})
        upload = str(next(self._upload_ids))
        self.uploads[upload] = bytearray()
        return web.Response(status=202, headers=self._session(name, upload))

    def _session(self, name: str, upload: str) -> dict[str, str]:
        last = max(0, len(self.uploads[upload]) - 1)
        location = f"{self.location_prefix}/v2/{name}/blobs/uploads/{upload}?state=a%2Fb%3D"
        return {"Location": location, "Range": f"0-{last}", "Docker-Upload-UUID": upload}

    def _upload(self, request: web.BaseRequest, body: bytes, name: str, id: str) -> web.Response:
        held = self.uploads.get(id)
        if held is None:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        if "state=a%2Fb%3D" not in request.raw_path:
            return _error(400, "BLOB_UPLOAD_INVALID")
        if request.method == "GET":
            return web.Response(status=204, headers=self._session(name, id))
        if request.method == "PATCH":
            start, _, end = request.headers.get("Content-Range", "").partition("-")
            if start and (int(start) != len(held) or int(end) + 1 != len(held) + len(body)):
                return web.Response(status=416, headers=self._session(name, id))
            held += body
            return web.Response(status=202, headers=self._session(name, id))
        digest = Digest.parse(request.query["digest"])
        data = bytes(held) + body
        if hashlib.new(digest.algorithm, data).hexdigest() != digest.hex:
            return _error(400, "DIGEST_INVALID")
        del self.uploads[id]
        self.blobs[name, str(digest)] = data
        return web.Response(status=201, headers={"Docker-Content-Digest": str(digest)})

    def _tags(self, request: web.BaseRequest, body: bytes, name: str) -> web.Response:
        last = request.query.get("last", "")
        tags = sorted(ref for repo, ref in self.manifests if repo == name and ":" not in ref)
        following = [tag for tag in tags if tag > last]
        page, rest = following[: self.page_size], following[self.page_size :]
        headers = {"Link": f'</v2/{name}/tags/list?last={page[-1]}>; rel="next"'} if rest else {}
        return web.json_response({"name": name, "tags": page}, headers=headers)

    def _referrers(
        self, request: web.BaseRequest, body: bytes, name: str, digest: str
    ) -> web.Response:
        if not self.referrers_api:
            return web.Response(status=404, text="404 page not found")
        found = {}
        for (repo, _), (raw, media_type) in self.manifests.items():
            document = json.loads(raw)
            if repo == name and document.get("subject", {}).get("digest") == digest:
                found[str(Digest.of(raw))] = {
                    "mediaType": media_type,
                    "digest": str(Digest.of(raw)),
                    "size": len(raw),
                    "artifactType": document.get("artifactType")
                    or document.get("config", {}).get("mediaType", ""),
                }
        index = {"schemaVersion": 2, "manifests": list(found.values())}
        return web.json_response(index, content_type="application/vnd.oci.image.index.v1+json")


def _grouped(scopes: frozenset[str]) -> list[tuple[str, str]]:
    names = {scope.rpartition(":")[0] for scope in scopes}
    return [
        (name, ",".join(sorted(s.rpartition(":")[2] for s in scopes if s.startswith(f"{name}:"))))
        for name in names
    ]


def _etag(raw: bytes) -> str:
    return f'"{Digest.of(raw)}"'


def _error(status: int, code: str, challenge: str | None = None) -> web.Response:
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    document = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    return web.json_response(document, status=status, headers=headers)


def _head(headers: Mapping[str, str], length: int) -> web.Response:
    return web.Response(headers={**headers, "Content-Length": str(length)})


def _without_length(response: web.Response) -> dict[str, str]:
    return {key: value for key, value in response.headers.items() if key != "Content-Length"}
