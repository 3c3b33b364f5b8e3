"""The blob store: content-addressed files that are either whole, verified and durable, or absent.

A blob is staged under ``blobs/.staging``, hashed while it is written, fsynced, renamed to
``blobs/<algorithm>/<hex>``, and its directory is fsynced; only then does ``commit`` return. Readers
never see a part of a blob, and kill -9 or a power cut at any point loses nothing that ``commit``
acknowledged.

Locks, all of them flock(2), so they vanish with their process:

* a stage is held exclusively by its writer; a stage nobody holds is a leftover of a killed process;
* ``blobs/.lock`` is shared by whoever publishes or renews a blob and exclusive for whoever deletes
  one, so that "it is there, I need not write it" and "nobody needs it, delete it" cannot cross.

``put``, ``commit`` and ``has`` renew a blob's modification time (when it is older than
``RENEW_AFTER``); garbage collection spares what is younger than the oldest live lease.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from contextlib import contextmanager, suppress

from images.digest import HEX_LENGTHS, Digest
from images.errors import (
    BlobUnknownError,
    DigestMismatchError,
    EnvironmentFault,
    InternalError,
    SizeLimitError,
)
from images.locks import flock, hold, is_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO, Final, Self

RENEW_AFTER: Final = 1.0
"""Seconds; a blob touched more recently than this is not touched again."""

STAGE_GRACE: Final = 60.0
"""Seconds a stage may exist without a lock: the moment between its creation and its flock."""

DEAD_GRACE: Final = 0.5
"""The same for who sweeps, when no process here has the number in the stage's name: one in another
namespace may."""

HEX_DIGITS: Final = frozenset("0123456789abcdef")
READ_LIMIT: Final = 8 << 20
WRITE_BEHIND: Final = 16 << 20
"""Bytes of a blob after which the disk is asked to begin writing them."""


def is_fresh(name: str, status: os.stat_result, *, sweeping: bool) -> bool:
    """Whether the stage ``<pid>-<random>`` may be about to be locked by who made it."""
    dead = sweeping and not os.path.exists(f"/proc/{name.partition('-')[0]}")
    return time.time() - status.st_ctime < (DEAD_GRACE if dead else STAGE_GRACE)


class BlobStore:
    """Blobs under ``<root>/blobs``; safe for many threads and processes at once."""

    def __init__(self, root: str | Path) -> None:
        self.root = root
        self._base = os.path.join(root, "blobs")
        self._staging = os.path.join(self._base, ".staging")
        self._lockfile = os.path.join(self._base, ".lock")

    def path(self, digest: Digest) -> Path:
        """Where a blob of this digest is, or would be."""
        from pathlib import Path

        return Path(self._path(digest))

    def size(self, digest: Digest) -> int | None:
        """Its size in bytes, or None when it is not in the store; renews nothing."""
        try:
            return os.stat(self._path(digest)).st_size
        except FileNotFoundError:
            return None

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there; if so, a lease taken before this call protects it."""
        path = self._path(digest)
        try:
            if time.time() - os.stat(path).st_mtime < RENEW_AFTER:
                return True
            with flock(self._lockfile, exclusive=False):
                os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading, without verifying it.

        Raises:
            BlobUnknownError: it is not in the store.
        """
        try:
            return open(self._path(digest), "rb")
        except FileNotFoundError as error:
            raise BlobUnknownError(
                f"blob {digest} is not in the store",
                where=str(self.root),
                fix="pull the image again",
            ) from error

    def open_early(self, digest: Digest) -> BinaryIO | None:
        """A blob that is not here and on its way, to be read as it arrives and before it is
        verified: see ``images.arriving``. In a store of its own, none is.
        """
        return None

    def read(self, digest: Digest, *, limit: int = READ_LIMIT) -> bytes:
        """Read a whole blob and verify it.

        Raises:
            BlobUnknownError: it is not in the store.
            SizeLimitError: it is longer than ``limit`` bytes.
            InternalError: the file was damaged since it was written.
        """
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise SizeLimitError(
                f"blob is longer than the limit of {limit} bytes", where=str(digest)
            )
        if Digest.of(data, digest.algorithm) != digest:
            raise damaged(digest, self._path(digest))
        return data

    def put(self, data: bytes) -> Digest:
        """Store bytes that are already in memory; returns their SHA-256 digest."""
        digest = Digest.of(data)
        if self.has(digest):
            self._sync_directory(digest)
            return digest
        with self.writer(expected=digest) as writer:
            writer.write(data)
            return writer.commit()

    def writer(
        self,
        *,
        expected: Digest | None = None,
        size: int | None = None,
        limit: int | None = None,
        algorithm: str = "sha256",
    ) -> BlobWriter:
        """Begin a blob.

        ``expected`` and ``size`` are verified on commit, ``size`` and ``limit`` (bytes) already
        while writing. ``algorithm`` counts when ``expected`` is None.

        Raises:
            EnvironmentFault: the disk is full or the store is not writable.
        """
        algorithm = algorithm if expected is None else expected.algorithm
        return BlobWriter(self, expected, size, limit, algorithm)

    def adopt(self, stage: Path, digest: Digest) -> None:
        """Make a whole, verified and fsynced file of the same disk the blob; durable on return.

        For callers with a staging of their own, such as resumable uploads.
        """
        with _disk_faults(self.root):
            self._publish(os.fspath(stage), digest)

    def delete(self, digest: Digest, *, unless_younger_than: float | None = None) -> int:
        """Remove a blob; returns the bytes freed, 0 when it is not there.

        ``unless_younger_than`` (seconds since the epoch) spares a blob that was written or renewed
        at or after that time; the check and the removal are one step to every other process.
        """
        path = self._path(digest)
        with flock(self._lockfile, exclusive=True):
            try:
                status = os.stat(path)
                if unless_younger_than is not None and status.st_mtime >= unless_younger_than:
                    return 0
                os.unlink(path)
            except FileNotFoundError:
                return 0
        return status.st_size

    def digests(self) -> Iterator[Digest]:
        """Every blob in the store, in no order; names that are not digests are passed over."""
        for algorithm, length in HEX_LENGTHS.items():
            try:
                names = os.listdir(os.path.join(self._base, algorithm))
            except FileNotFoundError:
                continue
            for name in names:
                if len(name) == length and HEX_DIGITS.issuperset(name):
                    yield Digest(algorithm, name)

    def stages(self, *, sweeping: bool = False) -> Iterator[tuple[Path, bool]]:
        """Unfinished blobs, each with whether it is a leftover that nobody is writing any more.

        Who is ``sweeping`` need not wait for the stages of processes that are surely dead.
        """
        from pathlib import Path

        try:
            names = os.listdir(self._staging)
        except FileNotFoundError:
            return
        for name in names:
            path = os.path.join(self._staging, name)
            with suppress(FileNotFoundError):
                fresh = is_fresh(name, os.stat(path), sweeping=sweeping)
                yield Path(path), not fresh and not is_held(path)

    def sweep_stages(self) -> int:
        """Remove the leftovers of killed processes; returns the bytes freed."""
        freed = 0
        for path, dead in self.stages(sweeping=True):
            if dead:
                with suppress(FileNotFoundError):
                    freed += path.stat().st_size
                    path.unlink()
        return freed

    def _path(self, digest: Digest) -> str:
        return os.path.join(self._base, digest.algorithm, digest.hex)

    def _open_stage(self) -> tuple[str, int]:
        name = os.path.join(self._staging, f"{os.getpid()}-{os.urandom(8).hex()}")
        fd = hold(name)
        os.fchmod(fd, 0o644)
        return name, fd

    def _publish(self, stage: str, digest: Digest) -> None:
        path = self._path(digest)
        directory = os.path.dirname(path)
        if not os.path.isdir(directory):
            os.makedirs(directory, mode=0o711, exist_ok=True)
            _fsync_path(self._base)
        with flock(self._lockfile, exclusive=False):
            os.rename(stage, path)
        self._sync_directory(digest)

    def _sync_directory(self, digest: Digest) -> None:
        _fsync_path(os.path.join(self._base, digest.algorithm))


class BlobWriter:
    """A blob being written; leaving the ``with`` block without ``commit`` removes it without a
    trace.
    """

    def __init__(
        self,
        store: BlobStore,
        expected: Digest | None,
        size: int | None,
        limit: int | None,
        algorithm: str,
    ) -> None:
        self._store = store
        self._expected = expected
        self._size = size
        self._limit = min((n for n in (size, limit) if n is not None), default=None)
        self._hash = hashlib.new(algorithm)
        self.written = 0
        self._sent = 0
        with _disk_faults(store.root):
            self._stage, self._fd = store._open_stage()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append; returns the number of bytes taken, always all of them.

        Raises:
            SizeLimitError: more bytes than ``size`` or ``limit`` allow; nothing of ``data`` is
            kept. EnvironmentFault: the disk is full or failing.
        """
        length = len(data)
        if self._limit is not None and self.written + length > self._limit:
            raise SizeLimitError(
                f"content is longer than the {self._limit} bytes it may have",
                where=str(self._expected) if self._expected else None,
            )
        self._hash.update(data)
        view = memoryview(data)
        with _disk_faults(self._store.root):
            while view:
                view = view[os.write(self._fd, view) :]
        self.written += length
        if self.written - self._sent >= WRITE_BEHIND:
            self._send()
        return length

    def open_written(self) -> int:
        """A descriptor to read what was written so far, which nobody has verified."""
        return os.open(self._stage, os.O_RDONLY | os.O_CLOEXEC)

    def commit(self) -> Digest:
        """Verify, make durable, and make visible.

        Raises:
            DigestMismatchError: the content is not what ``expected`` or ``size`` said; nothing is
            kept. EnvironmentFault: the disk is full or failing; nothing is kept.
        """
        digest = Digest.from_hash(self._hash)
        try:
            self._verify(digest)
            with _disk_faults(self._store.root):
                if self._store.has(digest):
                    self._store._sync_directory(digest)
                    return digest
                os.fsync(self._fd)
                self._store._publish(self._stage, digest)
                self._stage = ""
        finally:
            self.discard()
        return digest

    def discard(self) -> None:
        """Remove the stage; harmless after ``commit`` and when repeated."""
        stage, self._stage = self._stage, ""
        fd, self._fd = self._fd, -1
        if stage:
            with suppress(FileNotFoundError):
                os.unlink(stage)
        if fd >= 0:
            os.close(fd)

    def _send(self) -> None:
        """Let the disk begin with what it has not seen, so that ``commit`` waits for little."""
        from images.syscalls import SYNC_FILE_RANGE_WRITE, sync_file_range

        # A hint: what goes wrong on the disk is told by the fsync of ``commit``.
        with suppress(OSError):
            length = self.written - self._sent
            sync_file_range(self._fd, self._sent, length, SYNC_FILE_RANGE_WRITE)
        self._sent = self.written

    def _verify(self, digest: Digest) -> None:
        if self._size is not None and self.written != self._size:
            raise DigestMismatchError(
                f"content has {self.written} bytes, {self._size} were promised",
                where=str(self._expected or digest),
                fix="try again; if it stays, the source is damaged",
            )
        if self._expected is not None and digest != self._expected:
            raise DigestMismatchError(
                f"content hashes to {digest}",
                where=str(self._expected),
                fix="try again; if it stays, the source is damaged or lying",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


def damaged(digest: Digest, path: str | Path) -> InternalError:
    """The error for a stored blob that no longer hashes to its name."""
    return InternalError(
        f"stored blob {digest} is damaged",
        where=str(path),
        fix="delete that file and pull or build the image again",
    )


@contextmanager
def _disk_faults(root: str | Path) -> Iterator[None]:
    """Turn what the disk says into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EnvironmentFault(
                "no space left on device",
                where=str(root),
                fix="free some space, for example with `lading system prune`, and try again",
            ) from error
        raise EnvironmentFault(
            f"cannot write to the store: {error.strerror}",
            where=str(error.filename or root),
            fix="check the permissions of the store and the health of the disk",
        ) from error


def _fsync_path(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
