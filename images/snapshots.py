"""Unpacked layers that overlayfs can mount: whole or absent, and shared by all images that have
them.

``snapshots/<id>/fs`` is the layer, ``snapshots/<id>/state`` says how safe it is. The id is the hex
of the diff id. A layer that does not describe a directory it uses, or links to a file below it,
depends on what is below, and its id is the chain id (OCI config.md, "Layer ChainID").
``snapshots/<id>`` is 0700, so that no user of the machine can reach a setuid program in ``fs``
(CVE-2021-41091).

A snapshot is filled in ``snapshots/.staging`` and becomes visible by one rename. After kill -9 it
is there or not. For a power cut one would have to syncfs(2) first, which costs seconds on a busy
disk, for content that can be unpacked again from its verified blob. So ``state`` holds the boot id
of the kernel that has the content in its cache: in that boot it is valid, after the next one it
counts as absent unless ``sync`` has confirmed it.

A staging directory is locked by its owner (flock); what nobody holds is a leftover.
``snapshots/.lock`` works as the blob store's: shared to renew, exclusive to remove.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from images.blobs import is_fresh
from images.config import chain_ids
from images.digest import Digest
from images.errors import DigestMismatchError, EnvironmentFault, ImagesError, InputError
from images.locks import flock, hold, is_held
from images.mediatype import is_layer, layer_compression
from images.trees import remove_tree, tree_size
from images.unpacked import SYNCED, Unpacked, read_state, visible
from records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from images.blobs import BlobStore
    from images.descriptor import Descriptor
    from images.layers.compress import Decompressed
    from images.layers.tar_read import Limits
    from images.layers.unpack import UnpackResult

_THREADS: Final = 4
_PREFETCH_ABOVE: Final = 512 << 10
"""Compressed bytes; for less a thread costs more than it brings."""


class Workspace(Record):
    """An overlay's upper and work directories on the snapshots' file system."""

    path: Path
    upper: Path
    work: Path


class _Layer(Record):
    """A layer of an image: what to unpack and how it may be named."""

    diff_id: Digest
    chain_id: Digest
    descriptor: Descriptor


class _Staged(Record):
    """An unpacked layer that still needs the layers below it."""

    directory: Path
    lock: int
    result: UnpackResult


class Snapshots:
    """The unpacked layers under ``<root>/snapshots``; safe for many threads and processes at
    once.
    """

    def __init__(self, root: Path, *, boot_id: str | None = None) -> None:
        self._base = root / "snapshots"
        self._staging = self._base / ".staging"
        self._lockfile = self._base / ".lock"
        self._unpacked = Unpacked(os.fspath(self._base), boot_id)

    def path(self, digest: Digest) -> Path | None:
        """The ``fs`` directory of this diff id or chain id, renewed; None when it is not
        unpacked.
        """
        found = self._unpacked.find(digest)
        return None if found is None else Path(found)

    def ensure(
        self,
        layers: Sequence[tuple[Digest, Descriptor]],
        blobs: BlobStore,
        *,
        limits: Limits | None = None,
    ) -> list[Path]:
        """Unpack what is not unpacked yet; ``layers`` are (diff id, blob), lowest first.

        Returns the directories for overlayfs, topmost first. Layers below a layer that hides
        everything are left out, because overlayfs merges roots always.

        Raises:
            BlobUnknownError: a layer that is neither unpacked nor in the blob store.
            DigestMismatchError: a layer's content is not what its diff id says.
            InvalidArchiveError, SizeLimitError: a layer is malformed, hostile or too large.
            EnvironmentFault: the disk is full.
        """
        chain = chain_ids([diff_id for diff_id, _ in layers])
        wanted = [_Layer(d, c, blob) for (d, blob), c in zip(layers, chain, strict=True)]
        found = self._unpack_missing(wanted, blobs, limits)
        paths: list[Path] = []
        try:
            while found:
                item = found.pop(0)
                if isinstance(item, _Staged):
                    item = self._complete(wanted[len(paths)], item, paths, blobs, limits)
                paths.insert(0, item)
        finally:
            for item in found:
                if isinstance(item, _Staged):
                    self._discard(item.directory, item.lock)
        return paths[: visible(map(os.fspath, paths))]

    def adopt(self, upper: Path, diff_id: Digest, *, durable: bool = False) -> Path:
        """Make a finished upper directory the snapshot of ``diff_id``; it is moved, or removed if
        there is one already. Returns the ``fs`` directory.

        ``upper`` must be on the same file system, from ``new_workspace`` best, and no longer
        mounted. A workspace that holds nothing else (see ``clear_workspace``) becomes the snapshot
        as it is. ``durable`` waits for the disk; use it when no blob holds this layer.

        Raises:
            EnvironmentFault: another file system, or no permission.
        """
        existing = self.path(diff_id)
        if existing is not None:
            remove_tree(upper)
            return existing
        bare = self._is_bare_workspace(upper)
        directory, lock = (upper.parent, None) if bare else self._stage()
        try:
            upper.rename(directory / "fs")
            if durable:
                _syncfs(directory)
        except OSError as error:
            if lock is not None:
                self._discard(directory, lock)
            raise EnvironmentFault(
                f"cannot keep a layer: {error.strerror}",
                where=str(upper),
                fix="work in a directory from new_workspace()",
            ) from error
        return self._publish(directory, lock, diff_id, durable=durable)

    @contextmanager
    def new_workspace(self, lowers: Sequence[Path] = ()) -> Iterator[Workspace]:
        """An upper and a work directory for one overlay mount, removed at the end of the block.

        The upper takes owner, mode and time of the topmost of ``lowers``, because overlayfs shows
        the upper's root. What was moved away, by ``adopt`` for instance, stays.
        """
        directory, lock = self._stage()
        try:
            workspace = Workspace(directory, directory / "upper", directory / "work")
            workspace.upper.mkdir()
            workspace.work.mkdir()
            status = lowers[0].stat() if lowers else None
            workspace.upper.chmod(0o755 if status is None else status.st_mode & 0o7777)
            if status is not None and os.geteuid() == 0:
                os.chown(workspace.upper, status.st_uid, status.st_gid)
            yield workspace
        finally:
            self._discard(directory, lock)

    def sync(self) -> int:
        """Wait until every snapshot is on the disk; returns how many were not known to be."""
        pending = [
            d for d in map(self._directory, self.ids()) if read_state(os.fspath(d)) != SYNCED
        ]
        pending = [directory for directory in pending if self._valid(directory)]
        if pending:
            _syncfs(self._base)
        for directory in pending:
            with suppress(FileNotFoundError):
                _write_state(directory, SYNCED)
        return len(pending)

    def ids(self) -> Iterator[str]:
        """The id of every snapshot directory, valid or not."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._base):
                if not name.startswith("."):
                    yield name

    def is_valid(self, snapshot_id: str) -> bool:
        """Whether a snapshot is complete and sure to be what was written."""
        return self._valid(self._directory(snapshot_id))

    def size(self, snapshot_id: str) -> int:
        """Bytes of the regular files in a snapshot; 0 when it is not there."""
        try:
            return tree_size(self._directory(snapshot_id) / "fs")
        except FileNotFoundError:
            return 0

    def remove(self, snapshot_id: str, *, unless_younger_than: float | None = None) -> bool:
        """Remove a snapshot; returns whether it went.

        ``unless_younger_than`` (seconds since the epoch) spares one made or renewed at or after
        that time.
        """
        directory = self._directory(snapshot_id)
        with flock(self._lockfile, exclusive=True):
            try:
                status = directory.stat()
            except FileNotFoundError:
                return False
            if unless_younger_than is not None and status.st_mtime >= unless_younger_than:
                return False
            self._staging.mkdir(mode=0o700, parents=True, exist_ok=True)
            trash = self._staging / f"trash-{os.urandom(8).hex()}"
            directory.rename(trash)
        remove_tree(trash)
        return True

    def leftovers(self, *, sweeping: bool = False) -> Iterator[Path]:
        """Staging directories whose process was killed; ``sweeping`` as in ``BlobStore.stages``."""
        try:
            names = os.listdir(self._staging)
        except FileNotFoundError:
            return
        for name in names:
            path = self._staging / name
            with suppress(FileNotFoundError):
                if not is_fresh(name, path.stat(), sweeping=sweeping) and not is_held(
                    path / "lock"
                ):
                    yield path

    def sweep_leftovers(self) -> int:
        """Remove what killed processes left; returns how many directories went."""
        count = 0
        for path in self.leftovers(sweeping=True):
            with suppress(FileNotFoundError):
                remove_tree(path)
                count += 1
        return count

    def _directory(self, snapshot_id: str) -> Path:
        return self._base / snapshot_id

    def _valid(self, directory: Path) -> bool:
        return self._unpacked.is_valid(os.fspath(directory))

    def _stage(self) -> tuple[Path, int]:
        directory = self._staging / f"{os.getpid()}-{os.urandom(8).hex()}"
        try:
            directory.mkdir(mode=0o700)
        except FileNotFoundError:
            self._base.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._staging.mkdir(mode=0o700, exist_ok=True)
            directory.mkdir(mode=0o700)
        return directory, hold(directory / "lock")

    def _discard(self, directory: Path, lock: int) -> None:
        with suppress(FileNotFoundError):
            remove_tree(directory)
        os.close(lock)

    def _is_bare_workspace(self, upper: Path) -> bool:
        """Whether a workspace of ours holds this upper directory and nothing else."""
        folder = upper.parent
        return folder.parent == self._staging and set(os.listdir(folder)) == {"lock", upper.name}

    def _publish(self, directory: Path, lock: int | None, digest: Digest, *, durable: bool) -> Path:
        """Show a finished stage under its id; the first of several equal ones wins.

        Until it is in its place its lock file stays, so that nobody takes it for a leftover.
        ``lock`` is closed, unless it is somebody else's to close.
        """
        target = self._base / digest.hex
        _write_state(directory, SYNCED if durable else self._unpacked.boot_id)
        with flock(self._lockfile, exclusive=True):
            if self._valid(target):
                stale = directory
            else:
                stale = self._staging / f"trash-{os.urandom(8).hex()}"
                with suppress(FileNotFoundError):
                    target.rename(stale)  # of an earlier boot, never confirmed
                directory.rename(target)
                (target / "lock").unlink()
        with suppress(FileNotFoundError):
            remove_tree(stale)
        if lock is not None:
            os.close(lock)
        return target / "fs"

    def _unpack_missing(
        self, layers: Sequence[_Layer], blobs: BlobStore, limits: Limits | None
    ) -> list[Path | _Staged]:
        """Look each layer up, and unpack in parallel those that are missing."""
        found: list[Path | _Staged | None] = [self._lookup(layer) for layer in layers]
        missing = [index for index, item in enumerate(found) if item is None]
        if len(missing) == 1:
            found[missing[0]] = self._unpack(layers[missing[0]], blobs, limits)
        elif missing:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(min(_THREADS, len(missing)), "unpack") as pool:
                jobs = [(i, pool.submit(self._unpack, layers[i], blobs, limits)) for i in missing]
            errors = [job.exception() for _, job in jobs]
            for index, job in jobs:
                found[index] = job.result() if job.exception() is None else None
            self._raise_first(errors, found)
        return [item for item in found if item is not None]

    def _raise_first(
        self,
        errors: Sequence[BaseException | None],
        found: Sequence[Path | _Staged | None],
    ) -> None:
        error = next((error for error in errors if error is not None), None)
        if error is None:
            return
        for item in found:
            if isinstance(item, _Staged):
                self._discard(item.directory, item.lock)
        raise error

    def _lookup(self, layer: _Layer) -> Path | None:
        return self.path(layer.diff_id) or self.path(layer.chain_id)

    def _unpack(self, layer: _Layer, blobs: BlobStore, limits: Limits | None) -> Path | _Staged:
        """Unpack one layer; one process at a time does it for one diff id."""
        with flock(self._base / ".locks" / layer.diff_id.hex[:2], exclusive=True):
            existing = self._lookup(layer)
            if existing is not None:
                return existing
            directory, lock = self._stage()
            try:
                result = unpack_layer(
                    layer.diff_id, layer.descriptor, blobs, _make_fs(directory), limits=limits
                )
                if any(result.implied) or result.missing_links:
                    return _Staged(directory, lock, result)
                return self._publish(directory, lock, layer.diff_id, durable=False)
            except BaseException:
                self._discard(directory, lock)
                raise

    def _complete(
        self,
        layer: _Layer,
        staged: _Staged,
        lowers: Sequence[Path],
        blobs: BlobStore,
        limits: Limits | None,
    ) -> Path:
        """Give a layer what it takes from the layers below, and publish it under its chain id."""
        from images.layers.below import Below

        try:
            below = Below(lowers)
            moves = below.moves(staged.result)
            result = staged.result
            if moves:
                # An implied directory is a symbolic link below (usr-merge): unpack again, through
                # it.
                remove_tree(staged.directory / "fs")
                result = unpack_layer(
                    layer.diff_id,
                    layer.descriptor,
                    blobs,
                    _make_fs(staged.directory),
                    limits=limits,
                    moves=moves,
                )
            below.complete(result, staged.directory / "fs")
        except BaseException:
            self._discard(staged.directory, staged.lock)
            raise
        return self._publish(staged.directory, staged.lock, layer.chain_id, durable=False)


def clear_workspace(workspace: Workspace) -> None:
    """Remove all but the upper directory, when nothing is mounted on it any more.

    Raises:
        OSError: something in it cannot be removed.
    """
    for name in os.listdir(workspace.path):
        if name not in ("lock", workspace.upper.name):
            remove_tree(workspace.path / name)


def unpack_layer(
    diff_id: Digest,
    descriptor: Descriptor,
    blobs: BlobStore,
    target: Path,
    *,
    limits: Limits | None = None,
    moves: Sequence[tuple[str, str]] = (),
) -> UnpackResult:
    """Unpack a layer blob into an empty directory, verifying its diff id on the way.

    A blob that arrives is unpacked meanwhile; on return it is in the store.

    ``moves`` are (directory, real directory) pairs for paths to be placed elsewhere.

    Raises:
        BlobUnknownError: the blob is not in the store.
        DigestMismatchError: the content is not what ``diff_id`` says.
        InputError: the descriptor is not of a layer.
        InvalidArchiveError, SizeLimitError, EnvironmentFault: as ``images.layers.unpack.unpack``.
    """
    if not is_layer(descriptor.media_type):
        raise InputError(
            f"cannot unpack content of type {descriptor.media_type}", where=str(descriptor.digest)
        )
    early = blobs.open_early(descriptor.digest)
    if early is not None:
        try:
            with early:
                return _unpack_stream(early, diff_id, descriptor, target, limits, moves)
        except ImagesError:
            # It was not verified, or broke off; what the store has in the end is what counts.
            remove_tree(target)
            _make_fs(target.parent, target.name)
    with blobs.open(descriptor.digest) as file:
        return _unpack_stream(file, diff_id, descriptor, target, limits, moves)


def _unpack_stream(
    file: BinaryIO,
    diff_id: Digest,
    descriptor: Descriptor,
    target: Path,
    limits: Limits | None,
    moves: Sequence[tuple[str, str]],
) -> UnpackResult:
    from images.layers.compress import Decompressed
    from images.layers.prefetch import Prefetch
    from images.layers.unpack import unpack

    plain = Decompressed(file, layer_compression(descriptor.media_type))
    hashed = _Hashed(plain, diff_id)
    if descriptor.size <= _PREFETCH_ABOVE:
        result = unpack(hashed, target, limits=limits, moves=moves)
        hashed.drain()
    else:
        with Prefetch(hashed) as ahead:
            result = unpack(ahead, target, limits=limits, moves=moves)
            while ahead.read(1 << 20):
                pass
    hashed.verify(descriptor)
    return result


class _Hashed:
    """A stream that hashes what is read of it."""

    def __init__(self, stream: Decompressed, diff_id: Digest) -> None:
        self._stream = stream
        self._expected = diff_id
        self._hash = diff_id.hasher()

    def read(self, size: int) -> memoryview:
        piece = self._stream.read(size)
        self._hash.update(piece)
        return piece

    def drain(self) -> None:
        while self.read(1 << 20):
            pass

    def verify(self, descriptor: Descriptor) -> None:
        found = Digest.from_hash(self._hash)
        if found != self._expected:
            raise DigestMismatchError(
                f"the layer contains {found}, the image config says {self._expected}",
                where=str(descriptor.digest),
                fix="pull the image again; if it stays, the image is damaged or lying",
            )


def _make_fs(directory: Path, name: str = "fs") -> Path:
    fs = directory / name
    fs.mkdir()
    fs.chmod(0o755)
    return fs


def _write_state(directory: Path, state: str) -> None:
    temporary = directory / "state.new"
    temporary.write_text(f"{state}\n", "ascii")
    temporary.rename(directory / "state")


def _syncfs(directory: Path) -> None:
    from images.syscalls import syncfs

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)
