"""What a collection did, and how far it is."""

from __future__ import annotations

import dataclasses
from typing import Any

from records import Record


class CollectionReport(Record):
    """What was removed or, with ``dry_run``, would be; sizes in bytes.

    ``blobs`` counts links of repositories, ``files`` contents that no repository had any more.
    ``finished`` is False when the budget ran out; the next collection goes on there.
    """

    dry_run: bool = False
    finished: bool = False
    repositories: int = 0
    uploads: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    empty_repositories: int = 0
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return dataclasses.asdict(self)


class Progress(Record):
    """``done`` of ``total`` in this phase (``repositories``, ``orphans``, ``files``).

    ``total`` is 0 where it is not known; ``name`` is the repository that was just finished.
    """

    phase: str
    done: int
    total: int
    name: str = ""
