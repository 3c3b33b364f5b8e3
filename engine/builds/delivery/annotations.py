"""Annotations by level: ``[LEVEL[PLATFORM],...:]KEY=VALUE``, as buildx writes them.

OCI image specification, annotations.md. A level is the document or descriptor that carries the
annotation: the manifest of an image, the index, the manifest's descriptor in the index, or the
index's descriptor in an OCI layout. A platform restricts the first and the third to one image.
Parsing is pure; who builds each document asks for its annotations here.
"""

from __future__ import annotations

import re

from images.errors import InputError
from images.platform import Platform
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

MANIFEST: Final = "manifest"
INDEX: Final = "index"
MANIFEST_DESCRIPTOR: Final = "manifest-descriptor"
INDEX_DESCRIPTOR: Final = "index-descriptor"
LEVELS: Final = (MANIFEST, INDEX, MANIFEST_DESCRIPTOR, INDEX_DESCRIPTOR)

_LEVEL = r"[a-z-]+(?:\[[^\]]*\])?"
_PREFIX = rf"(?s:({_LEVEL}(?:,{_LEVEL})*):(.*)\Z)"
_LEVEL_PARTS = r"([a-z-]+)(?:\[([^\]]*)\])?\Z"


class AnnotationError(InputError):
    """An annotation is malformed, or its level is not one; ``where`` is the flag."""

    code = "annotation"


class Annotation(Record):
    """One annotation at one level; ``platform`` None means every platform."""

    level: str
    key: str
    value: str
    platform: Platform | None = None


def parse_annotations(
    values: Iterable[str], *, where: str = "--annotation"
) -> tuple[Annotation, ...]:
    """Parse the values of the flag; one with several levels gives several annotations.

    Raises:
        AnnotationError: no key, an unknown level, or a platform at a level that has none.
        InvalidPlatformError: the platform is malformed.
    """
    found: list[Annotation] = []
    for text in values:
        prefix, pair = _split(text)
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise AnnotationError(
                f"{text!r} is not KEY=VALUE", where=where, fix="write [LEVEL[PLATFORM]:]KEY=VALUE"
            )
        for level, platform in _levels(prefix, where):
            found.append(Annotation(level, key, value, platform))
    return tuple(found)


def parse_attribute(name: str, value: str, *, where: str) -> Annotation:
    """Parse an output's ``annotation[-LEVEL][[PLATFORM]].KEY`` attribute.

    Raises:
        AnnotationError, InvalidPlatformError: as ``parse_annotations``.
    """
    head, dot, key = _head(name)
    if not dot or not key:
        raise AnnotationError(
            f"{name} has no key", where=where, fix="write annotation[-LEVEL][[PLATFORM]].KEY=VALUE"
        )
    level = head.removeprefix("annotation").removeprefix("-")
    if level.startswith("["):
        level = MANIFEST + level
    ((parsed, platform),) = _levels(level, where)
    return Annotation(parsed, key, value, platform)


def annotations_of(
    annotations: Iterable[Annotation], level: str, platform: Platform | None = None
) -> dict[str, str]:
    """What one document or descriptor carries: those of its level for its platform.

    ``platform`` is the image's, for the levels of manifests. Later ones win, and those that name
    the platform win over those that do not.
    """
    matching = [item for item in annotations if item.level == level]
    everywhere = {item.key: item.value for item in matching if item.platform is None}
    here = {
        item.key: item.value
        for item in matching
        if item.platform is not None and item.platform == platform
    }
    return everywhere | here


def _split(text: str) -> tuple[str, str]:
    """The levels and the rest; a colon behind the first ``=`` belongs to the value."""
    match = re.match(_PREFIX, text)
    if match is None or "=" in match[1]:
        return "", text
    return match[1], match[2]


def _head(name: str) -> tuple[str, str, str]:
    """Cut at the first dot outside of brackets."""
    close = name.find("]") if "[" in name.partition(".")[0] else 0
    head, dot, key = name[close:].partition(".")
    return name[:close] + head, dot, key


def _levels(prefix: str, where: str) -> list[tuple[str, Platform | None]]:
    if not prefix:
        return [(MANIFEST, None)]
    found: list[tuple[str, Platform | None]] = []
    for text in re.split(r",(?![^\[]*\])", prefix):
        match = re.match(_LEVEL_PARTS, text)
        level = match[1] if match else text
        if match is None or level not in LEVELS:
            from dockerfile_grammar.suggest import with_suggestion

            raise AnnotationError(
                with_suggestion(f"unknown annotation level {level}", level, LEVELS),
                where=where,
                fix=f"levels are {', '.join(LEVELS)}",
            )
        platform = None if match[2] is None else Platform.parse(match[2])
        if platform is not None and level in (INDEX, INDEX_DESCRIPTOR):
            raise AnnotationError(f"{level} is the same for every platform", where=where)
        found.append((level, platform))
    return found
