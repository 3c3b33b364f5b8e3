"""The tree that a copy changes: new entries on top of the layers below, without touching a disk.

Nothing is written; links of the base and of the new entries are followed inside the root, so no
destination leaves it. At the end every directory above a new entry gets an entry as well, with the
metadata it has below, since a layer that merely implies a directory would reset it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from builder.copying.owner import ROOT, Owner
from builder.errors import BuildInputError
from images.layers import entry as kinds
from images.layers.entry import WHITEOUT_PREFIX, Entry
from images.layers.merged import SYMLINK_LIMIT, MergedTree, entry_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from images.layers.merged import Node

    Group: TypeAlias = tuple[int, ...] | None

DIRECTORY_MODE: Final = 0o755


class PlacementError(BuildInputError):
    """Sources and destination do not fit: a file meets a directory, or a name is reserved."""

    code = "copy-placement"


class Target:
    """New entries over ``base``; None for a linked copy, which does not know what is below it."""

    def __init__(self, base: MergedTree | None, *, created: int, owner: Owner = ROOT) -> None:
        """Start empty; ``owner`` and ``created`` (ns) are those of implied directories."""
        self._base = base
        self._created = created
        self._owner = owner
        self._entries: dict[str, Entry] = {}
        self._groups: dict[str, tuple[int, ...]] = {}
        self._links = 0
        self._replaced: set[str] = set()
        self._listings: dict[str, dict[str, Node]] = {}

    def at(self, path: str) -> str | None:
        """The kind of what is at a canonical path, None where nothing is; follows no link."""
        if not path:
            return kinds.DIRECTORY
        entry = self._entries.get(path)
        if entry is not None:
            return entry.kind
        node = self._below(path)
        if node is None:
            return None
        if node.is_dir:
            return kinds.DIRECTORY
        return kinds.SYMLINK if node.is_symlink else kinds.FILE

    def resolve(self, path: str) -> str:
        """The canonical path that ``path`` reaches, links followed; missing parts are kept.

        Raises:
            PlacementError: more than 40 links, so probably a loop.
        """
        done: list[str] = []
        parts = _parts(path)[::-1]
        links = 0
        while parts:
            part = parts.pop()
            if part == "..":
                del done[-1:]
                continue
            done.append(part)
            here = "/".join(done)
            if self.at(here) != kinds.SYMLINK:
                continue
            links += 1
            if links > SYMLINK_LIMIT:
                raise PlacementError("too many levels of symbolic links", where=path)
            target = self._link_text(here)
            done = [] if target.startswith("/") else done[:-1]
            parts.extend(_parts(target)[::-1])
        return "/".join(done)

    def make_directories(self, path: str) -> None:
        """Create a canonical directory and its missing parents.

        Raises:
            PlacementError: something else stands in the way.
        """
        parts = path.split("/") if path else []
        for end in range(1, len(parts) + 1):
            here = "/".join(parts[:end])
            kind = self.at(here)
            if kind is None:
                self._entries[here] = Entry(
                    here,
                    kinds.DIRECTORY,
                    DIRECTORY_MODE,
                    self._owner.uid,
                    self._owner.gid,
                    mtime=self._created,
                )
            elif kind != kinds.DIRECTORY:
                raise PlacementError(
                    f"cannot create directory /{here}: a file of that name is there",
                    fix="choose another destination, or remove the file in an earlier step",
                )

    def touch(self, path: str, mtime: int) -> None:
        """Give a directory that exists the time of the one whose contents it receives."""
        if path:
            self._entries[path] = self._existing(path)._replace(mtime=mtime)

    def put(self, entry: Entry, *, group: Group = None) -> None:
        """Place an entry whose parents exist, as COPY does: kinds must agree.

        Entries of one ``group`` are names of one file.

        Raises:
            PlacementError: a directory would become a file or the reverse, or a reserved name.
        """
        kind = self.at(entry.path)
        if entry.kind == kinds.DIRECTORY and kind not in (None, kinds.DIRECTORY):
            raise PlacementError(
                f"cannot copy to non-directory: /{entry.path}",
                fix="remove the file in an earlier step, or choose another destination",
            )
        if entry.kind != kinds.DIRECTORY and kind == kinds.DIRECTORY:
            raise PlacementError(
                f"cannot replace to directory /{entry.path} with file",
                fix="remove the directory in an earlier step, or choose another destination",
            )
        self._set(entry, group)

    def put_siblings(self, directory: str, entries: Sequence[tuple[Entry, Group]]) -> None:
        """Place what goes into one canonical directory that exists, each with its group.

        Raises:
            PlacementError: as ``put``.
        """
        if self._base is not None and self._listing(directory):
            for entry, group in entries:
                self.put(entry, group=group)
            return
        # Nothing is there to clash with, but what this copy has put there itself.
        for entry, group in entries:
            if entry.path in self._entries:
                self.put(entry, group=group)
            else:
                self._set(entry, group)

    def override(self, entry: Entry, *, group: Group = None) -> None:
        """Place an entry, replacing whatever is there, as unpacking an archive does.

        Raises:
            PlacementError: a reserved name.
        """
        kind = self.at(entry.path)
        merges = kind == entry.kind == kinds.DIRECTORY
        if kind is not None and not merges:
            prefix = f"{entry.path}/"
            for path in [path for path in self._entries if path.startswith(prefix)]:
                del self._entries[path]
            self._listings.clear()
            self._replaced.add(entry.path)
        self._set(entry, group)

    def link(self, path: str, to: str) -> None:
        """Make ``path`` another name of the new file at the canonical path ``to``.

        Raises:
            PlacementError: nothing new is there, or a directory, or a reserved name.
        """
        original = self._entries.get(to)
        if original is None or original.kind == kinds.DIRECTORY:
            raise PlacementError(
                f"/{path} is a hard link to /{to}, which the archive does not hold",
                fix="pack the file that is linked to before the link",
            )
        group = self._groups.get(to)
        if group is None and original.kind == kinds.FILE:
            self._links += 1
            group = self._groups[to] = (-self._links,)
        self.override(original._replace(path=path), group=group)

    def entries(self) -> list[Entry]:
        """Everything new with the directories above, sorted, a directory before what it holds."""
        complete = dict(self._entries)
        for path in self._entries:
            parent = path.rpartition("/")[0]
            while parent and parent not in complete:
                complete[parent] = self._existing(parent)
                parent = parent.rpartition("/")[0]
        # As if sorted by the parts of the path: nothing is below NUL, and no name has one.
        if all(map(str.isascii, complete)):
            ordered = sorted(complete, key=lambda path: path.replace("/", "\0"))
        else:
            ordered = sorted(complete, key=lambda path: os.fsencode(path).replace(b"/", b"\0"))
        return self._linked([complete[path] for path in ordered])

    def _set(self, entry: Entry, group: Group) -> None:
        if WHITEOUT_PREFIX in entry.path and entry.is_whiteout:
            raise PlacementError(
                f"/{entry.path} cannot be part of an image: names that begin with"
                f" {WHITEOUT_PREFIX} mean deletions",
                fix="leave the file out",
            )
        self._entries[entry.path] = entry
        if group is not None:
            self._groups[entry.path] = group
        elif self._groups:
            self._groups.pop(entry.path, None)

    def _linked(self, ordered: list[Entry]) -> list[Entry]:
        """Turn all but the first name of each group into hard links to it."""
        if not self._groups:
            return ordered
        first: dict[tuple[int, ...], str] = {}
        result: list[Entry] = []
        for entry in ordered:
            group = self._groups.get(entry.path)
            known = first.setdefault(group, entry.path) if group is not None else entry.path
            if known != entry.path:
                entry = entry._replace(kind=kinds.HARDLINK, size=0, linkname=known, source=None)
            result.append(entry)
        return result

    def _existing(self, path: str) -> Entry:
        """The entry of a directory that is there."""
        known = self._entries.get(path)
        if known is not None:
            return known
        node = self._below(path)
        if node is None:
            raise AssertionError(f"/{path} was never created")
        return entry_of(node, path)

    def _link_text(self, path: str) -> str:
        entry = self._entries.get(path)
        if entry is not None:
            return entry.linkname
        node = self._below(path)
        return os.readlink(node.real) if node is not None else ""

    def _below(self, path: str) -> Node | None:
        """What the base has at a canonical path that no new entry hides."""
        if self._base is None:
            return None
        parent, _, name = path.rpartition("/")
        return self._listing(parent).get(name)

    def _listing(self, directory: str) -> dict[str, Node]:
        """What the base has in a canonical directory, by name."""
        listing = self._listings.get(directory)
        if listing is None:
            listing = self._listings[directory] = self._list(directory)
        return listing

    def _list(self, directory: str) -> dict[str, Node]:
        if self._base is None or self._is_replaced(directory):
            return {}
        if directory:
            node = self._below(directory)
            if node is None or not node.is_dir:
                return {}
        elif not self._base.lowers:
            return {}
        return {os.path.basename(node.path): node for node in self._base.children(directory)}

    def _is_replaced(self, directory: str) -> bool:
        if not self._replaced:
            return False
        parts = directory.split("/")
        return any("/".join(parts[:end]) in self._replaced for end in range(1, len(parts) + 1))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
