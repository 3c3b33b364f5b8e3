"""The builder's place in an image store: rows of its cache table, and a directory for the rest."""

from __future__ import annotations

from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from images.digest import Digest
    from images.store import ImageStore


class CacheTable:
    """The store's cache rows as a map from key to value."""

    def __init__(self, store: ImageStore) -> None:
        self._rows = store.cache

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        row = self._rows.get(key)
        return None if row is None else row.value

    def put(self, key: bytes, kind: str, value: bytes, digests: Sequence[Digest] = ()) -> None:
        """Store or replace; garbage collection keeps the blobs ``digests`` meanwhile."""
        self._rows.put(key, kind, value, digests=digests, size=len(value))


def state_directory(store: ImageStore) -> Path:
    """Where locks, parsed files and cache mounts are kept."""
    return store.root / "builder"
