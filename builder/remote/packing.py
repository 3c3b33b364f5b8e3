"""Layers that travel besides those of steps: what cache mounts hold. And what came, checked."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from builder.errors import BuildInputError
from builder.solver.mounts import cache_directory
from builder.solver.records import StoredLayer
from images.digest import Digest
from images.errors import DigestMismatchError, InputError
from images.layers.compress import Decompressed
from images.layers.entry import HARDLINK, WHITEOUT_PREFIX
from images.layers.merged import MergedTree, entry_of
from images.layers.pack import pack_layer
from images.layers.unpack import unpack
from images.mediatype import layer_compression

if TYPE_CHECKING:
    from pathlib import Path

    from images.blobs import BlobStore
    from images.layers.entry import Entry


def check_layer(layer: StoredLayer, blobs: BlobStore) -> None:
    """Read a layer to its end and compare it with its diff id.

    Raises:
        DigestMismatchError: its content is something else.
        ImagesError: the blob is missing or damaged.
    """
    hasher = layer.diff_id.hasher()
    with blobs.open(layer.descriptor.digest) as file:
        plain = Decompressed(file, layer_compression(layer.descriptor.media_type))
        while piece := plain.read():
            hasher.update(piece)
    found = Digest.from_hash(hasher)
    if found != layer.diff_id:
        raise DigestMismatchError(
            f"the layer contains {found}, its record says {layer.diff_id}",
            where=str(layer.descriptor.digest),
            fix="whoever wrote this cache is damaged or lying; do not use it",
        )


def pack_mount(
    state: Path, mount: str, blobs: BlobStore, *, compression: str = "zstd", created: str = ""
) -> StoredLayer | None:
    """What a cache mount holds as a layer, the same bytes for the same content.

    None when it is not there.

    Raises:
        BuildInputError: somebody works in it, so that it has no one state.
        EnvironmentFault: the disk is full or failing.
    """
    root = cache_directory(state, mount)
    try:
        fd = os.open(root / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        content = root / "fs"
        if not content.is_dir():
            return None
        packed = pack_layer(_entries(content), blobs, compression=compression)
    except BlockingIOError as error:
        raise BuildInputError(f"cache mount {mount} is in use") from error
    except OSError as error:
        raise BuildInputError(
            f"cache mount {mount} changed while it was read: {error.strerror}"
        ) from error
    finally:
        os.close(fd)
    return StoredLayer(packed.diff_id, packed.descriptor, created)


def unpack_mount(layer: StoredLayer, blobs: BlobStore, directory: Path) -> None:
    """Fill an empty directory with what a cache mount held.

    Raises:
        DigestMismatchError: the content is not what the diff id says.
        ImagesError: the blob cannot be had, or is hostile.
    """
    check_layer(layer, blobs)
    with blobs.open(layer.descriptor.digest) as file:
        kind = layer_compression(layer.descriptor.media_type)
        unpack(Decompressed(file, kind), directory)


def _entries(directory: Path) -> Iterator[Entry]:
    """The files of a directory, sorted as in a layer; sockets are left out, and so are names that
    mean something else in a layer.
    """
    tree = MergedTree([directory])
    linked: dict[tuple[int, int], str] = {}
    for node in tree.walk():
        if not node.path or node.path.rpartition("/")[2].startswith(WHITEOUT_PREFIX):
            continue
        try:
            entry = entry_of(node)
        except InputError:
            continue
        status = node.status
        number = (status.st_dev, status.st_ino)
        if node.is_file and status.st_nlink > 1:
            first = linked.setdefault(number, node.path)
            if first != node.path:
                entry = entry._replace(kind=HARDLINK, size=0, linkname=first, source=None)
        yield entry
