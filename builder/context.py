"""The build context: a directory of the host, without what the ignore file leaves out.

The directory is scanned once, by file descriptors, so no link and no ``..`` leads out of it;
sockets are left out. A directory that the ignore file hides stays visible while it holds something
that is taken back in. All files belong to root.
"""

from __future__ import annotations

import os
import stat
from functools import cached_property
from typing import TYPE_CHECKING, Final

from builder.copying.tree import near_name
from builder.errors import BuildEnvironmentError, BuildInputError
from builder.ignore import IgnorePatterns
from images.layers import entry as kinds
from images.layers.entry import Entry
from images.layers.merged import SYMLINK_LIMIT, Node, entry_of, open_node, read_xattrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

DEPTH_LIMIT: Final = 256
"""Parts of a path; deeper trees exist to break the programs that walk them."""

_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class ContextTree:
    """The files of a build context, a ``SourceTree``."""

    def __init__(
        self,
        root: Path | str,
        ignore: IgnorePatterns | None = None,
        *,
        ignore_name: str = ".dockerignore",
    ) -> None:
        """Take ``root`` as it is when first looked at.

        ``ignore`` hides paths; ``ignore_name`` is how messages call its file.
        """
        self.root = os.path.realpath(root)
        self._ignore = ignore or IgnorePatterns(())
        self._ignore_name = ignore_name
        self._children: dict[str, list[Node]] = {}
        self.contents: dict[str, bytes] = {}
        """Content of small files that were read already, by host path."""

    @cached_property
    def directories(self) -> dict[str, dict[str, os.stat_result]]:
        """Every visible directory with the status of what it holds, by name; ``""`` is the root.

        Raises:
            BuildInputError: nested too deeply.
            BuildEnvironmentError: a directory cannot be read.
        """
        return _Scan(self.root, self._ignore).run()

    def lookup(self, path: str, *, follow: bool = True) -> Node | None:
        """What is at ``path``; links are followed inside the context.

        Raises:
            BuildInputError: more than 40 links, so probably a loop.
        """
        done: list[str] = []
        parts = _parts(path)[::-1]
        links = 0
        while parts:
            part = parts.pop()
            if part == "..":
                del done[-1:]
                continue
            listing = self.directories.get("/".join(done))
            status = listing.get(part) if listing is not None else None
            if status is None:
                return None
            done.append(part)
            if stat.S_ISLNK(status.st_mode) and (parts or follow):
                links += 1
                if links > SYMLINK_LIMIT:
                    raise BuildInputError("too many levels of symbolic links", where=f"/{path}")
                target = self.read_link("/".join(done))
                done = [] if target.startswith("/") else done[:-1]
                parts.extend(_parts(target)[::-1])
        return self._node("/".join(done))

    def children(self, path: str) -> Sequence[Node]:
        """What a directory holds, sorted by name; empty for anything else."""
        known = self._children.get(path)
        if known is None:
            listing = self.directories.get(path, {})
            prefix = f"{path}/" if path else ""
            known = [Node(prefix + name, listing[name], self.root) for name in sorted(listing)]
            self._children[path] = known
        return known

    def walk(self, path: str = "") -> Iterator[Node]:
        """Everything below a directory, parents first, sorted."""
        for node in self.children(path):
            yield node
            if node.is_dir:
                yield from self.walk(node.path)

    def entry(self, node: Node, path: str) -> Entry:
        """The entry that reproduces a node at another path, owned by root."""
        status = node.status
        mode = status.st_mode
        if not stat.S_ISREG(mode):
            return entry_of(node, path)._replace(uid=0, gid=0)
        real = node.real
        return Entry(
            path,
            kinds.FILE,
            stat.S_IMODE(mode),
            0,
            0,
            status.st_size,
            status.st_mtime_ns,
            xattrs=read_xattrs(real),
            # What was hashed is what is copied; else a path of the host, no part of it a link.
            source=self.contents.get(real, real),
        )

    def open(self, node: Node) -> BinaryIO:
        """Open a regular file; a part that became a link since the scan is refused."""
        return open_node(node)

    def read_link(self, path: str) -> str:
        """The text of a symbolic link at a canonical path."""
        return os.readlink(f"{self.root}/{path}")

    def absence(self, path: str) -> tuple[str, str | None]:
        """Why nothing is at ``path``: hidden by the ignore file, misspelled, or not there."""
        clean = _lexical(path)
        line = self._ignore.explain(clean)
        if line is not None and os.path.lexists(f"{self.root}/{clean}"):
            return (
                f" in the build context: excluded by {self._ignore_name} line {line.number}"
                f" ({line.text})",
                f"remove that line, or take the path back in with !{clean} after it",
            )
        near = near_name(self, clean)
        if near is not None:
            return " in the build context", f"did you mean {near}?"
        if clean != _lexical(path, clamp=False):
            return " in the build context", "a context holds nothing above its root"
        return " in the build context", f"the context is {self.root}"

    def _node(self, path: str) -> Node | None:
        if not path:
            return Node("", os.stat(self.root), self.root)
        parent, _, name = path.rpartition("/")
        status = self.directories.get(parent, {}).get(name)
        return Node(path, status, self.root) if status is not None else None


class _Scan:
    """One walk over the directory."""

    def __init__(self, root: str, ignore: IgnorePatterns) -> None:
        self._root = root
        self._ignore = ignore
        self._found: dict[str, dict[str, os.stat_result]] = {}

    def run(self) -> dict[str, dict[str, os.stat_result]]:
        try:
            fd = os.open(self._root, _DIRECTORY_FLAGS)
        except OSError as error:
            raise _unreadable(self._root, error) from error
        self._directory(fd, "", 0)
        self._found.setdefault("", {})
        return self._found

    def _directory(self, fd: int, path: str, depth: int) -> bool:
        """Scan an open directory and close it; return whether anything in it is visible."""
        if depth > DEPTH_LIMIT:
            os.close(fd)
            raise BuildInputError(
                f"the build context is nested deeper than {DEPTH_LIMIT} directories", where=path
            )
        listing: dict[str, os.stat_result] = {}
        hidden: list[tuple[str, os.stat_result]] = []
        deeper: list[str] = []
        prefix = f"{path}/" if path else ""
        matches = self._ignore.matches if self._ignore else None
        try:
            with os.scandir(fd) as items:
                for item in items:
                    status = item.stat(follow_symlinks=False)
                    mode = status.st_mode
                    is_directory = stat.S_ISDIR(mode)
                    if matches is not None and matches(prefix + item.name):
                        if is_directory and not self._ignore.may_prune(prefix + item.name):
                            hidden.append((item.name, status))
                        continue
                    if stat.S_ISSOCK(mode):
                        continue
                    listing[item.name] = status
                    if is_directory:
                        deeper.append(item.name)
            for name in deeper:
                self._enter(fd, name, prefix + name, depth)
            listing |= {
                name: status
                for name, status in hidden
                if self._enter(fd, name, prefix + name, depth)
            }
        except OSError as error:
            raise _unreadable(f"{self._root}/{path}", error) from error
        finally:
            os.close(fd)
        if listing or not path or not (matches is not None and matches(path)):
            self._found[path] = listing
        return bool(listing)

    def _enter(self, parent: int, name: str, path: str, depth: int) -> bool:
        fd = os.open(name, _DIRECTORY_FLAGS, dir_fd=parent)
        return self._directory(fd, path, depth + 1)


def _unreadable(path: str, error: OSError) -> BuildEnvironmentError:
    return BuildEnvironmentError(
        f"cannot read the build context: {error.strerror}",
        where=path,
        fix="make it readable, or list it in .dockerignore",
    )


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _lexical(path: str, *, clamp: bool = True) -> str:
    """The path without ``.`` and ``..``, as far as that can be said without looking."""
    done: list[str] = []
    for part in _parts(path):
        if part == "..":
            if done or clamp:
                del done[-1:]
            else:
                return path
        else:
            done.append(part)
    return "/".join(done)
