"""Manifests: fetched by tag or digest, kept byte for byte, deleted with what points to them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from aiohttp import web
from multidict import CIMultiDictProxy

from images.digest import Digest
from registry import body
from registry.answers import API_VERSION, ReadyContent, content_headers
from registry.attributes import GRANT
from registry.database import NO_REPOSITORY
from registry.errors import ApiError, GateError, MissingContentError, WrongSizeError
from registry.handlers.conditional import CONDITIONAL, Conditions, not_modified
from registry.manifests import examine, warnings
from registry.protocols import Access
from registry.records import NewManifest
from registry.routing import Target, parse_tag
from registry.service import Registry

T = TypeVar("T")

TAGS_PER_PUT: Final = 128
"""Most ``?tag=`` parameters of one PUT; more are answered with 414."""

_REPORTED: Final = 100


async def get_manifest(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.StreamResponse:
    """GET and HEAD of a manifest by tag or digest."""
    found = registry.manifests.get(target.name, target.tail)
    if found is None or not registry.leases.fresh(target.name, found.etag):
        found = await _load(registry, target)
    try:
        await registry.gate.check(target.name, target.tail, found, request[GRANT].identity)
    except GateError as error:
        refusal = _closed(registry, request, target, error)
        raise refusal from (None if refusal is error else error)
    if not request.headers.keys().isdisjoint(CONDITIONAL):
        unchanged = not_modified(request, found.etag)
        if unchanged is not None:
            return unchanged
    return found.answer(request, registry.date)


def _closed(
    registry: Registry, request: web.BaseRequest, target: Target, error: GateError
) -> GateError | ApiError:
    """The refusal of a gate; who showed no credentials is asked for some where they may help."""
    caller = registry.callers.of(request)
    challenge = registry.authorizer.challenge(caller, Access("pull", target.name))
    if challenge is None or not error.login_helps:
        return error
    return ApiError("UNAUTHORIZED", message=error.what, detail=error.fix, headers=challenge)


async def put_manifest(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """Store a manifest under a digest or a tag; 201 means that it survives a power loss."""
    reference = target.reference()
    tags = _tags_of(request, reference)
    limits = registry.config.limits
    raw = await body.read(
        request, limit=limits.manifest_size, idle=limits.idle_timeout, rate=limits.body_rate
    )
    expected = reference if isinstance(reference, Digest) else None
    content_type = request.headers.get("Content-Type")
    store = partial(_store, registry, raw, content_type, expected)
    manifest, publish = await registry.workers.io(store)
    put = partial(
        registry.index.put_manifest,
        target.name,
        manifest,
        tags,
        sparse=registry.config.allow_missing,
        actor=actor_of(request),
    )

    def record() -> None:
        publish()
        put()

    try:
        await _record(registry, target, _conditional(registry, request, target, record))
    except BaseException:
        # So the next attempt finds the bytes, and a collection takes them.
        with suppress(Exception):
            await registry.writer.write(NO_REPOSITORY, publish, durable=False)
        raise
    headers = {
        **API_VERSION,
        "Location": f"/v2/{target.name}/manifests/{target.tail}",
        "Docker-Content-Digest": manifest.digest,
        "ETag": f'"{manifest.digest}"',
    }
    if manifest.subject is not None:
        headers["OCI-Subject"] = manifest.subject
    if expected is not None and tags:
        headers["OCI-Tag"] = ", ".join(tags)
    advice = warnings(manifest, tags, content_type)
    if advice:
        headers["Warning"] = ", ".join(advice)
    return web.Response(status=201, headers=headers)


async def delete_manifest(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """By tag: the tag alone. By digest: the manifest with all its tags."""
    reference = target.reference()
    if isinstance(reference, Digest):
        remove = partial(registry.index.delete_manifest, target.name, str(reference))
    else:
        remove = partial(registry.index.delete_tag, target.name, reference)
    delete = partial(remove, actor=actor_of(request))
    checked = _conditional(registry, request, target, delete)
    if not await registry.writer.write(target.name, checked):
        raise await _unknown(registry, target)
    return web.Response(status=202, headers=API_VERSION)


def actor_of(request: web.BaseRequest) -> str:
    """Who changes something, for the record: ``user:ada``, or "" for nobody in particular."""
    identity = request[GRANT].identity
    return str(identity) if identity.named else ""


async def _load(registry: Registry, target: Target) -> ReadyContent:
    generation = registry.manifests.generation(target.name)
    reference = target.reference()
    if isinstance(reference, Digest):
        read = partial(registry.index.manifest, target.name, str(reference))
    else:
        read = partial(registry.index.tagged_manifest, target.name, reference)
    row = await registry.workers.look_up(read)
    if row is None or not await registry.leases.manifest(target.name, row.digest, row.leased):
        raise await _unknown(registry, target)
    digest = Digest.parse(row.digest)
    raw = await registry.workers.io(partial(registry.storage.read, digest, limit=row.size))
    content = ReadyContent(
        raw, CIMultiDictProxy(content_headers(row.media_type, row.digest, row.size)), row.digest
    )
    registry.manifests.put(target.name, target.tail, content, generation=generation, size=row.size)
    return content


def _store(
    registry: Registry, raw: bytes, content_type: str | None, expected: Digest | None
) -> tuple[NewManifest, Callable[[], None]]:
    manifest = examine(raw, content_type, expected)
    return manifest, registry.storage.keep(raw, Digest.parse(manifest.digest))


def _conditional(
    registry: Registry, request: web.BaseRequest, target: Target, write: Callable[[], T]
) -> Callable[[], T]:
    """The write under the request's conditions; both happen in one transaction."""
    conditions = Conditions.of(request)
    if conditions is None:
        return write

    def checked() -> T:
        current = registry.index.current(target.name, target.tail)
        done = write()
        # A request that fails anyhow is told why, not that its condition does not hold; what was
        # written is undone when this raises (RFC 9110, section 13.2.1).
        if done is not False:
            conditions.check(current)
        return done

    return checked


async def _record(registry: Registry, target: Target, record: Callable[[], None]) -> None:
    try:
        await registry.writer.write(target.name, record)
    except MissingContentError as error:
        detail = [{"digest": digest} for digest in error.digests[:_REPORTED]]
        raise ApiError("MANIFEST_BLOB_UNKNOWN", detail=detail) from error
    except WrongSizeError as error:
        raise ApiError("SIZE_INVALID", message=error.what) from error


def _tags_of(request: web.BaseRequest, reference: Digest | str) -> tuple[str, ...]:
    if isinstance(reference, str):
        return (reference,)
    tags = request.query.getall("tag", [])
    if len(tags) > TAGS_PER_PUT:
        raise ApiError("TAG_INVALID", status=414, message=f"more than {TAGS_PER_PUT} tags")
    return tuple(dict.fromkeys(parse_tag(tag) for tag in tags))


async def _unknown(registry: Registry, target: Target) -> ApiError:
    known = partial(registry.index.has_repository, target.name)
    if await registry.workers.look_up(known):
        return ApiError("MANIFEST_UNKNOWN", detail={"reference": target.tail})
    return ApiError("NAME_UNKNOWN", detail={"name": target.name})
