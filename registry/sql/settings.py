"""Which database has the registry's rows: a file under ``root``, or a PostgreSQL server."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qs, urlsplit

from records import Record
from registry.configuration.declare import Duration, file_problems, refuse
from registry.errors import RegistryConfigError

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}\Z")
"""Rooms put up to 23 characters behind it; names have 63 (PostgreSQL, 4.1.1)."""


class IndexType(enum.Enum):
    """Where the rows are."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class IndexSettings(Record):
    """The database; everything but ``type`` is about ``postgresql``."""

    type: Annotated[IndexType, "Database of names, tags and rights to blobs"] = IndexType.SQLITE
    url: Annotated[
        str, "postgresql://user@host/database without a password; unset parts are libpq's"
    ] = "postgresql://"
    url_file: Annotated[Path | None, "File with the URL instead, which may have a password"] = None
    schema: Annotated[str, "Schema of the tables, which is this registry's alone"] = "lading"
    connections: Annotated[int, "Most connections for reads of one process, besides four"] = 6
    wait: Annotated[Duration, "How long a read waits for a connection, and to connect"] = 10.0
    timeout: Annotated[
        Duration, "How long the server may keep silent: to a read; to a write, 30s more"
    ] = 30.0

    def __post_init__(self) -> None:
        if self.type is IndexType.POSTGRESQL:
            refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if not self.url.startswith(("postgresql://", "postgres://")):
            yield RegistryConfigError(
                "this is no URL of PostgreSQL",
                where="url",
                fix="write postgresql://user@host:5432/database",
            )
        elif _has_password(self.url):
            yield RegistryConfigError(
                "a password has no place in a configuration",
                where="url",
                fix="write the URL into a file and name it in url_file, or use a ~/.pgpass file",
            )
        yield from file_problems("url_file", self.url_file)
        if not _SCHEMA.match(self.schema) or self.schema.startswith("pg_"):
            yield RegistryConfigError(
                "a schema has up to 40 of a-z, 0-9 and _, and begins with neither digit nor pg_",
                where="schema",
            )
        if self.connections < 1:
            yield RegistryConfigError("connections must be positive", where="connections")
        for name in ("wait", "timeout"):
            if not 1 <= getattr(self, name) <= 600:
                yield RegistryConfigError(f"{name} is from 1s to 10m", where=name)


def _has_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.password is not None or "password" in parse_qs(parts.query)
    except ValueError:
        # Several hosts in brackets, say: what cannot be read may have one.
        return "password" in url or ":" in url.partition("@")[0].partition("://")[2]
