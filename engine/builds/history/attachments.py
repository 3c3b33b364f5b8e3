"""What a build on record made, as documents: index, manifests, configs, statements about them.

They are read from the store, so they are there as long as the image is; a record that was imported
from buildx has its own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from engine.attestations.finding import find_stored, read_stored
from engine.builds.history.archive import BuildUnknownError
from images.config import ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Index, Manifest, parse
from images.mediatype import INDEXES, MANIFESTS
from images.platform import Platform
from records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from engine.builds.history.document import Document
    from images.store import ImageStore

KINDS: Final = ("index", "manifest", "image", "provenance", "sbom")
_PREDICATES: Final = {
    "https://slsa.dev/provenance": "provenance",
    "https://spdx.dev/Document": "sbom",
}


class Attachment(Record):
    """One document: its kind or predicate type, its digest, what it is about."""

    kind: str
    digest: Digest
    raw: bytes
    platform: Platform | None = None


def attachments_of(document: Document, store: ImageStore) -> tuple[Attachment, ...]:
    """All that a build made and the store still has.

    Raises:
        BuildUnknownError: the build made nothing, or what it made is gone.
    """
    result = document.get("result")
    if not result:
        raise BuildUnknownError("the build made no image", where=document["ref"])
    try:
        digest = Digest.parse(result["digest"])
        raw = store.blobs.read(digest)
        root = Descriptor(result["media_type"], digest, len(raw))
        return tuple(_documents(root, raw, store))
    except (ImagesError, KeyError) as error:
        raise BuildUnknownError(
            "what the build made is not in the store any more",
            where=document["ref"],
            fix="look in its registry: lading imagetools inspect, lading attestation list --remote",
        ) from error


def _documents(root: Descriptor, raw: bytes, store: ImageStore) -> Iterator[Attachment]:
    tree = parse(raw, root.media_type)
    if isinstance(tree, Index):
        yield Attachment("index", root.digest, raw)
        images = [one.digest for one in tree.manifests if store.blobs.has(one.digest)]
    else:
        images = [root.digest]
    for digest in images:
        manifest = parse(content := store.blobs.read(digest))
        if not isinstance(manifest, Manifest):
            continue
        try:
            config = store.blobs.read(manifest.config.digest)
            platform = ImageConfig.parse(config).platform
        except ImagesError:
            # A manifest of statements has a config that is none.
            continue
        yield Attachment("manifest", digest, content, platform)
        yield Attachment("image", manifest.config.digest, config, platform)
    for found in find_stored(store, root).attached:
        stated = read_stored(store, found)
        kind = _kind(stated.predicate_type)
        yield Attachment(kind, found.blob.digest, stated.raw, found.platform)


def imported(rows: Iterable[Mapping[str, str]]) -> tuple[Attachment, ...]:
    """What came with a record; rows that are damaged are left out."""
    found = []
    for row in rows:
        with suppress(ImagesError, KeyError, ValueError):
            kind = row["type"]
            if kind in MANIFESTS | INDEXES:
                kind = "index" if kind in INDEXES else "manifest"
            platform = Platform.parse(row["platform"]) if row["platform"] else None
            raw = row["text"].encode()
            found.append(Attachment(_kind(kind), Digest.parse(row["digest"]), raw, platform))
    return tuple(found)


def _kind(predicate_type: str) -> str:
    """The short name of a type of statement, if it has one."""
    known = (name for start, name in _PREDICATES.items() if predicate_type.startswith(start))
    return next(known, predicate_type)


def chosen(
    attachments: tuple[Attachment, ...],
    *,
    kind: str | None,
    digest: str | None,
    platform: Platform | None,
) -> Attachment:
    """The first that is meant: by digest or its beginning, by kind, else the index or manifest.

    Raises:
        BuildUnknownError: none is.
    """
    for one in attachments:
        if digest is not None and digest not in (str(one.digest), one.digest.hex):
            continue
        if kind is not None and not (one.kind == kind or one.kind.startswith(kind)):
            continue
        if platform is not None and not (one.platform and one.platform.matches(platform)):
            continue
        return one
    there = ", ".join(sorted({one.kind for one in attachments}))
    raise BuildUnknownError("the build has no such attachment", where=digest or kind, fix=there)
