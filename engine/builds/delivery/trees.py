"""``type=local`` and ``type=tar``: the files of a build's images, without the image around them.

Files are taken from the layers, not from where they are unpacked, so owners, times and attributes
are those of the image whoever runs this. In a directory they belong to the caller, as BuildKit has
it, and devices are left out; a tar has everything.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING

from engine.builds.delivery.outputs import OutputError
from engine.builds.delivery.packing import add_layers, scratch_file
from images.layers import entry as kinds
from images.layers.entry import Entry
from images.layers.merge import LayerMerge
from images.layers.tar_write import write_tar
from images.layers.unpack import unpack_entries
from images.outgoing import whole_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from engine.attestations.statement import Statement
    from engine.builds.delivery.outputs import Output
    from images.config import ImageConfig
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.platform import Platform
    from images.store import ImageStore

    Images = Sequence[tuple[Platform, Descriptor]]
    Statements = Mapping[Digest, Sequence[Statement]]

_DEVICES = (kinds.CHARACTER, kinds.BLOCK)


def write_directory(
    output: Output, images: Images, store: ImageStore, statements: Statements
) -> list[str]:
    """Write the files into ``output.dest``; returns what was left out.

    ``statements`` are those about each image, by its digest.

    Raises:
        OutputError: two platforms have the same file, or a statement has a file's name.
        OccupiedError, EnvironmentFault: as ``images.outgoing.whole_directory``.
    """
    left_out: list[str] = []
    with whole_directory(output.dest, delete=output.delete) as stage, ExitStack() as stack:
        entries = _files(output, images, store, statements, stack)
        unpack_entries(_for_caller(entries, left_out), stage)
    return left_out


def write_archive(
    output: Output,
    images: Images,
    store: ImageStore,
    statements: Statements,
    write: Callable[[bytes | bytearray | memoryview], object],
) -> None:
    """Write the files as a tar; equal images give equal bytes.

    Raises:
        OutputError: two platforms have the same file, or a statement has a file's name.
        ImagesError: a layer is missing or damaged.
    """
    with ExitStack() as stack:
        write_tar(_files(output, images, store, statements, stack), write)


def _files(
    output: Output,
    images: Images,
    store: ImageStore,
    statements: Statements,
    stack: ExitStack,
) -> Iterator[Entry]:
    """The entries of all images; their content lives as long as ``stack``."""
    split = len(images) > 1 if output.platform_split is None else output.platform_split
    taken: dict[str, Platform] = {}
    for platform, descriptor in images:
        folder = str(platform).replace("/", "_") if split else ""
        if folder:
            yield Entry(folder, kinds.DIRECTORY, 0o755)
        for entry in _image_files(output, platform, descriptor, store, statements, stack):
            moved = _moved(entry, folder) if folder else entry
            if not moved.path:
                continue
            if not split and not _claim(moved, platform, taken):
                continue
            yield moved


def _image_files(
    output: Output,
    platform: Platform,
    descriptor: Descriptor,
    store: ImageStore,
    statements: Statements,
    stack: ExitStack,
) -> Iterator[Entry]:
    """The files of one image, and the statements about them."""
    image = store.image(descriptor)
    scratch = stack.enter_context(scratch_file(store))
    merge = LayerMerge(scratch.fileno())
    add_layers(merge, image.manifest.layers, store)
    yield from merge.entries(flat=True)
    stated = statements.get(descriptor.digest, ())
    if stated:
        from engine.builds.delivery.statement_files import statement_entries

        yield from statement_entries(
            stated,
            merge.entries(flat=True),
            prefix=output.attestation_prefix,
            platform=str(platform)
            if output.platform_split is False and len(statements) > 1
            else "",
            mtime=_created(image.config),
        )


def _created(config: ImageConfig) -> int:
    """The image's own date in nanoseconds, so that equal builds stay equal."""
    try:
        moment = datetime.fromisoformat((config.created or "").replace("Z", "+00:00"))
    except ValueError:
        return 0
    return int(moment.timestamp()) * 1_000_000_000


def _moved(entry: Entry, folder: str) -> Entry:
    path = f"{folder}/{entry.path}" if entry.path else folder
    if entry.kind == kinds.HARDLINK:
        return entry._replace(path=path, linkname=f"{folder}/{entry.linkname}")
    return entry._replace(path=path)


def _claim(entry: Entry, platform: Platform, taken: dict[str, Platform]) -> bool:
    """Whether the entry is to be written: a directory once, a file that nobody else has."""
    other = taken.setdefault(entry.path, platform)
    if other is platform:
        return True
    if entry.kind == kinds.DIRECTORY:
        return False
    raise OutputError(
        f"{other} and {platform} both have /{entry.path}",
        where="--output",
        fix="leave platform-split=false out, so that each platform has a folder",
    )


def _for_caller(entries: Iterable[Entry], left_out: list[str]) -> Iterator[Entry]:
    uid, gid = os.geteuid(), os.getegid()
    for entry in entries:
        if entry.kind in _DEVICES:
            left_out.append(f"/{entry.path}")
        else:
            yield entry._replace(uid=uid, gid=gid)


def check_delete(dest: str) -> None:
    """Refuse to empty what nobody means: the root, a home, the folder one is in or one above it.

    Raises:
        OutputError: says which of them.
    """
    place = os.path.realpath(dest)
    for name, other in (
        ("the file system", "/"),
        ("your home", os.path.expanduser("~")),
        ("the working directory", os.getcwd()),
    ):
        if os.path.commonpath((place, os.path.realpath(other))) == place:
            raise OutputError(
                f"mode=delete would empty {name}",
                where=dest,
                fix="name a directory that holds nothing but results",
            )
