"""One run that brings what is here to another registry: content, then manifests, tags last."""

from __future__ import annotations

from functools import partial
from typing import BinaryIO, Final

from images.client import manifests as upstream_manifests
from images.client.errors import ManifestUnknownError
from images.client.threads import run_bounded
from images.client.upload import Upload, send
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.mediatype import OCTET_STREAM
from registry.manifests import examine
from registry.mirroring.pulling import tag_chooser
from registry.mirroring.report import Report
from registry.mirroring.settings import MirrorRule
from registry.proxy.upstream import Upstream
from registry.records import ManifestRow
from registry.rules import repository_matcher
from registry.service import Registry

_PARALLEL: Final = 3
_PAGE: Final = 1000


class PushRun:
    """Copies for one mirror; used once."""

    def __init__(
        self, registry: Registry, rule: MirrorRule, upstream: Upstream, report: Report
    ) -> None:
        self._registry = registry
        self._rule = rule
        self._upstream = upstream
        self._report = report
        self._names = [repository_matcher(pattern) for pattern in rule.repositories]
        self._chosen = tag_chooser(rule)

    async def run(self) -> None:
        """Copy all repositories that the patterns choose; what goes wrong is in the report."""
        last = self._rule.start
        while True:
            read = partial(self._registry.index.catalog, last=last, limit=_PAGE)
            page = await self._registry.workers.look_up(read)
            for source in page:
                name = source.removeprefix(self._rule.start)
                if source.startswith(self._rule.start) and any(fit(name) for fit in self._names):
                    await self._repository(source, name)
            if len(page) < _PAGE:
                return
            last = page[-1]

    async def _repository(self, source: str, name: str) -> None:
        last = ""
        while True:
            read = partial(self._registry.index.tags, source, last=last, limit=_PAGE)
            page = await self._registry.workers.look_up(read) or []
            for tag in page:
                if self._chosen(tag):
                    try:
                        await self._tag(source, name, tag)
                    except ImagesError as error:
                        self._report.problem(f"{name}:{tag}: {error}")
            if len(page) < _PAGE:
                return
            last = page[-1]

    async def _tag(self, source: str, name: str, tag: str) -> None:
        row = await self._tagged(source, tag)
        if row is None:
            return  # it went meanwhile
        if await self._there(name, tag) != row.digest:
            await self._manifest(source, name, row, tag)
        if self._rule.referrers:
            await self._attached(source, name, row.digest)

    async def _attached(self, source: str, name: str, digest: str) -> None:
        registry, last = self._registry, ""
        while True:
            read = partial(
                registry.index.referrers,
                source,
                digest,
                artifact_type=None,
                last=last,
                limit=_PAGE,
            )
            page = await registry.workers.look_up(read)
            for referrer, _ in page:
                await self._missing(source, name, referrer)
            if len(page) < _PAGE:
                break
            last = page[-1][0]
        for suffix in (".sig", ".att", ".sbom"):
            tag = digest.replace(":", "-") + suffix
            row = await self._tagged(source, tag)
            if row is not None and await self._there(name, tag) != row.digest:
                await self._manifest(source, name, row, tag)

    async def _missing(self, source: str, name: str, digest: str) -> None:
        """Bring a manifest there by its digest, unless it is there."""
        registry = self._registry
        if await self._there(name, digest) is None:
            row = await registry.workers.look_up(partial(registry.index.manifest, source, digest))
            if row is not None:
                await self._manifest(source, name, row, digest)

    async def _manifest(self, source: str, name: str, row: ManifestRow, reference: str) -> None:
        registry, digest = self._registry, Digest.parse(row.digest)
        raw = await registry.workers.io(partial(registry.storage.read, digest, limit=row.size))
        content = examine(raw, row.media_type, digest)
        for child, _ in content.children:
            await self._missing(source, name, child)
        blobs = {Digest.parse(text): size for text, size in content.blobs}
        await run_bounded(
            [partial(self._blob, name, blob, size) for blob, size in blobs.items()], _PARALLEL
        )
        place = self._upstream.reference(name, _parsed(reference))
        await upstream_manifests.put(self._upstream.transport, place, raw, row.media_type)
        self._report.manifests += 1

    async def _blob(self, name: str, digest: Digest, size: int) -> None:
        sent = 0

        def open_blob() -> BinaryIO:
            nonlocal sent
            sent = size
            return self._registry.storage.open(digest)

        place = self._upstream.repository(name)
        upload = Upload(place, Descriptor(OCTET_STREAM, digest, size), open=open_blob)
        await send(self._upstream.transport, upload)
        self._report.blobs += sent > 0
        self._report.bytes += sent

    async def _tagged(self, source: str, tag: str) -> ManifestRow | None:
        read = partial(self._registry.index.tagged_manifest, source, tag)
        return await self._registry.workers.look_up(read)

    async def _there(self, name: str, reference: str) -> str | None:
        """The digest that the other registry has under a tag or digest."""
        place = self._upstream.reference(name, _parsed(reference))
        try:
            found = await upstream_manifests.resolve(self._upstream.transport, place)
        except ManifestUnknownError:
            return None
        return str(found.digest)


def _parsed(reference: str) -> Digest | str:
    return Digest.parse(reference) if ":" in reference else reference
