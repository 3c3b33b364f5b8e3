"""The index of several replicas."""

from __future__ import annotations

import time
from collections.abc import Callable

from registry.guard import Guard
from registry.index import SqlIndex
from registry.outbox import Outbox
from registry.sql.postgres.database import PostgresDatabase
from registry.sql.postgres.link import Address
from registry.sql.settings import IndexSettings


class PostgresIndex(SqlIndex, PostgresDatabase):
    """The index in one schema of PostgreSQL."""

    def __init__(
        self,
        settings: IndexSettings,
        *,
        guard: Guard | None = None,
        outbox: Outbox | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open it; raises as ``PostgresDatabase``, and ``RegistryStartError`` for a bad URL."""
        super().__init__(
            Address(settings), connections=settings.connections, wait=settings.wait, clock=clock
        )
        self._keep_rules(guard, outbox, clock)
