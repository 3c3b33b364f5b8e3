"""The merged view of overlay layers, computed in user space: no mount, no privilege.

Overlayfs rules (kernel Documentation/filesystems/overlayfs.rst): the topmost layer that has a name
wins; directories merge downwards until one is opaque or a non-directory is below; a character
device 0:0 hides a name. Symbolic links are resolved inside the root, so nothing an image contains
leads outside of its layers. The layers must not change while a tree looks at them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from images.errors import InputError, SizeLimitError
from images.layers import entry as kinds
from images.layers.entry import NO_XATTRS, Entry
from images.layers.opaque import is_opaque

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SYMLINK_LIMIT: Final = 40
"""Links followed in one lookup, the kernel's own limit."""

TEXT_LIMIT: Final = 4 << 20

_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_KINDS: Final = {
    stat.S_IFREG: kinds.FILE,
    stat.S_IFDIR: kinds.DIRECTORY,
    stat.S_IFLNK: kinds.SYMLINK,
    stat.S_IFCHR: kinds.CHARACTER,
    stat.S_IFBLK: kinds.BLOCK,
    stat.S_IFIFO: kinds.FIFO,
}


class Node(NamedTuple):
    """Something found in a tree; a tuple, because trees have very many of them.

    Attributes:
        path: canonical, relative to the tree's root, no link in it; ``""`` is the root.
        status: lstat(2) of the object.
        layer: the directory of the layer that provides it.
    """

    path: str
    status: os.stat_result
    layer: str

    @property
    def real(self) -> str:
        """The host path; its parents inside the layer are plain directories."""
        return f"{self.layer}/{self.path}" if self.path else self.layer

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


class MergedTree:
    """The tree that an overlay mount of ``lowers``, topmost first, would show."""

    def __init__(self, lowers: Sequence[Path | str]) -> None:
        roots = [os.path.realpath(lower) for lower in lowers]
        for index, root in enumerate(roots):
            if is_opaque(root):
                del roots[index + 1 :]
                break
        self.lowers = tuple(roots)
        self._directories: dict[str, tuple[str, ...]] = {"": self.lowers}
        self._nowhere: set[str] = set()

    def lookup(self, path: str, *, follow: bool = True) -> Node | None:
        """Find ``path``; None when nothing is there.

        ``follow`` says whether a symbolic link at the end is followed; those before it always are.

        Raises:
            InputError: more than 40 links, so probably a loop.
        """
        node, missing = self._walk(path, follow=follow)
        return None if missing else node

    def entry_at(self, path: str) -> Entry | None:
        """The entry of what is at a path that is taken as it is: a link in it is no directory.

        None where nothing is, or a socket.
        """
        node = self._at(path)
        if node is None or stat.S_ISSOCK(node.status.st_mode):
            return None
        return entry_of(node)

    def _at(self, path: str) -> Node | None:
        parent, _, name = path.rpartition("/")
        if parent in self._nowhere:
            return None
        if parent not in self._directories:
            node = self._at(parent)
            if node is None or not node.is_dir:
                self._nowhere.add(parent)
                return None
        return self._inside(parent, name)

    def resolve(self, path: str) -> str:
        """The canonical path that writing to ``path`` would reach, whether or not it exists.

        Links, dangling ones too, are followed inside the root; parts that do not exist are kept.

        Raises:
            InputError: more than 40 links, so probably a loop.
        """
        node, missing = self._walk(path, follow=True)
        base = node.path if node is not None else ""
        for part in missing:
            base = base.rpartition("/")[0] if part == ".." else f"{base}/{part}".lstrip("/")
        return base

    def children(self, path: str) -> list[Node]:
        """What a directory holds, sorted by name.

        Raises:
            FileNotFoundError, NotADirectoryError: there is no directory at ``path``.
        """
        directory = self._directory(path)
        found: dict[str, Node | None] = {}
        for layer in self._directories[directory]:
            with os.scandir(f"{layer}/{directory}") as items:
                for item in items:
                    if item.name not in found:
                        status = item.stat(follow_symlinks=False)
                        child = f"{directory}/{item.name}" if directory else item.name
                        hidden = is_whiteout(status)
                        found[item.name] = None if hidden else Node(child, status, layer)
        return [node for _, node in sorted(found.items()) if node is not None]

    def listdir(self, path: str) -> list[str]:
        """The sorted names in a directory; raises as ``children`` does."""
        return [os.path.basename(node.path) for node in self.children(path)]

    def walk(self, path: str = "") -> Iterator[Node]:
        """Everything below a directory, parents before children, sorted; links are not followed."""
        for node in self.children(path):
            yield node
            if node.is_dir:
                yield from self.walk(node.path)

    def open(self, path: str) -> BinaryIO:
        """Open a regular file, following links inside the root.

        Raises:
            FileNotFoundError: nothing is there.
            InputError: it is not a regular file.
        """
        node = self.lookup(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if not node.is_file:
            raise InputError("is not a regular file", where=f"/{node.path}")
        return open_node(node)

    def readlink(self, path: str) -> str:
        """The text of a symbolic link.

        Raises:
            FileNotFoundError: nothing is there.
            OSError: it is not a link.
        """
        node = self.lookup(path, follow=False)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return os.readlink(node.real)

    def read_text(self, path: str, *, limit: int = TEXT_LIMIT) -> str | None:
        """A small text file, such as /etc/passwd; None when there is no regular file of that name.

        Bytes that are not UTF-8 become surrogate escapes.

        Raises:
            SizeLimitError: longer than ``limit`` bytes.
        """
        node = self.lookup(path)
        if node is None or not node.is_file:
            return None
        with open_node(node) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise SizeLimitError(f"is longer than {limit} bytes", where=f"/{node.path}")
        return data.decode("utf-8", "surrogateescape")

    def _directory(self, path: str) -> str:
        if path in self._directories:
            return path
        node = self.lookup(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if not node.is_dir:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return node.path

    def _walk(self, path: str, *, follow: bool) -> tuple[Node | None, list[str]]:
        """Go as far as the tree goes; returns the last node and the parts that do not exist."""
        node = self._root()
        parts = _parts(path)[::-1]
        links = 0
        while parts:
            part = parts.pop()
            if part == "..":
                node = self._parent(node)
                continue
            child = self._child(node, part)
            if child is None:
                return node, [part, *reversed(parts)]
            if child.is_symlink and (parts or follow):
                links += 1
                if links > SYMLINK_LIMIT:
                    raise InputError("too many levels of symbolic links", where=path)
                target = os.readlink(child.real)
                node = self._root() if target.startswith("/") else node
                parts.extend(_parts(target)[::-1])
            else:
                node = child
        return node, []

    def _root(self) -> Node | None:
        if not self.lowers:
            return None
        return Node("", os.stat(self.lowers[0]), self.lowers[0])

    def _parent(self, node: Node | None) -> Node | None:
        if node is None or not node.path:
            return node
        parent = node.path.rpartition("/")[0]
        layer = self._directories[parent][0]
        return Node(parent, os.lstat(f"{layer}/{parent}"), layer)

    def _child(self, parent: Node | None, name: str) -> Node | None:
        if parent is None or not parent.is_dir or "\0" in name:
            return None
        return self._inside(parent.path, name)

    def _inside(self, parent: str, name: str) -> Node | None:
        """What a directory that was found already has of this name."""
        path = f"{parent}/{name}" if parent else name
        found: Node | None = None
        directories: list[str] = []
        layers = self._directories[parent]
        for layer in layers:
            try:
                status = os.lstat(f"{layer}/{path}")
            except OSError as error:
                if error.errno in _ABSENT:
                    continue
                raise
            if is_whiteout(status):
                break
            directory = stat.S_ISDIR(status.st_mode)
            if found is None:
                found = Node(path, status, layer)
            if not directory:
                break
            directories.append(layer)
            if layer != layers[-1] and is_opaque(f"{layer}/{path}"):
                break
        if directories:
            self._directories[path] = tuple(directories)
        return found


def entry_of(node: Node, path: str | None = None) -> Entry:
    """The entry that reproduces a node, at another ``path`` if one is given.

    Extended attributes are kept but those of overlayfs. Hard links are the caller's business.

    Raises:
        InputError: sockets have no place in a layer.
    """
    status = node.status
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise InputError("a socket cannot be part of a layer", where=f"/{node.path}")
    device = kind in (kinds.CHARACTER, kinds.BLOCK)
    return Entry(
        node.path if path is None else path,
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_size if kind == kinds.FILE else 0,
        status.st_mtime_ns,
        os.readlink(node.real) if kind == kinds.SYMLINK else "",
        os.major(status.st_rdev) if device else 0,
        os.minor(status.st_rdev) if device else 0,
        read_xattrs(node.real),
        # No part of it below the layer is a link, see ``Node.real``.
        node.real if kind == kinds.FILE else None,
    )


def open_node(node: Node) -> BinaryIO:
    """Open a node that is a regular file; no link is followed below its layer."""
    fd = _open_below(node.layer, node.path, os.O_RDONLY | os.O_NONBLOCK)
    return os.fdopen(fd, "rb", buffering=0)


@contextmanager
def open_directory(layer: str, path: str) -> Iterator[int]:
    """A descriptor of a directory of a layer for the block; no link is followed below the layer."""
    fd = _open_below(layer, path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_below(layer: str, path: str, flags: int) -> int:
    root = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if "/" not in path and path != "..":
            return os.open(path, flags | os.O_NOFOLLOW, dir_fd=root)
        # ctypes takes longer to load than most contexts take to be looked through.
        from images.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

        return openat2(root, path, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    finally:
        os.close(root)


def read_xattrs(path: str) -> Mapping[str, bytes]:
    """The extended attributes that belong in a layer: not overlayfs's own, not SELinux labels."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return NO_XATTRS
        raise
    if not names:
        return NO_XATTRS
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in sorted(names)
        if not name.startswith(("trusted.overlay.", "user.overlay.", "security.selinux"))
    }


def is_whiteout(status: os.stat_result) -> bool:
    """Whether overlayfs takes this object for a whiteout."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
