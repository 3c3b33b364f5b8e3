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
from registry.index import SqliteIndex
from registry.web.charts import DAY

LARGEST: Final = "largest repositories"
"""The fact that holds the largest repositories as of the last round: name, bytes, tags."""
TOGETHER: Final = 0
"""Stands for all repositories in the table ``usage``."""

_LARGEST: Final = 500
_KEPT_DAYS: Final = 800


def note_usage(index: SqliteIndex, *, clock: Callable[[], float] = time.time) -> None:
    """Write down what there is now; blocks."""
    index.write(NO_REPOSITORY, partial(_note, index, int(clock()) // DAY), durable=False)


def _note(index: SqliteIndex, day: int) -> None:
    execute = index.writer.execute
    changed = (
        "INSERT INTO usage (repository, day, bytes, tags) SELECT id, ?1, bytes, tags FROM"
        " (SELECT id, bytes, tags FROM repositories UNION ALL"
        " SELECT ?2, CAST(TOTAL(bytes) AS INTEGER), CAST(TOTAL(tags) AS INTEGER)"
        " FROM repositories) r"
        " WHERE (bytes, tags) IS NOT (SELECT bytes, tags FROM usage"
        " WHERE repository = r.id ORDER BY day DESC LIMIT 1)"
        " ON CONFLICT DO UPDATE SET bytes = excluded.bytes, tags = excluded.tags"
    )
    execute(changed, (day, TOGETHER))
    execute("DELETE FROM usage WHERE day < ?", (day - _KEPT_DAYS,))
    largest = execute(
        "SELECT name, bytes, tags FROM repositories ORDER BY bytes DESC, name LIMIT ?", (_LARGEST,)
    )
    index.set_fact(LARGEST, [list(row) for row in largest])
