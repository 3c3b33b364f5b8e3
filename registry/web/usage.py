"""What the registry takes, written down as it goes: a row for each day that changed a repository.

One process of all that serve a folder does it every few minutes, in one write; pages read the
result, and never add up the whole registry themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from registry.database import NO_REPOSITORY
from registry.index import SqlIndex
from registry.web.charts import DAY

LARGEST: Final = "largest repositories"
"""The fact that holds the largest repositories as of the last round: name, bytes, tags."""
TOGETHER: Final = 0
"""Stands for all repositories in the table ``usage``."""

_LARGEST: Final = 500
_KEPT_DAYS: Final = 800


def note_usage(index: SqlIndex, *, clock: Callable[[], float] = time.time) -> None:
    """Write down what there is now; blocks."""
    index.write(NO_REPOSITORY, partial(_note, index, int(clock()) // DAY), durable=False)


def _note(index: SqlIndex, day: int) -> None:
    execute = index.writer.execute
    changed = (
        "INSERT INTO usage (repository, day, bytes, tags) SELECT id, CAST(?1 AS BIGINT), bytes,"
        " tags FROM (SELECT id, bytes, tags FROM repositories UNION ALL SELECT CAST(?2 AS BIGINT),"
        " CAST(COALESCE(SUM(bytes), 0) AS BIGINT), CAST(COALESCE(SUM(tags), 0) AS BIGINT)"
        " FROM repositories) r"
        " WHERE NOT EXISTS (SELECT 1 FROM usage u WHERE u.repository = r.id AND u.day ="
        " (SELECT MAX(day) FROM usage l WHERE l.repository = r.id)"
        " AND u.bytes = r.bytes AND u.tags = r.tags)"
        " ON CONFLICT (repository, day) DO UPDATE SET"
        " bytes = excluded.bytes, tags = excluded.tags"
    )
    execute(changed, (day, TOGETHER))
    execute("DELETE FROM usage WHERE day < ?", (day - _KEPT_DAYS,))
    largest = execute(
        "SELECT name, bytes, tags FROM repositories ORDER BY bytes DESC, name LIMIT ?", (_LARGEST,)
    )
    index.set_fact(LARGEST, [list(row) for row in largest])
