"""The storage of one registry in a bucket; nothing of it is on this machine's disk.

    blobs/sha256/<2 hex>/<hex>/<token>   bytes of that digest; each token is the only one
    uploads/<id>/whole                   an upload's parts, and the object that they become
    uploads/<id>/tail-<n>                what follows the parts while nobody sends
    quarantine/sha256-<hex>              damaged bytes that a scrub moved aside

What comes in parts gets a blob's name by a copy inside the store, after its bytes were verified;
what is small is made under that name at once. The index (``registry.s3.ledger``) says which name a
digest has. Requests never list the bucket.
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, cast

from images.digest import Digest
from images.errors import (
    BlobUnknownError,
    DigestMismatchError,
    InternalError,
    SizeLimitError,
)
from registry.admission import Holder
from registry.database import NO_REPOSITORY, Database
from registry.errors import ObjectStoreError, RegistryStartError
from registry.s3.bucket import Bucket, ObjectUnknownError
from registry.s3.ledger import Ledger, Stored, digest_of, object_name, staged_name
from registry.s3.reading import PIECE, ObjectFile
from registry.s3.sessions import Sessions
from registry.s3.settings import LEAST_PART
from registry.s3.stage import FOLDER, ObjectStage
from registry.storage import PLACE

_BLOBS: Final = "blobs/"
_QUARANTINE: Final = "quarantine/"


@dataclass(frozen=True, slots=True)
class Reliable:
    """A blob that is there; ``renew`` is the write that says that it is relied on."""

    renew: Callable[[], None]


class ObjectStorage:
    """Blobs and uploads in a bucket; see ``registry.protocols.Storage``."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        part_size: int = LEAST_PART,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bucket = bucket
        self._part_size = part_size
        self._ledger = Ledger(clock=clock)
        self._sessions = Sessions(self._ledger, clock=clock)

    @property
    def holder(self) -> Holder:
        """Who tells inside a transaction what is there: the index, no request is made."""
        return self._ledger

    @property
    def place(self) -> str:
        """Bucket and prefix, as the index remembers them."""
        return self._bucket.place

    def is_empty(self) -> bool:
        """Whether no object is below the prefix."""
        return not any(self._bucket.objects(""))

    def recover(self) -> None:
        """Tell an index that was made anew which objects there are; lists the bucket."""
        for page in self._bucket.objects(_BLOBS):
            self._ledger.recover([Stored(item.name, item.size) for item in page])

    def attach(self, index: Database) -> None:
        """Keep what must be known of objects in this index, which belongs to this bucket alone.

        Raises:
            RegistryStartError: its blobs are elsewhere.
        """
        place = index.fact(PLACE)
        if place is None:
            held = "SELECT 1 FROM blob_links UNION ALL SELECT 1 FROM manifests LIMIT 1"
            if index.reader().execute(held).fetchone() is None:
                index.write(NO_REPOSITORY, partial(index.set_fact, PLACE, self._bucket.place))
                place = self._bucket.place
        if place != self._bucket.place:
            raise RegistryStartError(
                f"the blobs of this store are in {place or 'files'}, not in {self._bucket.place}",
                where=index.where,
                fix="correct [storage], or begin a new store with another root",
            )
        self._ledger.attach(index)

    # Reading

    def find(self, digest: Digest) -> Stored:
        """The object of a blob; raises ``BlobUnknownError``."""
        found = self._ledger.find(digest)
        if found is None:
            raise BlobUnknownError("no such blob", where=str(digest))
        return found

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading; raises ``BlobUnknownError``."""
        return cast(BinaryIO, io.BufferedReader(self.file(digest), PIECE))

    def file(self, digest: Digest, *, offset: int = 0, count: int | None = None) -> ObjectFile:
        """A blob as a file, unbuffered; raises ``BlobUnknownError``.

        The store is asked for ``count`` bytes from ``offset``, or for all that follows.
        """
        found = self.find(digest)
        end = found.size if count is None else min(offset + count, found.size)
        return ObjectFile(self._bucket, found.name, end, offset=offset)

    def url(self, digest: Digest, *, expiry: float) -> str:
        """A URL by which anybody may GET the blob for ``expiry`` seconds."""
        return self._bucket.url(self.find(digest).name, expiry=expiry)

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Read and verify a small blob.

        Raises:
            BlobUnknownError, SizeLimitError. InternalError: the object is damaged.
        """
        found = self.find(digest)
        if found.size > limit:
            raise SizeLimitError(
                f"blob is longer than the limit of {limit} bytes", where=str(digest)
            )
        with ObjectFile(self._bucket, found.name, found.size) as file:
            data = file.read()
        if Digest.of(data, digest.algorithm) != digest:
            raise InternalError(
                "the object is damaged", where=str(digest), fix="lading registry scrub --quarantine"
            )
        return data

    def has(self, digest: Digest) -> bool:
        """Whether the bytes are there, asked of the store; renews nothing."""
        return self.size(digest) is not None

    def size(self, digest: Digest) -> int | None:
        """The size in bytes that the store tells, None when it has none."""
        found = self._ledger.find(digest)
        return None if found is None else self._bucket.size(found.name)

    def recorded(self, digests: Sequence[Digest]) -> Mapping[Digest, int]:
        """The sizes in bytes that the index knows; the store is not asked."""
        return self._ledger.sizes(digests)

    def digests(self) -> Iterator[Digest]:
        """Every blob that the index knows an object of, a page in memory."""
        return self._ledger.digests()

    # Writing

    def put(self, data: bytes, digest: Digest) -> None:
        """Store bytes that hash to ``digest``, durably."""
        self._ledger.write(self.keep(data, digest))

    def keep(self, data: bytes, digest: Digest) -> Callable[[], None]:
        """Store bytes that hash to ``digest``, durably; see ``BlobPutter``."""
        if Digest.of(data, digest.algorithm) != digest:
            raise DigestMismatchError("content hashes to something else", where=str(digest))
        known = self._reliable(digest, len(data))
        if isinstance(known, Reliable):
            return known.renew
        name = object_name(digest, secrets.token_hex(8))
        self._ledger.claim(name)
        self._bucket.put(name, data, final=True)
        stored = Stored(name, len(data))
        return partial(self._ledger.record_claimed, digest, stored, known)

    def put_all(self, blobs: Mapping[Digest, bytes]) -> None:
        """Store small blobs that are known to hash to their digests, durably.

        The index is written to twice, however many there are.
        """
        named = {digest: object_name(digest, secrets.token_hex(8)) for digest in blobs}
        self._ledger.claim(*named.values())
        stored = {}
        for digest, data in blobs.items():
            self._bucket.put(named[digest], data, final=True)
            stored[digest] = Stored(named[digest], len(data))
        self._ledger.record_all(stored)

    def take(self, pieces: Iterable[bytes], digest: Digest, size: int) -> None:
        """Store content from elsewhere, durably.

        Raises:
            DigestMismatchError, SizeLimitError: it is other bytes; nothing is kept.
        """
        stage = self.create(secrets.token_hex(16), digest.algorithm)
        stage.acquire()
        try:
            for piece in pieces:
                stage.append([piece])
                if stage.size > size:
                    raise SizeLimitError(f"content is longer than {size} bytes", where=str(digest))
            stage.commit(digest)
        finally:
            stage.discard()
            stage.release()

    def _publish(
        self, upload: str, digest: Digest, size: int, content: bytes | str
    ) -> tuple[str, Callable[[], None]]:
        """See ``Publish``; the upload claims the name until it has ended."""
        known = self._reliable(digest, size)
        if isinstance(known, Reliable):
            return "", known.renew
        name = staged_name(digest, upload, secrets.token_hex(4))
        if isinstance(content, bytes):
            self._bucket.put(name, content, final=True)
        elif digest_of(content) == digest:
            name = content
        else:
            self._copy(content, name, size)
            if self._bucket.size(name) != size:
                raise ObjectStoreError("the object store does not have what it took")
        return name, partial(self._ledger.record_staged, digest, Stored(name, size), known)

    def _reliable(self, digest: Digest, size: int) -> Reliable | str | None:
        """The blob if it is there; the name of an object that is not usable, or None."""
        found = self._ledger.relied(digest)
        if found is None:
            return None
        known, young = found
        if known.size != size or not (young or self._bucket.size(known.name) == size):
            return known.name
        renew = partial(self._ledger.touch, digest, known.name)
        return Reliable(_nothing if young else renew)

    def _copy(self, source: str, name: str, size: int) -> None:
        try:
            self._bucket.copy(source, name, size)
        except ObjectUnknownError as error:
            raise ObjectStoreError("the object of an upload is gone") from error

    # Uploads

    def create(self, upload: str, algorithm: str) -> ObjectStage:
        """Begin the stage of a new upload."""
        stage = self.begin(upload, algorithm)
        self._ledger.write(stage.announce)
        return stage

    def begin(self, upload: str, algorithm: str) -> ObjectStage:
        """The same, but for the transaction that ``announce`` is called in."""
        return self.resume(upload, algorithm)

    def resume(self, upload: str, algorithm: str) -> ObjectStage:
        """The stage of an upload begun before, perhaps by another process."""
        return ObjectStage(
            self._bucket,
            self._sessions,
            self._publish,
            upload,
            algorithm,
            part_size=self._part_size,
        )

    def idle(self, *, before: float) -> Iterator[str]:
        """Uploads that nobody touched since ``before``."""
        return self._sessions.idle(before=before)

    def sweep(self, *, before: float) -> int:
        """Drop uploads that nobody touched since ``before``, and what no upload owns."""
        removed = 0
        for upload in self.idle(before=before):
            stage = self.resume(upload, "sha256")
            with suppress(FileNotFoundError):
                if stage.acquire():
                    try:
                        if stage.touched < before:
                            stage.discard()
                            removed += 1
                    finally:
                        stage.release()
        self._sweep_strays()
        return removed

    def _sweep_strays(self) -> None:
        """Remove parts and stages of sessions that ended; a session is known before its objects."""
        for multiparts in self._bucket.uploads(FOLDER):
            found = [it for it in multiparts if self._sessions.multipart(_upload_of(it[0])) is None]
            if found:
                self._ledger.confirm()
            for name, multipart in found:
                self._bucket.abort(name, multipart)
        for listed in self._bucket.objects(FOLDER):
            stray = {_upload_of(item.name) for item in listed}
            stray = {upload for upload in stray if self._sessions.multipart(upload) is None}
            if stray:
                self._ledger.confirm()
            self._bucket.delete(item.name for item in listed if _upload_of(item.name) in stray)

    # Collection

    def reclaimable(self, digest: Digest, *, before: float) -> int | None:
        """The bytes that ``retire`` would free; None when it would spare the blob."""
        return self._ledger.reclaimable(digest, before=before)

    def retire(self, digest: Digest, *, before: float) -> int | None:
        """Take a blob out of sight unless it was touched since; its object goes to the trash."""
        return self._ledger.retire(digest, before=before)

    def empty_trash(self) -> None:
        """Delete what was retired, also by a collection that was killed."""
        while names := self._ledger.trash():
            self._bucket.delete(names)
            self._ledger.emptied(names)

    def sweep_stages(self) -> int:
        """Delete blobs that were never recorded: their process was killed; returns the bytes."""
        self._ledger.end_claims()
        freed = 0
        for multiparts in self._bucket.uploads(_BLOBS):
            unclaimed = self._ledger.strangers(name for name, _ in multiparts)
            if unclaimed:
                self._ledger.confirm()
            for name, multipart in multiparts:
                if name in unclaimed:
                    self._bucket.abort(name, multipart)
        for listed in self._bucket.objects(_BLOBS):
            unknown = self._ledger.strangers(item.name for item in listed)
            if unknown:
                self._ledger.confirm()
            self._bucket.delete(unknown)
            freed += sum(item.size for item in listed if item.name in unknown)
        return freed

    def set_aside(self, digest: Digest, folder: Path) -> None:
        """Move damaged bytes to ``quarantine/`` of the bucket; ``folder`` is for files."""
        found = self._ledger.find(digest)
        if found is None:
            return
        self._ledger.forget(digest, found.name)
        size = self._bucket.size(found.name)
        if size is not None:
            self._copy(found.name, f"{_QUARANTINE}{digest.algorithm}-{digest.hex}", size)
            self._bucket.delete([found.name])


def _nothing() -> None:
    """What was written a moment ago is not written again."""


def _upload_of(name: str) -> str:
    """The session that a staged object belongs to."""
    return name.removeprefix(FOLDER).partition("/")[0]
