"""The build context: a directory of the host, without what the ignore file leaves out.

The directory is scanned once for a whole build (see ``builder.scan`` for what is visible), and no
link and no ``..`` leads out of it. All files belong to root.
"""

from __future__ import annotations

import os
import stat
from functools import cached_property
from typing import TYPE_CHECKING

from builder.copying.tree import near_name
from builder.errors import BuildInputError
from builder.ignore import IgnorePatterns
from builder.scan import scan_context
from images.layers import entry as kinds
from images.layers.entry import Entry
from images.layers.merged import SYMLINK_LIMIT, Node, entry_of, open_node, read_xattrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from builder.scan import ContextScan


class ContextTree:
    """The files of a build context, a ``SourceTree``."""

    def __init__(
        self,
        root: Path | str,
        ignore: IgnorePatterns | None = None,
        *,
        ignore_name: str = ".dockerignore",
        name: str = "",
        place: str = "",
        scan: Callable[[], ContextScan | None] | None = None,
    ) -> None:
        """Take ``root`` as it is when first looked at.

        ``ignore`` hides paths. For messages, ``ignore_name`` is its file, ``name`` that of a named
        context, and ``place`` what the directory was made from, if not by the user. ``scan`` gives
        what a walk has found already, or None.
        """
        self.root = os.path.realpath(root)
        self._ignore = ignore or IgnorePatterns(())
        self._ignore_name = ignore_name
        self._place = "standard input" if place == "-" else place or self.root
        self._called = f"the named context {name}" if name else "the build context"
        self._scan = scan
        self._children: dict[str, list[Node]] = {}
        self.contents: dict[str, bytes] = {}
        """Content of small files that were read already, by host path."""
        self.digests: dict[str, bytes] = {}
        """Digests of files that were asked for already, by host path."""

    @cached_property
    def directories(self) -> dict[str, dict[str, os.stat_result]]:
        """As ``ContextScan.directories``.

        Raises:
            BuildInputError: nested too deeply.
            BuildEnvironmentError: a directory cannot be read.
        """
        scan = self._scan() if self._scan is not None else None
        if scan is None:
            matches, may_prune = (
                (self._ignore.matches, self._ignore.may_prune) if self._ignore else (None, None)
            )
            scan = scan_context(self.root, now_ns=0, ignored=matches, may_prune=may_prune)
        return scan.directories

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
            content=self.digests.get(real),
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
                f" in {self._called}: excluded by {self._ignore_name} line {line.number}"
                f" ({line.text})",
                f"remove that line, or take the path back in with !{clean} after it",
            )
        near = near_name(self, clean)
        if near is not None:
            return f" in {self._called}", f"did you mean {near}?"
        if clean != _lexical(path, clamp=False):
            return f" in {self._called}", "a context holds nothing above its root"
        return f" in {self._called}", f"the context is {self._place}"

    def _node(self, path: str) -> Node | None:
        if not path:
            return Node("", os.stat(self.root), self.root)
        parent, _, name = path.rpartition("/")
        status = self.directories.get(parent, {}).get(name)
        return Node(path, status, self.root) if status is not None else None


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
