"""Uploads: begun, mounted, continued, finished, asked about, cancelled.

What ends a session: a finished upload, a cancelled one, a digest that does not match, and a disk
that fails while the bytes are made durable (they are dropped; a client begins anew). What does not:
a chunk at the wrong place (416), a full disk during a chunk, a dropped connection, a restart.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from aiohttp import web

from images.digest import HEX_LENGTHS, Digest
from images.errors import DigestMismatchError, EnvironmentFault
from registry import body, ranges
from registry.answers import API_VERSION
from registry.errors import ApiError
from registry.protocols import Access, Stage
from registry.routing import Target, parse_digest, parse_name
from registry.service import Registry

_CANDIDATES = 16


async def post_upload(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """Begin a session, mount a blob, or take a whole blob in one request."""
    query = request.query
    if "mount" in query:
        digest = parse_digest(query["mount"])
        if await _mount(registry, request, target.name, digest):
            return _created(target.name, digest)
    elif "digest" in query:
        return await _single(registry, request, target, parse_digest(query["digest"]))
    algorithm = query.get("digest-algorithm", "sha256")
    if algorithm not in HEX_LENGTHS:
        raise ApiError(
            "DIGEST_INVALID", message="unsupported digest algorithm", detail=algorithm[:50]
        )
    upload = await registry.uploads.start(target.name, algorithm)
    return _progress(202, target.name, upload, 0)


async def get_upload(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """How far a session is."""
    async with registry.uploads.hold(target.name, target.tail) as stage:
        return _progress(204, target.name, target.tail, stage.size)


async def patch_upload(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """Append a chunk, or a stream of unknown length."""
    async with registry.uploads.hold(target.name, target.tail) as stage:
        length = _check_range(request, stage, target)
        await _receive(registry, request, target, stage, length)
        size = stage.size
    return _progress(202, target.name, target.tail, size)


async def put_upload(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """Append what is left, verify, and make the blob the repository's."""
    if "digest" not in request.query:
        raise ApiError("DIGEST_INVALID", message="the digest parameter is missing")
    digest = parse_digest(request.query["digest"])
    async with registry.uploads.hold(target.name, target.tail) as stage:
        length = _check_range(request, stage, target)
        await _receive(registry, request, target, stage, length)
        try:
            size = await registry.workers.io(partial(stage.prepare, digest))
        except (DigestMismatchError, OSError, EnvironmentFault) as error:
            # Also when the disk fails: after a failed fsync(2) the pages it could not write count
            # as clean, so a second one would vouch for what is not there.
            await registry.workers.io(stage.discard)
            await registry.uploads.end(target.name, target.tail)
            if isinstance(error, DigestMismatchError):
                raise ApiError("DIGEST_INVALID", detail=error.what) from error
            raise
        await _link(registry, stage, target, digest, size)
        registry.uploads.forget(target.tail)
    return _created(target.name, digest)


async def delete_upload(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """Cancel a session and drop its bytes."""
    async with registry.uploads.hold(target.name, target.tail) as stage:
        await registry.workers.io(stage.discard)
        await registry.uploads.end(target.name, target.tail)
    return web.Response(status=204, headers=API_VERSION)


async def _single(
    registry: Registry, request: web.BaseRequest, target: Target, digest: Digest
) -> web.Response:
    async with registry.uploads.single(digest.algorithm) as stage:
        await _receive(registry, request, target, stage, request.content_length)
        try:
            size = await registry.workers.io(partial(stage.prepare, digest))
        except DigestMismatchError as error:
            raise ApiError("DIGEST_INVALID", detail=error.what) from error
        await _link(registry, stage, target, digest, size)
    return _created(target.name, digest)


async def _mount(
    registry: Registry, request: web.BaseRequest, repository: str, digest: Digest
) -> bool:
    """Link a blob of another repository that the caller may read; False: upload it instead."""
    source = request.query.get("from")
    if source is not None:
        candidates = [parse_name(source)]
    else:
        holders = partial(registry.index.blob_holders, str(digest), limit=_CANDIDATES)
        candidates = await registry.workers.look_up(holders)
    caller = registry.callers.of(request)
    for candidate in candidates:
        if not await registry.authorizer.permits(caller, Access("pull", candidate)):
            continue
        mount = partial(registry.index.mount_blob, candidate, repository, str(digest))
        if await registry.writer.write(repository, mount):
            return True
    return False


async def _receive(
    registry: Registry,
    request: web.BaseRequest,
    target: Target,
    stage: Stage,
    length: int | None,
) -> None:
    """Append the body; ``length`` is what the client announced, None when it did not."""
    limit = registry.config.limits.blob_size
    room = await _room(registry, request, target)
    if room is not None and stage.size + (length or 0) > room:
        raise ApiError("DENIED", message=f"{room} bytes are left of this repository's quota")
    limits = [
        length,
        None if limit is None else limit - stage.size,
        None if room is None else room - stage.size,
    ]
    received = await body.receive(
        request,
        stage.append,
        registry.workers,
        limit=min((n for n in limits if n is not None), default=None),
        idle=registry.config.limits.idle_timeout,
        rate=registry.config.limits.body_rate,
    )
    if length is not None and received != length:
        raise ApiError("SIZE_INVALID", message=f"{length} bytes announced, {received} received")


async def _room(registry: Registry, request: web.BaseRequest, target: Target) -> int | None:
    """Bytes that the quotas leave for this upload, None for any number.

    This spares clients and disks an upload in vain; the judge is the transaction that ends it.
    """
    if not registry.config.quotas:
        return None
    digest = request.query.get("digest", "")
    known = partial(registry.index.blob, target.name, digest)
    if digest and await registry.workers.look_up(known) is not None:
        return None
    return await registry.workers.look_up(partial(registry.index.room, target.name))


def _check_range(request: web.BaseRequest, stage: Stage, target: Target) -> int | None:
    """The announced length of the chunk, None when there is none.

    Refuses a chunk that does not continue where the last one ended; the session goes on.
    """
    header = request.headers.get("Content-Range")
    if header is None:
        return request.content_length
    chunk = ranges.parse_content_range(header)
    if chunk is None:
        raise ApiError(
            "BLOB_UPLOAD_INVALID", message="malformed Content-Range", detail=header[:100]
        )
    first, last = chunk
    if first != stage.size:
        progress = _progress(416, target.name, target.tail, stage.size)
        raise ApiError("RANGE_INVALID", headers=dict(progress.headers))
    length = request.content_length
    if length is not None and length != last - first + 1:
        raise ApiError("SIZE_INVALID", message="Content-Range and Content-Length disagree")
    return last - first + 1


async def _link(
    registry: Registry, stage: Stage, target: Target, digest: Digest, size: int
) -> None:
    """Make what was prepared a blob of the repository, and end the session, in one transaction."""

    def finish() -> None:
        stage.settle()
        registry.index.link_blob(target.name, str(digest), size)
        if target.tail:
            registry.index.delete_upload(target.tail)

    try:
        await registry.writer.write(target.name, finish)
    except BaseException:
        # What a rule refuses is a blob nevertheless, which no repository has; so the next attempt
        # finds it, and a collection takes it.
        with suppress(Exception):
            await registry.workers.io(stage.publish)
        raise
    stage.ended()


def _progress(status: int, name: str, upload: str, size: int) -> web.Response:
    return web.Response(
        status=status,
        headers={
            **API_VERSION,
            "Location": f"/v2/{name}/blobs/uploads/{upload}",
            "Docker-Upload-UUID": upload,
            "Range": f"0-{max(size - 1, 0)}",
        },
    )


def _created(name: str, digest: Digest) -> web.Response:
    return web.Response(
        status=201,
        headers={
            **API_VERSION,
            "Location": f"/v2/{name}/blobs/{digest}",
            "Docker-Content-Digest": str(digest),
        },
    )
