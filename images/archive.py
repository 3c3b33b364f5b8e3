"""Images in and out of archives: ``load``, ``save`` and ``import_rootfs``.

``load`` reads what ``docker save``, ``podman save``, skopeo and buildx write, from a stream and in
any compression; either every image of the archive becomes visible or none. ``save`` writes one
deterministic archive that is a Docker archive and an OCI layout at once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from images import docker_archive, manifest, oci_layout
from images.config import HistoryEntry, ImageConfig
from images.descriptor import Descriptor
from images.errors import BlobUnknownError, InputError
from images.layers import entry as kinds
from images.layers.entry import Entry
from images.layers.pack import pack_layer
from images.layers.tar_body import with_bodies
from images.layers.tar_read import read_tar
from images.layers.tar_write import write_tar
from images.manifest import Index, Manifest
from images.platform import Platform

if TYPE_CHECKING:
    from images.blobs import BlobStore
    from images.digest import Digest
    from images.reference import Reference


class ArchiveStore(Protocol):
    """What archives need of the image store."""

    @property
    def blobs(self) -> BlobStore:
        """Where content goes."""

    def lease(self, description: str) -> AbstractContextManager[object]:
        """Protect what is written in the block from garbage collection."""

    def add_image(self, descriptor: Descriptor, /) -> object:
        """Register a manifest or index whose content is complete."""

    def refer(self, subject: Digest, referrer: Descriptor, /) -> object:
        """Remember a manifest that is about another one."""

    def tag(self, reference: Reference, descriptor: Descriptor, /) -> object:
        """Point a name to it."""


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """One image that ``load`` brought; ``image_id`` is its config's digest, None for artifacts."""

    descriptor: Descriptor
    references: tuple[Reference, ...]
    image_id: Digest | None


def load(stream: BinaryIO, store: ArchiveStore) -> list[LoadedImage]:
    """Load every image of an archive.

    Raises:
        InvalidArchiveError, InvalidManifestError, DigestMismatchError, SizeLimitError: the archive
        is malformed, hostile, or does not hold together; no image and no name was added.
    """
    from images.archive_input import Members

    with store.lease("load an archive"), Members.read(stream, store.blobs) as members:
        if oci_layout.is_layout(members):
            images = oci_layout.find_images(members)
            for complete in images:
                oci_layout.commit(members, complete)
            found = [(image.descriptor, image.references) for image in images]
        else:
            found = [
                (_keep(built.manifest, built.config, store.blobs), built.references)
                for built in docker_archive.find_images(members, store.blobs)
            ]
        loaded = [
            LoadedImage(descriptor, references, _image_id(store.blobs, descriptor))
            for descriptor, references in found
        ]
        about = _register(loaded, store)
        loaded = [image for image in loaded if image.descriptor.digest not in about]
        for image in loaded:
            for reference in image.references:
                store.tag(reference, image.descriptor)
    return loaded


def _register(loaded: Iterable[LoadedImage], store: ArchiveStore) -> set[Digest]:
    """Make images known, and statements about them; returns the digests of those."""
    about: set[Digest] = set()
    for image in loaded:
        document = _document(store.blobs, image.descriptor)
        if document.subject is None or image.references:
            store.add_image(image.descriptor)
        else:
            store.refer(document.subject.digest, listed_referrer(document))
            about.add(image.descriptor.digest)
    return about


def listed_referrer(document: Manifest | Index) -> Descriptor:
    """A manifest with a subject as a list of referrers names it, annotations and all."""
    return replace(document.descriptor, annotations=document.annotations)


def save(
    images: Iterable[tuple[Descriptor, Sequence[Reference]]],
    store: ArchiveStore,
    write: Callable[[bytes | bytearray | memoryview], object],
    *,
    docker: bool = True,
) -> None:
    """Write images with their names as one archive; equal content gives equal bytes.

    Platforms of an index that are not in the store are left out. Without ``docker`` it is an OCI
    layout alone.

    Raises:
        BlobUnknownError: an image is incomplete.
    """
    with store.lease("save an archive"):
        contents, files = _laid_out(images, store, docker=docker)
        write_tar(_archive_entries(contents, files, store.blobs), write)


def save_directory(
    images: Iterable[tuple[Descriptor, Sequence[Reference]]],
    store: ArchiveStore,
    path: str,
    *,
    docker: bool = False,
) -> None:
    """As ``save``, as a directory; images that an OCI layout there has already stay in it.

    Raises:
        BlobUnknownError: an image is incomplete.
        OccupiedError: something else is at ``path``.
        InvalidManifestError: the layout there is damaged.
        EnvironmentFault: no space, no permission.
    """
    from images.outgoing import copy_file, whole_directory

    with store.lease("save a directory"):
        contents, files = _laid_out(images, store, docker=docker)
        index = os.path.join(path, oci_layout.INDEX_FILE)
        if os.path.lexists(index):
            with open(index, "rb") as file:
                old = file.read(oci_layout.MANIFEST_LIMIT + 1)
            files[oci_layout.INDEX_FILE] = oci_layout.joined(old, files[oci_layout.INDEX_FILE])
        with whole_directory(path) as stage:
            for part in contents:
                if _is_there(os.path.join(path, oci_layout.blob_path(part.digest)), part.size):
                    continue
                target = os.path.join(stage, oci_layout.blob_path(part.digest))
                os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
                copy_file(str(store.blobs.path(part.digest)), target)
            for name, data in files.items():
                with open(os.path.join(stage, name), "wb") as file:
                    file.write(data)


def _is_there(path: str, size: int) -> bool:
    """Whether a layout has a blob already; what somebody cut short is written again."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _laid_out(
    images: Iterable[tuple[Descriptor, Sequence[Reference]]], store: ArchiveStore, *, docker: bool
) -> tuple[list[Descriptor], dict[str, bytes]]:
    """The blobs of images, and the files that name them, index last."""
    wanted = [(descriptor, tuple(references)) for descriptor, references in images]
    if not wanted:
        raise InputError("no image to save", fix="name at least one image")
    contents: dict[Digest, Descriptor] = {}
    named: list[tuple[Manifest, tuple[Reference, ...]]] = []
    for descriptor, references in wanted:
        for part in _parts(store.blobs, descriptor):
            contents[part.digest] = part
        runnable = _runnable(store.blobs, descriptor)
        named.extend((document, references) for document in runnable)
    files = {oci_layout.LAYOUT_FILE: oci_layout.LAYOUT}
    if docker:
        files[docker_archive.MANIFEST_FILE] = docker_archive.manifest_for(named)
    files[oci_layout.INDEX_FILE] = oci_layout.index_for(wanted)
    return list(contents.values()), files


@dataclass(frozen=True, slots=True)
class RootfsImport:
    """What an imported root filesystem becomes; ``config`` is the inner object, Docker's spelling.

    ``created`` is RFC 3339 text and part of the image's digest; None leaves it out. ``message`` is
    the history's comment.
    """

    reference: Reference | None = None
    platform: Platform | None = None
    config: Mapping[str, Any] | None = None
    message: str = "Imported from -"
    created: str | None = None
    compression: str = "gzip"


def import_rootfs(
    stream: BinaryIO, store: ArchiveStore, request: RootfsImport | None = None
) -> LoadedImage:
    """Make a one-layer image of a root filesystem's tar, in any compression.

    Owners, modes, times (whole seconds), links, devices and extended attributes are kept.

    Raises:
        InvalidArchiveError, SizeLimitError: malformed or hostile; nothing was added.
    """
    from images.archive_input import PlainStream

    request = request or RootfsImport()
    with store.lease("import a root filesystem"):
        entries = _rootfs_entries(PlainStream(stream))
        layer = pack_layer(entries, store.blobs, compression=request.compression)
        config = ImageConfig.build(
            request.platform or Platform.host(),
            [layer.diff_id],
            config=request.config,
            history=[HistoryEntry(created=request.created, comment=request.message)],
            created=request.created,
        )
        document = Manifest.build(config.descriptor(), [layer.descriptor])
        descriptor = _keep(document, config, store.blobs)
        store.add_image(descriptor)
        references = () if request.reference is None else (request.reference,)
        for reference in references:
            store.tag(reference, descriptor)
    return LoadedImage(descriptor, references, config.digest)


def _keep(document: Manifest, config: ImageConfig, blobs: BlobStore) -> Descriptor:
    """Store a manifest that was built here, and the config it names."""
    blobs.put(config.raw)
    blobs.put(document.raw)
    return document.descriptor


def _image_id(blobs: BlobStore, descriptor: Descriptor) -> Digest | None:
    document = next(iter(_runnable(blobs, descriptor)), None)
    return document.config.digest if document is not None else None


def _parts(blobs: BlobStore, descriptor: Descriptor) -> Iterator[Descriptor]:
    """All that is stored of an image, the descriptor itself last."""
    document = _document(blobs, descriptor)
    if isinstance(document, Index):
        for child in document.manifests:
            if blobs.has(child.digest):
                yield from _parts(blobs, child)
    else:
        for part in (*document.layers, document.config):
            if blobs.has(part.digest):
                yield part
            elif not part.urls:
                raise BlobUnknownError(
                    f"blob {part.digest} is not in the store",
                    where=str(descriptor.digest),
                    fix="pull the image again",
                )
    yield descriptor


def _runnable(blobs: BlobStore, descriptor: Descriptor) -> Iterator[Manifest]:
    """The one manifest that Docker's format can name: this machine's platform or the first."""
    document = _document(blobs, descriptor)
    if isinstance(document, Manifest):
        yield document
        return
    present = [child for child in document.manifests if blobs.has(child.digest)]
    host = Platform.host()
    best = next((c for c in present if c.platform is not None and c.platform.matches(host)), None)
    for child in present if best is None else [best]:
        for found in _runnable(blobs, child):
            yield found
            return


def _document(blobs: BlobStore, descriptor: Descriptor) -> Manifest | Index:
    return manifest.parse(blobs.read(descriptor.digest, limit=oci_layout.MANIFEST_LIMIT))


def _archive_entries(
    contents: Iterable[Descriptor], files: Mapping[str, bytes], blobs: BlobStore
) -> Iterator[Entry]:
    """The archive's entries by name, with nothing in their headers but name and size."""
    entries = {
        name: Entry(name, kinds.FILE, size=len(data), source=data) for name, data in files.items()
    }
    for part in contents:
        path = oci_layout.blob_path(part.digest)
        source = str(blobs.path(part.digest))
        entries[path] = Entry(path, kinds.FILE, size=part.size, source=source)
        for folder in ("blobs", f"blobs/{part.digest.algorithm}"):
            entries[folder] = Entry(folder, kinds.DIRECTORY, mode=0o755)
    for name in sorted(entries):
        yield entries[name]


def _rootfs_entries(stream: Any) -> Iterator[Entry]:
    for found in with_bodies(read_tar(stream)):
        if found.is_whiteout:
            raise InputError(
                "a root filesystem with a file of this name cannot become a layer",
                where=found.path,
                fix="names that begin with .wh. delete files in image layers; remove it",
            )
        yield found
