"""A finished result to the places that an order names: files, registries, and the local store last.

Only what goes into the store or to a registry gets names.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.builds.delivery.annotations import (
    INDEX_DESCRIPTOR,
    MANIFEST_DESCRIPTOR,
    annotations_of,
)
from engine.builds.delivery.outputs import (
    DOCKER,
    LOCAL,
    OCI,
    STDOUT,
    TAR,
    OutputCutError,
    OutputError,
)
from images.mediatype import is_index
from records import Record, field, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from builder.progress.tracker import Tracker, Vertex
    from builder.request import BuildResult
    from engine.access import Access
    from engine.attestations.statement import Statement
    from engine.builds.delivery.annotations import Annotation
    from engine.builds.delivery.outputs import Output
    from engine.builds.remote_cache.line import Line
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.platform import Platform
    from images.reference import Reference
    from images.store import ImageStore


class Goods(Record):
    """What is delivered: the root, and its images with their platforms."""

    root: Descriptor
    images: tuple[tuple[Platform, BuildResult], ...]
    annotations: tuple[Annotation, ...] = ()
    """Those at the levels of descriptors are for the layouts that list the root."""
    statements: Mapping[Digest, Sequence[Statement]] = field(default_factory=dict)
    """What is stated about each image, for places that hold files and no image."""

    def listed(self, store: ImageStore) -> Descriptor:
        """The root as the index of an OCI layout lists it."""
        from engine.builds.delivery.listing import listed

        level = INDEX_DESCRIPTOR if is_index(self.root.media_type) else MANIFEST_DESCRIPTOR
        own = annotations_of(self.annotations, level, self.images[0][0])
        return listed(self.root, [store.image(it).config for _, it in _files_of(self)], own)


class Delivered(Record):
    """What names mean the result now, at home and at registries."""

    named: tuple[Reference, ...] = ()
    pushed: tuple[Reference, ...] = ()
    places: tuple[str, ...] = ()
    """Files and directories that were written,"""
    titles: tuple[Reference, ...] = ()
    """and names for it that are written in there."""
    tagged: tuple[tuple[Reference, Descriptor], ...] = ()
    """What tags at registries stand for."""

    @property
    def names(self) -> tuple[Reference, ...]:
        """All of them, wherever they are."""
        return (*self.named, *self.pushed, *self.titles)


def check_outputs(outputs: Sequence[Output], tags: Sequence[Reference], *, platforms: int) -> None:
    """Find what cannot be delivered before anything is built.

    Raises:
        OutputError: says which output, and what would do.
        OccupiedError, EnvironmentFault: nothing can be written to its place.
    """
    taken: set[Reference] = set()
    for output in outputs:
        names = output.names or tuple(tags)
        if output.dest not in ("", STDOUT):
            from images.outgoing import check_directory, check_file

            whole = output.is_image or output.type == TAR
            (check_file if whole and output.tar else check_directory)(output.dest)
        if output.delete:
            from engine.builds.delivery.trees import check_delete

            check_delete(output.dest)
        if output.push and not names:
            raise OutputError(
                "there is no name to push to", where="--output", fix="add -t NAME or name=NAME"
            )
        if platforms > 1 and not output.holds_index:
            raise OutputError(
                f"an archive of type=docker holds one image, not {platforms} platforms",
                where="--output",
                fix="use type=oci, or build one platform",
            )
        if output.push and not output.push_by_digest:
            again = taken.intersection(names)
            if again:
                raise OutputError(
                    f"two outputs push to {min(again).familiar}",
                    where="--output",
                    fix="give each its own name=, and leave -t out, which goes before names",
                )
            taken.update(names)


def deliver(
    output: Output,
    goods: Goods,
    tags: tuple[Reference, ...],
    store: ImageStore,
    way: Access | Line,
    tracker: Tracker,
) -> Delivered:
    """Bring the goods to one place; ``tags`` name them where the output has no names of its own.

    ``way`` leads to registries; a line knows what was sent ahead.

    Raises:
        OutputError, OccupiedError: something is in the way; nothing of the output is visible.
        OutputCutError: standard output is a pipe that nobody reads any more.
        RegistryError: a registry refuses; nothing was named there.
        ImagesError: a part is missing, or the disk is full.
    """
    names = output.names or tags
    if output.dest:
        with tracker.start(f"exporting to {output.type} {output.dest}") as vertex:
            _write(output, goods, names, store, vertex)
        places = () if output.dest == STDOUT else (output.dest,)
        return Delivered(places=places, titles=names if output.is_image else ())
    pushed = _push(output, goods, names, store, way, tracker) if output.push else ()
    tagged = tuple((name, goods.root) for name in pushed if name.tag is not None)
    if not output.store:
        return Delivered(pushed=pushed, tagged=tagged)
    if output.push_by_digest:
        names = ()
    with tracker.start("exporting to image") as vertex:
        _store(output, goods, names, store, vertex)
    return Delivered(named=names, pushed=pushed, tagged=tagged)


def _store(
    output: Output,
    goods: Goods,
    names: Iterable[Reference],
    store: ImageStore,
    vertex: Vertex,
) -> None:
    root = goods.root
    kind = "manifest list" if is_index(root.media_type) else "image"
    vertex.output(1, f"writing {kind} {root.digest}\n".encode())
    if output.unpack:
        for platform, _ in goods.images:
            store.lowerdirs(store.image(root, platform))
    store.add_image(root)
    for name in names:
        # A durable write waits for the disk, so it is not made where it would change nothing.
        if store.resolve(name) != root:
            store.tag(name, root)
        vertex.output(1, f"naming to {name.familiar}\n".encode())


def _push(
    output: Output,
    goods: Goods,
    names: tuple[Reference, ...],
    store: ImageStore,
    way: Access | Line,
    tracker: Tracker,
) -> tuple[Reference, ...]:
    from engine.builds.delivery.pushing import Push, push_all

    wanted = Push(goods.root, names, by_digest=output.push_by_digest, insecure=output.insecure)
    return push_all(wanted, store, way, tracker)


def _write(
    output: Output,
    goods: Goods,
    names: tuple[Reference, ...],
    store: ImageStore,
    vertex: Vertex,
) -> None:
    if output.type == LOCAL:
        from engine.builds.delivery.trees import write_directory

        left_out = write_directory(output, _files_of(goods), store, goods.statements)
        for path in left_out:
            vertex.output(2, f"left out the device {path}\n".encode())
    elif output.type == TAR:
        from engine.builds.delivery.trees import write_archive

        with _file(output.dest) as write:
            write_archive(output, _files_of(goods), store, goods.statements, write)
    else:
        _write_layout(output, goods, names, store)


def _write_layout(
    output: Output, goods: Goods, names: tuple[Reference, ...], store: ImageStore
) -> None:
    from images.archive import save, save_directory

    assert output.type in (OCI, DOCKER)
    docker = output.type == DOCKER
    if docker and is_index(goods.root.media_type):
        # Statements about the image do not fit into the format, the image does.
        goods = replace(goods, root=goods.images[0][1].descriptor)
    listed = goods.listed(store)
    contents: list[tuple[Descriptor, tuple[Reference, ...]]] = [(listed, names)]
    if not docker:
        # As other tools keep them in a layout: listed, without a name, known by their subject.
        subjects = dict.fromkeys([goods.root.digest, *(it.digest for _, it in _files_of(goods))])
        contents += [(it, ()) for subject in subjects for it in store.referrers(subject)]
    if not output.tar:
        save_directory(contents, store, output.dest, docker=docker)
        return
    with _file(output.dest) as write:
        save(contents, store, write, docker=docker)


def _files_of(goods: Goods) -> list[tuple[Platform, Descriptor]]:
    return [(platform, image.descriptor) for platform, image in goods.images]


@contextmanager
def _file(dest: str) -> Iterator[Callable[[Any], object]]:
    if dest == STDOUT:
        try:
            yield sys.stdout.buffer.write
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            raise OutputCutError(
                "whoever reads standard output stopped before the end",
                where="--output",
                fix="see what the program after the pipe says, or write to a file",
            ) from error
        return
    from images.outgoing import whole_file

    with whole_file(dest) as file:
        yield file.write
