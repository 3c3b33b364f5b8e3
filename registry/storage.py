"""Blobs and uploads as files.

Blobs live where ``images.blobs`` keeps them. An upload grows in ``uploads/<id>``, is hashed while
it is written, and becomes a blob by fsync, rename and fsync of the directory. hashlib cannot save
its state, so an upload that comes back after a restart is hashed again from its start, and each
process hashes what others appended since it last had the upload: a byte at most once per process.
Growth is append-only below ``size``, which is why the kept hash of a shorter prefix still fits.
flock(2) keeps two processes off one upload.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from images.blobs import HEX_DIGITS, BlobStore
from images.digest import HEX_LENGTHS, Digest
from images.errors import DigestMismatchError
from registry.database import Database
from registry.errors import RegistryStartError
from registry.room import Room

PLACE: Final = "storage.place"
"""The fact that names the bucket of a store without files."""

_REHASH_BUFFER: Final = 1 << 20
_WRITE_VECTORS: Final = 512


class FileStorage:
    """The storage of one registry root; content leaves ``free`` bytes of its disk alone."""

    def __init__(self, root: Path, *, free: int = 0) -> None:
        self._room = Room(root, free)
        self._blobs = BlobStore(root)
        self._uploads = root / "uploads"
        self._uploads.mkdir(parents=True, exist_ok=True)
        self._blob_folder = root / "blobs"
        self._trash = root / "trash"
        self._trash.mkdir(exist_ok=True)
        for algorithm in HEX_LENGTHS:
            directory = root / "blobs" / algorithm
            directory.mkdir(parents=True, exist_ok=True)
            sync_directory(directory.parent)
        sync_directory(root)

    @property
    def holder(self) -> FileStorage:
        """Who tells inside a transaction what is there: a look at the disk is quick."""
        return self

    @property
    def place(self) -> None:
        """No bucket."""
        return None

    def is_empty(self) -> bool:
        """Whether there is not a single blob."""
        return next(self.digests(), None) is None

    def recover(self) -> None:
        """Nothing is to be told to an index that was made anew: files are found by their names."""

    def attach(self, index: Database) -> None:
        """See that the index is one of files, which it knows nothing more of.

        Raises:
            RegistryStartError: its blobs are in an object store.
        """
        place = index.fact(PLACE)
        if place is not None:
            raise RegistryStartError(
                f"the blobs of this store are in the bucket {place}",
                where=index.where,
                fix='set storage.type = "s3" and the bucket again',
            )

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading; raises ``BlobUnknownError``."""
        return self._blobs.open(digest)

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Read and verify a small blob; raises ``BlobUnknownError`` or ``InternalError``."""
        return self._blobs.read(digest, limit=limit)

    def put(self, data: bytes, digest: Digest) -> None:
        """Store bytes that hash to ``digest``, durably."""
        self._room.need(len(data))
        with self._blobs.writer(expected=digest) as writer:
            writer.write(data)
            writer.commit()

    def keep(self, data: bytes, digest: Digest) -> Callable[[], None]:
        """The same: nothing is left to write."""
        self.put(data, digest)
        return _nothing

    def put_all(self, blobs: Mapping[Digest, bytes]) -> None:
        """Store small blobs, durably."""
        for digest, data in blobs.items():
            self.put(data, digest)

    def take(self, pieces: Iterable[bytes], digest: Digest, size: int) -> None:
        """Store content from elsewhere, durably.

        Raises:
            DigestMismatchError, SizeLimitError: it is other bytes; nothing is kept.
        """
        self._room.need(size)
        with self._blobs.writer(expected=digest, size=size) as writer:
            for piece in pieces:
                writer.write(piece)
            writer.commit()

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there; renews nothing."""
        return self._blobs.size(digest) is not None

    def size(self, digest: Digest) -> int | None:
        """The blob's size in bytes, None when it is not there."""
        return self._blobs.size(digest)

    def recorded(self, digests: Sequence[Digest]) -> Mapping[Digest, int]:
        """Their sizes in bytes: a look at the disk is quick."""
        found = {digest: self._blobs.size(digest) for digest in digests}
        return {digest: size for digest, size in found.items() if size is not None}

    def set_aside(self, digest: Digest, folder: Path) -> None:
        """Move damaged bytes into ``folder``, where nobody reads them."""
        with suppress(FileNotFoundError):
            os.rename(self._blobs.path(digest), folder / f"{digest.algorithm}-{digest.hex}")

    def digests(self) -> Iterator[Digest]:
        """Every blob in no order, in constant memory; other names are passed over."""
        for algorithm, length in HEX_LENGTHS.items():
            with os.scandir(self._blob_folder / algorithm) as entries:
                for entry in entries:
                    if len(entry.name) == length and HEX_DIGITS.issuperset(entry.name):
                        yield Digest(algorithm, entry.name)

    def reclaimable(self, digest: Digest, *, before: float) -> int | None:
        """The bytes that ``retire`` would free; None when it would spare the blob."""
        try:
            status = os.stat(self._blobs.path(digest))
        except FileNotFoundError:
            return 0
        return status.st_size if status.st_mtime < before else None

    def retire(self, digest: Digest, *, before: float) -> int | None:
        """Take a blob out of sight, unless it was touched since ``before`` (epoch seconds).

        Returns the bytes that ``empty_trash`` will free, 0 when there is no such blob, and None
        when it was touched. A rename is quick whatever the blob's size, so this may run under the
        index's write lock.
        """
        path = self._blobs.path(digest)
        retired = self._trash / f"{digest.algorithm}-{digest.hex}"
        if self.reclaimable(digest, before=before) is None:
            return None
        try:
            os.rename(path, retired)
        except FileNotFoundError:
            return 0
        status = os.stat(retired)
        if status.st_mtime < before:
            return status.st_size
        # It was touched between the two looks: whoever did so is about to record it.
        with suppress(FileExistsError):
            os.link(retired, path)
        os.unlink(retired)
        return None

    def empty_trash(self) -> None:
        """Free what was retired, also by a collection that was killed."""
        with os.scandir(self._trash) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)

    def sweep_stages(self) -> int:
        """Remove the leftovers of manifests that were half written; returns the bytes freed."""
        return self._blobs.sweep_stages()

    def create(self, upload: str, algorithm: str) -> FileStage:
        """Begin the stage of a new upload."""
        self._room.need(0)
        path = self._uploads / upload
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(path, flags, 0o644))
        return FileStage(self._blobs, path, algorithm, self._room)

    def begin(self, upload: str, algorithm: str) -> FileStage:
        """The same: every process sees the file."""
        return self.create(upload, algorithm)

    def resume(self, upload: str, algorithm: str) -> FileStage:
        """The stage of an upload begun before, perhaps by another process."""
        return FileStage(self._blobs, self._uploads / upload, algorithm, self._room)

    def sweep(self, *, before: float) -> int:
        """Remove stages that nobody touched since ``before`` (seconds since the epoch)."""
        removed = 0
        for upload in self.idle(before=before):
            with suppress(FileNotFoundError):
                os.unlink(self._uploads / upload)
                removed += 1
        return removed

    def idle(self, *, before: float) -> Iterator[str]:
        """Uploads whose stages nobody touched since ``before``."""
        with os.scandir(self._uploads) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < before:
                        yield entry.name


def _nothing() -> None:
    """A file that has its name needs no row."""


class FileStage:
    """One upload's file, open only while a request holds it."""

    def __init__(self, blobs: BlobStore, path: Path, algorithm: str, room: Room) -> None:
        self._blobs = blobs
        self._room = room
        self._path = path
        self._hash = hashlib.new(algorithm)
        self._hashed = 0
        self._descriptor = -1
        self.size = 0
        self.touched = 0.0

    def acquire(self) -> bool:
        """Open and lock the file; False when another request has it.

        Raises:
            FileNotFoundError: the upload was finished or removed.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(descriptor)
            if status.st_nlink == 0 or not self._is_current(status):
                raise FileNotFoundError(self._path)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self.size = status.st_size
        self.touched = status.st_mtime
        if self._hashed > self.size:
            self._restart_hash()
        return True

    def release(self) -> None:
        """Close the file, which unlocks it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def reader(self) -> BinaryIO:
        """A descriptor of its own for what was and will be taken.

        Raises FileNotFoundError once the upload has ended.
        """
        return open(self._path, "rb")

    def append(self, buffers: Sequence[bytes]) -> None:
        """Write and hash; a failed write is cut off again, so ``size`` stays true."""
        self._room.need(sum(map(len, buffers)))
        self._catch_up()
        position = self.size
        try:
            for start in range(0, len(buffers), _WRITE_VECTORS):
                position = self._write_all(buffers[start : start + _WRITE_VECTORS], position)
        except BaseException:
            os.ftruncate(self._descriptor, self.size)
            raise
        for buffer in buffers:
            self._hash.update(buffer)
        self.size = self._hashed = position

    def commit(self, digest: Digest) -> int:
        """Verify, fsync, rename into the blob store, fsync the directory.

        Raises:
            DigestMismatchError: the bytes are others; the stage is left as it is.
        """
        actual = self._digest(digest.algorithm)
        if actual != digest:
            raise DigestMismatchError(f"content hashes to {actual}", where=str(digest))
        # The upload may have rested for hours; a collection spares what was touched lately.
        os.utime(self._descriptor)
        os.fsync(self._descriptor)
        self._blobs.adopt(self._path, digest)
        return self.size

    def prepare(self, digest: Digest) -> int:
        """The same: files are not in the index."""
        return self.commit(digest)

    def settle(self) -> None:
        """Nothing is left to write."""

    def ended(self) -> None:
        """The file has its name."""

    def publish(self) -> None:
        """It was published when it was prepared."""

    def announce(self) -> None:
        """Every process sees the file."""

    def discard(self) -> None:
        """Remove the file; what cannot be removed now is left to ``sweep``."""
        with suppress(OSError):
            os.unlink(self._path)

    def _is_current(self, status: os.stat_result) -> bool:
        named = os.stat(self._path, follow_symlinks=False)
        return (named.st_dev, named.st_ino) == (status.st_dev, status.st_ino)

    def _write_all(self, buffers: Sequence[bytes], position: int) -> int:
        end = position + sum(map(len, buffers))
        written = os.pwritev(self._descriptor, buffers, position)
        if position + written < end:
            rest = memoryview(b"".join(buffers))[written:]
            position += written
            while rest:
                written = os.pwrite(self._descriptor, rest, position)
                position += written
                rest = rest[written:]
        return end

    def _restart_hash(self) -> None:
        self._hash = hashlib.new(self._hash.name)
        self._hashed = 0

    def _catch_up(self) -> None:
        while self._hashed < self.size:
            data = os.pread(self._descriptor, _REHASH_BUFFER, self._hashed)
            if not data:
                raise OSError(f"{self._path} is shorter than it was")
            self._hash.update(data)
            self._hashed += len(data)

    def _digest(self, algorithm: str) -> Digest:
        if algorithm != self._hash.name:
            self._hash = hashlib.new(algorithm)
            self._hashed = 0
        self._catch_up()
        return Digest.from_hash(self._hash)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
