"""One image: its platforms, or its config and layers, what takes the space, what is attached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from images.manifest import Index, Manifest
from registry.answers import ReadyContent, content_headers
from registry.web.attached import attachments_of
from registry.web.contents import (
    PLATFORMS,
    Found,
    Step,
    is_attestation,
    pairs_of,
    settings_of,
    steps_of,
)
from registry.web.queries import HOLDERS, Sharing
from registry.web.site import Visit
from registry.web.text import clean, moment, parse_moment

if TYPE_CHECKING:
    from images.config import ImageConfig
    from images.descriptor import Descriptor

_NAMES: Final = 50
_SHOWN: Final = 3
"""Other repositories that are named beside a layer."""
_TOLD: Final = 0.1
_THINNEST: Final = 0.15
"""Percent of the picture that the smallest layer takes, so that it can be seen."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of a manifest: ``view`` is what the template shows."""

    found: Found
    view: dict[str, Any]


async def show_image(visit: Visit) -> web.Response:
    """An image or an index of images."""
    visit.require("pull")
    facts = await visit.registry.workers.io(partial(_read, visit))
    template = "index.html" if isinstance(facts.found.parsed, Index) else "image.html"
    return await visit.page(template, gate=await _gate(visit, facts.found), **facts.view)


async def _gate(visit: Visit, found: Found) -> dict[str, str] | None:
    """What a gate says of this image; None where there is none."""
    from multidict import CIMultiDictProxy

    row = found.row
    headers = CIMultiDictProxy(content_headers(row.media_type, row.digest, row.size))
    content = ReadyContent(found.raw, headers, row.digest)
    target = visit.target
    verdict = await visit.registry.gate.verdict(target.name, target.reference, content)
    if verdict is None:
        return None
    if verdict.refusal is None:
        return {"mark": "good", "text": "The gate of this repository serves it."}
    return {"mark": "bad", "text": clean(verdict.refusal.what)}


def _read(visit: Visit) -> _Facts:
    site, target = visit.site, visit.target
    found = site.contents.find(visit.registry, target.name, target.reference)
    key = site.queries.key(target.name)
    assert key is not None, "its manifest was found"
    digest = found.row.digest
    attached, onward = attachments_of(visit, digest, last=visit.query("attached"))
    view = {
        "row": found.row,
        "pushed": moment(site.queries.created(key, digest), visit.now),
        "tags": site.queries.tags_of(key, digest, limit=_NAMES),
        "lists": site.queries.lists_of(key, digest, limit=_NAMES),
        "attached": attached,
        "attached_onward": onward,
        "annotations": pairs_of(found.parsed.annotations) if found.parsed else [],
    }
    if isinstance(found.parsed, Index):
        return _Facts(found, view | _of_index(visit, found.parsed))
    return _Facts(found, view | _of_image(visit, key, found.parsed))


def _of_index(visit: Visit, index: Index) -> dict[str, Any]:
    images = [entry for entry in index.manifests if not is_attestation(entry)]
    rows = [_platform_row(visit, entry) for entry in images[:PLATFORMS]]
    most = max((row["size"] or 0 for row in rows), default=0) or 1
    for row in rows:
        row["share"] = round(100 * (row["size"] or 0) / most, 2)
    attestations = [
        {
            "digest": str(entry.digest),
            "of": clean(entry.annotations.get("vnd.docker.reference.digest", "")),
            "size": entry.size,
        }
        for entry in index.manifests
        if is_attestation(entry)
    ]
    return {
        "rows": rows,
        "more": max(0, len(images) - PLATFORMS),
        "attestations": attestations[:PLATFORMS],
    }


def _platform_row(visit: Visit, entry: Descriptor) -> dict[str, Any]:
    row = visit.registry.index.manifest(visit.target.name, str(entry.digest))
    parsed = None
    if row is not None:
        found = visit.site.contents.find(visit.registry, visit.target.name, row.digest)
        parsed = found.parsed
    layers = parsed.layers if isinstance(parsed, Manifest) else ()
    return {
        "platform": "" if entry.platform is None else clean(entry.platform),
        "digest": str(entry.digest),
        "here": row is not None,
        "layers": len(layers),
        "size": sum(layer.size for layer in layers) if layers else None,
    }


def _of_image(visit: Visit, key: int, parsed: Manifest | Index | None) -> dict[str, Any]:
    manifest = parsed if isinstance(parsed, Manifest) else None
    config = None
    if manifest is not None:
        config = visit.site.contents.config(visit.registry, visit.target.name, manifest)
    steps = [] if manifest is None else steps_of(manifest, config)
    digests = {str(step.layer.digest) for step in steps if step.layer is not None}
    return {
        "manifest": manifest,
        "artifact_type": "" if manifest is None else clean(manifest.artifact_type),
        "subject": _subject(manifest),
        "config": None if config is None else _config_view(visit, config),
        **layer_rows(visit, steps, visit.site.queries.sharing(key, digests)),
    }


def _subject(manifest: Manifest | None) -> str:
    return "" if manifest is None or manifest.subject is None else str(manifest.subject.digest)


def _config_view(visit: Visit, config: ImageConfig) -> dict[str, Any]:
    return {
        "platform": str(config.platform),
        "created": parse_moment(config.created, visit.now),
        "settings": settings_of(config),
        "labels": pairs_of(config.config.get("Labels")),
    }


def layer_rows(visit: Visit, steps: Sequence[Step], sharing: dict[str, Sharing]) -> dict[str, Any]:
    """The steps as rows, each layer with its place in the picture, in percent."""
    total = sum(step.layer.size for step in steps if step.layer is not None)
    rows, left, number = [], 0.0, 0
    for step in steps:
        row: dict[str, Any] = {"text": step.text, "comment": step.comment, "layer": None}
        if step.layer is not None:
            width = 100 * step.layer.size / (total or 1)
            number += 1
            row["layer"] = {
                "number": number,
                "digest": str(step.layer.digest),
                "type": clean(step.layer.media_type),
                "size": step.layer.size,
                "left": round(left, 3),
                "width": round(max(width, _THINNEST), 3),
                "share": round(width, 2),
                "percent": _percent(width),
                "shared": _shared(visit, sharing[str(step.layer.digest)]),
            }
            left += width
        rows.append(row)
    return {"steps": rows, "total": total, "layer_count": number}


def _percent(value: float) -> str:
    return "less than 0.1" if 0 < value < _TOLD else f"{value:.1f}".removesuffix(".0")


def _shared(visit: Visit, sharing: Sharing) -> dict[str, Any]:
    """Who else has a layer, as far as this visitor may know."""
    names = [name for name in sharing.repositories if visit.visitor.may("pull", name)]
    return {
        "images": sharing.manifests,
        "many": sharing.manifests >= HOLDERS - 1,
        "names": names[:_SHOWN],
        "more": max(0, len(names) - _SHOWN),
    }
