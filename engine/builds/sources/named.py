"""``--build-context NAME=VALUE``: what a value means, by its text."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from builder.contexts import (
    ImageContext,
    LayoutContext,
    LocalContext,
    RemoteContext,
    TargetContext,
    context_name,
)
from builder.errors import BuildInputError
from engine.builds.sources.wanted import is_elsewhere
from images.digest import Digest
from images.errors import ImagesError
from images.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.contexts import NamedContext

FLAG: Final = "--build-context"
IMAGE, LAYOUT, TARGET = "docker-image://", "oci-layout://", "target:"
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")


def parse_contexts(values: Iterable[str], *, where: str = FLAG) -> dict[str, NamedContext]:
    """``NAME=VALUE`` texts; the last of a name wins, as in buildx.

    Raises:
        BuildInputError, ImagesError: a name or a value is malformed.
    """
    found = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise BuildInputError(
                f"invalid context value: {text}, expected key=value",
                where=where,
                fix="write for example assets=./assets or base=docker-image://debian:12",
            )
        try:
            key = context_name(name)
            found[key] = parse_context(value, name)
        except ImagesError as error:
            error.where = error.where or where
            raise
    return found


def parse_context(value: str, name: str = "") -> NamedContext:
    """A directory, ``docker-image://``, ``oci-layout://path[:tag][@digest]``, ``target:``, a git or
    http URL. ``name`` is the context's.

    Raises:
        BuildInputError: malformed; or ``-``, which only the build context may be.
        InvalidReferenceError, InvalidDigestError: the image's name is malformed.
    """
    if value.startswith(IMAGE):
        return ImageContext(Reference.parse(value.removeprefix(IMAGE)))
    if value.startswith(LAYOUT):
        return _layout(value.removeprefix(LAYOUT))
    if value.startswith(TARGET):
        return TargetContext(value.removeprefix(TARGET))
    if value == "-":
        raise BuildInputError(
            f"the named context {name} cannot be standard input", fix="unpack it to a directory"
        )
    if is_elsewhere(value):
        return RemoteContext(value)
    return LocalContext(os.path.abspath(value))


def _layout(text: str) -> LayoutContext:
    path, at, digest = text.partition("@")
    head, colon, tag = path.rpartition(":")
    named = colon and "/" not in tag
    if named and not _TAG.match(tag):
        raise BuildInputError(
            f"invalid tag in {LAYOUT}{text}", fix=f"write {LAYOUT}path:tag or {LAYOUT}path@sha256:…"
        )
    directory = head if named else path
    if not directory:
        raise BuildInputError(f"{LAYOUT}{text} names no directory", fix=f"write {LAYOUT}path:tag")
    checked = str(Digest.parse(digest)) if at else None
    return LayoutContext(os.path.abspath(directory), tag if named else None, checked)
