"""A cache in a directory: an OCI image layout (image-layout.md) with one manifest for each tag.

Blobs are staged, verified while they are written, made durable and renamed; ``index.json`` is
replaced last, in one step. Whoever sends holds ``.sending`` shared, and whoever finds nobody else
sending removes the blobs that nothing in ``index.json`` leads to, so the directory does not grow
for ever. Locks are flock(2), so they end with their process.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from builder.errors import BuildEnvironmentError
from builder.remote.index import (
    EMPTY,
    INDEX_LIMIT,
    CacheFormatError,
    CacheIndex,
    decode,
    is_cache,
    manifest_of,
)
from engine.builds.remote_cache.places import unheard
from images.blobs import HEX_DIGITS
from images.client.progress import LayerState
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Index, Manifest, parse
from images.mediatype import OCI_EMPTY
from images.oci_layout import INDEX_FILE, LAYOUT, LAYOUT_FILE, REF_ANNOTATION, blob_path
from images.strictjson import MANIFEST_LIMIT
from records import replace

if TYPE_CHECKING:
    from pathlib import Path

    from engine.builds.remote_cache.places import Change
    from images.blobs import BlobStore
    from images.reference import Reference

CHUNK: Final = 1 << 20
DEPTH: Final = 4
"""Indexes within indexes that are looked through for what they need."""
SENDING, WRITING = ".sending", ".writing"


class DirectoryCache:
    """A ``Goal`` in a directory, under a ``tag`` or, to be read only, under a ``digest``.

    ``reset`` forgets everything else that is in the directory when it is written.
    """

    def __init__(
        self, path: Path, tag: str, *, digest: Digest | None = None, reset: bool = False
    ) -> None:
        self._path = path
        self._tag = tag
        self._digest = digest
        self._reset = reset
        self._lock = threading.Lock()
        self._held = -1
        self.label = str(path)
        self.reference: Reference | None = None

    def read(self) -> CacheIndex:
        """As ``Cache.read``."""
        manifest = self._manifest()
        if manifest is None:
            raise CacheFormatError(
                f"it has no cache under the tag {self._tag}",
                where=self.label,
                fix="fill it with --cache-to type=local,dest=...",
            )
        return self._index(manifest)

    def fetch(self, descriptor: Descriptor, blobs: BlobStore) -> None:
        """As ``Origin.fetch``."""
        with (
            self.open(descriptor.digest) as file,
            blobs.writer(expected=descriptor.digest, size=descriptor.size) as writer,
        ):
            while chunk := file.read(CHUNK):
                writer.write(chunk)
            writer.commit()

    def send(
        self,
        descriptor: Descriptor,
        source: Callable[[], BinaryIO],
        *,
        near: Reference | None,
        report: Callable[[int], None] = unheard,
    ) -> LayerState:
        """As ``Goal.send``."""
        self.hold()
        with suppress(FileNotFoundError):
            if self._file(descriptor.digest).stat().st_size == descriptor.size:
                return LayerState.EXISTS
        with source() as file:
            self._write(descriptor.digest, file)
        return LayerState.DONE

    def publish(self, change: Change) -> Descriptor:
        """As ``Goal.publish``; then what nothing needs any more is removed."""
        self.hold()
        try:
            with self._locked(WRITING, exclusive=True):
                index = change(self._current())
                raw, manifest = manifest_of(index)
                self._put(raw)
                self._put(manifest.raw)
                if manifest.layers[0].media_type == OCI_EMPTY:
                    self._put(EMPTY)
                descriptor = manifest.descriptor
                self._replace_index(descriptor)
        finally:
            self.release()
        self._sweep()
        return descriptor

    def hold(self) -> None:
        """Keep others from removing what was sent, until ``release`` or the end of the process."""
        with self._lock, _faults(self.label):
            if self._held >= 0:
                return
            self._path.mkdir(parents=True, exist_ok=True)
            self._held = os.open(self._path / SENDING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._held, fcntl.LOCK_SH)

    def release(self) -> None:
        """Let others remove what nothing needs."""
        with self._lock:
            held, self._held = self._held, -1
        if held >= 0:
            os.close(held)

    # reading

    def _file(self, digest: Digest) -> Path:
        return self._path / blob_path(digest)

    def open(self, digest: Digest) -> BinaryIO:
        """A blob that is there, not yet compared with its digest.

        Raises:
            CacheFormatError: it is not.
        """
        try:
            fd = os.open(self._file(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise CacheFormatError(
                f"it has no blob {digest}: {error.strerror}", where=self.label
            ) from error
        return os.fdopen(fd, "rb")

    def _read(self, digest: Digest, limit: int) -> bytes:
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit or Digest.of(data, digest.algorithm) != digest:
            raise CacheFormatError(f"its blob {digest} is damaged", where=self.label)
        return data

    def _entries(self) -> tuple[Descriptor, ...]:
        """What ``index.json`` lists; nothing when there is none."""
        try:
            raw = (self._path / INDEX_FILE).read_bytes()[: MANIFEST_LIMIT + 1]
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise BuildEnvironmentError(
                f"cannot read it: {error.strerror}", where=self.label
            ) from error
        return Index.parse(raw).manifests

    def _manifest(self) -> Manifest | None:
        for entry in self._entries():
            wanted = (
                entry.annotations.get(REF_ANNOTATION) == self._tag
                if self._digest is None
                else entry.digest == self._digest
            )
            if wanted:
                document = parse(self._read(entry.digest, MANIFEST_LIMIT))
                if isinstance(document, Manifest) and is_cache(document):
                    return document
        return None

    def _index(self, manifest: Manifest) -> CacheIndex:
        return decode(self._read(manifest.config.digest, INDEX_LIMIT))

    def _current(self) -> CacheIndex:
        """What is there now, as far as its blobs are; what is damaged counts as nothing."""
        if self._reset:
            return CacheIndex()
        try:
            manifest = self._manifest()
            index = CacheIndex() if manifest is None else self._index(manifest)
        except ImagesError:
            return CacheIndex()
        there = {digest for digest in index.kept() if self._file(digest).exists()} | index.bases
        return replace(
            index,
            records=tuple(
                record
                for record in index.records
                if all(layer.descriptor.digest in there for layer in record.layers)
            ),
            mounts=tuple(it for it in index.mounts if it.layer.descriptor.digest in there),
        )

    # writing

    def _put(self, data: bytes) -> None:
        import io

        digest = Digest.of(data)
        if not self._file(digest).exists():
            self._write(digest, io.BytesIO(data))

    def _write(self, digest: Digest, source: BinaryIO) -> None:
        target = self._file(digest)
        stage = target.with_name(f".{os.getpid()}-{os.urandom(8).hex()}")
        with _faults(self.label):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with stage.open("xb") as file:
                    hasher = digest.hasher()
                    while chunk := source.read(CHUNK):
                        hasher.update(chunk)
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                if Digest.from_hash(hasher) != digest:
                    raise CacheFormatError(f"blob {digest} changed on its way", where=self.label)
                stage.replace(target)
            finally:
                stage.unlink(missing_ok=True)

    def _replace_index(self, manifest: Descriptor) -> None:
        named = replace(manifest, annotations={REF_ANNOTATION: self._tag})
        others = [
            entry
            for entry in (() if self._reset else self._entries())
            if entry.annotations.get(REF_ANNOTATION) != self._tag
        ]
        with _faults(self.label):
            (self._path / LAYOUT_FILE).write_bytes(LAYOUT)
            stage = self._path / f".{INDEX_FILE}.{os.getpid()}"
            with stage.open("wb") as file:
                file.write(Index.build([*others, named]).raw)
                file.flush()
                os.fsync(file.fileno())
            stage.replace(self._path / INDEX_FILE)
            fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _sweep(self) -> None:
        """Remove blobs that nothing leads to, unless somebody is about to lead to them."""
        try:
            with self._locked(SENDING, exclusive=True, wait=False):
                needed = set(self._needed())
                for folder in (self._path / "blobs").iterdir():
                    for file in folder.iterdir():
                        name = file.name
                        blob = HEX_DIGITS.issuperset(name) and f"{folder.name}:{name}" not in needed
                        if blob or name.startswith("."):
                            file.unlink(missing_ok=True)
        except (BlockingIOError, ImagesError, OSError):
            # Whoever is there, or comes next, does it.
            return

    def _needed(self) -> Iterator[str]:
        pending = [(entry.digest, 0) for entry in self._entries()]
        while pending:
            digest, depth = pending.pop()
            yield str(digest)
            document = parse(self._read(digest, MANIFEST_LIMIT))
            if isinstance(document, Manifest):
                yield from map(
                    str, (document.config.digest, *(it.digest for it in document.layers))
                )
                continue
            for child in document.manifests:
                yield str(child.digest)
                if depth < DEPTH and self._file(child.digest).exists() and _is_document(child):
                    pending.append((child.digest, depth + 1))

    @contextmanager
    def _locked(self, name: str, *, exclusive: bool, wait: bool = True) -> Iterator[None]:
        fd = os.open(self._path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            fcntl.flock(fd, kind if wait else kind | fcntl.LOCK_NB)
            yield
        finally:
            os.close(fd)


def _is_document(child: Descriptor) -> bool:
    """Whether an index's entry is a manifest; BuildKit's older caches list layers there."""
    return child.media_type.endswith("+json") and child.size <= MANIFEST_LIMIT


@contextmanager
def _faults(where: str) -> Iterator[None]:
    """Turn what the file system says into a sentence."""
    try:
        yield
    except OSError as error:
        raise BuildEnvironmentError(
            f"cannot write the cache: {error.strerror}",
            where=where,
            fix="check the directory's permissions and the space on its disk",
        ) from error
