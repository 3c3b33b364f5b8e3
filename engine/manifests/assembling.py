"""What ``docker buildx imagetools create`` does: one list from images and lists at registries.

Only documents are read. What the repositories of the tags lack is mounted there or copied.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from engine.builds.delivery.annotations import (
    INDEX,
    INDEX_DESCRIPTOR,
    MANIFEST,
    MANIFEST_DESCRIPTOR,
    annotations_of,
)
from engine.manifests.entries import Entry, build_list, list_type
from engine.manifests.errors import ManifestListError
from engine.manifests.layouts import parse_place
from engine.manifests.sources import describe_manifest, entries_of, pin
from images.client.errors import ManifestUnknownError
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Index
from images.mediatype import OCI_INDEX
from images.platform import Platform
from images.reference import Reference
from records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.builds.delivery.annotations import Annotation
    from engine.manifests.library import Library
    from images.client.manifests import Fetched


MOST: Final = 256
"""Manifests that point to what is copied, and are copied with it."""


class Source(Record):
    """Something to take in: a name, and what a descriptor says of it beyond that."""

    reference: Reference
    descriptor: Mapping[str, Any] | None = None


class Assembled(Record):
    """The document to push, and what has to be in the repository before it."""

    raw: bytes
    media_type: str
    parts: tuple[Entry, ...]
    """The manifests of a list; of an image copied as it is, that image."""
    origin: Reference | None = None
    """Where the document itself is already; None of one that was made."""

    @property
    def digest(self) -> Digest:
        """Of the document."""
        return Digest.of(self.raw)


def parse_source(text: str, tags: Sequence[Reference]) -> Source:
    """A source as it is typed or stands in a file: a name, a digest, or a descriptor in JSON.

    A digest or descriptor is looked for in the repository of the tags.

    Raises:
        ManifestListError: none of them; there is not exactly one repository to look in.
        ImagesError: the name is malformed.
    """
    text = text.strip()
    if text.startswith("{"):
        return _parse_descriptor(text, tags)
    try:
        digest = Digest.parse(text)
    except ImagesError:
        return Source(parse_place(text))
    return Source(replace(_repository(tags, text), tag=None, digest=digest))


async def assemble(
    client: Library,
    sources: Sequence[Source],
    *,
    annotations: Iterable[Annotation] = (),
    prefer_index: bool = True,
    platforms: Sequence[Platform] = (),
) -> Assembled:
    """Put together what ``sources`` name; entries of one digest become one.

    One list alone, without annotations, stays as it is, byte for byte; so does one image without
    ``prefer_index``. ``platforms``, if any, are the only ones to take out of lists.

    Raises:
        ManifestUnknownError, RegistryError: a source cannot be read.
        ManifestListError: nothing is left; an annotation of a level that a list has not.
    """
    annotations = tuple(annotations)
    _check_levels(annotations)
    fetched = [await client.read_manifest(source.reference) for source in sources]
    if len(sources) == 1 and not annotations and not platforms:
        same = _as_it_is(sources[0].reference, fetched[0], prefer_index=prefer_index)
        if same is not None:
            return same
    entries: list[Entry] = []
    for source, found in zip(sources, fetched, strict=True):
        if isinstance(found.document, Index):
            entries += entries_of(source.reference, found.document)
        else:
            entry = await describe_manifest(client, source.reference, found, normalise=True)
            said = source.descriptor or {}
            entries.append(replace(entry, descriptor={**entry.descriptor, **said}))
    kept = _annotated(_selected(_merged(entries), platforms), annotations)
    if not kept:
        raise ManifestListError("no manifest is left", fix="name other sources or platforms")
    media_type = OCI_INDEX if annotations else list_type(kept)
    index = build_list(kept, media_type=media_type, annotations=annotations_of(annotations, INDEX))
    return Assembled(index.raw, index.media_type, tuple(kept))


def _as_it_is(reference: Reference, found: Fetched, *, prefer_index: bool) -> Assembled | None:
    """A source that needs no list of its own; None for an image that gets one."""
    if isinstance(found.document, Index):
        parts = entries_of(reference, found.document)
    elif prefer_index:
        return None
    else:
        parts = [Entry(pin(reference, found), found.descriptor.to_json())]
    return Assembled(found.raw, found.document.media_type, tuple(parts), pin(reference, found))


async def publish(
    client: Library,
    assembled: Assembled,
    tag: Reference,
    *,
    referrers: bool = True,
    told: Callable[[Reference], None] = lambda _target: None,
) -> Descriptor:
    """Push under ``tag``, and before it what its repository lacks; ``told`` hears of that.

    With ``referrers``, what points to the parts (signatures, statements) comes along.

    Raises:
        RegistryError: after the retries.
        ManifestListError: more than ``MOST`` things point to the parts.
    """
    bare = replace(tag, tag=None, digest=None)
    subjects: list[Reference] = []
    for part in assembled.parts:
        if part.reference.name != tag.name:
            told(bare.with_digest(part.digest))
            await client.copy(part.reference, bare)
            subjects.append(part.reference)
    if assembled.origin is not None and assembled.origin.name != tag.name:
        subjects.append(assembled.origin)
    if referrers:
        await _copy_referrers(client, subjects, bare, told)
    return await client.put_manifest(tag, assembled.raw, assembled.media_type)


async def _copy_referrers(
    client: Library,
    subjects: Sequence[Reference],
    target: Reference,
    told: Callable[[Reference], None],
) -> None:
    """Bring what points to ``subjects``, and what points to that in turn, to another repository."""
    seen = {subject.digest for subject in subjects}
    rest = list(reversed(subjects))
    copied = 0
    while rest:
        subject = rest.pop()
        assert subject.digest is not None
        for found in await client.referrers(subject, subject.digest):
            if found.digest in seen:
                continue
            seen.add(found.digest)
            copied += 1
            if copied > MOST:
                raise ManifestListError(
                    f"more than {MOST} referrers",
                    where=str(subject),
                    fix="use --no-referrers, and copy those that matter",
                )
            source = subject.with_digest(found.digest)
            told(target.with_digest(found.digest))
            await client.copy(source, target)
            rest.append(source)


async def existing(client: Library, tag: Reference) -> tuple[Source, ...]:
    """What ``--append`` adds to: the tag's present content, if it has any."""
    try:
        await client.resolve(tag)
    except ManifestUnknownError:
        return ()
    return (Source(tag),)


def _parse_descriptor(text: str, tags: Sequence[Reference]) -> Source:
    try:
        document = json.loads(text)
        descriptor = Descriptor.from_json(document)
    except (ValueError, ImagesError) as error:
        raise ManifestListError(
            f"not a descriptor: {error}", where=text[:80], fix="give mediaType, digest and size"
        ) from error
    where = replace(_repository(tags, "a descriptor"), tag=None, digest=descriptor.digest)
    return Source(where, document)


def _repository(tags: Sequence[Reference], what: str) -> Reference:
    names = {tag.name for tag in tags}
    if len(names) != 1:
        raise ManifestListError(
            f"{what} does not say in which repository it is",
            fix="write REPOSITORY@DIGEST, or name the repository with -t",
        )
    return tags[0]


def _check_levels(annotations: Sequence[Annotation]) -> None:
    for annotation in annotations:
        if annotation.level == MANIFEST:
            raise ManifestListError(
                f"manifests stay as they are, so {annotation.key} cannot be set in them",
                where="--annotation",
                fix=f"write {INDEX}:KEY=VALUE or {MANIFEST_DESCRIPTOR}[PLATFORM]:KEY=VALUE",
            )
        if annotation.level == INDEX_DESCRIPTOR:
            raise ManifestListError(
                f"{annotation.key}: a registry keeps no descriptor of a list",
                where="--annotation",
                fix=f"write {INDEX}:KEY=VALUE",
            )


def _merged(entries: Iterable[Entry]) -> list[Entry]:
    """Entries of one digest as one: later annotations win, a platform stays."""
    found: dict[Digest, Entry] = {}
    for entry in entries:
        before = found.get(entry.digest)
        if before is None:
            found[entry.digest] = entry
            continue
        old, new = before.descriptor, entry.descriptor
        notes = {**(old.get("annotations") or {}), **(new.get("annotations") or {})}
        merged = {**new, **old, **({"annotations": notes} if notes else {})}
        found[entry.digest] = replace(before, descriptor=merged)
    return list(found.values())


def _selected(entries: list[Entry], platforms: Sequence[Platform]) -> list[Entry]:
    """The entries for ``platforms``, and the statements about those."""
    if not platforms:
        return entries
    images = [
        entry
        for entry in entries
        if entry.platform and Platform.from_json(entry.platform) in platforms
    ]
    kept = {str(entry.digest) for entry in images}
    about = "vnd.docker.reference.digest"
    return [
        entry
        for entry in entries
        if entry in images or (entry.descriptor.get("annotations") or {}).get(about) in kept
    ]


def _annotated(entries: list[Entry], annotations: Sequence[Annotation]) -> list[Entry]:
    annotated = []
    for entry in entries:
        platform = Platform.from_json(entry.platform) if entry.platform else None
        own = annotations_of(annotations, MANIFEST_DESCRIPTOR, platform)
        before = entry.descriptor.get("annotations") or {}
        descriptor = {**entry.descriptor, **({"annotations": {**before, **own}} if own else {})}
        annotated.append(replace(entry, descriptor=descriptor))
    return annotated
