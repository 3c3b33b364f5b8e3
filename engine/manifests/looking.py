"""What ``docker buildx imagetools inspect`` shows of an image or a list in a registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from engine.manifests.entries import Entry
from engine.manifests.sources import entries_of
from images import strictjson
from images.manifest import Index, Manifest
from images.mediatype import DOCKER_CONFIG, OCI_CONFIG
from images.platform import Platform

PROVENANCE: Final = "https://slsa.dev/provenance/"

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from engine.manifests.library import Library
    from images.client.manifests import Fetched
    from images.reference import Reference


async def raw(client: Library, reference: Reference) -> bytes:
    """The document itself."""
    return (await client.read_manifest(reference)).raw


async def text(client: Library, reference: Reference) -> str:
    """For people: what it is, and the manifests of a list."""
    fetched = await client.read_manifest(reference)
    lines = _aligned(
        [
            ("Name:", str(reference)),
            ("MediaType:", fetched.document.media_type),
            ("Digest:", str(fetched.descriptor.digest)),
        ]
    )
    if not isinstance(fetched.document, Index):
        return "\n".join(lines) + "\n"
    lines += ["", "Manifests:"]
    for number, entry in enumerate(entries_of(reference, fetched.document)):
        rows = _entry_rows(reference, entry)
        lines += ([""] if number else []) + [f"  {line}" for line in _aligned(rows)]
        notes = entry.descriptor.get("annotations") or {}
        if notes:
            pairs = [(f"{key}:", str(value)) for key, value in notes.items()]
            lines += ["  Annotations:", *(f"    {line}" for line in _aligned(pairs))]
    return "\n".join(lines) + "\n"


async def fields(
    client: Library, reference: Reference, *, wanted: Collection[str]
) -> dict[str, Any]:
    """For templates: ``name`` and ``manifest``, and of those that are ``wanted`` ``image`` (the
    config), ``provenance`` and ``sbom`` (what is stated): by platform where there are several.

    As with buildx, the manifest of an image is told by its descriptor, that of a list whole.

    Raises:
        RegistryError, ImagesError: something of it cannot be read.
    """
    fetched = await client.read_manifest(reference)
    descriptor = fetched.descriptor.to_json()
    document = json.loads(fetched.raw) if isinstance(fetched.document, Index) else {}
    found: dict[str, Any] = {"name": str(reference), "manifest": {**document, **descriptor}}
    if "image" in wanted:
        found["image"] = await _configs(client, reference, fetched)
    if "provenance" in wanted or "sbom" in wanted:
        found |= await _statements(client, reference, fetched)
    return found


async def _statements(client: Library, reference: Reference, fetched: Fetched) -> dict[str, Any]:
    """``provenance`` as ``{"SLSA": predicate}`` and ``sbom`` as ``{"SPDX": predicate}``.

    What the index itself lists goes before what was attached to its images.
    """
    from engine.attestations.finding import find_remote, read_remote
    from engine.attestations.sbom import SPDX_TYPES

    kinds: dict[str, dict[str, Any]] = {"provenance": {}, "sbom": {}}
    for item in (await find_remote(client, reference)).attached:
        platform = str(item.platform or "")
        if item.predicate_type.startswith(PROVENANCE):
            name, key = "provenance", "SLSA"
        elif item.predicate_type in SPDX_TYPES:
            name, key = "sbom", "SPDX"
        else:
            continue
        if platform in kinds[name]:
            continue
        statement = await read_remote(client, reference, item)
        kinds[name][platform] = {key: dict(statement.predicate)}
    return {name: _alone(found, fetched) for name, found in kinds.items()}


def _alone(found: dict[str, Any], fetched: Fetched) -> Any:
    """What is said of the only platform; by platform where there are several."""
    if isinstance(fetched.document, Index) and len(fetched.document.platforms()) > 1:
        return found
    return next(iter(found.values()), {})


async def _configs(client: Library, reference: Reference, fetched: Fetched) -> Any:
    if not isinstance(fetched.document, Index):
        return await _config(client, reference, fetched.document)
    found: dict[str, Any] = {}
    for entry in entries_of(reference, fetched.document):
        if entry.platform and entry.platform.get("os") != "unknown":
            child = (await client.read_manifest(entry.reference)).document
            if isinstance(child, Manifest):
                name = str(Platform.from_json(entry.platform))
                found[name] = await _config(client, entry.reference, child)
    return _alone(found, fetched)


async def _config(
    client: Library, reference: Reference, manifest: Manifest
) -> dict[str, Any] | None:
    if manifest.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
        return None
    return strictjson.loads(await client.read_blob(reference, manifest.config), what="image config")


def _entry_rows(reference: Reference, entry: Entry) -> list[tuple[str, str]]:
    rows = [
        ("Name:", str(reference.with_digest(entry.digest))),
        ("MediaType:", entry.media_type),
    ]
    if entry.platform:
        rows.append(("Platform:", str(Platform.from_json(entry.platform))))
    if features := entry.platform.get("os.features"):
        rows.append(("OSFeatures:", ", ".join(features)))
    return rows


def _aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(key) for key, _ in rows)
    return [f"{key:<{width}} {value}" for key, value in rows]
