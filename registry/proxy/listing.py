"""Tags and referrers below a prefix: what the upstream answers, for a while; else what is here.

A page of tags is one request of the upstream, with the same ``n`` and ``last``. Referrers are asked
for whole, also by the fallback tag of registries that do not list them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlencode

import orjson
from aiohttp import web

from images import strictjson
from images.client import limits
from images.client import manifests as upstream_manifests
from images.digest import Digest
from images.errors import ImagesError
from images.mediatype import OCI_INDEX
from images.reference import is_tag
from registry.answers import API_VERSION, announce
from registry.errors import ApiError
from registry.handlers import listings
from registry.paging import Page
from registry.proxy.faults import ABSENT
from registry.proxy.memory import Memory
from registry.proxy.puller import STALE, Outcome, Puller
from registry.routing import Target
from registry.service import Registry

_ANSWERS: Final = 1024
"""Listings that are remembered; each is bounded by what is read of an upstream."""

_REMEMBERED_BYTES: Final = 256 << 10
"""Longer answers are not kept."""

_LAST: Final = 256


class Lister:
    """Listings of one rule; used from the event loop."""

    def __init__(self, puller: Puller, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._puller = puller
        self._answers: Memory[tuple[bytes, bool]] = Memory(clock, limit=_ANSWERS)

    async def tags(
        self, registry: Registry, request: web.BaseRequest, target: Target
    ) -> web.StreamResponse:
        """A page of the tags that the upstream has."""
        rest = self._puller.admit(target)
        page = Page.parse(request.query, largest=listings.TAGS_PAGE)
        if len(page.last) > _LAST:
            raise ApiError("TAG_INVALID", message="no tag is as long as last")

        async def ask() -> tuple[bytes, bool]:
            return await self._ask_tags(target, rest, page)

        key = f"tags {target.name} {page.limit} {page.last}"
        found, stale = await self._answer(key, ask)
        if found is None:
            return await _local(listings.get_tags, registry, request, target, stale=stale)
        body, more = found
        headers = {**API_VERSION, "Content-Type": "application/json"}
        shown = orjson.loads(body)["tags"]
        if more and shown:
            headers["Link"] = page.link(f"/v2/{target.name}/tags/list", shown[-1])
        return _said(web.Response(body=body, headers=headers), stale=stale)

    async def referrers(
        self, registry: Registry, request: web.BaseRequest, target: Target
    ) -> web.StreamResponse:
        """What the upstream has that refers to a digest; empty rather than 404."""
        rest, subject = self._puller.admit(target), target.digest()
        artifact_type = request.query.get("artifactType", "")

        async def ask() -> tuple[bytes, bool]:
            return await self._ask_referrers(rest, subject, artifact_type), False

        key = f"referrers {target.name} {subject} {artifact_type}"
        found, stale = await self._answer(key, ask)
        if found is None:
            return await _local(listings.get_referrers, registry, request, target, stale=stale)
        headers = {**API_VERSION, "Content-Type": OCI_INDEX}
        if artifact_type:
            headers["OCI-Filters-Applied"] = "artifactType"
        return _said(web.Response(body=found[0], headers=headers), stale=stale)

    async def _answer(
        self, key: str, ask: Callable[[], Awaitable[tuple[bytes, bool]]]
    ) -> tuple[tuple[bytes, bool] | None, bool]:
        """What the upstream says, or said; None is to look here. Then, whether it is stale.

        Raises:
            ApiError: the upstream has no such repository, or fails and nothing may be stale.
        """
        rule = self._puller.rule
        found = self._answers.get(key)
        if found is not None or rule.offline:
            self._puller.count(Outcome.HIT)
            return found, False

        async def go() -> tuple[bytes, bool]:
            self._puller.health.check()
            answer = await ask()
            if len(answer[0]) <= _REMEMBERED_BYTES:
                self._answers.put(key, answer, rule.check_interval)
            return answer

        try:
            answer = await self._puller.flights.join(key, go)
        except ImagesError as error:
            refused = self._puller.told(error, key)
            if isinstance(error, ABSENT) or not rule.stale_if_error:
                raise refused from error
            self._puller.count(Outcome.STALE)
            return self._answers.last(key), True
        self._puller.count(Outcome.MISS)
        return answer, False

    async def _ask_tags(self, target: Target, rest: str, page: Page) -> tuple[bytes, bool]:
        upstream = self._puller.upstream
        query = urlencode({"n": page.limit, **({"last": page.last} if page.last else {})})
        ask = upstream.ask("GET", rest, f"tags/list?{query}", kind="manifest")
        answer = await upstream.transport.fetch(ask, limits.LISTING)
        listed = strictjson.loads(answer.body, what="tags")
        tags = [str(tag) for tag in strictjson.sequence(listed.get("tags") or [], what="tags")]
        shown, more = page.cut([tag for tag in tags if is_tag(tag)])
        body = orjson.dumps({"name": target.name, "tags": list(shown)})
        return body, more or 'rel="next"' in answer.headers.get("Link", "")

    async def _ask_referrers(self, rest: str, subject: Digest, artifact_type: str) -> bytes:
        upstream = self._puller.upstream
        found = await upstream_manifests.referrers(
            upstream.transport,
            upstream.reference(rest, subject),
            subject,
            artifact_type=artifact_type,
        )
        descriptors = [item.to_json() for item in found]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
        return orjson.dumps(index)


async def _local(
    handler: Callable[[Registry, web.BaseRequest, Target], Awaitable[web.Response]],
    registry: Registry,
    request: web.BaseRequest,
    target: Target,
    *,
    stale: bool,
) -> web.StreamResponse:
    """What is here, where the upstream cannot be asked."""
    return _said(await handler(registry, request, target), stale=stale)


def _said(response: web.StreamResponse, *, stale: bool) -> web.StreamResponse:
    if stale:
        announce(response, "Warning", STALE)
    return response
