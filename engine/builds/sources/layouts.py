"""Images of OCI layout directories, brought into the store without a name.

OCI image specification, image-layout.md. Every blob is verified on its way; of an index only the
platforms that are there come along.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.errors import BuildInputError
from builder.keys import key_of
from builder.storage import CacheTable
from images import manifest
from images.manifest import Index
from images.oci_layout import DEPTH, INDEX_FILE, MANIFEST_LIMIT, REF_ANNOTATION, blob_path

if TYPE_CHECKING:
    from builder.contexts import LayoutContext
    from images.descriptor import Descriptor
    from images.store import ImageStore

_PIECE: Final = 1 << 20


def bring_layout(layout: LayoutContext, store: ImageStore) -> Descriptor:
    """Keep the blobs of the image that is meant; returns its manifest's or index's descriptor.

    The build cache holds on to it, so that it stays as long as what was built from it.

    Raises:
        BuildInputError: no layout is there, or not that image, or a part of it is missing.
        InvalidManifestError, DigestMismatchError: it does not hold together.
    """
    root = Path(layout.path)
    try:
        index = Index.parse(_limited(root / INDEX_FILE))
        chosen = _choose(layout, index)
        digests = []
        for blob in _tree(root, chosen, 0):
            _keep(root, blob, store)
            digests.append(blob.digest)
    except FileNotFoundError as error:
        raise BuildInputError(
            f"{error.filename} does not exist",
            where=f"oci-layout://{layout.path}",
            fix="name the directory that holds index.json and blobs",
        ) from error
    except OSError as error:
        raise BuildInputError(
            f"cannot read {error.filename}: {error.strerror}", where=f"oci-layout://{layout.path}"
        ) from error
    key = key_of("oci-layout", [("digest", str(chosen.digest))])
    CacheTable(store).put(key, "layout", str(chosen.digest).encode(), digests)
    return chosen


def _choose(layout: LayoutContext, index: Index) -> Descriptor:
    entries = index.manifests
    if layout.digest is not None:
        found = [entry for entry in entries if str(entry.digest) == layout.digest]
    elif layout.tag is not None:
        found = [entry for entry in entries if _is_tagged(entry, layout.tag)]
    else:
        found = [*entries]
        if len(found) > 1:
            found = [entry for entry in entries if _is_tagged(entry, "latest")]
    if not found:
        names = sorted(filter(None, (entry.annotations.get(REF_ANNOTATION) for entry in entries)))
        wanted = layout.digest or f"image tagged {layout.tag or 'latest'}"
        raise BuildInputError(
            f"no {wanted} in the layout",
            where=f"oci-layout://{layout.path}",
            fix=f"its tags are {', '.join(names)}" if names else "name one by its digest",
        )
    return found[-1]


def _is_tagged(entry: Descriptor, tag: str) -> bool:
    """Whether an entry has the tag, by itself or behind a name."""
    name = entry.annotations.get(REF_ANNOTATION, "")
    return name == tag or name.endswith(f":{tag}")


def _tree(root: Path, top: Descriptor, depth: int) -> Iterator[Descriptor]:
    """``top`` and what it leads to, leaves first."""
    document = manifest.parse(_limited(root / blob_path(top.digest)), top.media_type)
    if isinstance(document, Index):
        present = [it for it in document.manifests if (root / blob_path(it.digest)).exists()]
        if not present or depth >= DEPTH:
            raise BuildInputError(f"the layout lacks every platform of {top.digest}")
        for child in present:
            yield from _tree(root, child, depth + 1)
    else:
        yield from (document.config, *document.layers)
    yield top


def _keep(root: Path, blob: Descriptor, store: ImageStore) -> None:
    if store.blobs.has(blob.digest):
        return
    with (
        (root / blob_path(blob.digest)).open("rb") as file,
        store.blobs.writer(expected=blob.digest, limit=blob.size) as writer,
    ):
        while piece := file.read(_PIECE):
            writer.write(piece)
        writer.commit()


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MANIFEST_LIMIT + 1)
    if len(content) > MANIFEST_LIMIT:
        raise BuildInputError(f"{path} is longer than {MANIFEST_LIMIT} bytes")
    return content
