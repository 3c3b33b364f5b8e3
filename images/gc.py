"""Garbage collection: mark from what somebody named, sweep the rest, while others go on working.

Roots are names, stored images, pins (of leases, of containers) and the content that cache rows
need. From a manifest the mark goes to its config and layers, from an index to its manifests, from a
config to the unpacked layers, from a manifest to what refers to it. Swept is only what is older
than the oldest live lease and than this collection, so whatever a running process wrote, or found
to be there, stays (see ``images.blobs`` for the locks behind that). Work is linear in what is
stored, however indexes are nested.
"""

from __future__ import annotations

import time

from images import leases
from images.blobs import RENEW_AFTER
from images.config import ImageConfig, chain_ids
from images.digest import Digest
from images.errors import ImagesError
from images.locks import flock
from images.manifest import Index, Manifest, parse
from images.strictjson import MANIFEST_LIMIT
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Final

    from images.blobs import BlobStore
    from images.database import Database
    from images.snapshots import Snapshots

_OPENING: Final = (b"{", b" ", b"\n", b"\t", b"\r")


class GcReport(Record):
    """What a collection did; sizes in bytes. With ``dry_run``, what it would have done at most."""

    blobs_removed: int
    bytes_freed: int
    snapshots_removed: int
    leftovers_removed: int
    leases_expired: int
    blobs_kept: int
    snapshots_kept: int


def collect(
    root: Path,
    database: Database,
    blobs: BlobStore,
    snapshots: Snapshots,
    *,
    grace: float = RENEW_AFTER,
    dry_run: bool = False,
) -> GcReport:
    """Remove what nothing needs. ``grace`` (seconds) spares what is younger, lease or no lease.

    One collection runs at a time per store; a second one waits.

    Raises:
        EnvironmentFault: the store is not writable.
    """
    with flock(root / "gc.lock", exclusive=True):
        # Whoever registers an image does it, and renews its content, in one transaction. So that is
        # seen by the mark, or its renewal is younger than ``now``.
        with database.transaction():
            now = time.time()
            expired = 0 if dry_run else leases.expire(database, now=now)
            began = leases.oldest(database)
            threshold = min(now - grace, now if began is None else began - RENEW_AFTER)
            kept = mark(database, blobs, threshold=threshold)
        return _sweep(kept, blobs, snapshots, database, threshold, expired, dry_run=dry_run)


def mark(database: Database, blobs: BlobStore, *, threshold: float) -> set[Digest]:
    """The digests to keep: of blobs, and of unpacked layers by diff id and chain id.

    A manifest written at or after ``threshold`` counts as a root: whoever wrote it is about to name
    it.
    """
    kept: set[Digest] = set()
    referring: dict[Digest, list[Digest]] = {}
    for subject, digest in database.execute("SELECT subject, digest FROM referrers"):
        referring.setdefault(Digest.parse(subject), []).append(Digest.parse(digest))
    young = (d for d in blobs.digests() if _is_young(blobs, d, threshold))
    stack = [*roots(database), *young]
    while stack:
        digest = stack.pop()
        if digest not in kept:
            kept.add(digest)
            stack.extend(references(blobs, digest))
            stack.extend(referring.get(digest, ()))
    return kept


def roots(database: Database) -> Iterator[Digest]:
    """What is kept for its own sake."""
    for table in ("names", "images", "pins"):
        for (digest,) in database.execute(f"SELECT digest FROM {table}"):
            yield Digest.parse(digest)
    for (digests,) in database.execute("SELECT digests FROM cache WHERE digests != ''"):
        yield from map(Digest.parse, digests.split())


def references(blobs: BlobStore, digest: Digest) -> Iterable[Digest]:
    """What a stored document points to; nothing for layers, foreign documents and absent blobs."""
    raw = _small_json(blobs, digest)
    if raw is None:
        return ()
    try:
        document = parse(raw)
    except ImagesError:
        return _unpacked_layers(raw)
    if isinstance(document, Index):
        return [manifest.digest for manifest in document.manifests]
    return _manifest_references(document)


def present_below(blobs: BlobStore, root: Digest) -> Iterator[Digest]:
    """The blobs of an image or index, ``root`` first, as far as they are there; each once."""
    stack, seen = [root], set[Digest]()
    while stack:
        digest = stack.pop()
        if digest not in seen and blobs.size(digest) is not None:
            seen.add(digest)
            stack.extend(references(blobs, digest))
            yield digest


def _manifest_references(manifest: Manifest) -> list[Digest]:
    return [manifest.config.digest, *(layer.digest for layer in manifest.layers)]


def _unpacked_layers(raw: bytes) -> Iterable[Digest]:
    try:
        config = ImageConfig.parse(raw)
    except ImagesError:
        return ()
    return (*config.diff_ids, *chain_ids(config.diff_ids))


def _small_json(blobs: BlobStore, digest: Digest) -> bytes | None:
    """The bytes of a blob that may be a JSON document; a damaged one is not looked into."""
    size = blobs.size(digest)
    if size is None or size > MANIFEST_LIMIT:
        return None
    try:
        with blobs.open(digest) as file:
            if file.read(1) not in _OPENING:
                return None
        return blobs.read(digest)
    except ImagesError:
        return None


def _is_young(blobs: BlobStore, digest: Digest, threshold: float) -> bool:
    try:
        return blobs.path(digest).stat().st_mtime >= threshold
    except FileNotFoundError:
        return False


def _sweep(
    kept: set[Digest],
    blobs: BlobStore,
    snapshots: Snapshots,
    database: Database,
    threshold: float,
    expired: int,
    *,
    dry_run: bool,
) -> GcReport:
    removed = freed = unpacked = leftovers = spared = 0
    for digest in list(blobs.digests()):
        if digest in kept:
            spared += 1
            continue
        size = _drop_blob(blobs, digest, threshold, dry_run=dry_run)
        if size:
            removed, freed = removed + 1, freed + size
    kept_ids = {digest.hex for digest in kept}
    ids = list(snapshots.ids())
    for snapshot_id in ids:
        if snapshot_id not in kept_ids:
            size = snapshots.size(snapshot_id)
            if dry_run or snapshots.remove(snapshot_id, unless_younger_than=threshold):
                unpacked, freed = unpacked + 1, freed + size
    if not dry_run:
        freed += blobs.sweep_stages()
        leftovers = snapshots.sweep_leftovers()
        _forget_layers(database, blobs)
        _forget_referrers(database, blobs)
    return GcReport(removed, freed, unpacked, leftovers, expired, spared, len(ids) - unpacked)


def _drop_blob(blobs: BlobStore, digest: Digest, threshold: float, *, dry_run: bool) -> int:
    if dry_run:
        return 0 if _is_young(blobs, digest, threshold) else blobs.size(digest) or 0
    return blobs.delete(digest, unless_younger_than=threshold)


def _forget_layers(database: Database, blobs: BlobStore) -> None:
    """Drop what is known of layer blobs that are gone."""
    for diff_id, digest in database.execute("SELECT diff_id, digest FROM layers"):
        if blobs.size(Digest.parse(digest)) is None:
            database.execute(
                "DELETE FROM layers WHERE diff_id = ? AND digest = ?", (diff_id, digest)
            )


def _forget_referrers(database: Database, blobs: BlobStore) -> None:
    """Drop what is known of referrers that are gone."""
    for (digest,) in database.execute("SELECT DISTINCT digest FROM referrers"):
        if blobs.size(Digest.parse(digest)) is None:
            database.execute("DELETE FROM referrers WHERE digest = ?", (digest,))
