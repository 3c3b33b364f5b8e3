"""Manifests and configs as pages show them, out of the index and storage. Blocking.

Content is read through its repository, as a client's would be. What an image says is anybody's
text: wrong types are passed over, lists are cut, and nothing of it is believed to be markup.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from images import manifest as manifests
from images.config import HistoryEntry, ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Index, Manifest
from images.mediatype import INDEXES
from registry.errors import ApiError
from registry.settings import MANIFEST_LIMIT
from registry.web.text import clean

if TYPE_CHECKING:
    from registry.records import ManifestRow
    from registry.service import Registry

_KNOWN: Final = 4096
"""Manifests whose platforms are remembered: a few hundred bytes each."""
ENTRIES: Final = 200
"""Variables, labels or ports of one image that are shown."""
LAYERS: Final = 512
PLATFORMS: Final = 64

_NOP: Final = re.compile(r"(?:/bin/sh -c )?#\(nop\)\s+")
_ARGUMENTS: Final = re.compile(r"\|\d+ (?:[A-Za-z_]\w*=\S* )*")
_SHELL: Final = re.compile(r"(?:RUN )?/bin/sh -c ")


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest under the name it was asked for; ``parsed`` is None for what cannot be read."""

    row: ManifestRow
    raw: bytes
    parsed: Manifest | Index | None


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an image's history, with the layer it made if it made one."""

    text: str
    layer: Descriptor | None
    comment: str = ""


class Contents:
    """Reads content; remembers the platforms of manifests, which never change."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()

    def find(self, registry: Registry, name: str, reference: str) -> Found:
        """A manifest by tag or digest.

        Raises:
            ApiError: MANIFEST_UNKNOWN.
        """
        by_digest = ":" in reference
        look = registry.index.manifest if by_digest else registry.index.tagged_manifest
        row = look(name, reference)
        if row is None:
            what = "manifest of that digest" if by_digest else f"tag {reference}"
            raise ApiError("MANIFEST_UNKNOWN", message=f"There is no {what} in {name}.")
        return self._read(registry, row)

    def platforms(self, registry: Registry, name: str, row: ManifestRow) -> tuple[str, ...]:
        """The platforms of an image; nothing for what is none."""
        key = (name, row.digest)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._platforms(registry, name, row)
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        return known

    def config(self, registry: Registry, name: str, manifest: Manifest) -> ImageConfig | None:
        """The config of an image; None for an artifact's, or one that is not here."""
        raw = small_blob(registry, name, manifest.config)
        try:
            return None if raw is None else ImageConfig.parse(raw)
        except ImagesError:
            return None

    def _platforms(self, registry: Registry, name: str, row: ManifestRow) -> tuple[str, ...]:
        parsed = self._read(registry, row).parsed
        if isinstance(parsed, Index):
            return tuple(dict.fromkeys(map(str, parsed.platforms()[:PLATFORMS])))
        config = None if parsed is None else self.config(registry, name, parsed)
        return () if config is None else (str(config.platform),)

    def _read(self, registry: Registry, row: ManifestRow) -> Found:
        try:
            raw = registry.storage.read(Digest.parse(row.digest), limit=row.size)
            return Found(row, raw, manifests.parse(raw, row.media_type))
        except ImagesError:
            return Found(row, b"", None)


def small_blob(
    registry: Registry, name: str, content: Descriptor, *, limit: int = MANIFEST_LIMIT
) -> bytes | None:
    """The bytes of a blob that the repository has; None for what is missing, damaged or large."""
    link = registry.index.blob(name, str(content.digest))
    if link is None or not link.size == content.size <= limit:
        return None
    try:
        return registry.storage.read(content.digest, limit=limit)
    except ImagesError:
        return None


def steps_of(manifest: Manifest, config: ImageConfig | None) -> list[Step]:
    """The steps of an image, the first one first; layers without a history when it does not fit."""
    layers = list(manifest.layers)
    history = () if config is None else config.history
    if sum(not entry.empty_layer for entry in history) != len(layers):
        return [Step("", layer) for layer in layers[:LAYERS]]
    waiting = iter(layers)
    return [
        Step(step_text(entry), None if entry.empty_layer else next(waiting), clean(entry.comment))
        for entry in history
    ][:LAYERS]


def step_text(entry: HistoryEntry) -> str:
    """What the Dockerfile said, without what builders wrap around it."""
    text = clean(entry.created_by).removesuffix("# buildkit").rstrip()
    text = _ARGUMENTS.sub("", text, count=1)
    if _NOP.match(text):
        return _NOP.sub("", text, count=1)
    return _SHELL.sub("RUN ", text, count=1)


def settings_of(config: ImageConfig) -> list[tuple[str, list[str]]]:
    """What a container of the image starts with: titles and lines."""
    inner = config.config
    found = [
        ("Entrypoint", _command(inner.get("Entrypoint"))),
        ("Command", _command(inner.get("Cmd"))),
        ("Working directory", _line(inner.get("WorkingDir"))),
        ("User", _line(inner.get("User"))),
        ("Ports", _names(inner.get("ExposedPorts"))),
        ("Volumes", _names(inner.get("Volumes"))),
        ("Environment", _lines(inner.get("Env"))),
        ("Stop signal", _line(inner.get("StopSignal"))),
        ("Health check", _command(_test_of(inner.get("Healthcheck")))),
        ("On build", _lines(inner.get("OnBuild"))),
        ("Author", _line(config.author)),
    ]
    return [(title, lines) for title, lines in found if lines]


def pairs_of(value: object) -> list[tuple[str, str]]:
    """Labels or annotations, by name."""
    if not isinstance(value, Mapping):
        return []
    chosen = sorted((str(name), text) for name, text in value.items())[:ENTRIES]
    return [(clean(name), clean(text)) for name, text in chosen]


def is_index(media_type: str) -> bool:
    """Whether this is the type of a list of manifests."""
    return media_type in INDEXES


def is_attestation(entry: Descriptor) -> bool:
    """Whether an index lists this as BuildKit's attestation of another of its manifests."""
    return entry.annotations.get("vnd.docker.reference.type") == "attestation-manifest"


def _command(value: object) -> list[str]:
    if isinstance(value, str):
        return [clean(value)] if value else []
    words = _lines(value)
    return [json.dumps(words, ensure_ascii=False)] if words else []


def _line(value: object) -> list[str]:
    return [clean(value)] if isinstance(value, str) and value else []


def _lines(value: object) -> list[str]:
    return [clean(item) for item in value[:ENTRIES]] if _is_list(value) else []


def _names(value: object) -> list[str]:
    return sorted(clean(name) for name in value)[:ENTRIES] if isinstance(value, Mapping) else []


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list)


def _test_of(value: object) -> object:
    return value.get("Test") if isinstance(value, Mapping) else None
