"""What a caller asks of a build, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping

from records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from pathlib import Path

    from builder.runner import Resources
    from builder.secrets import Secret
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.platform import Platform
    from images.reference import Reference


class BuildRequest(Record):
    """One build.

    ``context`` is a directory, None for none. ``dockerfile`` is a path (relative ones are looked up
    from the working directory, as docker does with -f), the file's bytes, or None for the context's
    own. ``platform`` is what to build for, None for the host's.
    """

    context: str | os.PathLike[str] | None
    dockerfile: str | os.PathLike[str] | bytes | None = None
    tags: tuple[Reference, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    platform: Platform | None = None
    no_cache: bool = False
    pull: bool = False
    """Resolve bases anew; the resolver decides what that means."""
    network: str = "default"
    extra_hosts: tuple[tuple[str, str], ...] = ()
    secrets: tuple[Secret, ...] = ()
    ssh: Mapping[str, Path] = field(default_factory=dict)
    resources: Resources | None = None
    compression: str = "gzip"


class BuildResult(Record):
    """The image that a build ended in. ``cached`` says that nothing had to be executed."""

    descriptor: Descriptor
    image_id: Digest
    tags: tuple[Reference, ...]
    cached: bool
    warnings: tuple[str, ...] = ()
