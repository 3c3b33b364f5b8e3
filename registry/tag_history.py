"""Undoing the latest move of a tag: to what it pointed to before, as long as that is still there.

A moved or deleted tag leaves its manifest, which collections spare for the undo window. A manifest
deleted by digest has lost its row, yet its bytes stay until a collection takes them: the row is
made again from them, if every blob is still the repository's. An undo is a move like any other: it
obeys immutable tags and quotas, is remembered, and can be undone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from images.digest import Digest
from images.errors import BlobUnknownError
from registry.errors import MissingContentError, UndoError
from registry.index import SqlIndex
from registry.manifests import examine
from registry.records import TagEvent
from registry.settings import MANIFEST_LIMIT


class Reader(Protocol):
    """Storage, as far as it gives manifests back."""

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Read and verify a small blob; raises ``BlobUnknownError`` or ``InternalError``."""
        ...


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did: the tag's digest before and after it, None for no tag."""

    before: str | None
    after: str | None


def undo(index: SqlIndex, storage: Reader, repository: str, tag: str) -> Undone:
    """Take back the latest move of a tag; blocks until that is durable.

    Raises:
        UndoError: the tag has no history here, or what it pointed to is gone.
        PolicyError: a rule keeps the tag where it is.
    """
    events = index.tag_history(repository, tag, limit=1)
    if not events:
        raise UndoError("no move of this tag is remembered", where=f"{repository}:{tag}")
    latest = events[0]
    if latest.previous is None:
        if latest.digest is None:
            raise UndoError(
                "what the tag pointed to was not written down by an older release",
                where=f"{repository}:{tag}",
                fix="push the image again",
            )
        index.write(repository, partial(index.delete_tag, repository, tag))
        return Undone(latest.digest, None)
    restore = partial(_restore, index, storage, repository, tag, latest)
    index.write(repository, restore)
    return Undone(latest.digest, latest.previous)


def _restore(index: SqlIndex, storage: Reader, repository: str, tag: str, event: TagEvent) -> None:
    """Point the tag back. Write."""
    assert event.previous is not None
    if index.retag(repository, tag, event.previous):
        return
    digest = Digest.parse(event.previous)
    try:
        raw = storage.read(digest, limit=MANIFEST_LIMIT)
        manifest = examine(raw, event.media_type, digest)
        index.put_manifest(repository, manifest, [tag])
    except (BlobUnknownError, MissingContentError) as error:
        raise UndoError(
            f"its content was collected: {error.what}",
            where=f"{repository}:{tag}",
            fix="push the image again; `collection.undo` says how long content is kept",
        ) from error
