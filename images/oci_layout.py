"""The OCI image layout inside archives: found, checked and laid out.

OCI image specification, image-layout.md; the annotations by which containerd, Docker and buildx
name images in ``index.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from images import manifest, strictjson
from images.config import ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import (
    DigestMismatchError,
    ImagesError,
    InvalidArchiveError,
    InvalidManifestError,
)
from images.manifest import Index, Manifest
from images.mediatype import DOCKER_CONFIG, INDEXES, MANIFESTS, OCI_CONFIG
from images.reference import Reference
from records import Record, replace

if TYPE_CHECKING:
    from images.archive_input import Members

LAYOUT_FILE: Final = "oci-layout"
INDEX_FILE: Final = "index.json"
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
NAME_ANNOTATION: Final = "io.containerd.image.name"
REF_ANNOTATION: Final = "org.opencontainers.image.ref.name"
MANIFEST_LIMIT: Final = 4 << 20
DEPTH: Final = 4
IMAGES: Final = 10_000


class FoundImage(Record):
    """A complete image of an archive: its names, what they point to, and all blobs it needs."""

    references: tuple[Reference, ...]
    descriptor: Descriptor
    blobs: tuple[Descriptor, ...]


def blob_path(digest: Digest) -> str:
    """Where a layout keeps a blob."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def is_layout(members: Members) -> bool:
    """Whether the archive holds an OCI layout."""
    return LAYOUT_FILE in members and INDEX_FILE in members


def find_images(members: Members) -> list[FoundImage]:
    """Every image that ``index.json`` lists, checked against its digests and sizes.

    Of an index, platforms whose content is not in the archive may be missing, but not all of them.

    Raises:
        InvalidArchiveError, InvalidManifestError, DigestMismatchError: it does not hold together.
    """
    layout = strictjson.loads(members.text(LAYOUT_FILE, limit=MANIFEST_LIMIT), what=LAYOUT_FILE)
    version = str(layout.get("imageLayoutVersion"))
    if not version.startswith("1."):
        raise InvalidArchiveError(f"unknown OCI layout version {version[:20]!r}", where=LAYOUT_FILE)
    index = Index.parse(members.text(INDEX_FILE, limit=MANIFEST_LIMIT))
    if len(index.manifests) > IMAGES:
        raise InvalidArchiveError(f"more than {IMAGES} images", where=INDEX_FILE)
    names: dict[Digest, list[Reference]] = {}
    tops: dict[Digest, Descriptor] = {}
    for entry in index.manifests:
        if entry.media_type not in MANIFESTS | INDEXES:
            raise InvalidArchiveError(
                f"{entry.digest} is of type {entry.media_type[:100]!r}, not an image",
                where=INDEX_FILE,
            )
        tops.setdefault(entry.digest, replace(entry, annotations={}))
        name = _name(entry)
        if name is not None:
            names.setdefault(entry.digest, []).append(name)
    return [
        FoundImage(tuple(names.get(digest, ())), top, tuple(_tree(members, top)))
        for digest, top in tops.items()
    ]


def commit(members: Members, image: FoundImage) -> None:
    """Keep all blobs of an image.

    Raises:
        InvalidArchiveError: a blob's place is a link to something that was kept in another form.
    """
    for blob in image.blobs:
        kept = members.commit(members.get(blob_path(blob.digest)))
        if kept != blob.digest:
            raise InvalidArchiveError("a blob must be a file here", where=blob_path(blob.digest))


def index_for(images: Iterable[tuple[Descriptor, Sequence[Reference]]]) -> bytes:
    """The ``index.json`` that lists images under their names; other annotations stay."""
    entries: list[Descriptor] = []
    for descriptor, references in images:
        for reference in references:
            name = {NAME_ANNOTATION: str(replace(reference, digest=None))}
            annotations = {**descriptor.annotations, **name}
            if reference.tag is not None:
                annotations[REF_ANNOTATION] = reference.tag
            entries.append(replace(descriptor, annotations=annotations))
        if not references:
            entries.append(descriptor)
    return Index.build(entries).raw


def joined(old: bytes, new: bytes) -> bytes:
    """The ``index.json`` of a layout that gets more images: a name means the new one.

    Raises:
        InvalidManifestError: the old one is malformed.
    """
    try:
        kept = Index.parse(old).manifests
    except ImagesError as error:
        error.where = error.where or INDEX_FILE
        raise
    added = Index.parse(new).manifests
    names = {entry.annotations.get(NAME_ANNOTATION) for entry in added} - {None}
    digests = {entry.digest for entry in added}
    stay = [
        entry
        for entry in kept
        if entry.annotations.get(NAME_ANNOTATION) not in names
        and not (entry.digest in digests and NAME_ANNOTATION not in entry.annotations)
    ]
    return Index.build([*stay, *added]).raw


def _name(entry: Descriptor) -> Reference | None:
    """The image's name: containerd's annotation, else a ref.name that is more than a tag."""
    full = entry.annotations.get(NAME_ANNOTATION)
    short = entry.annotations.get(REF_ANNOTATION, "")
    text = full or (short if ":" in short or "/" in short else None)
    if text is None:
        return None
    try:
        return replace(Reference.parse(text), digest=None)
    except ImagesError as error:
        error.where = INDEX_FILE
        raise


def _tree(members: Members, top: Descriptor, *, depth: int = 0) -> Iterable[Descriptor]:
    """``top`` and all below it that is in the archive, leaves first."""
    if depth > DEPTH:
        raise InvalidManifestError(f"indexes are nested more than {DEPTH} deep", where=INDEX_FILE)
    document = _document(members, top)
    if isinstance(document, Index):
        present = [c for c in document.manifests if blob_path(c.digest) in members]
        if document.manifests and not present:
            raise InvalidArchiveError(f"the archive lacks every platform of {top.digest}")
        for child in present:
            yield from _tree(members, child, depth=depth + 1)
    else:
        _check_config(members, document)
        for part in (*document.layers, document.config):
            if part.urls and blob_path(part.digest) not in members:
                continue
            check_member(members, part)
            yield part
    yield top


def _document(members: Members, descriptor: Descriptor) -> Manifest | Index:
    check_member(members, descriptor)
    raw = members.text(blob_path(descriptor.digest), limit=MANIFEST_LIMIT)
    try:
        return manifest.parse(raw, descriptor.media_type)
    except ImagesError as error:
        error.where = error.where or str(descriptor.digest)
        raise


def _check_config(members: Members, document: Manifest) -> None:
    """The config must speak of as many layers as the manifest; their bytes are for the unpacker."""
    if document.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
        return
    check_member(members, document.config)
    path = blob_path(document.config.digest)
    config = ImageConfig.parse(members.text(path, limit=MANIFEST_LIMIT))
    if len(config.diff_ids) != len(document.layers):
        raise InvalidManifestError(
            f"the config lists {len(config.diff_ids)} layers, the manifest {len(document.layers)}",
            where=path,
        )


def check_member(members: Members, descriptor: Descriptor) -> None:
    """Check that the archive's blob is what a descriptor says.

    Raises:
        InvalidArchiveError: it is not there. DigestMismatchError: it is something else.
    """
    member = members.get(blob_path(descriptor.digest))
    if (member.digest, member.size) != (descriptor.digest, descriptor.size):
        raise DigestMismatchError(
            f"the archive holds {member.size} bytes with digest {member.digest} "
            f"where {descriptor.size} bytes were promised",
            where=blob_path(descriptor.digest),
            fix="the archive is damaged or was tampered with; nothing was loaded",
        )
