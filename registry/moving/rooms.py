"""What rooms keep beside the index (tokens, the log, events that wait, trust data), small files.

Between files and files all of it is copied as files. Where PostgreSQL is on one side, each room's
tables are made equal, as its own steps name them, and a small file is a row on that side. It
happens while the store rests.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry.backing import Backing, open_backing
from registry.config import RegistryConfig
from registry.errors import MigrationError
from registry.index import SqlIndex
from registry.moving.files import copy_state, small_files
from registry.moving.rows import Target, equalize, number_on
from registry.moving.tables import tables_of
from registry.smallfiles import locked, make_private, replace
from registry.sql.connection import Connection
from registry.sql.settings import IndexType
from registry.sql.stores import Store

if TYPE_CHECKING:
    from registry.replicas.files import StoredFiles

_ROOMS: Final = (
    ("access/tokens.db", "registry.access.refresh"),
    ("access/personal.db", "registry.access.personal"),
    ("log.db", "registry.transparency.store"),
    ("events.db", "registry.events.queue"),
    ("notary/notary.db", "registry.notary.store"),
)
"""Files of stores below ``root``, and the modules whose ``STEPS`` make their tables."""

_FILES: Final = ("files.db", "registry.replicas.files")
_MASTER: Final = "notary/master.key"


def check_keys(old: RegistryConfig, new: RegistryConfig) -> None:
    """Refuse to bring keys where they cannot be opened any more.

    Raises:
        MigrationError: they are sealed with a file, which has no place in a database.
    """
    if _is_shared(new) and not _is_shared(old) and (old.root / _MASTER).exists():
        raise MigrationError(
            "its keys of trust data, log or countersigning are sealed with a file beside them, and"
            " in PostgreSQL they have to be sealed with a passphrase",
            where=str(old.root / _MASTER),
            fix="keep this index in SQLite, or begin trust data, log and countersigning anew:"
            " remove them from the configuration, and the folder",
        )


def copy_rooms(old: RegistryConfig, old_index: SqlIndex, new: RegistryConfig) -> None:
    """Bring them up to date at the new place; durable on return. Blocks."""
    if not _is_shared(old) and not _is_shared(new):
        copy_state(old.root, new.root)
        return
    rooms = (*_ROOMS, _FILES) if _is_shared(old) and _is_shared(new) else _ROOMS
    with closing(open_backing(old)) as here, closing(open_backing(new)) as there:
        for path, module in rooms:
            steps = importlib.import_module(module).STEPS
            if _has(old, old_index, path):
                with ExitStack() as stack:
                    source = stack.enter_context(closing(_open(here, path, steps)))
                    target = stack.enter_context(closing(_open(there, path, steps)))
                    _equalize(source, target, steps)
        if here.shared is None and there.shared is not None:
            _take_in(old.root, there.shared)
        elif here.shared is not None and there.shared is None:
            _give_out(here.shared, new.root)


def _equalize(source: Store, target: Store, steps: tuple[str, ...]) -> None:
    def write(operation: Callable[[Connection], None]) -> None:
        with target.transaction() as connection:
            operation(connection)

    for table in tables_of(steps):
        equalize(table, source.reader(), Target(target.reader, write))
        if table.numbered:
            sql = f"SELECT COALESCE(MAX({table.key[0]}), 0) FROM {table.name}"
            newest = int(source.reader().execute(sql).fetchone()[0])
            with target.transaction() as connection:
                number_on(connection, table, newest)


def _take_in(root: Path, stored: StoredFiles) -> None:
    """Files of a folder become rows."""
    with stored.changing():
        names = set()
        for path in small_files(root):
            name = path.relative_to(root).as_posix()
            names.add(name)
            replace(stored.root / name, path.read_bytes())
        for name, _ in _contents(stored):
            if name not in names:
                (stored.root / name).unlink()


def _give_out(stored: StoredFiles, root: Path) -> None:
    """Rows become files of a folder."""
    for name, content in _contents(stored):
        path = root / name
        with locked(path):
            replace(path, content)


def _contents(stored: StoredFiles) -> Iterator[tuple[str, bytes]]:
    sql = "SELECT name, content FROM files WHERE content IS NOT NULL ORDER BY name"
    for name, content in stored.reader().execute(sql).fetchall():
        yield str(name), bytes(content)


def _open(backing: Backing, path: str, steps: tuple[str, ...]) -> Store:
    file = backing.root / path
    if backing.shared is None:
        make_private(file.parent)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return backing.stores.open(file, steps)


def _has(config: RegistryConfig, index: SqlIndex, path: str) -> bool:
    if not _is_shared(config):
        return (config.root / path).exists()
    sql = "SELECT 1 FROM pg_namespace WHERE nspname = ?"
    name = f"{config.index.schema}_{Path(path).stem}"
    return index.reader().execute(sql, (name,)).fetchone() is not None


def _is_shared(config: RegistryConfig) -> bool:
    return config.index.type is IndexType.POSTGRESQL
