"""What the build cache holds, as a list of entries that can be removed one by one.

A layer is one entry, however many keys lead to it; it counts as used when anything that stands on
it was. Types have BuildKit's names: ``regular`` (layers), ``exec.cachemount``, ``source.http``
(downloads), ``source.git`` (fetched repositories), ``source.local`` (contexts that were brought in,
and digests of a context's files) and ``internal`` (records and parsed Dockerfiles, which cost
little).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from builder.solver.records import decode_description, decode_layers
from builder.sources.shelf import LOCK, REPOSITORIES, TREES, remove_item
from builder.storage import state_directory
from images.gc import references
from images.trees import tree_size
from records import Record

if TYPE_CHECKING:
    from builder.solver.records import StoredLayer
    from images.cache_rows import CacheRow
    from images.digest import Digest
    from images.store import ImageStore

LAYER, CACHE_MOUNT = "regular", "exec.cachemount"
DOWNLOAD, LOCAL, GIT, INTERNAL = "source.http", "source.local", "source.git", "internal"
ID_DIGITS = 25
"""As many as BuildKit's ids have."""
_ROWS = {
    "slot": "what a step was made from",
    "build": "a whole build",
    "blocks": "where the blocks of a copied layer are",
}
_FILES = {
    "parsed": (INTERNAL, "parsed Dockerfile"),
    "digests": (LOCAL, "digests of a context's files"),
    "history": (INTERNAL, "record of a build"),
}


class CacheEntry(Record):
    """One thing in the cache. Times in seconds since the epoch, ``size`` in bytes.

    ``shared`` means that an image holds the content too, so that removing the entry frees nothing.
    """

    id: str
    type: str
    size: int
    created: float
    used: float
    description: str
    shared: bool = False
    in_use: bool = False
    mutable: bool = False
    depth: int = 0
    """How many layers of the cache it stands on; upper ones go first."""
    keys: tuple[bytes, ...] = ()
    """Rows that go with it."""
    path: str = ""
    """The file or directory that goes with it."""


def entries(store: ImageStore) -> list[CacheEntry]:
    """Everything, least recently used first, and what stands on something before that."""
    shelves = (*_shelf(store, TREES, LOCAL), *_shelf(store, REPOSITORIES, GIT))
    found = [*_layers(store), *_rows(store), *_cache_mounts(store), *shelves, *_files(store)]
    return sorted(found, key=lambda entry: (entry.used, -entry.depth, entry.id))


def remove(store: ImageStore, entry: CacheEntry) -> bool:
    """Remove one entry; False when it is in use by now.

    The content of layers and downloads follows at the next garbage collection.
    """
    if entry.type == CACHE_MOUNT:
        return _remove_cache_mount(Path(entry.path))
    if Path(entry.path, LOCK).exists():
        return remove_item(Path(entry.path))
    if entry.path:
        Path(entry.path).unlink(missing_ok=True)
    for key in entry.keys:
        store.cache.delete(key)
    return True


class _Layer:
    """What is known of a layer while the rows are read."""

    def __init__(self, layer: StoredLayer) -> None:
        self.layer = layer
        self.keys: list[bytes] = []
        self.created: list[float] = []
        self.used = 0.0
        self.depth = 0
        self.description = ""


def _layers(store: ImageStore) -> Iterator[CacheEntry]:
    known: dict[Digest, _Layer] = {}
    for row in store.cache.rows("step"):
        layers = decode_layers(row.value) or ()
        # What has no date came with a base image and is not the cache's.
        own = [layer for layer in layers if layer.created]
        for depth, layer in enumerate(own):
            item = known.setdefault(layer.descriptor.digest, _Layer(layer))
            item.keys.append(row.key)
            item.used = max(item.used, row.used)
            item.depth = max(item.depth, depth)
        if own:
            top = known[own[-1].descriptor.digest]
            top.created.append(row.created)
            top.description = decode_description(row.value) or top.description
    of_images = _held_by_images(store) if known else set()
    for digest, item in known.items():
        layer = item.layer
        yield CacheEntry(
            id=digest.hex[:ID_DIGITS],
            type=LAYER,
            size=(store.blobs.size(digest) or 0) + store.snapshots.size(layer.diff_id.hex),
            created=min(item.created, default=item.used),
            used=item.used,
            description=item.description,
            shared=digest in of_images,
            depth=item.depth,
            keys=tuple(item.keys),
        )


def _held_by_images(store: ImageStore) -> set[Digest]:
    found: set[Digest] = set()
    stack = [image.descriptor.digest for image in store.images()]
    while stack:
        digest = stack.pop()
        if digest not in found:
            found.add(digest)
            stack.extend(references(store.blobs, digest))
    return found


def _rows(store: ImageStore) -> Iterator[CacheEntry]:
    for row in store.cache.rows():
        if row.kind == "download":
            digest = json.loads(row.value)["digest"]
            size = sum(store.blobs.size(needed) or 0 for needed in row.digests)
            yield _row(row, DOWNLOAD, size, f"downloaded file {digest}")
        elif row.kind == "packed":
            size = sum(store.blobs.size(needed) or 0 for needed in row.digests)
            yield _row(row, LAYER, size, decode_description(row.value))
        elif row.kind == "layout":
            size = sum(store.blobs.size(needed) or 0 for needed in row.digests)
            yield _row(row, LOCAL, size, f"image of an OCI layout {row.value.decode()}")
        elif row.kind != "step":
            yield _row(row, INTERNAL, len(row.value), _ROWS.get(row.kind, row.kind))


def _row(row: CacheRow, kind: str, size: int, description: str) -> CacheEntry:
    name = row.key.hex()[:ID_DIGITS]
    return CacheEntry(name, kind, size, row.created, row.used, description, keys=(row.key,))


def _files(store: ImageStore) -> Iterator[CacheEntry]:
    for folder, (kind, description) in _FILES.items():
        place = state_directory(store) / folder
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as found:
            for file in found:
                with suppress(FileNotFoundError):
                    yield _file(file, kind, description)


def _file(file: os.DirEntry[str], kind: str, description: str) -> CacheEntry:
    status = file.stat(follow_symlinks=False)
    return CacheEntry(
        id=file.name[:ID_DIGITS],
        type=kind,
        size=status.st_size,
        created=status.st_mtime,
        used=max(status.st_mtime, status.st_atime),
        description=description,
        path=file.path,
    )


def _cache_mounts(store: ImageStore) -> Iterator[CacheEntry]:
    for content in sorted(state_directory(store).glob("cache-mounts/*/*/fs")):
        # A build may empty it just now.
        with suppress(FileNotFoundError):
            yield _cache_mount(content)


def _cache_mount(content: Path) -> CacheEntry:
    root = content.parent
    lock = root / "lock"
    text = lock.read_bytes().decode("utf-8", "replace")
    number = "" if root.name == "0" else f"-{root.name}"
    return CacheEntry(
        id=f"{root.parent.name[:ID_DIGITS]}{number}",
        type=CACHE_MOUNT,
        size=tree_size(content),
        created=root.stat().st_ctime,
        used=lock.stat().st_mtime,
        description=f"cache mount {text}".rstrip(),
        in_use=not _locked(lock, lambda: None),
        mutable=True,
        path=str(root),
    )


def _shelf(store: ImageStore, folder: str, kind: str) -> Iterator[CacheEntry]:
    """Directories made from sources elsewhere, and the repositories that they are fetched to."""
    for lock in sorted(state_directory(store).glob(f"{folder}/*/{LOCK}")):
        root = lock.parent
        with suppress(FileNotFoundError):
            yield CacheEntry(
                id=root.name[:ID_DIGITS],
                type=kind,
                size=tree_size(root),
                created=root.stat().st_ctime,
                used=lock.stat().st_mtime,
                description=lock.read_bytes().decode("utf-8", "replace"),
                in_use=not _locked(lock, lambda: None),
                path=str(root),
            )


def _remove_cache_mount(root: Path) -> bool:
    """The lock stays, because somebody may be waiting for it."""
    import shutil

    return _locked(root / "lock", lambda: shutil.rmtree(root / "fs", ignore_errors=True))


def _locked(lock: Path, action: Callable[[], None]) -> bool:
    """Do something while nobody else has the cache mount; False when somebody has it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        action()
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
