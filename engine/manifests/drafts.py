"""Lists that were begun here and are not pushed yet: one durable file each, below the store.

docker keeps them under ``~/.docker/manifests``; the commands are the same. Whoever changes a list
holds its lock, so two commands at once lose nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.manifests.entries import Entry
from engine.manifests.errors import ListUnknownError
from engine.manifests.layouts import parse_place
from images.durable import sync_folder, write_durably
from images.errors import InternalError
from images.locks import flock
from images.reference import Reference
from records import Record, replace

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


class DraftEntry(Record):
    """One image of a list: the name it was given by, its entry, its manifest's bytes."""

    name: Reference
    entry: Entry
    raw: bytes


class Draft(Record):
    """A list in the making."""

    name: Reference
    entries: tuple[DraftEntry, ...] = ()

    def with_entry(self, added: DraftEntry) -> Draft:
        """With one more image, or one instead of that of the same name."""
        names = [item.name for item in self.entries]
        if added.name not in names:
            return replace(self, entries=(*self.entries, added))
        entries = (added if item.name == added.name else item for item in self.entries)
        return replace(self, entries=tuple(entries))

    def find(self, name: Reference) -> DraftEntry | None:
        """The image given by ``name``."""
        return next((item for item in self.entries if item.name == name), None)


class Drafts:
    """All of them, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def locked(self, name: Reference) -> Iterator[None]:
        """Hold the list's lock for the block."""
        with flock(self._path(name).with_suffix(".lock"), exclusive=True):
            yield

    def load(self, name: Reference) -> Draft | None:
        """The list of that name, None where none was begun.

        Raises:
            InternalError: its file is damaged.
        """
        path = self._path(name)
        try:
            document = json.loads(path.read_bytes())
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']}")
            return Draft(name, tuple(_entry(item) for item in document["entries"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise InternalError(
                f"the list {name} cannot be read: {error}",
                where=str(path),
                fix="remove the file and create the list again",
            ) from error

    def get(self, name: Reference) -> Draft:
        """As ``load``.

        Raises:
            ListUnknownError: none was begun.
        """
        draft = self.load(name)
        if draft is None:
            raise ListUnknownError(
                f"No such manifest: {name}", fix=f"lading manifest create {name.familiar} IMAGE..."
            )
        return draft

    def save(self, draft: Draft) -> None:
        """Write the list, durably."""
        document = {
            "format": FORMAT,
            "name": str(draft.name),
            "entries": [_document(item) for item in draft.entries],
        }
        write_durably(self._path(draft.name), json.dumps(document).encode())

    def remove(self, name: Reference) -> None:
        """Forget the list.

        Raises:
            ListUnknownError: none was begun.
        """
        self.get(name)
        self._path(name).unlink()
        sync_folder(self._folder)

    def _path(self, name: Reference) -> Path:
        return self._folder / f"{hashlib.sha256(str(name).encode()).hexdigest()}.json"


def _document(item: DraftEntry) -> dict[str, Any]:
    return {
        "name": str(item.name),
        "reference": str(item.entry.reference),
        "descriptor": dict(item.entry.descriptor),
        "manifest": item.raw.decode(),
    }


def _entry(data: dict[str, Any]) -> DraftEntry:
    name, reference = (parse_place(data[key]) for key in ("name", "reference"))
    return DraftEntry(name, Entry(reference, data["descriptor"]), data["manifest"].encode())
