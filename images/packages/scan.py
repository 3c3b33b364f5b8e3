"""From the layers of an image to its packages, streamed: each layer is read once, nothing unpacked.

Whiteouts are applied as a runtime would. A database is a document that every layer which installs
something writes anew, so a package belongs to the first layer from which on it was there all the
time, in this version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from images.errors import InvalidManifestError, SizeLimitError
from images.layers import entry as kinds
from images.layers.compress import Decompressed
from images.layers.tar_read import read_tar
from images.mediatype import layer_compression
from images.packages.documents import Document, read_document
from images.packages.tree import File, FileTree

if TYPE_CHECKING:
    from images.layers.entry import Entry
    from images.packages.model import Package
    from images.store import Image, ImageStore

ITEMS: Final = 5_000_000
"""Packages, and paths in lists of files, that are remembered of one image."""

Key = tuple[str, tuple[str, str, str, str, str, str]]
"""Where a package is described, and which one it is."""


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """What a layer brought: bytes of its files, as written, hidden ones of later layers too."""

    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Scan:
    """Everything at the end: files, documents by path, and the layer that brought each package."""

    tree: FileTree
    documents: dict[str, Document]
    brought: dict[Key, int]
    layers: tuple[LayerBytes, ...]


Opener = Callable[[], AbstractContextManager[BinaryIO]]
"""Opens a layer's blob; a pair with its media type is a layer."""


def scan_image(image: Image, store: ImageStore) -> Scan:
    """Scan a stored image.

    Raises:
        BlobUnknownError: a layer is not in the store. InvalidArchiveError, SizeLimitError: a layer
        is damaged or asks for too much. InvalidManifestError: manifest and config disagree, or a
        layer is of a kind that is not known.
    """
    if len(image.manifest.layers) != len(image.config.diff_ids):
        raise InvalidManifestError(
            f"manifest has {len(image.manifest.layers)} layers, "
            f"config has {len(image.config.diff_ids)}",
            where=str(image.descriptor.digest),
        )
    layers: list[tuple[Opener, str]] = [
        (lambda digest=layer.digest: store.blobs.open(digest), layer.media_type)  # type: ignore[misc]
        for layer in image.manifest.layers
    ]
    return scan_layers(layers)


def scan_layers(layers: Sequence[tuple[Opener, str]]) -> Scan:
    """Scan layers, bottom first, each as (opener, media type); raises as ``scan_image``."""
    scanner = _Scanner()
    for opener, media_type in layers:
        with opener() as file:
            try:
                kind = layer_compression(media_type)
            except KeyError:
                raise InvalidManifestError(
                    f"a layer of type {media_type[:200]} cannot be read"
                ) from None
            scanner.add(Decompressed(file, kind))
    return scanner.result()


class _Scanner:
    def __init__(self) -> None:
        self._tree = FileTree()
        self._documents: dict[str, tuple[File | None, Document]] = {}
        self._brought: dict[Key, int] = {}
        self._layers: list[LayerBytes] = []
        self._items = 0

    def add(self, stream: Decompressed) -> None:
        """Put a layer on top of those before."""
        number = len(self._layers)
        entries: list[Entry] = []
        found: dict[str, Document] = {}
        for item, body in read_tar(stream):
            if item.kind == kinds.FILE and not item.is_whiteout and body.size:
                document = read_document(item, body, number)
                if document is not None:
                    found[item.path] = document
                    self._count(document)
            entries.append(item)
        self._tree.apply(entries, number)
        if self._replace(found):
            self._attribute(number)
        plain = [item.size for item in entries if item.kind == kinds.FILE and not item.is_whiteout]
        self._layers.append(LayerBytes(len(plain), sum(plain)))

    def result(self) -> Scan:
        documents = {path: document for path, (_, document) in self._documents.items()}
        return Scan(self._tree, documents, self._brought, tuple(self._layers))

    def _count(self, document: Document) -> None:
        self._items += 1 + len(document.packages) + len(document.texts)
        if self._items > ITEMS:
            raise SizeLimitError(f"the image's package databases name more than {ITEMS} things")

    def _replace(self, found: dict[str, Document]) -> bool:
        """Forget documents whose file is gone or another one, and take the new ones.

        Returns whether anything changed.
        """
        kept = {
            path: (file, document)
            for path, (file, document) in self._documents.items()
            if self._file(path) is file
        }
        new = {path: (self._file(path), document) for path, document in found.items()}
        changed = bool(new) or len(kept) < len(self._documents)
        self._documents = {**kept, **new}
        return changed

    def _file(self, path: str) -> File | None:
        node = self._tree.lookup(path)
        return node if isinstance(node, File) else None

    def _attribute(self, number: int) -> None:
        documents = ((path, document) for path, (_, document) in self._documents.items())
        present = (key_of(path, package) for path, package in described(documents))
        self._brought = {key: self._brought.get(key, number) for key in present}


def described(documents: Iterable[tuple[str, Document]]) -> Iterator[tuple[str, Package]]:
    """Every package, and the path of the document that describes it."""
    for path, document in documents:
        for package in document.packages:
            yield path, package


def key_of(path: str, package: Package) -> Key:
    """What a package is known by from layer to layer."""
    return path, package.identity
