"""What Docker says about images: the objects behind ``images``, ``inspect`` and ``history``.

Field names and shapes are those of the Docker Engine API, so that the command line's templates and
an API server share them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from images.errors import ImagesError, InputError, PlatformUnknownError

if TYPE_CHECKING:
    from images.platform import Platform
    from images.reference import Reference
    from images.store import Image, ImageStore, StoredImage

NONE = "<none>"
FILTERS = ("before", "dangling", "label", "reference", "since")


class FilterError(InputError):
    """A ``--filter`` is malformed or unknown."""

    code = "filter"


_CONFIG: Final[Mapping[str, Any]] = {
    "User": "",
    "ExposedPorts": None,
    "Env": None,
    "Cmd": None,
    "Healthcheck": None,
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
    "StopSignal": "",
    "Shell": None,
}
"""Docker answers a template that asks for any of these, set or not."""


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """One line of ``images``: an image under one of its names, or under none."""

    reference: Reference | None
    stored: StoredImage
    created: str | None
    size: int
    labels: Mapping[str, str]

    @property
    def repository(self) -> str:
        """The repository as Docker shows it."""
        return NONE if self.reference is None else self.reference.familiar_name

    @property
    def tag(self) -> str:
        """The tag, or ``<none>``."""
        return (self.reference and self.reference.tag) or NONE


def summaries(store: ImageStore) -> list[ImageSummary]:
    """Every stored image once per name, newest first; broken ones are left to ``system check``."""
    lines: list[ImageSummary] = []
    for stored in store.images():
        image = _readable(store, stored)
        if image is None:
            continue
        labels = image.config.config.get("Labels") or {}
        size = sum(layer.size for layer in image.manifest.layers)
        names: Iterable[Reference | None] = stored.names or (None,)
        lines += [ImageSummary(name, stored, image.config.created, size, labels) for name in names]
    return sorted(lines, key=lambda line: created_key(line.created), reverse=True)


def select(
    store: ImageStore, lines: Iterable[ImageSummary], filters: Iterable[str]
) -> list[ImageSummary]:
    """Keep the lines that satisfy every ``key=value`` filter (those in ``FILTERS``).

    Raises:
        FilterError: malformed or unknown. ImageUnknownError: ``before`` or ``since`` name none.
    """
    kept = list(lines)
    for text in filters:
        key, separator, value = text.partition("=")
        if not separator or key not in FILTERS:
            raise FilterError(
                f"invalid filter {text!r}", fix=f"write KEY=VALUE with one of {', '.join(FILTERS)}"
            )
        if key == "dangling":
            wanted = value.lower() in ("true", "1")
            kept = [line for line in kept if (line.reference is None) == wanted]
        elif key == "label":
            kept = [line for line in kept if _has_label(line, value)]
        elif key == "reference":
            kept = [line for line in kept if _matches(line, value)]
        else:
            kept = _by_age(store, kept, key, value)
    return kept


def inspect(store: ImageStore, name: str, *, platform: Platform | None = None) -> dict[str, Any]:
    """The object of ``docker image inspect``; of an index, that of one image.

    Raises:
        ImageUnknownError: no such image. PlatformUnknownError: not for ``platform``.
    """
    stored, image = _find(store, name, platform)
    document = image.config.to_json()
    digest = stored.descriptor.digest
    tagged = [ref for ref in stored.names if ref.tag is not None]
    return {
        "Id": str(image.id),
        "RepoTags": [ref.familiar for ref in tagged],
        "RepoDigests": sorted({f"{ref.familiar_name}@{digest}" for ref in tagged}),
        "Parent": "",
        "Comment": image.config.history[-1].comment if image.config.history else "",
        "Created": image.config.created or "",
        "Author": image.config.author,
        "Config": {**_CONFIG, **image.config.config},
        "Architecture": image.config.platform.architecture,
        "Variant": image.config.platform.variant,
        "Os": image.config.platform.os,
        "OsVersion": document.get("os.version", ""),
        "Size": sum(layer.size for layer in image.manifest.layers),
        "RootFS": {"Type": "layers", "Layers": [str(d) for d in image.config.diff_ids]},
        "Descriptor": stored.descriptor.to_json(),
        "Manifest": image.descriptor.to_json(),
    }


def history(
    store: ImageStore, name: str, *, platform: Platform | None = None
) -> Iterator[dict[str, Any]]:
    """The objects of ``docker history``, newest first; ``Size`` is the layer's, compressed.

    Raises:
        ImageUnknownError: no such image. PlatformUnknownError: not for ``platform``.
    """
    stored, image = _find(store, name, platform)
    layers = list(image.manifest.layers)
    newest = True
    for entry in reversed(image.config.history):
        size = 0 if entry.empty_layer or not layers else layers.pop().size
        yield {
            "Id": str(image.id) if newest else "<missing>",
            "Created": entry.created,
            "CreatedBy": entry.created_by,
            "Size": size,
            "Comment": entry.comment,
            "Tags": [ref.familiar for ref in stored.names] if newest else [],
        }
        newest = False


def created_key(text: str | None) -> str:
    """A time for comparing; unreadable ones are the oldest."""
    try:
        return datetime.fromisoformat((text or "").replace("Z", "+00:00")).isoformat()
    except ValueError:
        return ""


def _find(store: ImageStore, name: str, platform: Platform | None) -> tuple[StoredImage, Image]:
    """What is stored under a name, and the image meant of it."""
    stored = store.lookup(name)
    if platform is None:
        return stored, store.shown_image(stored.descriptor)
    image = store.image(stored.descriptor, platform)
    if not image.config.platform.matches(platform):
        raise PlatformUnknownError(
            f"no image for platform {platform}",
            where=name,
            fix=f"this image is for {image.config.platform} only",
        )
    return stored, image


def _readable(store: ImageStore, stored: StoredImage) -> Image | None:
    try:
        return store.shown_image(stored.descriptor)
    except ImagesError:
        return None


def _has_label(line: ImageSummary, wanted: str) -> bool:
    key, separator, value = wanted.partition("=")
    return key in line.labels and (not separator or line.labels[key] == value)


def _matches(line: ImageSummary, pattern: str) -> bool:
    if line.reference is None:
        return False
    names = (line.reference.familiar_name, line.reference.name)
    return any(
        fnmatchcase(candidate, pattern)
        for name in names
        for candidate in (name, f"{name}:{line.reference.tag}")
    )


def _by_age(
    store: ImageStore, lines: list[ImageSummary], key: str, name: str
) -> list[ImageSummary]:
    _, image = _find(store, name, None)
    pivot = created_key(image.config.created)
    if key == "before":
        return [line for line in lines if created_key(line.created) < pivot]
    return [line for line in lines if created_key(line.created) > pivot]
