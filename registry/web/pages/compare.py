"""Two images of a repository side by side: layers, and what their configs say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiohttp import web

from images.config import ImageConfig
from images.digest import Digest
from images.errors import InvalidDigestError
from images.manifest import Index, Manifest
from images.reference import is_tag
from registry.errors import ApiError
from registry.web.contents import Step, is_attestation, pairs_of, settings_of, steps_of
from registry.web.site import Visit, unknown_repository
from registry.web.text import clean

_PLATFORMS: Final = 64


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two: an image for one platform."""

    reference: str
    digest: str
    platform: str
    steps: list[Step]
    config: ImageConfig | None

    @property
    def size(self) -> int:
        return sum(step.layer.size for step in self.steps if step.layer is not None)


async def show_comparison(visit: Visit) -> web.Response:
    """Two images, or the form that asks which."""
    visit.require("pull")
    view = await visit.registry.workers.io(partial(_read, visit))
    return await visit.page("compare.html", **view)


def _read(visit: Visit) -> dict[str, Any]:
    if visit.site.queries.key(visit.target.name) is None:
        raise unknown_repository()
    names = [visit.query("a").strip(), visit.query("b").strip()]
    view: dict[str, Any] = {"names": names, "platform": visit.query("platform"), "sides": []}
    if not all(names):
        return view | {"platforms": []}
    offers = [_offers(visit, name) for name in names]
    common = [platform for platform in offers[0] if platform in offers[1]]
    wanted = visit.query("platform")
    chosen = wanted if wanted in common else common[0] if common else ""
    sides = [_side(visit, name, offer, chosen) for name, offer in zip(names, offers, strict=True)]
    return view | {
        "platforms": common if any(len(offer) > 1 for offer in offers) else [],
        "platform": chosen,
        "sides": sides,
        "layers": _layers(*sides),
        "settings": _differences(*(dict(_settings(side)) for side in sides)),
        "labels": _differences(*(dict(_labels(side)) for side in sides)),
    }


def _offers(visit: Visit, reference: str) -> dict[str, str]:
    """The digests of an image by platform; a single image is there under its own."""
    _check(reference)
    found = visit.site.contents.find(visit.registry, visit.target.name, reference)
    if isinstance(found.parsed, Index):
        entries = [entry for entry in found.parsed.manifests if not is_attestation(entry)]
        return {
            clean(entry.platform or "unknown"): str(entry.digest) for entry in entries[:_PLATFORMS]
        }
    named = visit.site.contents.platforms(visit.registry, visit.target.name, found.row)
    return {named[0] if named else "": found.row.digest}


def _side(visit: Visit, reference: str, offer: dict[str, str], platform: str) -> _Side:
    name, contents = visit.target.name, visit.site.contents
    own = platform if platform in offer else next(iter(offer), "")
    if own not in offer:
        raise ApiError("MANIFEST_UNKNOWN", message=f"{reference} lists no image.")
    found = contents.find(visit.registry, name, offer[own])
    manifest = found.parsed if isinstance(found.parsed, Manifest) else None
    config = None if manifest is None else contents.config(visit.registry, name, manifest)
    steps = [] if manifest is None else steps_of(manifest, config)
    return _Side(reference, found.row.digest, own, steps, config)


def _check(reference: str) -> None:
    """Raises ApiError for what is neither a tag nor a digest."""
    try:
        if is_tag(reference) or Digest.parse(reference):
            return
    except InvalidDigestError as error:
        message = f"{clean(reference, limit=80)} is neither a tag nor a digest."
        raise ApiError("TAG_INVALID", message=message) from error


def _layers(left: _Side, right: _Side) -> dict[str, Any]:
    """Layers that both have, and those that only one has, with the bytes of each."""
    here = [step for step in left.steps if step.layer is not None]
    there = [step for step in right.steps if step.layer is not None]
    ours = {step.layer.digest for step in here if step.layer is not None}
    theirs = {step.layer.digest for step in there if step.layer is not None}
    groups = {
        "common": [step for step in here if step.layer and step.layer.digest in theirs],
        "left": [step for step in here if step.layer and step.layer.digest not in theirs],
        "right": [step for step in there if step.layer and step.layer.digest not in ours],
    }
    sizes = {name: _bytes(steps) for name, steps in groups.items()}
    whole = sum(sizes.values()) or 1
    shares = {name: round(100 * size / whole, 2) for name, size in sizes.items()}
    return {"groups": groups, "sizes": sizes, "shares": shares}


def _bytes(steps: list[Step]) -> int:
    return sum(step.layer.size for step in steps if step.layer is not None)


def _settings(side: _Side) -> list[tuple[str, str]]:
    if side.config is None:
        return []
    found: list[tuple[str, str]] = []
    for title, lines in settings_of(side.config):
        if title == "Environment":
            # A variable that changed is one line, rather than one that went and one that came.
            pairs = (line.partition("=") for line in lines)
            found += [(name, value) for name, _, value in pairs]
        else:
            found.append((title, "\n".join(lines)))
    return [("Platform", side.platform), ("Created", clean(side.config.created or "")), *found]


def _labels(side: _Side) -> list[tuple[str, str]]:
    return [] if side.config is None else pairs_of(side.config.config.get("Labels"))


def _differences(left: dict[str, str], right: dict[str, str]) -> list[tuple[str, str, str]]:
    names = [*left, *(name for name in right if name not in left)]
    pairs = ((name, left.get(name, ""), right.get(name, "")) for name in names)
    return [pair for pair in pairs if pair[1] != pair[2]]
