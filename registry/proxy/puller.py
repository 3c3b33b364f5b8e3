"""Requests below one prefix: from here while that is right, else from the upstream first.

A digest means the same forever: what is here is served without a question. A tag is served from
here for ``check_interval``, then its upstream is asked by HEAD what it points to, and only new
content is fetched. Manifests are in the index before they are answered. While the upstream fails, a
tag that is here goes on being served, with a Warning (RFC 7234, section 5.5).
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import web

from images.client import manifests as upstream_manifests
from images.client.errors import ManifestUnknownError, RemoteBlobUnknownError
from images.client.manifests import Fetched
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Manifest
from images.mediatype import OCTET_STREAM
from registry.answers import announce, content_headers
from registry.errors import ApiError, ImmutableTagError
from registry.handlers import blobs, manifests
from registry.handlers.conditional import CONDITIONAL
from registry.manifests import examine
from registry.proxy import fetching
from registry.proxy.faults import ABSENT, WITHDRAWN, is_ours, refusal
from registry.proxy.flights import Flights, Locks
from registry.proxy.memory import PAUSE, Health, Memory
from registry.proxy.settings import ProxyRule
from registry.proxy.upstream import Upstream
from registry.routing import Target
from registry.rules import repository_matcher
from registry.service import Registry
from registry.tally import Count

log = logging.getLogger("registry")

STALE: Final = '110 - "Response is Stale", 111 - "Revalidation Failed"'


Counted = Callable[[Count, int], object]
"""Hears what happens, to count it."""


class Outcome(enum.Enum):
    """How a request for content came to it, and what counts it."""

    HIT = Count.PROXY_HITS
    MISS = Count.PROXY_MISSES
    STALE = Count.PROXY_STALE


def _ignore(_count: Count, _amount: int) -> None:
    """Nobody counts."""


class State(enum.Enum):
    """What is known of a tag that is here."""

    FRESH = "as its upstream has it"
    STALE = "as it was when its upstream last answered"


class Puller:
    """Serves the repositories of one rule; used from the event loop."""

    def __init__(
        self,
        rule: ProxyRule,
        upstream: Upstream,
        locks: Locks,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rule = rule
        self.upstream = upstream
        self.flights = Flights()
        self.health = Health(clock)
        self._locks = locks
        self._allow = [repository_matcher(pattern) for pattern in rule.allow]
        self._deny = [repository_matcher(pattern) for pattern in rule.deny]
        self._checked: Memory[State] = Memory(clock)
        """Tags that were checked lately, or could not be."""
        self._missing: Memory[ApiError] = Memory(clock)
        self._sizes: Memory[int] = Memory(clock)
        self._blobs: dict[str, fetching.BlobFlight] = {}
        self.counted: Counted = _ignore

    async def close(self) -> None:
        """Call off what is under way."""
        await self.flights.close()
        await self.upstream.close()

    def admit(self, target: Target) -> str:
        """The repository's name below the prefix.

        Raises:
            ApiError: DENIED: the rule does not let it be asked for.
        """
        rest = target.name.removeprefix(self.rule.start)
        place = self.upstream.repository(rest).name
        below = place.removeprefix(self.upstream.path + "/") if self.upstream.path else place
        if any(match(below) for match in self._deny) or not any(
            match(below) for match in self._allow
        ):
            message = f"{below} is not among what may be pulled from {self.upstream.name}"
            raise ApiError("DENIED", message=message)
        return rest

    async def manifest(
        self, registry: Registry, request: web.BaseRequest, target: Target
    ) -> web.StreamResponse:
        """GET and HEAD of a manifest by tag or digest."""
        rest = self.admit(target)
        outcome = Outcome.HIT
        if not self.rule.offline:
            key = f"manifest {target.name} {target.tail}"
            known = self._checked.get(key)
            reference = target.reference()
            pinned = isinstance(reference, Digest)
            if (known is not None or pinned) and await self._has_manifest(registry, target):
                outcome = Outcome.STALE if known is State.STALE else Outcome.HIT
            else:
                self._check_missing(key)
                go = partial(self._refresh, registry, target, rest, reference)
                outcome = await self.flights.join(key, go)
        response = await manifests.get_manifest(registry, request, target)
        self.count(outcome)
        if outcome is Outcome.STALE:
            announce(response, "Warning", STALE)
        return response

    async def blob(
        self, registry: Registry, request: web.BaseRequest, target: Target
    ) -> web.StreamResponse:
        """GET and HEAD of a blob."""
        rest, digest = self.admit(target), target.digest()
        if self.rule.offline or await self._has_blob(registry, target):
            self.count(Outcome.HIT)
            return await blobs.get_blob(registry, request, target)
        key = f"blob {target.name} {target.tail}"
        self._check_missing(key)
        if request.method == "HEAD":
            go = partial(self._ask_size, key, rest, digest)
            size = await self.flights.join(f"size {key}", go)
            headers = {**content_headers(OCTET_STREAM, str(digest), size), "Accept-Ranges": "bytes"}
            return web.Response(headers=headers)
        self.count(Outcome.MISS)
        flight = self._blobs.get(key)
        if flight is None:
            flight = self._blobs[key] = fetching.BlobFlight()
            task = self.flights.start(key, self._bring_blob(registry, target, rest, flight, key))
        else:
            task = self.flights.under_way(key)
        opened = asyncio.ensure_future(flight.opened.wait())
        await asyncio.wait([opened, task], return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        plain = request.headers.keys().isdisjoint({*CONDITIONAL, "Range"})
        if not task.done() and plain and flight.size > blobs.SMALL_BLOB:
            response = await fetching.follow(registry, request, flight, digest)
            if response is not None:
                return response
        await asyncio.shield(task)
        return await blobs.get_blob(registry, request, target)

    def count(self, outcome: Outcome) -> None:
        """A request came to its content."""
        self.counted(outcome.value, 1)

    def told(self, error: ImagesError, what: str) -> ApiError:
        """Write a fault of the upstream down; returns what to answer."""
        if not self.health.repeats(error):
            self.health.note(error)
            if not isinstance(error, ABSENT):
                self.counted(Count.PROXY_FAULTS, 1)
            log.warning("%s from %s: %s", what, self.upstream.name, error)
        return refusal(error, self.upstream.name)

    # Manifests

    async def _refresh(
        self, registry: Registry, target: Target, rest: str, reference: Digest | str
    ) -> Outcome:
        """Make the tag or digest what it is upstream, unless that cannot be learnt."""
        key = f"manifest {target.name} {target.tail}"
        here = await self._here(registry, target)
        async with self._locks.hold(key):
            if here is None:
                here = await self._here(registry, target)
                if here is not None:  # another process brought it while this one waited
                    self._checked.put(key, State.FRESH, self.rule.check_interval)
                    return Outcome.MISS
            try:
                self.health.check()
                outcome = await self._renew(registry, target, rest, reference, here)
            except ImagesError as error:
                return await self._failed(registry, target, error, here=here is not None)
        self._missing.drop(key)
        self._checked.put(key, State.FRESH, self.rule.check_interval)
        return outcome

    async def _renew(
        self,
        registry: Registry,
        target: Target,
        rest: str,
        reference: Digest | str,
        here: str | None,
    ) -> Outcome:
        transport = self.upstream.transport
        name = self.upstream.reference(rest, reference)
        if here is not None:
            found = await upstream_manifests.resolve(transport, name)
            if str(found.digest) == here:
                return Outcome.HIT
        fetched = await upstream_manifests.fetch(transport, name)
        tags = () if isinstance(reference, Digest) else (reference,)
        await self._keep(registry, target, fetched, tags)
        self.counted(Count.PROXY_BYTES, len(fetched.raw))
        return Outcome.MISS

    async def _keep(
        self, registry: Registry, target: Target, fetched: Fetched, tags: tuple[str, ...]
    ) -> None:
        """Record what came; its blobs follow when they are asked for."""
        digest = fetched.descriptor.digest
        media_type = fetched.descriptor.media_type
        row = await registry.workers.io(partial(examine, fetched.raw, media_type, digest))
        await registry.workers.io(partial(registry.storage.put, fetched.raw, digest))
        actor = f"proxy:{self.upstream.registry}"
        record = partial(registry.index.put_manifest, target.name, row, sparse=True, actor=actor)
        try:
            await registry.writer.write(target.name, partial(record, tags=tags))
        except ImmutableTagError:
            # The tag stays where it is by a rule; what it points to upstream is here by digest.
            await registry.writer.write(target.name, partial(record, tags=()))
        if isinstance(fetched.document, Manifest):
            for item in (fetched.document.config, *fetched.document.layers):
                self._sizes.put(f"blob {target.name} {item.digest}", item.size, float("inf"))

    async def _failed(
        self, registry: Registry, target: Target, error: ImagesError, *, here: bool
    ) -> Outcome:
        """Decide what an upstream's fault means: to serve what is here, or an error.

        Raises:
            ApiError: it means that there is no answer.
        """
        if is_ours(error):
            raise error
        key = f"manifest {target.name} {target.tail}"
        refused = self.told(error, f"{target.name}:{target.tail}")
        if isinstance(error, ManifestUnknownError):
            self._missing.put(key, refused, self.rule.missing_interval)
            if here and ":" not in target.tail:
                await self._untag(registry, target)
        elif here and self.rule.stale_if_error and not isinstance(error, WITHDRAWN):
            self._checked.put(key, State.STALE, min(PAUSE, self.rule.check_interval))
            return Outcome.STALE
        raise refused from error

    async def _untag(self, registry: Registry, target: Target) -> None:
        """Forget a tag that its upstream has no more; what it pointed to stays by digest."""
        actor = f"proxy:{self.upstream.registry}"
        untag = partial(registry.index.delete_tag, target.name, target.tail, actor=actor)
        try:
            await registry.writer.write(target.name, untag)
        except ImmutableTagError:
            log.info("%s:%s stays, by a rule", target.name, target.tail)

    async def _has_manifest(self, registry: Registry, target: Target) -> bool:
        if registry.manifests.get(target.name, target.tail) is not None:
            return True
        return await self._here(registry, target) is not None

    async def _here(self, registry: Registry, target: Target) -> str | None:
        """The digest that is here under a tag or digest."""
        by_digest = ":" in target.tail
        read = registry.index.manifest if by_digest else registry.index.tagged_manifest
        row = await registry.workers.look_up(partial(read, target.name, target.tail))
        return None if row is None else row.digest

    # Blobs

    async def _has_blob(self, registry: Registry, target: Target) -> bool:
        if registry.blob_sizes.get(target.name, target.tail) is not None:
            return True
        read = partial(registry.index.blob, target.name, target.tail)
        return await registry.workers.look_up(read) is not None

    async def _bring_blob(
        self,
        registry: Registry,
        target: Target,
        rest: str,
        flight: fetching.BlobFlight,
        key: str,
    ) -> None:
        landed = False
        try:
            async with self._locks.hold(key):
                if not await self._has_blob(registry, target):
                    await self._fetch_blob(registry, target, rest, flight, key)
            landed = True
        except RemoteBlobUnknownError as error:
            refused = self.told(error, target.name)
            self._missing.put(key, refused, self.rule.missing_interval)
            raise refused from error
        except ImagesError as error:
            if is_ours(error):
                raise
            raise self.told(error, f"{target.name}@{target.tail}") from error
        finally:
            del self._blobs[key]
            flight.end(landed=landed)

    async def _fetch_blob(
        self,
        registry: Registry,
        target: Target,
        rest: str,
        flight: fetching.BlobFlight,
        key: str,
    ) -> None:
        self.health.check()
        digest = target.digest()
        held = await registry.workers.io(partial(registry.storage.has, digest))
        size = None if held else self._sizes.last(key)
        if size is None:
            size = await self._size_of(rest, digest)
        await fetching.check_room(registry, target.name, size)
        if held:
            # Other repositories have the bytes, and the upstream just said that this one may, too.
            link = partial(registry.index.link_blob, target.name, str(digest), size)
            await registry.writer.write(target.name, link)
            return
        wanted = fetching.wanted_blob(self.upstream, rest, digest, size)
        await fetching.bring(registry, self.upstream, flight, wanted, target.name)
        self.counted(Count.PROXY_BYTES, size)

    async def _ask_size(self, key: str, rest: str, digest: Digest) -> int:
        try:
            self.health.check()
            return await self._size_of(rest, digest)
        except ImagesError as error:
            refused = self.told(error, f"{rest}@{digest}")
            if isinstance(error, ABSENT):
                self._missing.put(key, refused, self.rule.missing_interval)
            raise refused from error

    async def _size_of(self, rest: str, digest: Digest) -> int:
        ask = self.upstream.ask("HEAD", rest, f"blobs/{digest}", kind="blob")
        async with self.upstream.transport.send(ask) as response:
            return self.upstream.stated_size(response.headers.get("Content-Length"), digest)

    def _check_missing(self, key: str) -> None:
        missing = self._missing.get(key)
        if missing is not None:
            raise missing
