"""Stores to measure: as large as the targets say, made in seconds, by the schema's own rules.

Rows go in through the index's connection in one transaction, so triggers count usage as they do for
clients. Content is real but small, or sparse where only its size matters.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry.index import SqliteIndex
from registry.storage import FileStorage

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LONG_AGO = 1_000_000_000
"""When everything was pushed: no lease is left."""


@dataclass(frozen=True)
class GarbageStore:
    """A store to collect: what a collection finds in it."""

    root: Path
    blobs: int
    garbage: int
    live_repository: str


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def many_tags(root: Path, tags: int, *, repository: str = "bench/tags") -> None:
    """One repository whose manifest has so many tags, named ``v000000`` and up."""
    raw = _manifest([])
    with _filling(root) as fill:
        key = fill.repository(repository)
        fill.manifest(key, raw, [])
        digest = sha256(raw)
        fill.many(
            "tags (repository, name, digest, updated)",
            ((key, f"v{number:06}", digest, LONG_AGO) for number in range(tags)),
        )


def many_repositories(root: Path, repositories: int) -> None:
    """So many repositories with one image each, named ``bench/r000000`` and up."""
    raw = _manifest([])
    with _filling(root) as fill:
        for number in range(repositories):
            key = fill.repository(f"bench/r{number:06}")
            fill.manifest(key, raw, [])
            fill.many(
                "tags (repository, name, digest, updated)",
                [(key, "latest", sha256(raw), LONG_AGO)],
            )


def many_rows(root: Path, rows: int) -> None:
    """An index of about so many rows without their bytes: for start-up and nothing else."""
    with _filling(root, bytes_too=False) as fill:
        for start in range(0, rows, 10_000):
            key = fill.repository(f"bench/rows{start:08}")
            fill.many(
                "blob_links (repository, digest, size, leased)",
                (
                    (key, f"sha256:{number:064x}", 1, LONG_AGO)
                    for number in range(start, min(start + 10_000, rows))
                ),
            )


def garbage(root: Path, blobs: int, *, live: float = 0.5, per_image: int = 10) -> GarbageStore:
    """A store of so many blobs with bytes; a share of them is in tagged images, the rest nobody's.

    Images are spread over repositories of 100 images.
    """
    images = int(blobs * live) // per_image
    with _filling(root) as fill:
        number = 0
        for image in range(images):
            if image % 100 == 0:
                key = fill.repository(f"bench/live{image // 100:05}")
            layers = [b"%d" % (number + layer) for layer in range(per_image)]
            number += per_image
            for layer in layers:
                fill.blob(key, layer)
            raw = _manifest(layers)
            fill.manifest(key, raw, [sha256(layer) for layer in layers])
            fill.many(
                "tags (repository, name, digest, updated)",
                [(key, f"t{image}", sha256(raw), LONG_AGO)],
            )
        dead = fill.repository("bench/dead")
        first = number
        for number in range(first, blobs):
            fill.blob(dead, b"%d" % number)
    return GarbageStore(root, blobs, blobs - first, "bench/live00000")


class _Filling:
    """Rows and files on their way into a fresh store."""

    def __init__(self, root: Path, *, bytes_too: bool) -> None:
        self._storage = FileStorage(root)
        self._folder = root / "blobs" / "sha256"
        self._index = SqliteIndex(root)
        self._bytes_too = bytes_too

    def __enter__(self) -> _Filling:
        self._index.writer.execute("PRAGMA synchronous = OFF")
        self._index.writer.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, *_: object) -> None:
        self._index.writer.execute("COMMIT")
        self._index.close()

    def repository(self, name: str) -> int:
        sql = "INSERT INTO repositories (name, created) VALUES (?, ?)"
        key = self._index.writer.execute(sql, (name, LONG_AGO)).lastrowid
        assert key is not None
        return key

    def many(
        self, into: str, rows: Iterator[tuple[object, ...]] | list[tuple[object, ...]]
    ) -> None:
        places = ", ".join("?" for _ in range(into.count(",") + 1))
        self._index.writer.executemany(f"INSERT INTO {into} VALUES ({places})", rows)

    def blob(self, key: int, data: bytes) -> None:
        digest = self._write(data)
        self.many(
            "blob_links (repository, digest, size, leased)", [(key, digest, len(data), LONG_AGO)]
        )

    def manifest(self, key: int, raw: bytes, targets: list[str]) -> None:
        digest = self._write(raw)
        self.many(
            "manifests (repository, digest, media_type, size, created)",
            [(key, digest, MANIFEST, len(raw), LONG_AGO)],
        )
        self.many(
            "manifest_references (repository, manifest, target)",
            [(key, digest, target) for target in targets],
        )

    def _write(self, data: bytes) -> str:
        digest = sha256(data)
        if self._bytes_too:
            path = self._folder / digest.removeprefix("sha256:")
            path.write_bytes(data)
            os.utime(path, (LONG_AGO, LONG_AGO))
        return digest


def _filling(root: Path, *, bytes_too: bool = True) -> _Filling:
    return _Filling(root, bytes_too=bytes_too)


def _manifest(layers: list[bytes]) -> bytes:
    """A manifest of these layers; the first of them stands for the config too."""
    descriptors = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": sha256(layer),
            "size": len(layer),
        }
        for layer in layers
    ]
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptors[0] if descriptors else config,
        "layers": descriptors,
    }
    return json.dumps(document).encode()
