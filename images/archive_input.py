"""An image archive as a stream of tame members: any compression, bounded, nothing written by name.

The reader is tarsafe's: what it judges unsafe (traversal, links out of the archive, devices) is
refused here too, and so are the forms that make tarfile itself use unbounded memory. Members become
staged blobs or small byte strings; links are followed by name within the archive only.
"""

from __future__ import annotations

import bz2
import copy
import io
import lzma
import posixpath
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, cast

from tarsafe import TarSafe

from images.digest import HEX_LENGTHS, Digest
from images.errors import InvalidArchiveError, SizeLimitError
from images.layers.compress import BLOCK, Decompressed, compressor, sniff

if TYPE_CHECKING:
    import hashlib
    from types import TracebackType

    from images.blobs import BlobStore, BlobWriter

MEMBERS: Final = 100_000
TOTAL: Final = 1 << 40
"""Bytes of all members together."""
HEADER: Final = 1 << 20
"""Bytes of one PAX or long-name header."""
IN_MEMORY: Final = 256 << 10
"""Members up to this size are kept as bytes,"""
MEMORY: Final = 64 << 20
"""as long as all of them together stay below this."""
OPEN_STAGES: Final = 200
"""Staged members kept uncommitted at once, since each holds a file descriptor."""
LINK_DEPTH: Final = 8
_ROOT: Final = "/archive"
_XZ_MEMORY: Final = 256 << 20
_TAR_MAGIC: Final = (257, b"ustar")
_BIG_HEADERS: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Prefixed(io.RawIOBase):
    """A stream whose first bytes were looked at."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        if self._start and size >= 0:
            taken, self._start = self._start[:size], self._start[size:]
            return taken
        return self._rest.read(size)


class PlainStream:
    """The plain bytes of a stream compressed with gzip, zstd, bzip2 or xz, or not at all."""

    def __init__(self, stream: BinaryIO, *, limit: int = TOTAL) -> None:
        start = b""
        while len(start) < 6 and (more := stream.read(6 - len(start))):
            start += more
        whole = cast("BinaryIO", _Prefixed(start, stream))
        if start.startswith(b"BZh"):
            whole = _Expanded(whole, bz2.BZ2Decompressor)
        elif start.startswith(b"\xfd7zXZ\0"):
            whole = _Expanded(whole, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY))
        self._inner = Decompressed(whole, sniff(start), limit=limit)

    def read(self, size: int = BLOCK) -> memoryview:
        """At most ``size`` bytes; empty only at the end."""
        return self._inner.read(size)


class _Expanded(BinaryIO if TYPE_CHECKING else object):  # type: ignore[misc]
    """bzip2 or xz, one bounded piece per read; several streams one after the other are one."""

    def __init__(self, stream: BinaryIO, make: Callable[[], Any]) -> None:
        self._stream = stream
        self._make = make
        self._decoder = make()
        self._input = b""

    def read(self, size: int = BLOCK, /) -> bytes:
        while True:
            if self._decoder.eof:
                self._input = self._decoder.unused_data or self._stream.read(BLOCK)
                if not self._input.strip(b"\0"):
                    return b""
                self._decoder = self._make()
            elif self._decoder.needs_input and not self._input:
                self._input = self._stream.read(BLOCK)
                if not self._input:
                    raise InvalidArchiveError("the compressed archive is truncated")
            try:
                plain: bytes = self._decoder.decompress(self._input, size)
            except (OSError, lzma.LZMAError) as error:
                raise InvalidArchiveError(f"the compressed archive is damaged: {error}") from error
            self._input = b""
            if plain:
                return plain


class _TameInfo(tarfile.TarInfo):
    """A member header that refuses what would make tarfile allocate by the archive's word."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _BIG_HEADERS and self.size > HEADER:
            raise SizeLimitError(f"a header of {self.size} bytes is over the limit of {HEADER}")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse(self)
        return super()._proc_member(archive)  # type: ignore[misc]

    def _proc_gnusparse_00(self, *_arguments: object) -> None:
        raise _sparse(self)

    _proc_gnusparse_01 = _proc_gnusparse_00
    _proc_gnusparse_10 = _proc_gnusparse_00


class _TameArchive(TarSafe):  # type: ignore[misc]
    """tarsafe's reader with its judgement for one member at a time, as a stream needs it."""

    def check(self, member: tarfile.TarInfo) -> None:
        """Refuse what must not be in an image archive."""
        if member.size < 0:
            raise InvalidArchiveError("the size is negative", where=member.name)
        resolved = copy.copy(member)
        if member.issym():
            # tarsafe judges a link from the root; ours is relative to its own folder.
            resolved.linkname = posixpath.join(posixpath.dirname(member.name), member.linkname)
        if self._is_traversal_attempt(resolved, _ROOT):
            raise InvalidArchiveError("the name leads out of the archive", where=member.name)
        if self._is_unsafe_symlink(resolved, _ROOT) or self._is_unsafe_link(resolved, _ROOT):
            raise InvalidArchiveError(
                f"the link leads out of the archive, to {member.linkname}", where=member.name
            )
        if self._is_device(member) or not (
            member.isreg() or member.isdir() or member.issym() or member.islnk()
        ):
            raise InvalidArchiveError(
                "an image archive holds only files, folders and links", where=member.name
            )


@dataclass(slots=True)
class Member:
    """One file of the archive: ``digest`` and ``size`` of its bytes, and of what is kept of it.

    They differ when a plain layer was compressed on its way in: ``compression`` says how the kept
    form is compressed, ``kept`` and ``kept_size`` are its digest and size once committed.
    """

    digest: Digest
    size: int
    compression: str
    data: bytes | None = None
    writer: BlobWriter | None = None
    kept: Digest | None = None
    kept_size: int = 0


class Members:
    """All files of an archive by name; nothing is in the store before ``commit``."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._files: dict[str, Member] = {}
        self._links: dict[str, str] = {}
        self._stages = ExitStack()
        self._open: deque[Member] = deque()
        self._in_memory = 0

    @classmethod
    def read(cls, stream: BinaryIO, blobs: BlobStore) -> Self:
        """Read a whole archive; use the result as a context manager.

        Raises:
            InvalidArchiveError, SizeLimitError: malformed, hostile, or too much.
        """
        members = cls(blobs)
        try:
            members._read(PlainStream(stream))
        except tarfile.TarError as error:
            members.discard()
            raise InvalidArchiveError(
                f"this is not a readable tar archive: {error}", fix="check that it is complete"
            ) from error
        except BaseException:
            members.discard()
            raise
        return members

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    def discard(self) -> None:
        """Forget what was not committed."""
        self._stages.close()

    def get(self, name: str) -> Member:
        """One file, links followed.

        Raises:
            InvalidArchiveError: there is none of this name.
        """
        member = self._find(name)
        if member is None:
            raise InvalidArchiveError(f"the archive lacks {name[:200]!r}")
        return member

    def text(self, name: str, *, limit: int) -> bytes:
        """A small file's bytes."""
        member = self.get(name)
        if member.size > limit:
            raise SizeLimitError(f"{member.size} bytes are over the limit of {limit}", where=name)
        if member.data is not None:
            return member.data
        self.commit(member)
        assert member.kept is not None
        return self._blobs.read(member.kept, limit=limit)

    def commit(self, member: Member) -> Digest:
        """Keep a member in the blob store; returns the digest it is kept under."""
        if member.kept is None:
            if member.writer is not None:
                member.kept_size = member.writer.written
                member.kept = member.writer.commit()
            else:
                assert member.data is not None
                member.kept_size = len(member.data)
                with self._blobs.writer(expected=member.digest) as writer:
                    writer.write(member.data)
                    member.kept = writer.commit()
        return member.kept

    def _find(self, name: str) -> Member | None:
        name = _clean(name)
        for _ in range(LINK_DEPTH):
            if name not in self._links:
                break
            name = self._links[name]
        return self._files.get(name)

    def _read(self, plain: PlainStream) -> None:
        with _TameArchive.open(
            mode="r|", fileobj=plain, tarinfo=_TameInfo, bufsize=BLOCK
        ) as archive:
            for count, member in enumerate(_members(archive)):
                if count >= MEMBERS:
                    raise SizeLimitError(f"the archive has more than {MEMBERS} members")
                archive.check(member)
                self._take(archive, member)

    def _take(self, archive: _TameArchive, member: tarfile.TarInfo) -> None:
        name = _clean(member.name)
        if member.isdir():
            return
        if name in self._files or name in self._links:
            raise InvalidArchiveError("the archive has two members of this name", where=name)
        if member.issym():
            target = posixpath.join(posixpath.dirname(name), member.linkname)
            self._links[name] = _clean(target)
        elif member.islnk():
            self._links[name] = _clean(member.linkname)
        else:
            body = archive.extractfile(member)
            self._files[name] = self._keep(name, member.size, body)

    def _keep(self, name: str, size: int, body: BinaryIO) -> Member:
        algorithm = _algorithm(name)
        if size <= IN_MEMORY and self._in_memory + size <= MEMORY:
            data = body.read(size)
            self._in_memory += size
            if len(data) != size:
                raise InvalidArchiveError("the archive is truncated", where=name)
            return Member(Digest.of(data, algorithm), size, sniff(data[:4]), data=data)
        if len(self._open) >= OPEN_STAGES:
            self.commit(self._open.popleft())
        writer = self._stages.enter_context(self._blobs.writer(algorithm=algorithm))
        member = _stage(name, size, body, writer, algorithm)
        self._open.append(member)
        return member


def _stage(name: str, size: int, body: BinaryIO, writer: BlobWriter, algorithm: str) -> Member:
    """Write a large member to its stage; a plain layer outside ``blobs/`` is compressed.

    What lies in ``blobs/`` is named by its digest and must stay as it is.
    """
    import hashlib

    hasher = hashlib.new(algorithm)
    start = body.read(BLOCK)
    offset, magic = _TAR_MAGIC
    is_plain_layer = not name.startswith("blobs/") and start[offset:].startswith(magic)
    compression = "gzip" if is_plain_layer else sniff(start[:4])
    stream = compressor("gzip" if is_plain_layer else "none", writer.write)
    try:
        length = _copy(start, body, stream.write, hasher)
        if length != size:
            raise InvalidArchiveError("the archive is truncated", where=name)
        stream.close()
    except BaseException:
        stream.abort()
        raise
    return Member(Digest.from_hash(hasher), size, compression, writer=writer)


def _copy(
    start: bytes, body: BinaryIO, write: Callable[[bytes], object], hasher: hashlib._Hash
) -> int:
    length, data = 0, start
    while data:
        length += len(data)
        hasher.update(data)
        write(data)
        data = body.read(BLOCK)
    return length


def _members(archive: _TameArchive) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member
        # tarfile remembers every member it has seen; a stream never goes back.
        archive.members.clear()


def _algorithm(name: str) -> str:
    """The algorithm that hashes a member: the one its place in an OCI layout names."""
    parts = name.split("/")
    if len(parts) == 3 and parts[0] == "blobs" and parts[1] in HEX_LENGTHS:
        return parts[1]
    return "sha256"


def _clean(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def _sparse(member: tarfile.TarInfo) -> InvalidArchiveError:
    return InvalidArchiveError(
        "sparse members have no place in an image archive", where=member.name
    )
