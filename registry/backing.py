"""What the rooms of a registry keep their state in, beside the index: files, or one database.

With the index in SQLite everything is a file below ``root``, of one machine. With PostgreSQL it is
in that database, for all replicas, and ``root`` has nothing that must outlive its machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from records import Record
from registry.access.snapshot import Places
from registry.config import RegistryConfig
from registry.errors import RegistryStartError
from registry.smallfiles import SmallFile
from registry.sql.settings import IndexSettings, IndexType
from registry.sql.stores import SqliteStores, Stores

if TYPE_CHECKING:
    from registry.replicas.files import StoredFiles


class Backing(Record):
    """Where state is: ``files`` is the folder of small files, ``stores`` opens the databases."""

    root: Path
    files: SmallFile
    stores: Stores
    shared: StoredFiles | None = None

    def places(self, config: RegistryConfig) -> Places:
        """Where accounts are kept."""
        stores = None if self.shared is None else self.stores
        return Places(self.files, config.access, stores)

    def has(self, file: str, *, marked: str) -> bool:
        """Whether a room with the store ``file`` was ever used; its small file ``marked`` says so
        where stores are no files. Blocks.
        """
        if self.shared is None:
            return (self.root / file).exists()
        folder, _, name = marked.rpartition("/")
        return (self.files / folder / name).exists()

    def close(self) -> None:
        """Release what is open; blocks."""
        if self.shared is not None:
            self.shared.close()


def local_backing(config: RegistryConfig) -> Backing:
    """Files below ``root``."""
    return Backing(config.root, config.root, SqliteStores())


def open_backing(config: RegistryConfig) -> Backing:
    """What ``config`` says; blocks.

    Raises:
        RegistryStartError: the driver of the database is missing, or its URL is no good.
        IndexFormatError: a newer release wrote it. STORE_ERRORS: it cannot be used.
    """
    if config.index.type is IndexType.SQLITE:
        return local_backing(config)
    from registry.replicas.files import StoredFiles

    config.root.mkdir(parents=True, exist_ok=True)
    stores = _stores(config.index)
    files = StoredFiles(stores)
    return Backing(config.root, files.root, stores, files)


def _stores(settings: IndexSettings) -> Stores:
    try:
        from registry.sql.postgres.link import Address
        from registry.sql.postgres.stores import PostgresStores
    except ImportError as error:
        raise RegistryStartError(
            "an index in PostgreSQL needs psycopg, which is not installed",
            where="index.type",
            fix="pip install 'lading[postgres]'",
        ) from error
    return PostgresStores(Address(settings), wait=settings.wait)
