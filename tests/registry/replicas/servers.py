"""What replicas of one registry open in its database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from registry.replicas.files import StoredFiles
from registry.sql.postgres.link import Address
from registry.sql.postgres.stores import PostgresStores
from registry.sql.settings import IndexSettings
from registry.sql.stores import Store, Stores


class Replicas:
    """Stores and files, each opened as a process of its own would."""

    def __init__(self, settings: IndexSettings) -> None:
        self.settings = settings
        self._opened: list[Store] = []

    def stores(self) -> Stores:
        """Opens stores that ``close`` closes."""
        return self

    def open(self, path: Path, steps: Sequence[str]) -> Store:
        """See ``Stores``."""
        store = PostgresStores(Address(self.settings), wait=10.0).open(path, steps)
        self._opened.append(store)
        return store

    def files(self) -> StoredFiles:
        return StoredFiles(self)

    def close(self) -> None:
        for store in self._opened:
            store.close()
