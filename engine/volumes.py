"""Named and anonymous volumes: directories that outlive or go with a container.

``volumes/<name>/_data``. A volume that is empty when a container first gets it takes what the image
has at that path, with owners, modes, extended attributes and links.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from images.locks import flock
from images.trees import remove_tree

if TYPE_CHECKING:
    from images.layers.merged import MergedTree, Node


class Volumes:
    """The volumes below a store's root."""

    def __init__(self, root: Path) -> None:
        self._path = root / "volumes"

    def ensure(self, name: str) -> Path:
        """The directory of the volume, made if it is missing."""
        folder = self._path / name
        folder.mkdir(mode=0o710, parents=True, exist_ok=True)
        data = folder / "_data"
        data.mkdir(mode=0o755, exist_ok=True)
        return data

    def anonymous(self) -> tuple[str, Path]:
        """A new volume with a name of 64 hex digits, and its directory."""
        name = os.urandom(32).hex()
        return name, self.ensure(name)


def copy_up(tree: MergedTree, path: str, volume: Path) -> bool:
    """Fill an empty volume with the image's directory ``path``; returns whether there was one.

    The copy is made aside, marked whole by its name, and moved into the directory, which a running
    container may already have mounted; what a kill cut short is finished by the next container.
    Containers that start at the same time wait for each other.

    Raises:
        OSError: something cannot be copied.
    """
    whole = volume.parent / "_whole"
    node = tree.lookup(path)
    wanted = node is not None and node.is_dir and not os.listdir(volume)
    if not wanted and not whole.exists():
        return False
    with flock(volume.parent / ".lock", exclusive=True):
        if whole.exists():
            _move_in(whole, volume)
        if node is None or not node.is_dir or os.listdir(volume):
            return False
        stage = volume.parent / "_stage"
        with suppress(FileNotFoundError):
            remove_tree(stage)
        stage.mkdir(mode=0o700)
        _copy_children(tree, node, str(stage), {})
        _copy_metadata(node, str(stage))
        stage.rename(whole)
        _move_in(whole, volume)
        _copy_metadata(node, str(volume))
    return True


def _move_in(whole: Path, volume: Path) -> None:
    """Move what ``volume`` does not hold yet into it."""
    for child in whole.iterdir():
        place = volume / child.name
        if not os.path.lexists(place):
            child.rename(place)
    remove_tree(whole)


def _copy_children(
    tree: MergedTree, directory: Node, target: str, copied: dict[tuple[str, int], str]
) -> None:
    for child in tree.children(directory.path):
        place = f"{target}/{child.path.rpartition('/')[2]}"
        if child.is_dir:
            os.mkdir(place, 0o700)
            _copy_children(tree, child, place, copied)
        elif (first := copied.get((child.layer, child.status.st_ino))) is not None:
            os.link(first, place, follow_symlinks=False)
            continue
        else:
            _copy_leaf(child, place)
            if child.status.st_nlink > 1:
                copied[child.layer, child.status.st_ino] = place
        _copy_metadata(child, place)


def _copy_leaf(node: Node, place: str) -> None:
    if node.is_symlink:
        os.symlink(os.readlink(node.real), place)
    elif node.is_file:
        import shutil

        shutil.copyfile(node.real, place, follow_symlinks=False)
    else:
        os.mknod(place, node.status.st_mode, node.status.st_rdev)


def _copy_metadata(node: Node, place: str) -> None:
    status = node.status
    os.chown(place, status.st_uid, status.st_gid, follow_symlinks=False)
    if not node.is_symlink:
        os.chmod(place, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(node.real, follow_symlinks=False):
        if not name.startswith(("trusted.overlay.", "user.overlay.")):
            value = os.getxattr(node.real, name, follow_symlinks=False)
            os.setxattr(place, name, value, follow_symlinks=False)
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
