"""Reading objects as files or in pieces; a connection that breaks is made again where it broke."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from http.client import HTTPException
from typing import Final

from botocore.exceptions import BotoCoreError, HTTPClientError
from urllib3.exceptions import HTTPError

from images.errors import BlobUnknownError
from registry.errors import ObjectStoreError
from registry.s3.bucket import Bucket, ObjectUnknownError
from registry.s3.fetching import Body

PIECE: Final = 256 << 10
_ATTEMPTS: Final = 4
_BROKEN: Final = (BotoCoreError, HTTPClientError, HTTPError, HTTPException, OSError)


class ObjectFile(io.RawIOBase):
    """An object as a file for reading, from ``offset`` to ``end``; one request for all of it.

    Raises on reading: ``BlobUnknownError`` when it is gone, ``ObjectStoreError``.
    """

    def __init__(self, bucket: Bucket, name: str, end: int, *, offset: int = 0) -> None:
        super().__init__()
        self._bucket = bucket
        self._name = name
        self._end = end
        self._position = offset
        self._body: Body | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, at the cost of a request."""
        return True

    def tell(self) -> int:
        """Where the next byte is from."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go on elsewhere; returns where. Raises ValueError before the beginning."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        position = base + offset
        if position < 0:
            raise ValueError(f"no byte is at {position}")
        if position != self._position:
            self._hang_up()
            self._position = position
        return position

    def read(self, count: int = -1) -> bytes:
        """The next bytes, up to ``count``; none at the end."""
        left = max(self._end - self._position, 0)
        wanted = left if count < 0 else min(count, left)
        if not wanted:
            return b""
        found = self._some(wanted)
        if len(found) == wanted:
            return found
        several = [found]
        wanted -= len(found)
        while wanted:
            several.append(self._some(wanted))
            wanted -= len(several[-1])
        return b"".join(several)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as there are bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Give up what was not read."""
        self._hang_up()
        super().close()

    def _some(self, count: int) -> bytes:
        failure: Exception | None = None
        for _ in range(_ATTEMPTS):
            try:
                if self._body is None:
                    self._body = self._bucket.get(self._name, self._position, self._end - 1)
                data = self._body.read(count)
            except ObjectUnknownError as error:
                raise BlobUnknownError("the store has it no more", where=self._name) from error
            except _BROKEN as error:
                failure = error
            else:
                if data:
                    self._position += len(data)
                    return data
            self._hang_up()
        raise ObjectStoreError("an object could not be read to its end") from failure

    def _hang_up(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()


def pieces(bucket: Bucket, name: str, size: int) -> Iterator[bytes]:
    """All bytes of an object, a piece at a time."""
    with ObjectFile(bucket, name, size) as file:
        while piece := file.read(PIECE):
            yield piece
