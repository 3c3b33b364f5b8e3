"""Blobs that are read while they arrive, for readers that have a digest of their own to check.

Who inflates and unpacks a layer need not wait for its last byte. What is read here is not verified
yet; its end comes only when the blob is verified, on the disk and in the store. A reader of what
breaks off hears so, and begins again with what the store has then.
"""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING, BinaryIO, cast

from images.blobs import BlobStore, BlobWriter
from images.errors import BlobUnknownError

if TYPE_CHECKING:
    from pathlib import Path

    from images.digest import Digest


class Arrival(BlobStore):
    """A blob store for whoever fetches one blob, and for those who follow it meanwhile."""

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self._changed = threading.Condition()
        self._writer: _Followed | None = None
        self._over = False

    def writer(
        self,
        *,
        expected: Digest | None = None,
        size: int | None = None,
        limit: int | None = None,
        algorithm: str = "sha256",
    ) -> BlobWriter:
        """As ``BlobStore.writer``; readers follow the latest one."""
        algorithm = algorithm if expected is None else expected.algorithm
        made = _Followed(self, expected, size, limit, algorithm, self._changed)
        with self._changed:
            self._writer = made
            self._changed.notify_all()
        return made

    def finish(self) -> None:
        """Nothing comes any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def follow(self) -> BinaryIO | None:
        """What arrives, from its first byte on; None where nothing is on its way.

        Waits until it has begun. Reading raises ``BlobUnknownError`` when it broke off.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._writer is not None or self._over)
            writer = self._writer
            if writer is None or writer.ended:
                return None
            return cast("BinaryIO", _Early(os.dup(writer.source), writer, self._changed))


class _Followed(BlobWriter):
    """A writer that says how far it is; ``ended`` and not ``kept``, it was discarded."""

    def __init__(
        self,
        store: BlobStore,
        expected: Digest | None,
        size: int | None,
        limit: int | None,
        algorithm: str,
        changed: threading.Condition,
    ) -> None:
        super().__init__(store, expected, size, limit, algorithm)
        self._changed = changed
        self.source = self.open_written()
        self.ended = False
        self.kept = False
        self._committing = False

    def write(self, data: bytes | bytearray | memoryview) -> int:
        written = super().write(data)
        with self._changed:
            self._changed.notify_all()
        return written

    def commit(self) -> Digest:
        self._committing = True
        try:
            digest = super().commit()
            self.kept = True
        finally:
            self._committing = False
            self._end()
        return digest

    def discard(self) -> None:
        super().discard()
        if not self._committing:
            self._end()

    def _end(self) -> None:
        with self._changed:
            if not self.ended:
                self.ended = True
                os.close(self.source)
            self._changed.notify_all()


class _Early(io.BufferedIOBase):
    """What a writer has taken; reading waits for more."""

    def __init__(self, fd: int, writer: _Followed, changed: threading.Condition) -> None:
        self._fd = fd
        self._writer = writer
        self._changed = changed
        self._at = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """At most ``size`` bytes, at least one before the end; without a size, all."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        writer = self._writer
        with self._changed:
            self._changed.wait_for(lambda: writer.written > self._at or writer.ended)
            if writer.ended and not writer.kept:
                raise BlobUnknownError("the blob broke off while it was read")
            left = writer.written - self._at
        data = os.pread(self._fd, min(size, left), self._at) if left else b""
        self._at += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
