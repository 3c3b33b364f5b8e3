"""The OCI runtime specification's config.json as frozen values.

Runtime-spec 1.2, ``config.md`` and ``config-linux.md``; the reading and writing of JSON is in
``runtime.config_json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from records import Record, field

NAMESPACES: Final = ("mount", "pid", "uts", "ipc", "network", "cgroup", "user", "time")


class User(Record):
    """Numeric identity of the process."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int | None = None


class Capabilities(Record):
    """The five sets, as ``CAP_*`` names."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Record):
    """``type`` is ``RLIMIT_NOFILE`` and the like; -1 is unlimited."""

    type: str
    soft: int
    hard: int


class Process(Record):
    """What is executed, and as whom."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: User = User()
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    """Rows and columns."""
    capabilities: Capabilities = Capabilities()
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None


class Root(Record):
    """The root directory; ``path`` is empty when a ``Rootfs`` of the request says it."""

    path: str = ""
    readonly: bool = False


class Mount(Record):
    """One mount; ``overlay`` takes ``lowerdir+=``, ``upperdir=``, ``workdir=``, ``subpath=``.

    ``bind`` takes ``subpath=`` for a part of a directory that others may change meanwhile.
    """

    destination: str
    type: str = "bind"
    source: str = ""
    options: tuple[str, ...] = ()


class Namespace(Record):
    """A namespace to create, or with ``path`` one to join."""

    type: str
    path: str | None = None


class Device(Record):
    """A device node to create below /dev. ``type`` is c, u, b or p."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int = 0o666
    uid: int = 0
    gid: int = 0


class DeviceRule(Record):
    """One line of the device controller; None means every number."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class Resources(Record):
    """Limits of the control group. Bytes and microseconds; None leaves the kernel's value."""

    devices: tuple[DeviceRule, ...] = ()
    memory_limit: int | None = None
    memory_swap: int | None = None
    """Memory plus swap, as cgroup v1 counts; -1 is unlimited."""
    memory_reservation: int | None = None
    cpu_shares: int | None = None
    cpu_quota: int | None = None
    cpu_period: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids_limit: int | None = None
    unified: Mapping[str, str] = field(default_factory=dict)


class Linux(Record):
    """The Linux part of the configuration."""

    namespaces: tuple[Namespace, ...] = ()
    devices: tuple[Device, ...] = ()
    resources: Resources = Resources()
    cgroups_path: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    sysctl: Mapping[str, str] = field(default_factory=dict)
    rootfs_propagation: str = "private"
    seccomp: Mapping[str, Any] | None = None
    """The specification's ``seccomp`` object, compiled by ``runtime.seccomp``."""

    def namespace(self, kind: str) -> Namespace | None:
        """The entry for ``kind``, None when the container shares the host's."""
        return next((entry for entry in self.namespaces if entry.type == kind), None)


class Hook(Record):
    """A program of the host; ``args`` begin with its name, ``timeout`` is in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Spec(Record):
    """A whole container configuration."""

    process: Process
    root: Root = Root()
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    linux: Linux = Linux()
    annotations: Mapping[str, str] = field(default_factory=dict)
    hooks: tuple[Hook, ...] = ()
    """Those of ``createContainer``; others are not run."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Spec:
        """Parse a decoded config.json, or ``{"arguments": …}`` for ``spec_from_arguments``.

        Raises:
            RuntimeFault: ``request-invalid``, naming the property.
        """
        if "arguments" in document:
            from runtime.spec import spec_from_arguments

            return spec_from_arguments(document["arguments"])
        from runtime.config_json import read_spec

        return read_spec(document)

    def to_json(self) -> dict[str, Any]:
        """The document as plain JSON values; empty properties are left out."""
        from runtime.config_json import write_spec

        return write_spec(self)
