"""From the mounts that were asked for to directories of this host that exist."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.containers.errors import ContainerError
from engine.containers.specification import RuntimeMount, runtime_mount
from engine.options.mounts import BIND, TMPFS, MountOption
from engine.volumes import Volumes, copy_up
from records import Record


class PreparedMounts(Record):
    """What the runtime mounts, and the names of the anonymous volumes made for it."""

    mounts: tuple[RuntimeMount, ...]
    anonymous: tuple[str, ...]


def prepare_mounts(
    options: Iterable[MountOption], volumes: Volumes, lowers: Sequence[str]
) -> PreparedMounts:
    """Make missing host directories and volumes; fill new volumes from the image.

    Raises:
        ContainerError: a bind mount's source is missing.
        OSError: a directory cannot be made or filled.
    """
    mounts: list[RuntimeMount] = []
    anonymous: list[str] = []
    for option in options:
        if option.kind == TMPFS:
            source = ""
        elif option.kind == BIND:
            source = _bind_source(option)
        else:
            name, folder = _volume(option, volumes)
            if not option.source:
                anonymous.append(name)
            if not option.no_copy:
                from images.layers.merged import MergedTree

                copy_up(MergedTree(lowers), option.target, folder)
            source = str(folder)
        mounts.append(runtime_mount(option, source))
    return PreparedMounts(tuple(mounts), tuple(anonymous))


def _volume(option: MountOption, volumes: Volumes) -> tuple[str, Path]:
    if option.source:
        return option.source, volumes.ensure(option.source)
    return volumes.anonymous()


def _bind_source(option: MountOption) -> str:
    if not os.path.lexists(option.source):
        if not option.create_source:
            raise ContainerError(
                'invalid mount config for type "bind": '
                f"bind source path does not exist: {option.source}",
                fix="make it first, or use -v, which makes a directory",
            )
        os.makedirs(option.source, mode=0o755, exist_ok=True)
    return option.source
