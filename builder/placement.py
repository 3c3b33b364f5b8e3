"""File operations of a plan carried out by ``builder.copying``: a context, stages, and entries.

Nothing is scanned before a step asks for it, and the context is scanned once for a whole build.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from builder.context import ContextTree
from builder.copying.plan import plan_copy, plan_workdir
from builder.copying.request import CopyRequest, InlineSource
from builder.copying.selection import below, select_sources
from builder.copying.tree import SourceTree, StageTree
from builder.errors import BuildInputError
from builder.ignore import IgnorePatterns
from builder.solver.files import Directories, LazyDirectories, SourceFiles
from images.layers.entry import DIRECTORY
from images.layers.merged import MergedTree

if TYPE_CHECKING:
    from builder.inputs import BuildInputs
    from builder.plan.ops import Copy, Workdir
    from images.layers.entry import Entry
    from images.layers.merged import Node


class PlacedFiles:
    """The ``FilePlanner`` of real builds; one per build."""

    def __init__(self, inputs: BuildInputs) -> None:
        self._inputs = inputs

    @cached_property
    def context(self) -> ContextTree:
        """The context as its ignore file shows it.

        Raises:
            BuildInputError: there is none, or a line of the ignore file is malformed.
        """
        inputs = self._inputs
        if inputs.context is None:
            raise BuildInputError(
                "the Dockerfile reads files, but there is no build context",
                fix="give a context directory",
            )
        name = inputs.ignore_name
        ignore = IgnorePatterns.parse(inputs.ignore or b"", filename=name)
        return ContextTree(inputs.context, ignore, ignore_name=name)

    def copy(
        self, op: Copy, source: Directories | None, base: LazyDirectories, *, created_ns: int
    ) -> list[Entry]:
        """As ``FilePlanner.copy``."""
        request = _request(op, created_ns)
        tree = self._tree(source) if op.sources else StageTree(())
        return plan_copy(request, tree, None if op.link else MergedTree(base()))

    def workdir(self, op: Workdir, base: LazyDirectories, *, created_ns: int) -> list[Entry]:
        """As ``FilePlanner.workdir``."""
        return plan_workdir(op.path, op.user, MergedTree(base()), created=created_ns)

    def selection(self, op: Copy, source: Directories | None) -> SourceFiles:
        """As ``FilePlanner.selection``."""
        request = _request(op, 0)
        tree = self._tree(source)
        exclude = IgnorePatterns.of(op.exclude)
        names: list[tuple[str, str, str]] = []
        found: dict[str, Entry] = {}
        for selected in select_sources(request, tree):
            node = selected.node
            names.append((selected.name, selected.written, node.path))
            if not node.is_dir:
                found[node.path] = tree.entry(node, node.path)
                continue
            for item in below(selected, tree, exclude):
                for parent, path in item.parents:
                    found.setdefault(_under(node, path), tree.entry(parent, _under(node, path)))
                path = _under(node, item.path)
                found[path] = tree.entry(item.node, path)
        return SourceFiles(tuple(names), list(found.values()))

    def tree(self, path: str, source: Directories | None) -> list[Entry]:
        """As ``FilePlanner.tree``."""
        tree = self._tree(source)
        clean = posixpath.normpath("/" + path).lstrip("/")
        node = tree.lookup(clean)
        if node is None:
            why, fix = tree.absence(clean)
            raise BuildInputError(f'"/{clean}": not found{why}', fix=fix)
        if not node.is_dir:
            return [tree.entry(node, "")]
        return list(_everything(tree, node, ""))

    def _tree(self, source: Directories | None) -> SourceTree:
        return self.context if source is None else StageTree(source)


def _request(op: Copy, created_ns: int) -> CopyRequest:
    return CopyRequest(
        sources=op.sources,
        destination=op.destination,
        workdir=op.workdir,
        inline=tuple(InlineSource(doc.name, doc.content) for doc in op.heredocs),
        chown=op.chown,
        chmod=op.chmod,
        exclude=op.exclude,
        parents=op.parents,
        link=op.link,
        unpack=op.archives and op.unpack is not False,
        created=created_ns,
        instruction="ADD" if op.archives else "COPY",
    )


def _under(node: Node, path: str) -> str:
    return f"{node.path}/{path}" if node.path else path


def _everything(tree: SourceTree, directory: Node, prefix: str) -> Iterator[Entry]:
    for node in tree.children(directory.path):
        path = prefix + posixpath.basename(node.path)
        entry = tree.entry(node, path)
        yield entry
        if entry.kind == DIRECTORY:
            yield from _everything(tree, node, f"{path}/")
