"""One upload on its way into the store: parts as they fill up, and a tail that is kept between
requests.

Bytes gather in memory until they make a part of a multipart upload. What is left at the end of a
request becomes an object of its own, so that an acknowledged byte is in the store and any process
goes on where the last one ended. Where that is all there is, it gets the name of a blob with these
bytes, and becomes that blob without a further request if nothing more comes. The SHA-256 of hashlib
cannot be saved, and parts cannot be read before they are an object: an upload that stayed in one
process has its hash, any other is read back once, from the staged object, before it gets a name.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from images.digest import Digest
from images.errors import DigestMismatchError
from registry.errors import ObjectStoreError
from registry.s3.bucket import Bucket, ObjectUnknownError, Part
from registry.s3.ledger import digest_of, staged_name
from registry.s3.reading import pieces
from registry.s3.sessions import Session, Sessions

if TYPE_CHECKING:
    from hashlib import _Hash

Publish = Callable[[str, Digest, int, bytes | str], tuple[str, Callable[[], None]]]
"""Stores verified bytes of an upload: its id, digest, size, and the bytes or the object with them.

Returns the object that has them now ("" for one that was there), and the write that makes a blob
of it.
"""

FOLDER: Final = "uploads/"
_DOUBLING: Final = 2000
"""Parts after which they double, so that 10,000 of them hold the largest object there may be."""

_NOTHING: Final = Session("", "", 0, 0.0, ())


class ObjectStage:
    """One upload's bytes; in memory no more than one part of them, while a request holds it."""

    def __init__(
        self,
        bucket: Bucket,
        sessions: Sessions,
        publish: Publish,
        upload: str,
        algorithm: str,
        *,
        part_size: int,
    ) -> None:
        self._bucket = bucket
        self._sessions = sessions
        self._publish = publish
        self._upload = upload
        self._part_size = part_size
        self._whole = f"{FOLDER}{upload}/whole"
        self._hash: _Hash = hashlib.new(algorithm)
        self._hashed = 0
        self._token = ""
        self._stored = _NOTHING
        self._parts: list[Part] = []
        self._in_parts = 0
        self._tail: bytearray | None = None
        self._changed = False
        self._record: Callable[[], None] = _unprepared
        self._spent: list[str] = []
        self.touched = 0.0

    def announce(self) -> None:
        """See ``Stage``."""
        self._sessions.create(self._upload)

    @property
    def size(self) -> int:
        """How many bytes have been taken so far."""
        if self._tail is None:
            return self._stored.size
        return self._in_parts + len(self._tail)

    def acquire(self) -> bool:
        """Hold the session; False when another request has it.

        Raises:
            FileNotFoundError: the upload was finished or removed.
        """
        taken = self._sessions.take(self._upload)
        if taken is None:
            return False
        self._token, self._stored = taken
        self._parts = list(self._stored.parts)
        self._in_parts = sum(part.size for part in self._parts)
        self._tail = None
        self._changed = False
        self.touched = self._stored.touched
        self._record, self._spent = _unprepared, []
        if self._hashed > self._stored.size:
            self._restart_hash(self._hash.name)
        return True

    def release(self) -> None:
        """Put what is in memory into the store, and give the session back."""
        token, self._token = self._token, ""
        try:
            if not token:
                self._drop(*self._spent)
            elif self._changed:
                self._rest(token)
            else:
                self._sessions.give_back(self._upload, token)
        except BaseException:
            # What was hashed did not stay, and another process may put other bytes there.
            self._restart_hash(self._hash.name)
            self._sessions.give_back(self._upload, token)
            raise
        finally:
            self._tail, self._spent = None, []

    def append(self, buffers: Sequence[bytes]) -> None:
        """Take bytes. When a part cannot be stored, what did not reach the store is dropped again,
        and ``size`` says how much did.
        """
        tail = self._load_tail()
        self._catch_up(tail)
        position, kept = self.size, len(tail)
        for buffer in buffers:
            tail += buffer
        try:
            while len(tail) >= (step := self._step()):
                self._add_part(bytes(memoryview(tail)[:step]))
                del tail[:step]
                kept = max(kept - step, 0)
        except BaseException:
            del tail[kept:]
            raise
        if self._hashed == position:
            for buffer in buffers:
                self._hash.update(buffer)
            self._hashed = self.size
        self._changed = True

    def commit(self, digest: Digest) -> int:
        """Verify, and publish; the session is over then.

        Raises:
            DigestMismatchError: the bytes are others; nothing is published.
        """
        size = self.prepare(digest)
        self.publish()
        return size

    def prepare(self, digest: Digest) -> int:
        """See ``Stage``."""
        size = self.size
        if self._parts:
            self._sessions.keep(self._upload, self._token)
        if self._is_whole(digest):
            content: bytes | str = self._stored.tail
        else:
            actual = self._known_digest(digest.algorithm)
            if actual is not None:
                _expect(actual, digest)
            content = self._gathered(verified=actual is not None)
            if actual is None:
                _expect(self._read_back(content, size, digest.algorithm), digest)
        kept, self._record = self._publish(self._upload, digest, size, content)
        whole = self._whole if self._stored.multipart else ""
        self._spent = [name for name in (whole, self._stored.tail) if name != kept]
        return size

    def settle(self) -> None:
        """See ``Stage``."""
        self._sessions.settle(self._upload, self._token)
        self._record()

    def publish(self) -> None:
        """See ``Stage``."""
        self._sessions.write(self.settle)
        self.ended()

    def ended(self) -> None:
        """See ``Stage``."""
        self._token = ""
        self._tail = bytearray()
        self._changed = False

    def discard(self) -> None:
        """Drop the bytes; what cannot be removed now is left to ``sweep``."""
        if self._token:
            with suppress(ObjectStoreError):
                self._end()

    # Inside

    def _step(self) -> int:
        return self._part_size << (len(self._parts) // _DOUBLING)

    def _load_tail(self) -> bytearray:
        if self._tail is None:
            name, length = self._stored.tail, self._stored.size - self._in_parts
            data = b"".join(pieces(self._bucket, name, length)) if name else b""
            self._tail = bytearray(data)
        return self._tail

    def _catch_up(self, tail: bytearray) -> None:
        """Hash what another process took, as far as it is at hand."""
        missing = self.size - self._hashed
        if 0 < missing <= len(tail):
            self._hash.update(memoryview(tail)[len(tail) - missing :])
            self._hashed += missing

    def _restart_hash(self, algorithm: str) -> None:
        self._hash = hashlib.new(algorithm)
        self._hashed = 0

    def _add_part(self, data: bytes) -> None:
        if not self._stored.multipart:
            self._begin()
        number = len(self._parts) + 1
        etag = self._bucket.part(self._whole, self._stored.multipart, number, data)
        self._added(Part(number, etag, len(data)))

    def _begin(self) -> None:
        multipart = self._bucket.begin(self._whole)
        self._sessions.begun(self._upload, self._token, multipart)
        stored = self._stored
        self._stored = Session(multipart, stored.tail, stored.size, stored.touched, ())

    def _added(self, part: Part) -> None:
        size = self._in_parts + part.size
        self._sessions.grown(self._upload, self._token, part, size)
        self._parts.append(part)
        self._in_parts = size
        spent = self._stored.tail
        self._stored = Session(self._stored.multipart, "", size, 0.0, ())
        self._drop(spent)

    def _rest(self, token: str) -> None:
        tail = self._load_tail()
        spent, name = self._stored.tail, ""
        if tail:
            # Never used twice: whoever lost the session unawares writes over nobody's bytes.
            unique = secrets.token_hex(4)
            name = f"{FOLDER}{self._upload}/tail-{self.size}-{unique}"
            first = not self._stored.size and self._hashed == len(tail)
            if first:
                name = staged_name(Digest.from_hash(self._hash), self._upload, unique)
            self._bucket.put(name, bytes(tail), final=first)
        self._sessions.rested(self._upload, token, name, self.size)
        self._stored = Session(self._stored.multipart, name, self.size, 0.0, ())
        self._changed = False
        if spent != name:
            self._drop(spent)

    def _is_whole(self, digest: Digest) -> bool:
        """Whether an object has all the bytes, and was made of what has this digest."""
        return not self._parts and not self._changed and digest_of(self._stored.tail) == digest

    def _known_digest(self, algorithm: str) -> Digest | None:
        """The digest, if it can be told without reading from the store what was in parts."""
        if algorithm != self._hash.name:
            self._restart_hash(algorithm)
        if self._hashed < self.size and self._in_parts <= self._hashed:
            self._catch_up(self._load_tail())
        return Digest.from_hash(self._hash) if self._hashed == self.size else None

    def _gathered(self, *, verified: bool) -> bytes | str:
        """The bytes in one place: in memory where they are few, else in an object of the store."""
        if not self._parts:
            if verified and self._tail is None and self._stored.tail:
                return self._stored.tail
            return bytes(self._load_tail())
        if self._tail is None and self._stored.tail:
            self._add_last_part()
        elif self._tail:
            self._add_part(bytes(self._tail))
            self._tail.clear()
        try:
            self._bucket.complete(self._whole, self._stored.multipart, self._parts)
        except ObjectUnknownError as error:
            # A process that was killed may have come this far before.
            if self._bucket.size(self._whole) != self._in_parts:
                raise ObjectStoreError("the multipart upload is gone") from error
        return self._whole

    def _add_last_part(self) -> None:
        """Make the tail a part inside the store."""
        number, length = len(self._parts) + 1, self._stored.size - self._in_parts
        multipart, tail = self._stored.multipart, self._stored.tail
        etag = self._bucket.part_of(self._whole, multipart, number, tail)
        self._added(Part(number, etag, length))

    def _read_back(self, content: bytes | str, size: int, algorithm: str) -> Digest:
        running: Any = hashlib.new(algorithm)
        if isinstance(content, bytes):
            running.update(content)
        else:
            for piece in pieces(self._bucket, content, size):
                running.update(piece)
        return Digest.from_hash(running)

    def _end(self) -> None:
        """The session first, then its objects: what is left of them belongs to no session."""
        multipart, tail = self._stored.multipart, self._stored.tail
        if not self._sessions.end(self._upload, self._token):
            return
        self._spent = []
        self.ended()
        if multipart:
            with suppress(ObjectStoreError):
                self._bucket.abort(self._whole, multipart)
            self._drop(self._whole, tail)
        else:
            self._drop(tail)

    def _drop(self, *names: str) -> None:
        """Remove objects that are not needed; left to ``sweep`` when that fails."""
        unneeded = [name for name in names if name]
        if unneeded:
            with suppress(ObjectStoreError):
                self._bucket.delete(unneeded)


def _unprepared() -> None:
    raise AssertionError("prepare comes before settle")


def _expect(actual: Digest, digest: Digest) -> None:
    if actual != digest:
        raise DigestMismatchError(f"content hashes to {actual}", where=str(digest))
