"""One run that brings from another registry: content first, manifests after it, tags last.

What is here already is neither fetched nor judged again. A tag that could not be copied, or that a
policy refuses, stays as it is here; the others go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final

from images.client import manifests as upstream_manifests
from images.client.errors import ManifestUnknownError
from images.client.threads import run_bounded
from images.digest import Digest
from images.errors import ImagesError
from registry.errors import ApiError
from registry.manifests import examine
from registry.mirroring.judging import SignatureJudge
from registry.mirroring.report import Report
from registry.mirroring.settings import MirrorRule
from registry.mirroring.versions import range_matcher
from registry.proxy.fetching import BlobFlight, bring, wanted_blob
from registry.proxy.upstream import Upstream
from registry.records import NewManifest
from registry.rules import tag_matcher
from registry.service import Registry
from trust.errors import VerificationError

_PARALLEL: Final = 3
_DEPTH: Final = 4
"""How many indexes may lie within each other."""

_PAGE: Final = 1000

ATTACHED: Final = re.compile(r"sha(?:256|512)-[0-9a-f]{64,128}(?:\.[a-z]+)?\Z")
"""Tags that belong to a digest; they go with it and are not chosen by patterns."""


def tag_chooser(rule: MirrorRule) -> Callable[[str], bool]:
    """A test for the tags that a mirror copies for their own sake."""
    patterns = [tag_matcher(pattern) for pattern in rule.tags]
    in_range = range_matcher(rule.versions)

    def chosen(tag: str) -> bool:
        fits = any(pattern(tag) for pattern in patterns)
        return fits and in_range(tag) and not ATTACHED.match(tag)

    return chosen


class PullRun:
    """Copies for one mirror; used once."""

    def __init__(
        self,
        registry: Registry,
        rule: MirrorRule,
        upstream: Upstream,
        report: Report,
        judge: SignatureJudge | None,
    ) -> None:
        self._registry = registry
        self._rule = rule
        self._upstream = upstream
        self._report = report
        self._judge = judge
        self._chosen = tag_chooser(rule)
        self._actor = f"mirror:{rule.name}"

    async def run(self) -> None:
        """Copy all repositories; what goes wrong is in the report."""
        for name in self._rule.repositories:
            try:
                await self._repository(name)
            except ImagesError as error:
                self._report.problem(f"{name}: {error}")

    async def _repository(self, name: str) -> None:
        place = self._upstream.reference(name, "latest")
        tags = await upstream_manifests.tags(self._upstream.transport, place)
        present = frozenset(tags)
        for tag in filter(self._chosen, tags):
            try:
                await self._tag(name, tag, present)
            except VerificationError as error:
                self._report.refused += 1
                self._report.problem(f"{name}:{tag} is refused: {error}")
            except ApiError as error:
                self._report.problem(f"{name}:{tag}: {error}")
            except ImagesError as error:
                self._report.problem(f"{name}:{tag}: {error}")
        if self._rule.delete:
            await self._delete(self._rule.start + name, present)

    async def _tag(self, name: str, tag: str, present: frozenset[str]) -> None:
        transport = self._upstream.transport
        found = await upstream_manifests.resolve(transport, self._upstream.reference(name, tag))
        target = self._rule.start + name
        read = partial(self._registry.index.tagged_manifest, target, tag)
        here = await self._registry.workers.look_up(read)
        if here is None or here.digest != str(found.digest):
            if self._judge is not None:
                await self._judge.check(name, tag, found.digest)
            await self._manifest(name, found.digest, (tag,))
        if self._rule.referrers:
            await self._attached(name, found.digest, present)

    async def _attached(self, name: str, digest: Digest, present: frozenset[str]) -> None:
        """Copy what refers to ``digest``, by its subject or by a tag made of the digest."""
        transport = self._upstream.transport
        place = self._upstream.reference(name, digest)
        for item in await upstream_manifests.referrers(transport, place, digest):
            await self._manifest(name, item.digest, ())
        stem = f"{digest.algorithm}-{digest.hex}"
        for suffix in (".sig", ".att", ".sbom"):
            if stem + suffix in present:
                tag = self._upstream.reference(name, stem + suffix)
                found = await upstream_manifests.resolve(transport, tag)
                await self._manifest(name, found.digest, (stem + suffix,))

    async def _manifest(
        self, name: str, digest: Digest, tags: tuple[str, ...], *, depth: int = 0
    ) -> None:
        """Bring a manifest with all that it names, and give it ``tags``."""
        registry, target = self._registry, self._rule.start + name
        here = await registry.workers.look_up(partial(registry.index.manifest, target, str(digest)))
        if here is not None:
            await self._retag(target, digest, tags)
            return
        if depth > _DEPTH:
            raise ManifestUnknownError(f"indexes lie more than {_DEPTH} deep in each other")
        fetched = await upstream_manifests.fetch(
            self._upstream.transport, self._upstream.reference(name, digest)
        )
        row = examine(fetched.raw, fetched.descriptor.media_type, digest)
        for child, _ in row.children:
            await self._manifest(name, Digest.parse(child), (), depth=depth + 1)
        blobs = {Digest.parse(text): size for text, size in row.blobs}
        await run_bounded(
            [partial(self._blob, name, blob, size) for blob, size in blobs.items()], _PARALLEL
        )
        await registry.workers.io(partial(registry.storage.put, fetched.raw, digest))
        await self._record(target, row, tags)

    async def _record(self, target: str, row: NewManifest, tags: tuple[str, ...]) -> None:
        registry = self._registry
        put = partial(registry.index.put_manifest, target, row, tags, actor=self._actor)
        await registry.writer.write(target, put)
        self._report.manifests += 1

    async def _retag(self, target: str, digest: Digest, tags: tuple[str, ...]) -> None:
        registry = self._registry
        for tag in tags:
            read = partial(registry.index.tagged_manifest, target, tag)
            row = await registry.workers.look_up(read)
            if row is None or row.digest != str(digest):
                move = partial(registry.index.retag, target, tag, str(digest))
                await registry.writer.write(target, move)

    async def _blob(self, name: str, digest: Digest, size: int) -> None:
        registry, target = self._registry, self._rule.start + name
        known = partial(registry.index.blob, target, str(digest))
        if await registry.workers.look_up(known) is not None:
            return
        if await registry.workers.io(partial(registry.storage.size, digest)) == size:
            link = partial(registry.index.link_blob, target, str(digest), size)
            await registry.writer.write(target, link)
            return
        wanted = wanted_blob(self._upstream, name, digest, size)
        await bring(registry, self._upstream, BlobFlight(), wanted, target)
        self._report.blobs += 1
        self._report.bytes += size

    async def _delete(self, target: str, present: frozenset[str]) -> None:
        """Remove chosen tags here that are not ``present`` there."""
        registry = self._registry
        last = ""
        while True:
            read = partial(registry.index.tags, target, last=last, limit=_PAGE)
            page = await registry.workers.look_up(read) or []
            for tag in page:
                if self._chosen(tag) and tag not in present:
                    gone = partial(registry.index.delete_tag, target, tag, actor=self._actor)
                    self._report.deleted += await registry.writer.write(target, gone)
            if len(page) < _PAGE:
                return
            last = page[-1]
