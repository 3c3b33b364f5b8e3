"""The software bill of materials of an image: the one attached to it, else one made by looking."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from engine.attestations import spdx
from engine.attestations.finding import find_stored, read_stored
from images.errors import BlobUnknownError
from images.packages.inventory import Inventory, take_inventory
from images.platform import Platform
from records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.attestations.statement import Statement
    from images.digest import Digest
    from images.store import Image, ImageStore

SPDX_TYPES: Final = frozenset({spdx.PREDICATE_TYPE, "https://spdx.dev/Document/v2.3"})


class Sbom(Record):
    """``attached`` is the digest of the statement it comes from; None if it was made just now."""

    document: Mapping[str, Any]
    attached: Digest | None = None


def sbom_of(
    store: ImageStore,
    name: str,
    *,
    tool: str,
    platform: Platform | None = None,
    scan: bool = False,
    now: datetime | None = None,
) -> Sbom:
    """The SPDX document of a stored image; ``scan`` looks even if a document is attached.

    ``now`` dates a document that is made.

    Raises:
        ImageUnknownError, PlatformUnknownError: there is no such image.
        InvalidStatementError: what is attached is damaged, or about another image.
        ImagesError: a layer is missing or damaged.
    """
    stored = store.lookup(name)
    image = store.image(stored.descriptor, platform)
    if not scan:
        for item in find_stored(store, stored.descriptor).attached:
            if item.subject == image.descriptor.digest and item.predicate_type in SPDX_TYPES:
                return Sbom(read_stored(store, item).predicate, item.blob.digest)
    created = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    inventory = inventory_of(store, image)
    return Sbom(spdx.document(inventory, image.descriptor, name=name, created=created, tool=tool))


def inventory_of(store: ImageStore, image: Image) -> Inventory:
    """Look through the layers of an image.

    Raises:
        BlobUnknownError: a layer is not here. ImagesError: damaged, or asking for too much.
    """
    try:
        return take_inventory(image, store)
    except BlobUnknownError as error:
        error.fix = error.fix or "pull the image again"
        raise


def sbom_in(statement: Statement, digest: Digest) -> Sbom | None:
    """The document of a statement that is one; None for other statements."""
    if statement.predicate_type not in SPDX_TYPES:
        return None
    return Sbom(statement.predicate, digest)


def rows(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """The packages of an SPDX document for a table: Name, Version, Type, License, Purl."""
    described = {
        line.get("relatedSpdxElement")
        for line in _objects(document.get("relationships"))
        if line.get("relationshipType") == "DESCRIBES"
    }
    found = []
    for package in _objects(document.get("packages")):
        if package.get("SPDXID") in described and package.get("primaryPackagePurpose"):
            continue
        url = next(
            (
                str(item.get("referenceLocator", ""))
                for item in _objects(package.get("externalRefs"))
                if item.get("referenceType") == "purl"
            ),
            "",
        )
        license = str(package.get("licenseDeclared") or spdx.NOTHING_SAID)
        found.append(
            {
                "Name": str(package.get("name", "")),
                "Version": str(package.get("versionInfo", "")),
                "Type": url.removeprefix("pkg:").partition("/")[0],
                "License": "" if license == spdx.NOTHING_SAID else license,
                "Purl": url,
            }
        )
    return found


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
