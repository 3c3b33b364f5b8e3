"""A store without a server: rows and bytes written as the handlers write them; a fake clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from images.digest import Digest
from images.mediatype import OCI_INDEX, OCI_MANIFEST
from registry.admission import Admission
from registry.collection.collector import Collector
from registry.collection.report import CollectionReport
from registry.collection.settings import CollectionSettings
from registry.index import SqlIndex, SqliteIndex
from registry.manifests import examine
from registry.protocols import Storage
from registry.quotas import QuotaRule, Quotas
from registry.retention import Immutability, ImmutableRule, Retention, RetentionRule
from registry.storage import FileStorage
from tests.registry import kit

HOUR = 3600.0
DAY = 24 * HOUR


def open_index(root: Path, **options: Any) -> SqlIndex:
    """The index of a test; the fixture ``database`` puts it into another one than SQLite."""
    return OPENERS[-1](root, **options)


OPENERS: list[Callable[..., SqlIndex]] = [SqliteIndex]


class Clock:
    """Time that moves when told to. It begins at the real one, as files have real times."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Store:
    """One registry root; the methods do what a client's request would."""

    def __init__(
        self,
        root: Path,
        *,
        settings: CollectionSettings | None = None,
        retention: Iterable[RetentionRule] = (),
        immutable: Iterable[ImmutableRule] = (),
        quotas: Iterable[QuotaRule] = (),
        clock: Clock | None = None,
        storage: Storage | None = None,
    ) -> None:
        self.root = root
        self.clock = Clock() if clock is None else clock
        self.settings = settings or CollectionSettings()
        self.storage = FileStorage(root) if storage is None else storage
        immutability = Immutability(immutable)
        guard = Admission(self.storage.holder, Quotas(quotas), immutability)
        self.index = open_index(root, guard=guard, clock=self.clock)
        self.storage.attach(self.index)
        self.retention = Retention(retention, immutability)

    def close(self) -> None:
        self.index.close()

    def push_blob(self, repository: str, data: bytes) -> str:
        digest = kit.digest_of(data)
        self._store(data, digest)
        self.index.write(repository, partial(self.index.link_blob, repository, digest, len(data)))
        return digest

    def push_manifest(self, repository: str, raw: bytes, *tags: str) -> str:
        media_type = OCI_INDEX if b'"manifests"' in raw else OCI_MANIFEST
        manifest = examine(raw, media_type, None)
        self._store(raw, manifest.digest)
        put = partial(self.index.put_manifest, repository, manifest, tags)
        self.index.write(repository, put)
        return manifest.digest

    def push_image(self, repository: str, *tags: str, layers: Iterable[bytes] = ()) -> bytes:
        layers = list(layers)
        for blob in (b"{}", *layers):
            self.push_blob(repository, blob)
        raw = kit.manifest(layers=layers)
        self.push_manifest(repository, raw, *tags)
        return raw

    def delete_tag(self, repository: str, tag: str) -> bool:
        return self.index.write(repository, partial(self.index.delete_tag, repository, tag))

    def delete(self, repository: str, digest: str) -> bool:
        return self.index.write(repository, partial(self.index.delete_manifest, repository, digest))

    def collector(self, **changes: Any) -> Collector:
        return Collector(
            self.index,
            self.storage,
            replace(self.settings, **changes),
            self.retention,
            upload_expiry=DAY,
            clock=self.clock,
            sleep=lambda _: None,
        )

    def collect(self, **options: Any) -> CollectionReport:
        """A dry run and a real one; they must agree."""
        collector = self.collector()
        planned = collector.run(dry_run=True, **options)
        done = collector.run(**options)
        assert replace(planned, dry_run=False, seconds=0) == replace(done, seconds=0)
        return done

    def has(self, repository: str, digest: str) -> bool:
        """Whether a client could read this blob or manifest."""
        row = self.index.blob(repository, digest) or self.index.manifest(repository, digest)
        if row is not None:
            assert self.on_disk(digest), "a row without bytes"
        return row is not None

    def on_disk(self, digest: str) -> bool:
        return self.storage.has(Digest.parse(digest))

    def _store(self, data: bytes, digest: str) -> None:
        parsed = Digest.parse(digest)
        self.storage.put(data, parsed)
        if isinstance(self.storage, FileStorage):
            os.utime(self.root / "blobs" / parsed.algorithm / parsed.hex, (self.clock(),) * 2)
