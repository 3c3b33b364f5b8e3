"""Index against storage: what is promised and not there, and what is there and not promised.

Reads a page at a time and changes nothing, also while the registry serves: what looks wrong is
looked at once more, since clients and collections go on. Bytes are not hashed, that is a scrub;
manifests are, since they are read to be compared with their rows.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from images.digest import HEX_LENGTHS, Digest
from images.errors import ImagesError
from registry.collection.files import UNHELD, Files
from registry.collection.marking import Marking
from registry.errors import ApiError
from registry.index import SqlIndex
from registry.manifests import examine
from registry.protocols import Collectable, Storage
from registry.records import NewManifest
from registry.settings import MANIFEST_LIMIT

_PAGE: Final = 1000
_SETTLING: Final = 0.2
"""Seconds until a second look: longer than any write between its two effects."""


class Severity(enum.Enum):
    """A problem means that a promise is broken; a remark is what clients or crashes may leave."""

    PROBLEM = "problem"
    REMARK = "remark"


@dataclass(frozen=True, slots=True)
class Finding:
    """``code`` is stable; ``where`` names repository and digest, file or table."""

    code: str
    where: str
    what: str
    fix: str = ""
    severity: Severity = Severity.PROBLEM

    def as_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return {**dataclasses.asdict(self), "severity": self.severity.value}


def check(
    root: Path,
    index: SqlIndex,
    storage: Storage,
    *,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Finding]:
    """Everything found wrong with the store under ``root``."""
    damage = list(_database(index))
    yield from damage
    if damage:
        return
    suspects = [*_links(index, storage), *_manifests(index, storage), *_names(index)]
    if suspects:
        sleep(_SETTLING)
        again = {*_links(index, storage), *_manifests(index, storage), *_names(index)}
        yield from (finding for finding in suspects if finding in again)
    yield from _usage(index)
    yield from _strangers(root)
    yield from _orphans(index, storage)


def _database(index: SqlIndex) -> Iterator[Finding]:
    for text in index.damage():
        yield _damaged(index, text)


def _damaged(index: SqlIndex, text: str) -> Finding:
    fix = "stop the server and run: lading registry rebuild-index"
    return Finding("index-damaged", index.where, text, fix)


def _links(index: SqlIndex, storage: Collectable) -> Iterator[Finding]:
    sql = (
        "SELECT repository, (SELECT name FROM repositories WHERE id = repository), digest, size"
        " FROM blob_links WHERE (repository, digest) > (?, ?) ORDER BY repository, digest LIMIT ?"
    )
    for name, digest, size in _pages(index, sql):
        actual = storage.size(Digest.parse(digest))
        if actual != size:
            yield _content("blob", name, digest, size, actual)


def _content(kind: str, name: str, digest: str, size: int, actual: int | None) -> Finding:
    where = f"{name}@{digest}"
    if actual is None:
        return Finding(f"{kind}-missing", where, "its bytes are not there", _PUSH)
    return Finding(f"{kind}-size", where, f"it has {actual} bytes instead of {size}", _PUSH)


_PUSH: Final = "delete it from this repository and push it again"


def _manifests(index: SqlIndex, storage: Storage) -> Iterator[Finding]:
    sql = (
        "SELECT repository, (SELECT name FROM repositories WHERE id = repository), digest, size,"
        " repository, media_type, subject FROM manifests"
        " WHERE (repository, digest) > (?, ?) ORDER BY repository, digest LIMIT ?"
    )
    for name, digest, size, key, media_type, subject in _pages(index, sql):
        where = f"{name}@{digest}"
        parsed = Digest.parse(digest)
        actual = storage.size(parsed)
        if actual != size:
            yield _content("manifest", name, digest, size, actual)
            continue
        try:
            raw = storage.read(parsed, limit=MANIFEST_LIMIT)
            manifest = examine(raw, media_type, parsed)
        except (ImagesError, ApiError) as error:
            yield Finding("manifest-damaged", where, str(error), _PUSH)
            continue
        yield from _references(index, key, where, manifest)
        if manifest.subject != subject:
            yield Finding("subject-differs", where, "its row names another subject", _REBUILD)


_REBUILD: Final = "stop the server and run: lading registry rebuild-index"


def _references(index: SqlIndex, key: int, where: str, manifest: NewManifest) -> Iterator[Finding]:
    reader = index.reader()
    sql = "SELECT target FROM manifest_references WHERE repository = ? AND manifest = ?"
    recorded = {target for (target,) in reader.execute(sql, (key, manifest.digest))}
    needed = [digest for digest, _ in (*manifest.blobs, *manifest.children)]
    if not recorded.issuperset(needed):
        yield Finding("references-differ", where, "its row does not protect its content", _REBUILD)
    for table, content in (("blob_links", manifest.blobs), ("manifests", manifest.children)):
        sql = f"SELECT 1 FROM {table} WHERE repository = ? AND digest = ?"
        for digest, _ in content:
            if reader.execute(sql, (key, digest)).fetchone() is None:
                # No broken promise: clients may delete it, or push without it.
                what = f"{digest} is not in the repository"
                yield Finding("content-missing", where, what, _SPARSE, Severity.REMARK)
    if manifest.subject is not None:
        sql = "SELECT 1 FROM referrers WHERE repository = ? AND subject = ? AND digest = ?"
        if reader.execute(sql, (key, manifest.subject, manifest.digest)).fetchone() is None:
            yield Finding("referrer-missing", where, "its subject does not list it", _REBUILD)


_SPARSE: Final = "push it again if nobody deleted it on purpose"


def _names(index: SqlIndex) -> Iterator[Finding]:
    reader = index.reader()
    for table, column in (("tags", "digest"), ("referrers", "digest")):
        sql = (
            f"SELECT (SELECT name FROM repositories WHERE id = t.repository), t.{column}"
            f" FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM manifests m"
            f" WHERE m.repository = t.repository AND m.digest = t.{column})"
        )
        for name, digest in reader.execute(sql):
            yield Finding(
                f"{table}-dangle", f"{name}@{digest}", "no such manifest is there", _REBUILD
            )


def _usage(index: SqlIndex) -> Iterator[Finding]:
    sql = (
        "SELECT name FROM repositories WHERE tags <>"
        " (SELECT COUNT(*) FROM tags WHERE repository = id) OR bytes <>"
        " (SELECT COALESCE(SUM(size), 0) FROM blob_links WHERE repository = id)"
        " + (SELECT COALESCE(SUM(size), 0) FROM manifests WHERE repository = id)"
    )
    for (name,) in index.reader().execute(sql):
        yield Finding("usage-differs", name, "its quota is counted wrongly", _REBUILD)


def _strangers(root: Path) -> Iterator[Finding]:
    """Files among the blobs that no upload could have put there."""
    if not (root / "blobs").is_dir():
        return  # blobs are in an object store
    for algorithm, length in HEX_LENGTHS.items():
        with os.scandir(root / "blobs" / algorithm) as entries:
            for entry in entries:
                if len(entry.name) != length or not entry.is_file(follow_symlinks=False):
                    yield Finding(
                        "not-a-blob", entry.path, "nothing of ours has this name", "move it away"
                    )


def _orphans(index: SqlIndex, storage: Collectable) -> Iterator[Finding]:
    marking = Marking(index)
    try:
        files = Files(index, storage, before=int(time.time()) + 1)
        number = sum(len(digests) for digests in files.orphans(marking))
    finally:
        marking.close()
    sql = f"SELECT COUNT(*) FROM garbage WHERE {UNHELD.format('digest')}"
    (garbage,) = index.reader().execute(sql).fetchone()
    if number + garbage:
        yield Finding(
            "unreferenced",
            "blobs",
            f"{number + garbage} files that no repository has",
            "a collection removes them",
            Severity.REMARK,
        )


def _pages(index: SqlIndex, sql: str) -> Iterator[tuple[Any, ...]]:
    """Rows without their first column, which is the key that paging needs."""
    key, digest = 0, ""
    while rows := index.reader().execute(sql, (key, digest, _PAGE)).fetchall():
        for row in rows:
            yield row[1:]
        key, digest = rows[-1][0], rows[-1][2]
