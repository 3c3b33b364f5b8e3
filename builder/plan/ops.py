"""The typed operations of a plan and the fields that identify them in a cache key.

``key_fields`` holds everything that decides an operation's result except its inputs: the solver
adds the keys of those. Step numbers never appear in a field, so unrelated edits do not shift keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from builder.keys import KeyField
from builder.runner import HOSTNAME, Resources
from records import Record, field

if TYPE_CHECKING:
    from builder.bases import ResolvedBase
    from images.platform import Platform
    from images.reference import Reference

StepId: TypeAlias = int
"""Index of a step in ``Plan.steps``."""

ContextKey: TypeAlias = str
"""Names a local named context of the build."""

Origin: TypeAlias = StepId | ContextKey | None
"""Where files are read: the result of a step, a named context, or None for the build context."""

SCRATCH = "scratch"
"""The image without files."""


class SourceImage(Record):
    """The files of a resolved image."""

    reference: Reference
    platform: Platform
    base: ResolvedBase

    def key_fields(self) -> list[KeyField]:
        """By the digest of the image manifest: a tag may move, a digest cannot."""
        return [("op", "image"), ("manifest", str(self.base.descriptor.digest))]


class SourceScratch(Record):
    """No files at all."""

    def key_fields(self) -> list[KeyField]:
        """There is only one empty image."""
        return [("op", "scratch")]


class BindSpec(Record):
    """``--mount=type=bind``. Writes are discarded."""

    target: str
    source: str = "/"
    from_: Origin = None
    read_only: bool = True


class CacheSpec(Record):
    """``--mount=type=cache``: a directory that outlives the build and is in no key and no layer."""

    target: str
    id: str
    sharing: str = "shared"
    read_only: bool = False
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    from_: Origin = None
    """What a new one is filled from; None for nothing."""
    source: str = ""


class TmpfsSpec(Record):
    """``--mount=type=tmpfs``; ``size`` in bytes, 0 for the kernel's default."""

    target: str
    size: int = 0


class SecretSpec(Record):
    """``--mount=type=secret``: as a file at ``target``, as the variable ``env``, or both."""

    id: str
    target: str | None
    env: str | None = None
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class SshSpec(Record):
    """``--mount=type=ssh``: an agent socket."""

    id: str
    target: str
    sets_variable: bool
    """Whether SSH_AUTH_SOCK points at it: only when no target was written."""
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


MountSpec: TypeAlias = BindSpec | CacheSpec | TmpfsSpec | SecretSpec | SshSpec


class InlineFile(Record):
    """A here-document turned into a file."""

    name: str
    content: bytes


class Run(Record):
    """A command. ``env`` holds ENV and ARG values; ``proxy_env`` is not part of the key."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    platform: Platform
    command: str
    """The command as error messages show it."""
    mounts: tuple[MountSpec, ...] = ()
    scripts: tuple[InlineFile, ...] = ()
    """Read-only executables under /dev/pipes."""
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[str, ...] = ()
    hostname: str = HOSTNAME
    extra_hosts: tuple[tuple[str, str], ...] = ()
    resources: Resources = field(default_factory=Resources)
    proxy_env: tuple[str, ...] = ()

    def key_fields(self) -> list[KeyField]:
        """What BuildKit puts in an exec key: not secrets, proxies or the addresses of hosts."""
        limits = self.resources
        return [
            ("op", "run"),
            ("args", self.args),
            ("env", self.env),
            ("cwd", self.cwd),
            ("user", self.user),
            ("platform", str(self.platform)),
            ("mounts", tuple(_mount_fields(mount) for mount in self.mounts)),
            ("scripts", tuple((file.name, file.content) for file in self.scripts)),
            ("network", self.network),
            ("security", self.security),
            ("devices", self.devices),
            *([("hostname", self.hostname)] if self.hostname != HOSTNAME else ()),
            ("hosts", tuple(name for name, _ in self.extra_hosts)),
            ("shm-size", limits.shm_size),
            ("ulimits", tuple((item.name, item.soft, item.hard) for item in limits.ulimits)),
            ("cgroup-parent", limits.cgroup_parent),
        ]


class Copy(Record):
    """COPY and ADD of files: words expanded.

    ``archives`` is True for ADD, which unpacks local archives unless ``unpack`` says otherwise.
    """

    sources: tuple[str, ...]
    destination: str
    workdir: str
    heredocs: tuple[InlineFile, ...] = ()
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    from_: Origin = None
    archives: bool = False
    unpack: bool | None = None
    checksum: str | None = None
    keep_git_dir: bool = False

    def key_fields(self) -> list[KeyField]:
        """The request; the solver adds the digest of what the sources hold."""
        return [
            ("op", "add" if self.archives else "copy"),
            ("sources", self.sources),
            ("destination", self.destination),
            ("workdir", self.workdir),
            ("heredocs", tuple((file.name, file.content) for file in self.heredocs)),
            ("chown", self.chown),
            ("chmod", self.chmod),
            ("link", self.link),
            ("parents", self.parents),
            ("exclude", self.exclude),
            ("unpack", self.unpack),
            ("checksum", self.checksum),
            ("keep-git-dir", self.keep_git_dir),
        ]


class Workdir(Record):
    """Create a directory, and its missing parents, for ``user``."""

    path: str
    user: str

    def key_fields(self) -> list[KeyField]:
        """The owner decides who the new directories belong to."""
        return [("op", "workdir"), ("path", self.path), ("user", self.user)]


Op: TypeAlias = SourceImage | SourceScratch | Run | Copy | Workdir


def _mount_fields(mount: MountSpec) -> tuple[str | int | bool | None, ...]:
    match mount:
        case BindSpec():
            return ("bind", mount.target, mount.source, mount.from_ is None, mount.read_only)
        case CacheSpec():
            # An explicit id is a name outside the build; the default one repeats the target.
            return ("cache", mount.target, mount.read_only, mount.id == mount.target)
        case TmpfsSpec():
            return ("tmpfs", mount.target, mount.size)
        case SecretSpec():
            owner = (mount.mode, mount.uid, mount.gid)
            return ("secret", mount.id, mount.target, mount.env, mount.required, *owner)
        case SshSpec():
            owner = (mount.mode, mount.uid, mount.gid)
            return ("ssh", mount.id, mount.target, mount.required, *owner)
