"""Upload sessions that nobody goes on with, and stages without a session."""

from __future__ import annotations

from functools import partial
from typing import Final

from registry.index import SqlIndex
from registry.protocols import Collectable
from registry.records import UploadRow

_LIMIT: Final = 1000


def expire(index: SqlIndex, storage: Collectable, *, before: float, dry_run: bool = False) -> int:
    """End sessions that rested since ``before`` (epoch seconds); returns how many; blocks.

    A session that a request holds is left alone, in whichever process that is.
    """
    rows = index.old_uploads(before=int(before), limit=_LIMIT)
    ended = {row.id for row in rows if _end(index, storage, row, before, dry_run=dry_run)}
    if not dry_run:
        return len(ended) + storage.sweep(before=before)
    return len(ended.union(storage.idle(before=before)))


def _end(
    index: SqlIndex, storage: Collectable, row: UploadRow, before: float, *, dry_run: bool
) -> bool:
    stage = storage.resume(row.id, row.algorithm)
    try:
        if not stage.acquire():
            return False
        try:
            if stage.touched >= before:
                return False
            if not dry_run:
                stage.discard()
        finally:
            stage.release()
    except FileNotFoundError:
        pass  # only its row is left
    if not dry_run:
        index.write(row.repository, partial(index.delete_upload, row.id), durable=False)
    return True
