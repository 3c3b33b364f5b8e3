"""Named build contexts: files and images that a build knows by a name of its own.

A name stands in place of a stage, of the image in a FROM, and of what ``--from`` and ``from=`` name
(docs.docker.com/build/concepts/context, "named contexts"). The builder itself reads two kinds:
directories and images. The others are brought in before the build and become one of the two.
"""

from __future__ import annotations

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from images.descriptor import Descriptor
    from images.reference import Reference


class LocalContext(Record):
    """A directory of this machine.

    ``origin`` is what it was made from, empty for a directory that the user named. Only such a
    directory's own ``.dockerignore`` counts.
    """

    path: str
    origin: str = ""


class ImageContext(Record):
    """An image, found as FROM finds one; ``stored`` is the one of the store that it stands for,
    where that is settled.
    """

    reference: Reference
    stored: Descriptor | None = None


class LayoutContext(Record):
    """An image of an OCI layout directory: by tag or digest, else the only one there."""

    path: str
    tag: str | None = None
    digest: str | None = None


class RemoteContext(Record):
    """A git repository, or an archive on a web server, by its URL."""

    url: str


class TargetContext(Record):
    """What another target of the same bake ends in."""

    target: str


if TYPE_CHECKING:
    NamedContext: TypeAlias = (
        LocalContext | ImageContext | LayoutContext | RemoteContext | TargetContext
    )


NOWHERE = "context.invalid"
"""The registry of images that come from none; no host can have this name (RFC 2606)."""


def stored_image(name: str, descriptor: Descriptor) -> ImageContext:
    """An image or index whose content is in the store, whatever registry it may be from.

    ``name`` is how messages call it, as the last part of a repository.
    """
    from images.reference import Reference

    return ImageContext(Reference(NOWHERE, name, None, descriptor.digest), descriptor)


def context_name(text: str) -> str:
    """The name under which a context is looked up: of ``docker.io/library/alpine:latest`` that is
    ``alpine``, and ``alpine::linux/amd64`` is for one platform alone.

    Raises:
        InvalidReferenceError: not usable as a name of an image.
        InvalidPlatformError: what follows ``::`` is no platform.
    """
    from images.reference import Reference

    name, separator, platform = text.partition("::")
    # Stages have names without regard to case.
    reference = Reference.parse(name if "/" in name or ":" in name else name.lower())
    plain = reference.familiar.removesuffix(":latest")
    if not separator:
        return plain
    from images.platform import Platform

    return f"{plain}::{Platform.parse(platform)}"
