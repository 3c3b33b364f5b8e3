"""What a caller asks of a build, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping

from records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from pathlib import Path

    from builder.contexts import NamedContext
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
    no_cache_stages: tuple[str, ...] = ()
    """Names or numbers of stages whose steps are done anew."""
    precise_args: bool = False
    """A RUN has, and depends on, only those ARGs that its text mentions."""
    rewrite_timestamps: bool = True
    """With SOURCE_DATE_EPOCH, no file of a new layer is younger than that."""
    pull: bool = False
    """Resolve bases anew; the resolver decides what that means."""
    network: str = "default"
    extra_hosts: tuple[tuple[str, str], ...] = ()
    secrets: tuple[Secret, ...] = ()
    ssh: Mapping[str, Path] = field(default_factory=dict)
    resources: Resources | None = None
    allow: tuple[str, ...] = ()
    """Entitlements that a Dockerfile may use: ``network.host``, ``security.insecure``."""
    compression: str = "gzip"
    check_rules: str | None = None
    """The rules that lint asks, as ``builder.lint.selection`` reads them; None for the usual."""
    inline_cache: bool = False
    """The image's config says by which steps its layers were made."""
    contexts: Mapping[str, NamedContext] = field(default_factory=dict)
    """Named contexts by their normalised names, as ``builder.contexts.context_name`` gives them."""
    dockerfile_name: str = ""
    """How messages call a Dockerfile that is given as bytes."""
    materials: tuple[Material, ...] = ()
    """What the contexts were made from, by whoever brought them in."""
    origin: str = ""
    """What the directory ``context`` was made from: a URL, ``-`` for standard input. Empty for a
    directory that the user named; only such a one is filtered by an ignore file."""
    name_platform: bool = False
    """Names of steps begin with their platform, since others are built at the same time."""
    register: bool = True
    """Make the result an image of the store, and name it. Otherwise its content is there and the
    caller, who holds a lease, decides what becomes of it."""


class Change(Record):
    """One difference between a step and the nearest one on record.

    ``kind`` is ``file``, ``variable``, ``base``, ``step`` (an earlier one), or the name of another
    part of the instruction; ``how`` is ``changed``, ``added`` or ``removed``.
    """

    kind: str
    name: str
    how: str = "changed"


class StepVerdict(Record):
    """Why a step was, or would be, done or not.

    ``outcome`` is ``cached``, ``executed`` or, before a build, ``open``: that depends on what the
    steps before it will make.
    """

    name: str
    outcome: str
    reason: str
    where: str = ""
    """``Dockerfile:3``."""
    changes: tuple[Change, ...] = ()
    seconds: float = 0.0
    """How long it took, 0 where nothing was done; packing its layer goes on beside later steps."""
    size: int | None = None
    """Bytes of its layer in the store; None where there is none, or nobody looked."""


class Material(Record):
    """Something from outside that went into an image.

    ``kind`` is ``image``, ``git``, ``http`` or ``local``; ``uri`` carries no credentials.
    ``digest`` is ``sha256:<hex>`` of a manifest or file, ``sha1:<hex>`` of a commit, and empty for
    a directory of this machine. ``name`` is the named context it came as, if it did.
    """

    kind: str
    uri: str
    digest: str = ""
    platform: str = ""
    name: str = ""


class Site(Record):
    """A machine that built in place of this one: its own name, platform and version of lading."""

    name: str
    platform: Platform
    version: str


class BuildResult(Record):
    """The image that a build ended in. ``cached`` says that nothing had to be executed."""

    descriptor: Descriptor
    image_id: Digest
    tags: tuple[Reference, ...]
    cached: bool
    warnings: tuple[str, ...] = ()
    steps: tuple[StepVerdict, ...] = ()
    """Base images and steps that the target needs, in the order of the plan."""
    entitlements: tuple[str, ...] = ()
    """Those of the request's that steps of the target make use of."""
    materials: tuple[Material, ...] = ()
    """What the target was made from: base images, files and repositories that ADD fetched, the
    contexts that were read."""
    base_layers: int = 0
    """How many of the image's layers, the lowest, were in its base image."""
    site: Site | None = None
    """Where it was built; None for here."""
