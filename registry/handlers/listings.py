"""Tag lists, the catalog and referrers: pages out of the index."""

from __future__ import annotations

from functools import partial
from typing import Final

import orjson
from aiohttp import web

from images.mediatype import OCI_INDEX
from registry.access.visible import visible
from registry.answers import API_VERSION
from registry.attributes import GRANT
from registry.errors import ApiError
from registry.paging import Page
from registry.routing import Target
from registry.service import Registry

TAGS_PAGE: Final = 10_000
"""Most tags in one answer; more follow by Link."""

CATALOG_PAGE: Final = 1_000
REFERRERS_PAGE: Final = 1_000


async def get_tags(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """A repository's tags in byte order."""
    page = Page.parse(request.query, largest=TAGS_PAGE)
    read = partial(registry.index.tags, target.name, last=page.last, limit=page.probe)
    tags = await registry.workers.look_up(read)
    if tags is None:
        raise ApiError("NAME_UNKNOWN", detail={"name": target.name})
    shown, more = page.cut(tags)
    headers = {**API_VERSION, "Content-Type": "application/json"}
    if more:
        headers["Link"] = page.link(f"/v2/{target.name}/tags/list", shown[-1])
    return web.Response(body=orjson.dumps({"name": target.name, "tags": shown}), headers=headers)


async def get_catalog(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """The names of all repositories that the caller may pull, in byte order."""
    page = Page.parse(request.query, largest=CATALOG_PAGE)
    rights = registry.authorizer.rights(request[GRANT].identity)

    async def read(last: str, limit: int) -> list[str]:
        names = partial(registry.index.catalog, last=last, limit=limit)
        return await registry.workers.look_up(names)

    if rights is None:
        names = await read(page.last, page.probe)
    else:
        names = await visible(read, rights, last=page.last, limit=page.probe)
    shown, more = page.cut(names)
    headers = {**API_VERSION, "Content-Type": "application/json"}
    if more:
        headers["Link"] = page.link("/v2/_catalog", shown[-1])
    return web.Response(body=orjson.dumps({"repositories": shown}), headers=headers)


async def get_referrers(
    registry: Registry, request: web.BaseRequest, target: Target
) -> web.Response:
    """An index of the manifests whose subject is this digest; empty rather than 404."""
    subject = str(target.digest())
    artifact_type = request.query.get("artifactType") or None
    page = Page.parse(request.query, largest=REFERRERS_PAGE)
    read = partial(
        registry.index.referrers,
        target.name,
        subject,
        artifact_type=artifact_type,
        last=page.last,
        limit=page.probe,
    )
    shown, more = page.cut(await registry.workers.look_up(read))
    headers = {**API_VERSION, "Content-Type": OCI_INDEX}
    extra = {}
    if artifact_type is not None:
        headers["OCI-Filters-Applied"] = "artifactType"
        extra["artifactType"] = artifact_type
    if more:
        path = f"/v2/{target.name}/referrers/{subject}"
        headers["Link"] = page.link(path, shown[-1][0], extra)
    descriptors = b",".join(descriptor for _, descriptor in shown)
    head = b'{"schemaVersion":2,"mediaType":"' + OCI_INDEX.encode() + b'","manifests":['
    return web.Response(body=head + descriptors + b"]}", headers=headers)
