"""What the handlers need of storage, index and rights, split by capability.

Files, SQLite and htpasswd stand behind these today; an object store, another database or a token
service fits behind the same few methods. Methods without ``async`` may block and are called from
worker threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from images.digest import Digest


class BlobReader(Protocol):
    """Reads content by digest; whether a repository may is the index's matter."""

    def open(self, digest: Digest) -> BinaryIO:
        """Open for reading; raises ``images.errors.BlobUnknownError``."""
        ...

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Read and verify a small blob; raises ``BlobUnknownError`` or ``InternalError``."""
        ...


class BlobPutter(Protocol):
    """Stores small content in one step."""

    def put(self, data: bytes, digest: Digest) -> None:
        """Store bytes that hash to ``digest``; returns when they are durable."""
        ...


class Stage(Protocol):
    """The bytes of one upload, before they are a blob. Used by one request at a time."""

    @property
    def size(self) -> int:
        """How many bytes have been taken so far."""
        ...

    @property
    def touched(self) -> float:
        """When bytes last came, in seconds since the epoch."""
        ...

    def acquire(self) -> bool:
        """Take the stage for one request; False when another request or process has it.

        Raises FileNotFoundError when the stage is gone.
        """
        ...

    def release(self) -> None:
        """Give the stage back; harmless when it is not held."""
        ...

    def append(self, buffers: Sequence[bytes]) -> None:
        """Take bytes; all of them or, when the disk fails, none."""
        ...

    def commit(self, digest: Digest) -> int:
        """Verify, make durable and publish; returns the size in bytes.

        Raises ``images.errors.DigestMismatchError`` and publishes nothing.
        """
        ...

    def discard(self) -> None:
        """Remove the bytes."""
        ...


class Staging(Protocol):
    """Where uploads grow."""

    def create(self, upload: str, algorithm: str) -> Stage:
        """Begin the stage of a new upload."""
        ...

    def resume(self, upload: str, algorithm: str) -> Stage:
        """The stage of an upload begun before, perhaps by another process."""
        ...

    def sweep(self, *, before: float) -> int:
        """Remove stages that nobody touched since ``before``; returns how many."""
        ...


class Storage(BlobReader, BlobPutter, Staging, Protocol):
    """All of it: what one registry is given."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request wants; ``action`` is ``base``, ``pull``, ``push``, ``delete``, ``catalog``."""

    action: str
    repository: str = ""


class Authorizer(Protocol):
    """Decides who may do what."""

    async def authorize(self, authorization: str | None, access: Access) -> str:
        """Return the user's name, "" for an anonymous one.

        ``authorization`` is the request header of that name. Raises ``ApiError`` UNAUTHORIZED with
        a challenge, or DENIED.
        """
        ...
