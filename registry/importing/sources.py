"""Folders of other registries, as one thing to read: repositories, manifests, tags, blobs.

``distribution``'s layout (registry/storage/paths.go of distribution/distribution) has blobs by
digest and links to them by repository; zot's has an OCI image layout for each repository. What is
in a folder is untrusted: names and digests are checked here, bytes by who takes them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, Self

from images.digest import Digest
from images.errors import InvalidDigestError
from images.reference import is_repository, is_tag
from registry.errors import ImportSourceError

LINK_LIMIT: Final = 256
"""Bytes of a file that names a digest."""
INDEX_LIMIT: Final = 256 << 20
"""Bytes of a repository's index.json: a hundred thousand tags have some 30 MB."""
_TAG: Final = "org.opencontainers.image.ref.name"


class Source(Protocol):
    """What can be read of another registry."""

    def repositories(self) -> Iterator[str]:
        """Names that are repositories here too, in no order."""
        ...

    def manifests(self, repository: str) -> Iterator[Digest]:
        """The manifests of a repository, untagged ones included."""
        ...

    def tags(self, repository: str) -> Iterator[tuple[str, Digest]]:
        """Its tags and what they point to."""
        ...

    def open(self, repository: str, digest: Digest) -> BinaryIO:
        """The bytes of a blob or manifest; raises ``FileNotFoundError``."""
        ...


def find_source(folder: Path) -> Source:
    """The reader for a folder.

    Raises:
        ImportSourceError: it is not the folder of a registry that is known here.
    """
    for kind in (DistributionSource, LayoutSource):
        found = kind.find(folder)
        if found is not None:
            return found
    raise ImportSourceError(
        "there is no storage of distribution or zot in it",
        where=str(folder),
        fix="name the folder that holds docker/registry/v2, or the repositories' OCI layouts",
    )


class DistributionSource:
    """The filesystem driver of distribution, Docker's registry and Harbor's."""

    def __init__(self, root: Path) -> None:
        self._repositories = root / "repositories"
        self._blobs = root / "blobs"

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """The source in ``folder``, whichever level of it was named."""
        for root in (folder / "docker/registry/v2", folder / "registry/v2", folder):
            if (root / "repositories").is_dir() and (root / "blobs").is_dir():
                return cls(root)
        return None

    def repositories(self) -> Iterator[str]:
        """Every folder that holds ``_manifests``."""
        for folder, directories, _ in os.walk(self._repositories):
            name = os.path.relpath(folder, self._repositories)
            if "_manifests" in directories and is_repository(name):
                yield name
            directories[:] = [it for it in directories if not it.startswith("_")]

    def manifests(self, repository: str) -> Iterator[Digest]:
        """By the links of revisions; one that is empty was deleted."""
        revisions = self._repositories / repository / "_manifests/revisions"
        for algorithm in _listed(revisions):
            for name in _listed(revisions / algorithm):
                digest = _linked(revisions / algorithm / name / "link")
                if digest is not None:
                    yield digest

    def tags(self, repository: str) -> Iterator[tuple[str, Digest]]:
        """By the current link of each tag."""
        tags = self._repositories / repository / "_manifests/tags"
        for tag in _listed(tags):
            digest = _linked(tags / tag / "current/link")
            if digest is not None and is_tag(tag):
                yield tag, digest

    def open(self, repository: str, digest: Digest) -> BinaryIO:
        """From the store of all repositories."""
        return open(self._blobs / digest.algorithm / digest.hex[:2] / digest.hex / "data", "rb")


class LayoutSource:
    """Folders of OCI image layouts, one for each repository, as zot keeps them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """The source in ``folder``: there is a layout somewhere below it."""
        source = cls(folder)
        return source if next(source.repositories(), None) is not None else None

    def repositories(self) -> Iterator[str]:
        """Every folder that holds ``oci-layout``."""
        for folder, directories, files in os.walk(self._root):
            name = os.path.relpath(folder, self._root)
            if "oci-layout" in files and is_repository(name):
                yield name
            directories[:] = [it for it in directories if it != "blobs" and it[:1] not in "._"]

    def manifests(self, repository: str) -> Iterator[Digest]:
        """What the index names, and the members of indexes in it, which have no rows of theirs."""
        seen: set[Digest] = set()
        waiting = [digest for digest, _ in self._rows(repository)]
        while waiting:
            digest = waiting.pop()
            if digest in seen:
                continue
            seen.add(digest)
            yield digest
            waiting += self._members(repository, digest)

    def tags(self, repository: str) -> Iterator[tuple[str, Digest]]:
        """By the annotation that names a row of the index."""
        for digest, notes in self._rows(repository):
            tag = notes.get(_TAG)
            if isinstance(tag, str) and is_tag(tag):
                yield tag, digest

    def open(self, repository: str, digest: Digest) -> BinaryIO:
        """From the repository's own blobs."""
        return open(self._root / repository / "blobs" / digest.algorithm / digest.hex, "rb")

    def _rows(self, repository: str) -> Iterator[tuple[Digest, dict[str, Any]]]:
        document = _document(self._root / repository / "index.json", INDEX_LIMIT)
        for row in document.get("manifests") or []:
            digest = _parsed(row.get("digest")) if isinstance(row, dict) else None
            if digest is not None:
                annotations = row.get("annotations")
                yield digest, annotations if isinstance(annotations, dict) else {}

    def _members(self, repository: str, digest: Digest) -> list[Digest]:
        path = self._root / repository / "blobs" / digest.algorithm / digest.hex
        rows = _document(path, INDEX_LIMIT).get("manifests")
        found = [_parsed(row.get("digest")) for row in rows or [] if isinstance(row, dict)]
        return [member for member in found if member is not None]


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _linked(path: Path) -> Digest | None:
    """The digest in a link file; None for none."""
    try:
        with path.open("rb") as file:
            return _parsed(file.read(LINK_LIMIT).decode("ascii", "replace").strip())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parsed(text: object) -> Digest | None:
    try:
        return Digest.parse(text) if isinstance(text, str) else None
    except InvalidDigestError:
        return None


def _document(path: Path, limit: int) -> dict[str, Any]:
    """A JSON object; what is none, or too long for one, counts as empty."""
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
        document = json.loads(raw) if len(raw) <= limit else None
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
