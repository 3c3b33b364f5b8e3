"""Stores that nobody but the registry may read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from registry.smallfiles import make_private
from registry.sql.stores import SqliteStores, Store, Stores


def open_private(path: Path, steps: Sequence[str], stores: Stores | None = None) -> Store:
    """The store of that name in ``stores``; without them a file of mode 0600. Blocks.

    Raises:
        IndexFormatError: a newer release wrote it. STORE_ERRORS: it cannot be used.
    """
    if stores is not None:
        return stores.open(path, steps)
    make_private(path.parent)
    path.touch(mode=0o600)
    return SqliteStores().open(path, steps)
