"""Content digests: what the sources of a COPY hold, without when it was written.

A file's digest covers kind, mode, owner, size, link text, device, extended attributes and bytes,
never the modification time: ``touch`` does not invalidate, ``chmod`` does. A directory's covers its
own metadata and the names and digests of what it holds (a Merkle tree). Everything in a context
belongs to root, so owners count in stages alone. The digests of the context's files are remembered
on disk by status, as git's index does.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import stat
import threading
from typing import TYPE_CHECKING, Final, TypeAlias

from builder.copying.selection import below, select_sources
from builder.ignore import IgnorePatterns
from builder.keys import frame
from builder.scan import COARSE_TICK_NS, FINE_TICK_NS
from images.layers.merged import open_directory, open_node, read_xattrs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.copying.request import CopyRequest
    from builder.copying.tree import SourceTree
    from images.layers.merged import Node

FORMAT: Final = b"lading file digests 1\n"
THREADS: Final = 4
BULK: Final = 8 << 20
"""Bytes from which hashing several files is worth the threads; small ones wait for the interpreter.
"""

SMALL: Final = 64 << 10
"""Bytes of a file that is hashed in one piece, and whose content may be kept until it is packed."""

CONTENTS_LIMIT: Final = 48 << 20
"""Bytes of content that one build keeps in memory, so that small files are read once."""

_PIECE: Final = 1 << 20
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_Known = dict[str, tuple[tuple[int, ...], bytes]]
Seen: TypeAlias = "list[tuple[Node, bytes | None]]"
"""What a digest was made of: each object with the digest of its bytes if it is a regular file."""


class FileDigests:
    """Digests of files by path and status; safe to use from several threads.

    An entry counts while size, mode, inode and both times are the same. A file changed less than
    one tick of the file system's clock before it was read could change again unseen, so its digest
    counts for this build alone.
    """

    def __init__(self, now_ns: int, known: _Known | None = None, *, owners: bool = False) -> None:
        """``now_ns`` is a time before any file is read; ``owners`` says whether owners count."""
        self.owners = owners
        self.contents: dict[str, bytes] | None = None
        """Where to leave the content of small files, by host path; None keeps nothing."""
        self.given: dict[str, bytes] | None = None
        """Where to leave the digests that were asked for, by host path; None keeps nothing."""
        self._room = CONTENTS_LIMIT
        self._now_ns = now_ns
        self._known = known or {}
        self._fresh: _Known = {}
        self._volatile: _Known = {}
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: Path, now_ns: int) -> FileDigests:
        """Read what an earlier build kept; damaged or foreign files count as empty."""
        try:
            data = path.read_bytes()
        except OSError:
            return cls(now_ns)
        start = len(FORMAT) + 32
        if data[:start] != FORMAT + hashlib.sha256(data[start:]).digest():
            return cls(now_ns)
        try:
            known = marshal.loads(data[start:])  # noqa: S302 - guarded by the checksum above
        except (ValueError, EOFError, TypeError):
            return cls(now_ns)
        return cls(now_ns, known if isinstance(known, dict) else None)

    def save(self, path: Path) -> None:
        """Keep what was learned, staged and renamed; a cache that cannot be written is no fault."""
        if not self._fresh:
            return
        payload = marshal.dumps(self._known | self._fresh, 4)
        stage = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stage.write_bytes(FORMAT + hashlib.sha256(payload).digest() + payload)
            stage.replace(path)
        except OSError:
            try:
                stage.unlink(missing_ok=True)
            except OSError:
                return

    def known(self, node: Node) -> bytes | None:
        """The digest remembered for a file of this status."""
        path, mark = node.real, _mark(node.status)
        found = self._known.get(path)
        if found is None or found[0] != mark:
            found = self._fresh.get(path) or self._volatile.get(path)
        return found[1] if found is not None and found[0] == mark else None

    def of(self, node: Node) -> bytes:
        """The digest of a regular file, remembered or computed.

        Raises:
            OSError: gone, unreadable, or replaced since the tree was scanned.
        """
        digest = self.known(node)
        if digest is None:
            digest = _file_digest(node, owners=self.owners)
            self._learn(node, digest)
        if self.given is not None:
            self.given[node.real] = digest
        return digest

    def of_siblings(self, nodes: Sequence[Node]) -> list[bytes | None]:
        """The digests of what one directory holds; None for what is no regular file.

        Raises:
            OSError: as ``of``.
        """
        found = [self.known(node) if node.is_file else None for node in nodes]
        missing = [
            index for index, node in enumerate(nodes) if found[index] is None and node.is_file
        ]
        if missing:
            self._prepare([nodes[index] for index in missing])
            for index in missing:
                found[index] = self.of(nodes[index])
        if self.given is not None:
            self.given.update(
                (node.real, digest)
                for node, digest in zip(nodes, found, strict=True)
                if digest is not None
            )
        return found

    def _prepare(self, missing: Sequence[Node]) -> None:
        """Hash what is cheaper to hash together: small files by directory, large ones at once."""
        small = [node for node in missing if node.status.st_size <= SMALL]
        for layer in {node.layer for node in small}:
            self._hash_small([node for node in small if node.layer == layer])
        large = [node for node in missing if node.status.st_size >= _PIECE]
        if len(large) > 1 and sum(node.status.st_size for node in large) >= BULK:
            _in_threads(self, large)

    def _hash_small(self, siblings: Sequence[Node]) -> None:
        """Hash files of one directory of one layer through a descriptor of it."""
        parent = siblings[0].path.rpartition("/")[0]
        with open_directory(siblings[0].layer, parent) as directory:
            for node in siblings:
                size = node.status.st_size
                fd = os.open(node.path.rpartition("/")[2], _OPEN_FLAGS, dir_fd=directory)
                try:
                    content = os.read(fd, size + 1)
                finally:
                    os.close(fd)
                if len(content) != size:
                    continue
                header = _header(node, owners=self.owners)
                self._learn(node, hashlib.sha256(header + content).digest())
                self._leave(node.real, content)

    def _leave(self, path: str, content: bytes) -> None:
        with self._lock:
            if self.contents is not None and len(content) <= self._room:
                self._room -= len(content)
                self.contents[path] = content

    def _learn(self, node: Node, digest: bytes) -> None:
        status = node.status
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        tick = FINE_TICK_NS if changed % 10**9 else COARSE_TICK_NS
        kept = self._fresh if changed + tick < self._now_ns else self._volatile
        with self._lock:
            kept[node.real] = (_mark(status), digest)


def selection_digest(
    request: CopyRequest, tree: SourceTree, files: FileDigests, seen: Seen | None = None
) -> bytes:
    """What the sources of a COPY hold, under names that depend on the sources alone.

    ``seen`` collects what was looked at.

    Raises:
        BuildInputError: a source is missing.
        OSError: a file cannot be read.
    """
    seen = [] if seen is None else seen
    exclude = IgnorePatterns.of(request.exclude)
    hasher = hashlib.sha256()
    for selected in select_sources(request, tree):
        node = selected.node
        if not node.is_dir:
            hasher.update(frame(("file", selected.name, node_digest(tree, node, files, seen))))
        elif selected.include is None and not exclude:
            seen.append((node, None))
            hasher.update(frame(("directory", _listing_digest(tree, node, files, seen))))
        else:
            seen.append((node, None))
            hasher.update(frame("filtered"))
            for found in below(selected, tree, exclude):
                for parent, path in found.parents:
                    hasher.update(frame((path, _header(parent, owners=files.owners))))
                own = found.node
                if own.is_dir:
                    seen.append((own, None))
                    digest = _header(own, owners=files.owners)
                else:
                    digest = node_digest(tree, own, files, seen)
                hasher.update(frame((found.path, digest)))
    return hasher.digest()


def node_digest(
    tree: SourceTree, node: Node, files: FileDigests, seen: Seen | None = None
) -> bytes:
    """The digest of one object, a directory with all it holds; ``seen`` collects all of them.

    Raises:
        OSError: a file cannot be read.
    """
    seen = [] if seen is None else seen
    digest = files.of(node) if node.is_file else None
    seen.append((node, digest))
    return _any_digest(tree, node, files, seen) if digest is None else digest


def _any_digest(tree: SourceTree, node: Node, files: FileDigests, seen: Seen) -> bytes:
    """The digest of what is no regular file."""
    header = _header(node, owners=files.owners)
    if node.is_dir:
        header += _listing_digest(tree, node, files, seen)
    return hashlib.sha256(header).digest()


def _listing_digest(tree: SourceTree, directory: Node, files: FileDigests, seen: Seen) -> bytes:
    """The digest of what a directory holds; its own metadata does not pass to a destination."""
    children: Sequence[Node] = tree.children(directory.path)
    parts: list[bytes] = []
    pairs = list(zip(children, files.of_siblings(children), strict=True))
    seen += pairs
    for child, known in pairs:
        digest = _any_digest(tree, child, files, seen) if known is None else known
        parts += (os.fsencode(child.path.rpartition("/")[2]), b"\0", digest)
    return hashlib.sha256(b"".join(parts)).digest()


def _header(node: Node, *, owners: bool) -> bytes:
    """Everything that counts of an object but its bytes."""
    status = node.status
    mode = status.st_mode
    size = status.st_size if stat.S_ISREG(mode) else 0
    device = status.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
    owner = (status.st_uid, status.st_gid) if owners else (-1, -1)
    # Written by hand rather than framed: this is done for every file of a context.
    numbers = b"%d %d %d %d %d;" % (mode, size, device, *owner)
    link = os.readlink(node.real) if stat.S_ISLNK(mode) else ""
    xattrs = read_xattrs(node.real)
    return numbers + frame((link, xattrs)) if link or xattrs else numbers


def _file_digest(node: Node, *, owners: bool) -> bytes:
    hasher = hashlib.sha256(_header(node, owners=owners))
    with open_node(node) as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
    return hasher.digest()


def _mark(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_mode,
    )


def _in_threads(files: FileDigests, nodes: Sequence[Node]) -> None:
    """Hash with a few threads; the first fault is raised after all have ended."""
    pending = iter(nodes)
    lock = threading.Lock()
    faults: list[OSError] = []

    def work() -> None:
        while not faults:
            with lock:
                node = next(pending, None)
            if node is None:
                return
            try:
                files.of(node)
            except OSError as error:
                faults.append(error)

    threads = [threading.Thread(target=work, name="hash") for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
