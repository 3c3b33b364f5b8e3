"""Upload sessions: who may go on with which one, and one request at a time.

A session belongs to the repository it was begun in; its id is random and of no use in another
repository or after it ended. Sessions of this process are kept with their running hash, those of a
former process are found in the index and hashed again. No lock is held while a body is awaited
except the session's own, which turns a second request away instead of letting it wait.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from registry.errors import ApiError
from registry.protocols import IndexWriter, Stage, Staging, UploadSessions
from registry.records import UploadRow
from registry.workers import Workers

_KEPT: Final = 4096
"""Sessions whose hash state is kept; older ones are hashed again when they come back."""

_SWEEP_LIMIT: Final = 1000


def new_id() -> str:
    """An upload id that cannot be guessed."""
    return secrets.token_hex(16)


class Uploads:
    """The open sessions of one registry."""

    def __init__(
        self,
        staging: Staging,
        index: UploadSessions,
        writer: IndexWriter,
        workers: Workers,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._staging = staging
        self._index = index
        self._writer = writer
        self._workers = workers
        self._clock = clock
        self._kept: OrderedDict[str, tuple[UploadRow, Stage]] = OrderedDict()

    async def start(self, repository: str, algorithm: str) -> str:
        """Begin a session; returns its id."""
        row = UploadRow(new_id(), repository, algorithm)
        stage: Stage = await self._workers.io(partial(self._staging.begin, row.id, algorithm))

        def record() -> None:
            stage.announce()
            self._index.create_upload(row)

        await self._writer.write(repository, record, durable=False)
        self._keep(row, stage)
        return row.id

    @asynccontextmanager
    async def single(self, algorithm: str) -> AsyncIterator[Stage]:
        """A stage for a body that arrives whole in one request; it leaves nothing behind."""
        stage = await self._workers.io(partial(self._staging.create, new_id(), algorithm))
        try:
            await self._workers.io(stage.acquire)
            yield stage
        finally:
            await self._workers.io(partial(_discard, stage))

    @asynccontextmanager
    async def hold(self, repository: str, upload: str) -> AsyncIterator[Stage]:
        """Have a session for one request.

        Raises:
            ApiError: BLOB_UPLOAD_UNKNOWN (no such session in this repository, or it has ended), or
                BLOB_UPLOAD_INVALID with 409 while another request has it.
        """
        stage = await self._find(repository, upload)
        try:
            held = await self._workers.io(stage.acquire)
        except FileNotFoundError as error:
            await self.end(repository, upload)
            raise ApiError("BLOB_UPLOAD_UNKNOWN") from error
        if not held:
            raise ApiError(
                "BLOB_UPLOAD_INVALID", status=409, message="another request has this upload"
            )
        try:
            yield stage
        finally:
            await self._workers.io(stage.release)

    async def end(self, repository: str, upload: str) -> None:
        """Forget a session; its stage is the caller's matter."""
        self._kept.pop(upload, None)
        await self._writer.write(
            repository, partial(self._index.delete_upload, upload), durable=False
        )

    def forget(self, upload: str) -> None:
        """Drop what is kept of a session whose row was ended in another write."""
        self._kept.pop(upload, None)

    async def sweep(self, *, expiry: float) -> int:
        """End sessions that rested for ``expiry`` seconds; returns how many, strays included."""
        before = self._clock() - expiry
        old = partial(self._index.old_uploads, before=int(before), limit=_SWEEP_LIMIT)
        rows = await self._workers.look_up(old)
        ended = 0
        for row in rows:
            try:
                async with self.hold(row.repository, row.id) as stage:
                    if stage.touched >= before:
                        continue
                    await self._workers.io(stage.discard)
            except ApiError:
                continue
            await self.end(row.repository, row.id)
            ended += 1
        strays: int = await self._workers.io(partial(self._staging.sweep, before=before))
        return ended + strays

    async def _find(self, repository: str, upload: str) -> Stage:
        kept = self._kept.get(upload)
        if kept is None:
            row = await self._workers.look_up(partial(self._index.upload, upload))
            if row is None or row.repository != repository:
                raise ApiError("BLOB_UPLOAD_UNKNOWN")
            stage: Stage = await self._workers.io(
                partial(self._staging.resume, row.id, row.algorithm)
            )
            return self._keep(row, stage)
        row, stage = kept
        if row.repository != repository:
            raise ApiError("BLOB_UPLOAD_UNKNOWN")
        self._kept.move_to_end(upload)
        return stage

    def _keep(self, row: UploadRow, stage: Stage) -> Stage:
        kept = self._kept.setdefault(row.id, (row, stage))
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return kept[1]


def _discard(stage: Stage) -> None:
    stage.discard()
    stage.release()
