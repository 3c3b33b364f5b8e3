"""What an image holds, and who brought it: packages with their bytes, layers with their steps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from images.packages import dpkg, python, release
from images.packages.documents import Document
from images.packages.model import Package
from images.packages.purl import purl
from images.packages.release import Release
from images.packages.scan import Scan, described, key_of, scan_image
from images.packages.tree import File, FileTree

if TYPE_CHECKING:
    from images.config import HistoryEntry
    from images.digest import Digest
    from images.store import Image, ImageStore

_SHELL: Final = "/bin/sh -c "
_ARGUMENTS: Final = re.compile(r"(?P<run>RUN )?\|(?P<n>\d{1,4}) (?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Found:
    """A package in an image.

    ``size`` is the bytes of its files that are there, 0 if it does not say which; ``layer`` counts
    from 0; ``where`` is the file that describes it.
    """

    package: Package
    purl: str
    layer: int
    size: int
    where: str


@dataclass(frozen=True, slots=True)
class LayerUse:
    """A layer and the step that made it.

    ``size`` is what it takes in a registry, ``files_size`` the bytes of its files; ``owned`` those
    of them that are still there and belong to packages. ``number`` counts history's entries from 1,
    0 where history does not say.
    """

    digest: Digest
    diff_id: Digest
    size: int
    files: int
    files_size: int
    owned: int
    number: int
    created_by: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """``problems`` are files that could not be read: (path, what is wrong)."""

    release: Release
    packages: tuple[Found, ...]
    layers: tuple[LayerUse, ...]
    problems: tuple[tuple[str, str], ...] = ()


def take_inventory(image: Image, store: ImageStore) -> Inventory:
    """Scan a stored image; raises as ``images.packages.scan.scan_image``."""
    scan = scan_image(image, store)
    here = _release(scan)
    owners: dict[int, int] = {}
    found = []
    for path, package in _complete(scan):
        files = {id(file): file for file in _files(scan.tree, package)}
        found.append(
            Found(
                package,
                purl(package, here),
                scan.brought[key_of(path, package)],
                sum(file.size for file in files.values()),
                path,
            )
        )
        owners.update((number, file.layer) for number, file in files.items())
    return Inventory(
        release=here,
        packages=tuple(sorted(found, key=lambda item: (item.package.identity, item.where))),
        layers=tuple(_layers(image, scan, found, owners)),
        problems=tuple(
            sorted((path, item.problem) for path, item in scan.documents.items() if item.problem)
        ),
    )


def _release(scan: Scan) -> Release:
    for path in release.PATHS:
        document = scan.documents.get(path)
        if document is not None and isinstance(document.content, Release):
            return document.content
    return Release()


def _complete(scan: Scan) -> Iterator[tuple[str, Package]]:
    """Packages joined with the lists that stand in other documents."""
    lists = _dpkg_lists(scan.documents)
    licenses = {
        name: document.texts
        for path, document in scan.documents.items()
        if (name := dpkg.copyright_of(path)) is not None and document.texts
    }
    for path, package in described(scan.documents.items()):
        if package.type == "deb":
            whole = dpkg.with_files(package, lists)
            yield path, next(iter(dpkg.with_licenses([whole], licenses)))
        elif package.type == "pypi":
            listing = scan.documents.get(python.file_list_of(path) or "")
            yield path, python.with_files(package, listing.texts if listing else ())
        elif package.installed or not _is_installed_beside(scan.tree, path):
            yield path, package


def _dpkg_lists(documents: Mapping[str, Document]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for path, document in documents.items():
        name = dpkg.list_name(path)
        if path.startswith(dpkg.STATUS_DIRECTORY) and path.endswith(".md5sums"):
            name = path.removeprefix(dpkg.STATUS_DIRECTORY).removesuffix(".md5sums")
        if name is not None:
            found[name] = document.texts
    return found


def _is_installed_beside(tree: FileTree, lock: str) -> bool:
    """Whether the packages of a lock file stand beside it, each with its own description."""
    folder, slash, _ = lock.rpartition("/")
    return isinstance(tree.lookup(f"{folder}{slash}node_modules", follow=True), dict)


def _files(tree: FileTree, package: Package) -> Iterator[File]:
    for path in package.files:
        node = tree.lookup(path)
        if isinstance(node, File):
            yield node
    if package.directory is not None:
        folder = tree.lookup(package.directory)
        if isinstance(folder, dict):
            yield from tree.below(folder, skip="node_modules")


def _layers(
    image: Image, scan: Scan, found: Sequence[Found], owners: Mapping[int, int]
) -> Iterator[LayerUse]:
    owned = [0] * len(scan.layers)
    seen: set[int] = set()
    for file in scan.tree.files():
        if id(file) in owners and id(file) not in seen:
            seen.add(id(file))
            owned[file.layer] += file.size
    steps = steps_of_layers(image.config.history, len(scan.layers))
    pairs = zip(image.manifest.layers, image.config.diff_ids, scan.layers, steps, strict=True)
    for number, (layer, diff_id, bytes_, (entry, text)) in enumerate(pairs):
        yield LayerUse(
            digest=layer.digest,
            diff_id=diff_id,
            size=layer.size,
            files=bytes_.files,
            files_size=bytes_.size,
            owned=owned[number],
            number=entry,
            created_by=text,
        )


def steps_of_layers(history: Sequence[HistoryEntry], layers: int) -> list[tuple[int, str]]:
    """The number and text of the step behind each layer; (0, "") where history does not say.

    A base without history is below all that has one.
    """
    made = [
        (number, without_arguments(entry.created_by))
        for number, entry in enumerate(history, 1)
        if not entry.empty_layer
    ]
    if len(made) > layers:
        return [(0, "")] * layers
    return [(0, "")] * (layers - len(made)) + made


def without_arguments(text: str) -> str:
    """A history text without the build arguments in it: ``RUN |2 A=1 B=2 /bin/sh -c make``.

    Their values are nobody's business who asks which step brought a package.
    """
    found = _ARGUMENTS.match(text)
    if found is None:
        return text
    # Values may hold blanks, so the shell is looked for before words are counted.
    _, shell, command = found["rest"].partition(_SHELL)
    words = f"{shell}{command}" if shell else " ".join(found["rest"].split(" ")[int(found["n"]) :])
    return f"{found['run'] or ''}{words}"


def by_layer(inventory: Inventory) -> Iterator[tuple[LayerUse, list[Found]]]:
    """Each layer with the packages it brought, largest first."""
    groups: dict[int, list[Found]] = {}
    for item in inventory.packages:
        groups.setdefault(item.layer, []).append(item)
    for number, layer in enumerate(inventory.layers):
        yield layer, sorted(groups.get(number, ()), key=lambda item: (-item.size, item.purl))
