"""OCI layout directories among registries: ``oci-layout://PATH[:TAG][@DIGEST]``.

OCI image specification, image-layout.md. A layout's images have references whose registry is
``oci-layout:/`` and whose repository is the absolute path, so they are compared and shown like any
others; only ``WithLayouts`` knows what is behind them. Every blob is verified when it is read.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from engine.manifests.errors import ManifestListError
from images import manifest, oci_layout
from images.archive import listed_referrer
from images.client.errors import ManifestUnknownError
from images.client.manifests import Fetched
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import DigestMismatchError, InvalidManifestError, SizeLimitError
from images.locks import flock
from images.manifest import Index, Manifest
from images.mediatype import FOREIGN_LAYERS
from images.outgoing import whole_file
from images.reference import DEFAULT_TAG, Reference, is_tag
from records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from images.client import RegistryClient

PREFIX: Final = "oci-layout://"
REGISTRY: Final = "oci-layout:/"
_PIECE: Final = 1 << 20
_REF: Final = oci_layout.REF_ANNOTATION


def parse_place(text: str) -> Reference:
    """A name at a registry, or one in a layout.

    Raises:
        ManifestListError, ImagesError: it is malformed.
    """
    if not text.startswith(PREFIX):
        return Reference.parse(text)
    path, at, digest = text.removeprefix(PREFIX).partition("@sha256:")
    head, colon, tag = path.rpartition(":")
    if not colon or "/" in tag:
        head, tag = path, ""
    elif not is_tag(tag):
        raise ManifestListError(f"invalid tag {tag!r}", where=text, fix=f"write {PREFIX}PATH:TAG")
    if not head:
        raise ManifestListError("no directory is named", where=text, fix=f"write {PREFIX}PATH:TAG")
    pinned = Digest.parse(f"sha256:{digest}") if at else None
    return Reference(REGISTRY, os.path.abspath(head), tag or None, pinned)


def is_layout(reference: Reference) -> bool:
    """Whether it leads to a directory."""
    return reference.registry == REGISTRY


class Layout(Record):
    """One layout directory."""

    path: Path

    def chosen(self, reference: Reference) -> Descriptor:
        """What a reference into it means: by digest, by tag, or the only image there is.

        Raises:
            ManifestUnknownError: nothing.
            InvalidManifestError: the index is malformed.
        """
        if reference.digest is not None:
            document = self.manifest(reference.digest)
            return document.descriptor
        named = [entry for entry in self.entries() if not _is_referrer(entry)]
        wanted = reference.tag or DEFAULT_TAG
        tagged = [entry for entry in named if _is_tagged(entry, wanted)]
        if reference.tag is None and len({entry.digest for entry in named}) == 1:
            tagged = tagged or named
        if not tagged:
            names = sorted({entry.annotations.get(_REF, "") for entry in named} - {""})
            raise ManifestUnknownError(
                f"no image tagged {wanted} in the layout",
                where=f"{PREFIX}{self.path}",
                fix=f"its tags are {', '.join(names)}" if names else "name one by its digest",
            )
        return tagged[-1]

    def entries(self) -> tuple[Descriptor, ...]:
        """What its index lists.

        Raises:
            ManifestUnknownError: no layout is there.
            InvalidManifestError: the index is malformed.
        """
        try:
            raw = _limited(self.path / oci_layout.INDEX_FILE)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ManifestUnknownError(
                "no OCI layout is there",
                where=f"{PREFIX}{self.path}",
                fix="name the directory that holds index.json and blobs",
            ) from error
        return Index.parse(raw).manifests

    def manifest(self, digest: Digest) -> Manifest | Index:
        """A manifest of it, verified.

        Raises:
            ManifestUnknownError: it is not there.
            DigestMismatchError, InvalidManifestError: it is damaged.
        """
        return manifest.parse(self.read(digest, limit=oci_layout.MANIFEST_LIMIT))

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """A small blob, verified; raises as ``manifest``, and ``SizeLimitError``."""
        path = self.blob(digest)
        try:
            raw = _limited(path, limit)
        except FileNotFoundError as error:
            raise ManifestUnknownError(
                f"the layout has no {digest}",
                where=f"{PREFIX}{self.path}",
                fix="write a layout with all platforms, or choose those it has with -p",
            ) from error
        if Digest.of(raw, digest.algorithm) != digest:
            raise DigestMismatchError(f"the content of {digest} is another one", where=str(path))
        return raw

    def blob(self, digest: Digest) -> Path:
        """Where it has a blob, or would have it."""
        return self.path / oci_layout.blob_path(digest)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether a blob is there in its whole length."""
        with suppress(FileNotFoundError):
            return self.blob(descriptor.digest).stat().st_size == descriptor.size
        return False

    @contextmanager
    def keeping(self, descriptor: Descriptor) -> Iterator[Callable[[bytes], object]]:
        """Write a blob; it is there when the block ends and it is what it should be.

        Raises:
            DigestMismatchError: it is something else.
        """
        target = self.blob(descriptor.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = target.with_name(f".{secrets.token_hex(8)}.tmp")
        digest = hashlib.new(descriptor.digest.algorithm)
        try:
            with stage.open("xb") as file:

                def write(piece: bytes) -> None:
                    digest.update(piece)
                    file.write(piece)

                yield write
            if Digest.from_hash(digest) != descriptor.digest:
                raise DigestMismatchError(
                    f"the content of {descriptor.digest} is another one", where=str(self.path)
                )
            stage.rename(target)
        finally:
            stage.unlink(missing_ok=True)

    def pieces(self, descriptor: Descriptor) -> Iterator[bytes]:
        """The content of a blob, which whoever takes it verifies."""
        with self.blob(descriptor.digest).open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def put(self, document: Manifest | Index, tag: str | None) -> None:
        """Keep a manifest, and list it under ``tag`` or as what it is about, if either."""
        descriptor = document.descriptor
        with self.keeping(descriptor) as write:
            write(document.raw)
        added = replace(descriptor, annotations={_REF: tag}) if tag is not None else None
        if tag is None and document.subject is not None:
            added = listed_referrer(document)
        with flock(self.path / f"{oci_layout.INDEX_FILE}.lock", exclusive=True):
            self._write(added)

    def _write(self, added: Descriptor | None) -> None:
        index = self.path / oci_layout.INDEX_FILE
        before = self.entries() if index.exists() else ()
        if added is None and index.exists():
            return
        tag = None if added is None else added.annotations.get(_REF)
        kept = [
            entry
            for entry in before
            if not (tag is not None and entry.annotations.get(_REF) == tag)
            and not (added is not None and tag is None and entry.digest == added.digest)
        ]
        with whole_file(str(self.path / oci_layout.LAYOUT_FILE)) as file:
            file.write(oci_layout.LAYOUT)
        with whole_file(str(index)) as file:
            file.write(Index.build([*kept, *([] if added is None else [added])]).raw)


class WithLayouts:
    """A ``Library`` of registries and layouts."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    async def resolve(self, reference: Reference) -> Descriptor:
        """What a name points to."""
        if not is_layout(reference):
            return await self._client.resolve(reference)
        return _layout(reference).chosen(reference)

    async def read_manifest(self, reference: Reference) -> Fetched:
        """A manifest, verified and parsed."""
        if not is_layout(reference):
            return await self._client.read_manifest(reference)
        layout = _layout(reference)
        document = layout.manifest(layout.chosen(reference).digest)
        return Fetched(document, document.descriptor)

    async def read_blob(
        self, reference: Reference, descriptor: Descriptor, *, limit: int = 4 << 20
    ) -> bytes:
        """A whole small blob, verified."""
        if not is_layout(reference):
            return await self._client.read_blob(reference, descriptor, limit=limit)
        return _layout(reference).read(descriptor.digest, limit=limit)

    async def referrers(
        self, reference: Reference, subject: Digest, *, artifact_type: str = ""
    ) -> list[Descriptor]:
        """What points to ``subject``; a layout lists it beside its images."""
        if not is_layout(reference):
            return await self._client.referrers(reference, subject, artifact_type=artifact_type)
        layout = _layout(reference)
        found: dict[Digest, Descriptor] = {}
        for entry in filter(_is_referrer, layout.entries()):
            document = layout.manifest(entry.digest)
            if document.subject is not None and document.subject.digest == subject:
                found[entry.digest] = listed_referrer(document)
        return [it for it in found.values() if artifact_type in ("", it.artifact_type)]

    async def copy(self, source: Reference, target: Reference) -> Descriptor:
        """As ``RegistryClient.copy``, from a layout, into one, or between two."""
        if not (is_layout(source) or is_layout(target)):
            return await self._client.copy(source, target)
        fetched = await self.read_manifest(source)
        await self._content(source, target, fetched.document, depth=0)
        if target.tag is None:
            target = target.with_digest(fetched.descriptor.digest)
        return await self.put_manifest(target, fetched.raw, fetched.document.media_type)

    async def put_manifest(self, reference: Reference, raw: bytes, media_type: str) -> Descriptor:
        """Put a manifest whose content is there; without tag and digest, as the latest."""
        if not is_layout(reference):
            return await self._client.put_manifest(reference, raw, media_type)
        document = manifest.parse(raw, media_type)
        tag = reference.tag or (DEFAULT_TAG if reference.digest is None else None)
        _layout(reference).put(document, tag)
        return document.descriptor

    async def _content(
        self, source: Reference, target: Reference, document: Manifest | Index, *, depth: int
    ) -> None:
        if isinstance(document, Manifest):
            for blob in {it.digest: it for it in (*document.layers, document.config)}.values():
                await self._blob(source, target, blob)
            return
        if depth == oci_layout.DEPTH:
            raise InvalidManifestError("indexes are nested too deep", where=str(source))
        for child in document.manifests:
            place, pinned = source.with_digest(child.digest), target.with_digest(child.digest)
            found = (await self.read_manifest(place)).document
            await self._content(source, target, found, depth=depth + 1)
            await self.put_manifest(replace(pinned, tag=None), found.raw, found.media_type)

    async def _blob(self, source: Reference, target: Reference, blob: Descriptor) -> None:
        if blob.media_type in FOREIGN_LAYERS and blob.urls:
            return
        if not is_layout(target):
            path = _layout(source).blob(blob.digest)
            await self._client.send_blob(target, blob, partial(_open, path))
            return
        layout = _layout(target)
        if layout.has(blob):
            return
        with layout.keeping(blob) as write:
            if is_layout(source):
                for piece in _layout(source).pieces(blob):
                    write(piece)
            else:
                async for piece in self._client.blob(source, blob):
                    write(piece)


def _layout(reference: Reference) -> Layout:
    return Layout(Path(reference.repository))


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _is_tagged(entry: Descriptor, tag: str) -> bool:
    """Whether an entry has the tag, by itself or behind a name."""
    name = entry.annotations.get(_REF, "")
    return name == tag or name.endswith(f":{tag}")


def _is_referrer(entry: Descriptor) -> bool:
    """Whether an entry is not an image's: a layout lists those without a name, with a type."""
    return bool(entry.artifact_type) and _REF not in entry.annotations


def _limited(path: Path, limit: int = oci_layout.MANIFEST_LIMIT) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise SizeLimitError(f"longer than {limit} bytes", where=str(path))
    return content
