"""Content of another registry into ours: bytes verified and durable first, then rows, then tags.

Done again it takes what is new; broken off, it has taken whole manifests. The registry may serve
meanwhile: blobs are linked to their repository before a collection could think them nobody's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

from images.digest import Digest
from images.errors import ImagesError
from registry.errors import ApiError
from registry.importing.sources import Source
from registry.index import SqlIndex
from registry.manifests import examine
from registry.protocols import Storage
from registry.records import NewManifest
from registry.settings import MANIFEST_LIMIT

ACTOR: Final = "import"
"""Who the history of tags names."""


@dataclass(slots=True)
class ImportReport:
    """What was taken, and what could not be; ``bytes`` are those that were not here before."""

    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    blobs: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Taker:
    """Takes from ``source``; ``told`` hears the name of each repository that is done."""

    source: Source
    index: SqlIndex
    storage: Storage
    wanted: Callable[[str], bool] = lambda _: True
    told: Callable[[str], object] = lambda _: None

    def take(self) -> ImportReport:
        """Take everything that is wanted; blocks.

        Raises:
            OSError, EnvironmentFault: our disk fails; what was taken stays.
        """
        report = ImportReport()
        for repository in sorted(filter(self.wanted, self.source.repositories())):
            self._repository(repository, report)
            report.repositories += 1
            self.told(repository)
        return report

    def _repository(self, repository: str, report: ImportReport) -> None:
        taken: set[str] = set()
        for manifest in self._ordered(repository, report):
            if self._manifest(repository, manifest, report):
                taken.add(manifest.digest)
        for tag, digest in self.source.tags(repository):
            if str(digest) not in taken:
                report.problems.append(f"{repository}:{tag}: its manifest {digest} is not there")
                continue
            move = partial(self._tag, repository, tag, str(digest))
            report.tags += self.index.write(repository, move)

    def _ordered(self, repository: str, report: ImportReport) -> list[NewManifest]:
        """The manifests, members of an index before it."""
        found: dict[str, NewManifest] = {}
        for digest in self.source.manifests(repository):
            try:
                with self.source.open(repository, digest) as file:
                    found[str(digest)] = examine(file.read(MANIFEST_LIMIT + 1), None, digest)
            except (OSError, ApiError, ImagesError) as error:
                report.problems.append(f"{repository}@{digest}: {_reason(error)}")
        ordered: dict[str, NewManifest] = {}
        for digest_text in found:
            _after_members(digest_text, found, ordered)
        return list(ordered.values())

    def _manifest(self, repository: str, manifest: NewManifest, report: ImportReport) -> bool:
        """Take one manifest with its blobs; False where something of it is missing or damaged."""
        if self.index.manifest(repository, manifest.digest) is not None:
            return True
        for blob, size in manifest.blobs:
            try:
                report.bytes += self._blob(repository, Digest.parse(blob), size)
            except (OSError, ImagesError) as error:
                if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                    raise
                report.problems.append(
                    f"{repository}@{manifest.digest}: its blob {blob}: {_reason(error)}"
                )
                return False
            report.blobs += 1
        digest = Digest.parse(manifest.digest)
        self._copy(repository, digest, manifest.size)
        put = partial(self.index.put_manifest, repository, manifest, [], sparse=True, actor=ACTOR)
        self.index.write(repository, put)
        report.manifests += 1
        return True

    def _blob(self, repository: str, digest: Digest, size: int) -> int:
        """Have a blob here, linked to the repository; returns the bytes that were copied."""
        copied = 0
        if self.storage.size(digest) != size:
            copied = self._copy(repository, digest, size)
        link = partial(self.index.link_blob, repository, str(digest), size)
        self.index.write(repository, link, durable=False)
        return copied

    def _copy(self, repository: str, digest: Digest, size: int) -> int:
        with self.source.open(repository, digest) as file:
            self.storage.take(_pieces(file.fileno()), digest, size)
        return size

    def _tag(self, repository: str, tag: str, digest: str) -> bool:
        """Point the tag there; False where it does already."""
        if self.index.current(repository, tag) == digest:
            return False
        return self.index.retag(repository, tag, digest)


def _after_members(
    digest: str, found: dict[str, NewManifest], ordered: dict[str, NewManifest]
) -> None:
    waiting = [(digest, False)]
    while waiting:
        current, members_done = waiting.pop()
        manifest = found.get(current)
        if manifest is None or current in ordered:
            continue
        if members_done:
            ordered[current] = manifest
            continue
        waiting.append((current, True))
        waiting += [(member, False) for member, _ in manifest.children if member != current]


def _pieces(descriptor: int) -> Iterator[bytes]:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    while piece := os.read(descriptor, 1 << 20):
        yield piece


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "its bytes are not there"
    what = getattr(error, "what", None) or getattr(error, "message", None)
    return str(what or error)
