"""COPY, ADD of local files, and WORKDIR: from a request and two trees to the entries of a layer.

Dockerfile reference, "COPY", "ADD", "WORKDIR"; what it leaves open follows BuildKit's file
operations. Sources are placed one after the other, each on top of what came before, because a
destination may become a directory on the way. Pure but for reading metadata: no file is written,
and file contents stay where they are until a layer is packed.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from builder.copying.owner import ROOT, Owner, copy_owner, step_owner
from builder.copying.selection import Selected, below, select_sources
from builder.copying.target import PlacementError, Target
from builder.ignore import IgnorePatterns
from images.layers import entry as kinds
from images.layers.entry import Entry

if TYPE_CHECKING:
    from builder.copying.mode import ModeChange
    from builder.copying.request import CopyRequest, InlineSource
    from builder.copying.target import Group
    from builder.copying.tree import SourceTree
    from images.layers.merged import MergedTree, Node


def plan_copy(request: CopyRequest, source: SourceTree, base: MergedTree | None) -> list[Entry]:
    """The layer of a COPY or ADD.

    Args:
        request: what is asked, words expanded.
        source: the tree the sources are in.
        base: the tree below; not looked at for a linked copy.

    Returns:
        Entries sorted so that a directory comes before what it holds.

    Raises:
        BuildInputError: a source is missing, an owner unknown, a mode invalid, or kinds clash.
        ImagesError: an archive is malformed.
    """
    return _Copy(request, source, None if request.link else base).run()


def plan_workdir(path: str, user: str, base: MergedTree, *, created: int) -> list[Entry]:
    """The layer of a WORKDIR: missing directories, owned by the step's user; often empty.

    Args:
        path: absolute.
        user: as USER has it; empty is root.
        base: the tree below.
        created: the time of new directories, in nanoseconds.

    Raises:
        BuildInputError: an unknown user, or a file in the way.
    """
    probe = Target(base, created=created)
    resolved = probe.resolve(path)
    if probe.at(resolved) == kinds.DIRECTORY:
        return []
    target = Target(base, created=created, owner=step_owner(user, base))
    target.make_directories(resolved)
    return target.entries()


class _Copy:
    """One COPY in progress."""

    def __init__(self, request: CopyRequest, source: SourceTree, base: MergedTree | None) -> None:
        self._request = request
        self._tree = source
        self._owner: Owner | None = None
        if request.chown is not None:
            self._owner = copy_owner(request.chown, base)
        self._mode: ModeChange | None = None
        if request.chmod:
            from builder.copying.mode import parse_mode

            self._mode = parse_mode(request.chmod)
        self._exclude = IgnorePatterns.of(request.exclude)
        self._target = Target(base, created=request.created, owner=self._owner or ROOT)
        self._destination = posixpath.join(request.workdir, request.destination)
        last = request.destination.rpartition("/")[2]
        self._is_directory = last in ("", ".")
        self._files: set[str] = set()
        self._number = 0

    def run(self) -> list[Entry]:
        for selected in select_sources(self._request, self._tree):
            if self._request.unpack and selected.node.is_file and self._unpack(selected):
                continue
            destination = self._prepare()
            self._number += 1
            if selected.node.is_dir:
                self._directory(selected, destination)
            else:
                path = self._file_path(destination, selected.name, selected.written)
                self._put(selected.node, path)
        for inline in self._request.inline:
            self._inline(inline, self._prepare())
        return self._target.entries()

    def _prepare(self) -> str:
        """The destination's canonical path, what must be a directory created."""
        ensured = self._destination
        if not self._is_directory:
            ensured = posixpath.dirname(ensured)
        self._target.make_directories(self._target.resolve(ensured))
        return self._target.resolve(self._destination)

    def _file_path(self, destination: str, name: str, written: str) -> str:
        """Where a file goes: into a directory under its name, else onto the destination itself."""
        if self._target.at(destination) == kinds.DIRECTORY:
            return f"{destination}/{name}".lstrip("/")
        if destination in self._files:
            raise PlacementError(
                f"when using {self._request.instruction} with more than one source file, the"
                " destination must be a directory and end with a /",
                where=written,
                fix=f"write {self._request.destination}/",
            )
        self._files.add(destination)
        return destination

    def _directory(self, selected: Selected, destination: str) -> None:
        kind = self._target.at(destination)
        if kind is None:
            self._target.make_directories(destination)
        elif kind != kinds.DIRECTORY:
            raise PlacementError(
                f"cannot copy to non-directory: /{destination}",
                fix="choose another destination, or remove the file in an earlier step",
            )
        self._target.touch(destination, selected.node.status.st_mtime_ns)
        prefix = f"{destination}/" if destination else ""
        if selected.include is None and not self._exclude:
            self._everything(selected.node.path, prefix)
            return
        for found in below(selected, self._tree, self._exclude):
            for node, path in found.parents:
                if self._target.at(prefix + path) is None:
                    self._put(node, prefix + path)
            self._put(found.node, prefix + found.path)

    def _everything(self, directory: str, prefix: str) -> None:
        """All that a directory holds; most copies are this, and large ones nearly always."""
        make, tree = self._made, self._tree
        children = tree.children(directory)
        made = [make(node, prefix + node.path.rpartition("/")[2]) for node in children]
        self._target.put_siblings(prefix[:-1], made)
        for node, (entry, _) in zip(children, made, strict=True):
            if entry.kind == kinds.DIRECTORY:
                self._everything(node.path, f"{entry.path}/")

    def _put(self, node: Node, path: str) -> None:
        entry, group = self._made(node, path)
        self._target.put(entry, group=group)

    def _made(self, node: Node, path: str) -> tuple[Entry, Group]:
        """An entry with the owner and mode asked for; links join names of one source only."""
        entry, status = self._tree.entry(node, path), node.status
        group = None
        if status.st_nlink > 1 and entry.kind == kinds.FILE:
            group = (self._number, status.st_dev, status.st_ino)
        if self._owner is not None or self._mode is not None:
            entry = self._adjusted(entry)
        return entry, group

    def _adjusted(self, entry: Entry) -> Entry:
        if self._owner is not None:
            entry = entry._replace(uid=self._owner.uid, gid=self._owner.gid)
        if self._mode is not None and entry.kind != kinds.SYMLINK:
            directory = entry.kind == kinds.DIRECTORY
            entry = entry._replace(mode=self._mode(entry.mode, directory))
        return entry

    def _inline(self, inline: InlineSource, destination: str) -> None:
        path = self._file_path(destination, inline.name, f"<<{inline.name}")
        entry = Entry(
            path,
            kinds.FILE,
            0o644,
            size=len(inline.content),
            mtime=self._request.created,
            source=inline.content,
        )
        self._target.put(self._adjusted(entry))

    def _unpack(self, selected: Selected) -> bool:
        """Unpack a source that is an archive; False where it is none."""
        from builder.copying.archive import archive_entries, is_archive

        if not is_archive(self._tree, selected.node):
            return False
        target = self._target
        directory = target.resolve(self._destination)
        target.make_directories(directory)
        for entry in archive_entries(self._tree, selected.node):
            if entry.path:
                self._place_archived(entry, directory)
        return True

    def _place_archived(self, entry: Entry, directory: str) -> None:
        """One entry of an archive, below ``directory``; links on the way stay inside the root."""
        target = self._target
        parent, _, name = entry.path.rpartition("/")
        parent = target.resolve(f"{directory}/{parent}")
        target.make_directories(parent)
        path = f"{parent}/{name}".lstrip("/")
        if self._owner is not None:
            entry = entry._replace(uid=self._owner.uid, gid=self._owner.gid)
        if entry.kind == kinds.HARDLINK:
            holder, _, linked = entry.linkname.rpartition("/")
            holder = target.resolve(f"{directory}/{holder}")
            target.link(path, f"{holder}/{linked}".lstrip("/"))
        else:
            target.override(entry._replace(path=path))
