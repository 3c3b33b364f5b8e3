"""Which files the sources of a COPY name: wildcards, --parents, --exclude.

A source is cleaned as a path below the tree's root before it is looked up. Wildcards are Go's
filepath.Match, part by part; a pattern that matches nothing selects nothing, a plain path that does
not exist is an error. ``--exclude`` and ``--parents`` match paths relative to the directory whose
contents are copied, so they never touch a source that is a file itself.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from builder.errors import BuildInputError
from builder.ignore import IgnorePatterns
from builder.wildcards import Walker, tokens
from records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.copying.request import CopyRequest
    from builder.copying.tree import SourceTree
    from images.layers.merged import Node

_WILDCARD: Final = re.compile(r"(?:[^\\*?\[]|\\.)*[*?\[]", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class SourceUnknownError(BuildInputError):
    """A source is not there."""

    code = "copy-source-unknown"


class Selected(Record):
    """One source after wildcards: what to copy, and the name it keeps inside a directory."""

    node: Node
    name: str
    written: str
    include: IgnorePatterns | None = None
    """With ``--parents``, the only paths below ``node`` that count."""


class Found(NamedTuple):
    """Something below a copied directory. ``path`` is relative to that directory.

    ``parents`` are directories above it that are copied only because it is, topmost first.
    """

    node: Node
    path: str
    parents: tuple[tuple[Node, str], ...] = ()


def select_sources(request: CopyRequest, tree: SourceTree) -> list[Selected]:
    """Resolve the sources in the order written; matches of a wildcard are sorted.

    Raises:
        SourceUnknownError: a plain path is not there.
        BuildInputError: a malformed wildcard.
    """
    select = _parents if request.parents else _matches
    return [found for source in request.sources for found in select(source, tree)]


def below(selected: Selected, tree: SourceTree, exclude: IgnorePatterns) -> Iterator[Found]:
    """What of a selected directory is copied: parents before children, sorted by name."""
    walk = _Walk(tree, selected.include, exclude)
    if selected.include is None and not exclude:
        return walk.everything(selected.node, "")
    return walk.directory(selected.node, "", ())


def has_wildcard(path: str) -> bool:
    r"""Whether a path has a ``*``, ``?`` or ``[`` that no ``\`` escapes."""
    return _WILDCARD.match(path) is not None


def _matches(source: str, tree: SourceTree) -> Iterator[Selected]:
    clean = posixpath.normpath("/" + source).lstrip("/")
    parts = clean.split("/") if clean else []
    first = next((index for index, part in enumerate(parts) if has_wildcard(part)), len(parts))
    if first == len(parts):
        yield _plain(clean, source, tree)
        return
    start = tree.lookup("/".join(parts[:first]))
    if start is None or not start.is_dir:
        return
    patterns = [_part_pattern(part, source) for part in parts[first:]]
    for node, path in _expand(tree, start, "/".join(parts[:first]), patterns):
        followed = tree.lookup(node.path)
        if followed is None:
            raise _missing(path, tree)
        yield Selected(followed, posixpath.basename(path), source)


def _plain(clean: str, source: str, tree: SourceTree) -> Selected:
    node = tree.lookup(clean)
    if node is None and "\\" in clean:
        clean = _ESCAPE.sub(r"\1", clean)
        node = tree.lookup(clean)
    if node is None:
        raise _missing(clean, tree)
    return Selected(node, posixpath.basename(clean), source)


def _expand(
    tree: SourceTree, directory: Node, path: str, patterns: Sequence[Walker]
) -> Iterator[tuple[Node, str]]:
    """Names that match, part by part; links on the way are not followed."""
    for node in tree.children(directory.path):
        name = posixpath.basename(node.path)
        if not patterns[0].matches(name):
            continue
        found = f"{path}/{name}".lstrip("/")
        if len(patterns) == 1:
            yield node, found
        elif node.is_dir:
            yield from _expand(tree, node, found, patterns[1:])


def _part_pattern(part: str, source: str) -> Walker:
    try:
        # Outside of --parents ** is no more than *.
        return Walker(tokens(re.sub(r"\*\*+", "*", part)))
    except ValueError as error:
        raise BuildInputError(
            f"syntax error in pattern: {source}",
            fix=f"{error}; put a backslash before a special character",
        ) from error


def _parents(source: str, tree: SourceTree) -> Iterator[Selected]:
    """``--parents``: the part before ``/./`` is dropped, the rest is kept below the destination."""
    pivot, separator, pattern = source.partition("/./")
    if not separator:
        pivot, pattern = "", source
    root_path = posixpath.normpath("/" + pivot).lstrip("/")
    clean = posixpath.normpath("/" + pattern).lstrip("/")
    root = tree.lookup(root_path)
    if root is None:
        raise _missing(root_path, tree)
    plain = clean and not has_wildcard(clean)
    if plain and tree.lookup(f"{root.path}/{clean}", follow=False) is None:
        raise _missing(f"{root_path}/{clean}".lstrip("/"), tree)
    include = IgnorePatterns.of([clean]) if clean else None
    yield Selected(root, posixpath.basename(root_path), source, include)


def _missing(path: str, tree: SourceTree) -> SourceUnknownError:
    why, fix = tree.absence(path)
    return SourceUnknownError(f'"/{path}": not found{why}', fix=fix)


class _Walk:
    """A walk below one directory that knows what is included and excluded."""

    def __init__(
        self, tree: SourceTree, include: IgnorePatterns | None, exclude: IgnorePatterns
    ) -> None:
        self._tree = tree
        self._include = include
        self._exclude = exclude

    def directory(
        self, directory: Node, path: str, waiting: tuple[tuple[Node, str], ...]
    ) -> Iterator[Found]:
        """``waiting`` are directories above that are not selected by themselves."""
        prefix = f"{path}/" if path else ""
        for node in self._tree.children(directory.path):
            relative = prefix + node.path.rpartition("/")[2]
            selected = self._selected(relative)
            if selected:
                yield Found(node, relative, waiting)
                waiting = ()
            if node.is_dir:
                if selected:
                    yield from self.directory(node, relative, ())
                elif self._may_hold(relative):
                    inner = self.directory(node, relative, (*waiting, (node, relative)))
                    for found in inner:
                        # The first to be found brings the directories it waits for.
                        waiting = ()
                        yield found

    def everything(self, directory: Node, path: str) -> Iterator[Found]:
        """The walk where nothing is filtered."""
        prefix = f"{path}/" if path else ""
        for node in self._tree.children(directory.path):
            relative = prefix + node.path.rpartition("/")[2]
            yield Found(node, relative)
            if node.is_dir:
                yield from self.everything(node, relative)

    def _selected(self, path: str) -> bool:
        if self._include is not None and not self._include.matches(path):
            return False
        return not (self._exclude and self._exclude.matches(path))

    def _may_hold(self, path: str) -> bool:
        if self._exclude and self._exclude.matches(path) and self._exclude.may_prune(path):
            return False
        if self._include is None or self._include.matches(path):
            return True
        return self._include.may_match_below(path)
